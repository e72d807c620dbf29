"""Randomness that tests can count on."""

from __future__ import annotations

import random


class NoWait(random.Random):
    """Randomness by which nothing waits for its next attempt."""

    def uniform(self, a: float, b: float) -> float:
        return a


class LongWait(random.Random):
    """Randomness by which everything waits for its next attempt as long as it may."""

    def uniform(self, a: float, b: float) -> float:
        return b
