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
        # By the loop in which they are, as an app may be served in several, and the time-out.
        self._deadlines: dict[tuple[asyncio.AbstractEventLoop, float], dict[K, float]] = {}

    def set(self, key: K, timeout: float) -> None:
        """Call back for `key` in `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadlines = self._deadlines.get((loop, timeout))
        if deadlines is None:
            deadlines = self._begin(loop, timeout)
        deadlines[key] = loop.time() + timeout

    def clear(self, key: K, timeout: float) -> None:
        """Do not call back for `key`, which was set in this loop."""
        self._deadlines.get((asyncio.get_running_loop(), timeout), {}).pop(key, None)

    def _begin(self, loop: asyncio.AbstractEventLoop, timeout: float) -> dict[K, float]:
        for place in [*self._deadlines]:
            if place[0].is_closed():
                self._deadlines.pop(place, None)
        # In no context: that of the first job would be kept for as long as there are any.
        loop.call_later(timeout, self._check, loop, timeout, context=contextvars.Context())
        return self._deadlines.setdefault((loop, timeout), {})

    def _check(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        deadlines = self._deadlines[loop, timeout]
        while deadlines:
            key, deadline = next(iter(deadlines.items()))
            if deadline > loop.time():
                loop.call_at(deadline, self._check, loop, timeout)
                return
            del deadlines[key]
            self._passed(key)
        del self._deadlines[loop, timeout]
