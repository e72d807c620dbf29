"""Time-outs for very many jobs at the price of one timer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """Calls back for each key whose time is over, if it was not cleared before.

    A timer a key would be a heap of thousands, which asyncio compares in Python. All keys with the
    same time-out end in the order of their beginnings, so a timer for the first of them will do.

    Args:
        passed: called with the key.
    """

    def __init__(self, passed: Callable[[K], None]) -> None:
        self._passed = passed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines: dict[float, dict[K, float]] = {}

    def set(self, key: K, timeout: float) -> None:
        """Call back for `key` in `timeout` seconds."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # an earlier one calls nobody back any more
            self._loop, self._deadlines = loop, {}
        deadlines = self._deadlines.get(timeout)
        if deadlines is None:
            deadlines = self._deadlines[timeout] = {}
            # In no context: that of the first job would be kept for as long as there are any.
            loop.call_later(timeout, self._check, timeout, context=contextvars.Context())
        deadlines[key] = loop.time() + timeout

    def clear(self, key: K, timeout: float) -> None:
        """Do not call back for `key`."""
        self._deadlines.get(timeout, {}).pop(key, None)

    def _check(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadlines = self._deadlines[timeout]
        while deadlines:
            key, deadline = next(iter(deadlines.items()))
            if deadline > loop.time():
                loop.call_at(deadline, self._check, timeout)
                return
            del deadlines[key]
            self._passed(key)
        del self._deadlines[timeout]
