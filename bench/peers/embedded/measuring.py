"""What each of the programs does, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .. import processor

T = TypeVar("T")

#: What each job is given, and what it returns.
PAYLOAD = {"rows": list(range(20)), "name": "report"}
DONE = {"Result": True}
#: Seconds until the first look at a result, where the library has nothing to wait by, and between
#: two looks: twice as long each time, up to the last.
FIRST_PAUSE, LAST_PAUSE = 0.005, 0.04


async def measure(run: Callable[[], Awaitable[object]]) -> None:
    """Print as JSON how many jobs a second there are with so many in flight, and how long each
    takes of those that come one after the other.

    Args:
        run: submits a job and returns its result. The command line says how many jobs, and how
            many at a time.
    """
    jobs, at_a_time = (int(argument) for argument in sys.argv[1:])
    await run()  # before the others, as the worker may be about to start
    await _together(run, at_a_time, at_a_time)  # which opens the connections
    used, start = _cpu(), time.perf_counter()
    await _together(run, jobs, at_a_time)
    taken, used = time.perf_counter() - start, _cpu() - used
    results = [await _timed(run) for _ in range(jobs)]
    print(json.dumps({"rate": jobs / taken, "cpu": used / jobs, "results": results}))


async def poll(look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` finds, in the end."""
    pause = FIRST_PAUSE
    while True:
        await asyncio.sleep(pause)
        if (found := await look()) is not None:
            return found
        pause = min(pause * 2, LAST_PAUSE)


async def _together(run: Callable[[], Awaitable[object]], jobs: int, at_a_time: int) -> None:
    left = iter(range(jobs))

    async def client() -> None:
        for _ in left:
            found = await run()
            assert found == DONE, found

    await asyncio.gather(*(client() for _ in range(at_a_time)))


async def _timed(run: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


def _cpu() -> float:
    """Seconds of processor time, with those of Redis if there is one."""
    redis = os.environ.get("REDIS_PID")
    return time.process_time() + (processor.of_process(int(redis)) if redis else 0)
