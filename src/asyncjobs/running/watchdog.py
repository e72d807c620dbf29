"""Tells when a handler blocks the event loop, and where: nothing else gets on meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Self

from ..daemons import start_daemon
from ..errors import SetupError

logger = logging.getLogger("asyncjobs")

#: A loop that has not turned for so many seconds is blocked.
BLOCKED_AFTER = 1.0


class Watchdog:
    """Looks from a thread whether the event loop still turns. An async context manager.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._closing = threading.Event()

    async def __aenter__(self) -> Self:
        """Begin to look.

        Raises:
            SetupError: there is no thread to be had.
        """
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._turn()
        try:
            start_daemon("asyncjobs-watchdog", self._watch, self._turned)
        except SetupError:
            self._timer.cancel()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closing.set()
        self._timer.cancel()

    def _turn(self) -> None:
        self._turned = self._clock()
        self._timer = self._loop.call_later(BLOCKED_AFTER / 4, self._turn)

    def _watch(self, looked: float) -> None:
        reported = 0.0
        # A loop that was closed, or that nobody runs just now, is not blocked.
        while not (self._closing.wait(BLOCKED_AFTER / 2) or self._loop.is_closed()):
            before, looked = looked, self._clock()
            if looked - before > BLOCKED_AFTER:
                continue  # it was not the loop alone that stood still: the process was stopped
            turned = self._turned
            late = looked - turned > BLOCKED_AFTER and self._loop.is_running()
            if late and turned != reported:
                reported = turned
                self._report(looked - turned)

    def _report(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        logger.error(
            "the event loop has been blocked for %.1f s; put what blocks it into a sync handler, "
            "which runs in a thread. It is here:\n%s",
            seconds,
            stack,
        )
