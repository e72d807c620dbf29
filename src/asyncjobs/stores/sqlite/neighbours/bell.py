"""A bell that rings at once, but not all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Bell:
    """Calls `ring` for who pulls it: at once, or together for all who pull it while it rests.

    Args:
        rest: seconds between two rings.
    """

    def __init__(self, ring: Callable[[], None], rest: float) -> None:
        self._ring = ring
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._pulled = False

    def pull(self) -> None:
        """Ring, now or when the rest is over."""
        if self._resting is not None:
            self._pulled = True
        else:
            self._ring()
            self._resting = self._loop.call_later(self._rest, self._rested)

    def close(self) -> None:
        """Ring once more if somebody waits for that, and no more."""
        if self._resting is not None:
            self._resting.cancel()
        if self._pulled:
            self._ring()

    def _rested(self) -> None:
        self._resting = None
        if self._pulled:
            self._pulled = False
            self.pull()
