"""Waits for the disk in a thread of its own, so that the event loop never does."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable

from ....daemons import start_daemon
from ....errors import StoreError
from ..processes.locks import sync_data


class Flusher:
    """Makes what was written durable, and tells when it is.

    Args:
        fd: an own descriptor of the write-ahead log.

    Raises:
        StoreError: there is no thread to be had.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[OSError | None], None] | None]
        self._orders = queue.SimpleQueue()
        self._thread = start_daemon("asyncjobs-flusher", self._run, error=StoreError)

    def flush(self, done: Callable[[OSError | None], None]) -> None:
        """Call `done` on the loop once all that was written before this call is on the disk."""
        self._orders.put(done)

    def close(self) -> None:
        """End the thread, after what was ordered."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (done := self._orders.get()) is not None:
            error = None
            try:
                sync_data(self._fd)
            except OSError as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, error)
            except RuntimeError:
                return  # the loop was closed with writes on their way: nobody waits for them
            # Not to be kept alive, with all that it has stored, while this thread waits.
            del done
