"""A clock that moves when told to."""

from __future__ import annotations

#: When the jobs of tests are made, in seconds since the epoch.
NOW = 1_700_000_000.0


class FakeClock:
    """A clock for `Jobs(clock=...)` that stands still until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self.now += seconds
