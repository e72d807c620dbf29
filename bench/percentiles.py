"""Percentiles of times: those that so many times can tell, and no others."""

from __future__ import annotations

from collections.abc import Sequence

#: So many times must lie beyond a percentile, else it is one or two slow ones that it tells.
BEYOND = 10
_TAILS = (99, 95, 90)


def percentile(times: Sequence[float], percent: int) -> float:
    """The smallest of these times that so many percent of them do not exceed."""
    return sorted(times)[max(0, -(-len(times) * percent // 100) - 1)]


def tail(count: int) -> int:
    """The highest percentile that so many times can tell: 99 of a thousand or more, 95 of 200 or
    more, 90 of a hundred or more, and else only the median, 50."""
    return next((each for each in _TAILS if count * (100 - each) >= BEYOND * 100), 50)


def told(times: Sequence[float]) -> str:
    """The median and the tail, in milliseconds."""
    percents = sorted({50, tail(len(times))})
    return "  ".join(f"p{each} {percentile(times, each) * 1000:.1f} ms" for each in percents)
