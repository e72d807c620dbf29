"""The client of all: submits jobs, and asks until there are their results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bench.client import Connection, Way, run_job, run_jobs
from bench.paced import Paced

from .table import Round


def warm_up(port: int, way: Way) -> bool:
    """One job to its end. Tells if the first answer had its result.

    Raises:
        OSError: the server is not there yet.
    """

    async def one() -> bool:
        async with Connection(port) as connection:
            return (await run_job(connection, "/job", way)).accepted is None

    return asyncio.run(one())


def measure(
    port: int,
    cpu: Callable[[], float],
    way: Way,
    *,
    jobs: int,
    connections: int,
    rate: float,
    paced: int,
) -> Round:
    """As many jobs as `connections` can have done, then so many at a fixed `rate`.

    Args:
        cpu: seconds of processor time that the server and its workers have used.
        rate: jobs a second, which are submitted whether those before have ended or not.
        paced: how many are submitted at that rate.
    """

    async def both() -> Round:
        used, start = cpu(), time.perf_counter()
        requests = await run_jobs(port, jobs, connections, way=way)
        taken, used = time.perf_counter() - start, cpu() - used
        times = await Paced(port, "/job", rate=rate, way=way).run(paced)
        return Round(
            jobs / taken, used / jobs, requests / jobs, tuple(times.accepted), tuple(times.results)
        )

    return asyncio.run(both())
