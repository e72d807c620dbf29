"""What tidies up on the event loop does so a slice at a time: all else waits for the end of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: A slice takes so many seconds of the event loop, and the step more in which they are over.
SLICE = 0.002


def in_a_slice(things: Iterable[T], clock: Callable[[], float] = time.perf_counter) -> Iterator[T]:
    """Those of the things that there is time for, and at least one. No further one is looked at."""
    end = clock() + SLICE
    for thing in things:
        yield thing
        if clock() >= end:
            return
