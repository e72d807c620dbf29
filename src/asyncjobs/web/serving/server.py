"""What the server around an app has in mind: when it is about to stop, and when it does.

An ASGI server says that it stops only at the end of its own graceful time, and hypercorn's master
terminates its other workers as soon as the first one has exited, which would cut their jobs: its
workers have no handler for SIGTERM (hypercorn/run.py, `run`). So a worker looks for itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

from quart import Quart

from ..quart_side import event_of_hypercorn

#: How often hypercorn's workers are told of its end, in seconds; it looks that often itself.
LOOK_INTERVAL = 0.1
#: Seconds that a server has, once its process was told to end, to say that it stops.
STOP_NOTICE = 1.0


class Server:
    """The server that runs `app`, seen from its event loop."""

    def __init__(self, app: Quart) -> None:
        self._shutdown = cast("asyncio.Event", app.shutdown_event)
        self._terminated = asyncio.Event()
        self._event = event_of_hypercorn()

    async def about_to_stop(self) -> None:
        """Wait until the server will soon stop: the time to let jobs end."""
        waits: list[Coroutine[Any, Any, object]]
        waits = [self._shutdown.wait(), self._terminated.wait()]
        if self._event is not None:
            waits.append(self._told_by_hypercorn())
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def stopped(self) -> None:
        """Wait until the server stops. If nobody but a SIGTERM has told so, end the process."""
        if self._terminated.is_set() and not self._is_told():
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_NOTICE):
                    await self._shutdown.wait()
            if not (self._shutdown.is_set() or self._is_told()):
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
        await self._shutdown.wait()

    def survive_sigterm(self) -> None:
        """Take a SIGTERM as a word that the server is about to stop, in workers that would die.

        Only in a process that a server has started, and only where nobody else has a handler. It
        stays to the end: the master may send one more while the process is ending.
        """
        if _is_worker() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            loop = asyncio.get_running_loop()
            # Not there on Windows, and for the main thread only.
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal.SIGTERM, self._terminated.set)

    def _is_told(self) -> bool:
        return self._event is not None and self._event.is_set()

    async def _told_by_hypercorn(self) -> None:
        while not self._is_told():  # noqa: ASYNC110 - an event between processes
            await asyncio.sleep(LOOK_INTERVAL)


def _is_worker() -> bool:
    return multiprocessing.parent_process() is not None
