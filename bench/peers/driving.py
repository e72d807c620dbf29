"""The client of all: submits a job, and asks until there is its result."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from enum import Enum

from bench.client import Connection
from bench.http import BODY, WAIT

from .table import Round

#: Seconds from the submission to the first poll that does not wait, and from each to the next one:
#: twice as long each time, up to the last.
FIRST_PAUSE, LAST_PAUSE = 0.005, 0.04
#: Seconds for a job, in which all those before it in the queue must have ended too.
PATIENCE = 20.0


class Way(Enum):
    """How the client comes to the result."""

    POLLS = "polls at intervals"
    POLL_WAITS = "`Prefer: wait` on the poll"
    SUBMISSION_WAITS = "`Prefer: wait` on the submission"


def warm_up(port: int, way: Way) -> bool:
    """One job to its end. Tells if the first answer had its result.

    Raises:
        OSError: the server is not there yet.
    """

    async def one() -> int:
        async with Connection(port) as connection:
            return (await _job(connection, way))[2]

    return asyncio.run(one()) == 1


def measure(
    port: int,
    cpu: Callable[[], float],
    way: Way,
    *,
    jobs: int,
    connections: int,
    rate: float,
    seconds: float,
) -> Round:
    """As many jobs as `connections` can have done, then so many at a fixed `rate`.

    Args:
        cpu: seconds of processor time that the server and its workers have used.
        rate: jobs a second, which are submitted whether those before have ended or not.
    """

    async def both() -> Round:
        used, start = cpu(), time.perf_counter()
        requests = await _as_fast_as_possible(port, way, jobs, connections)
        taken, used = time.perf_counter() - start, cpu() - used
        submits, results = await _at_a_rate(port, way, rate, seconds)
        return Round(jobs / taken, used / jobs, requests / jobs, submits, results)

    return asyncio.run(both())


async def _as_fast_as_possible(port: int, way: Way, jobs: int, connections: int) -> int:
    """How many requests it has taken."""
    left = iter(range(jobs))

    async def client() -> int:
        requests = 0
        async with Connection(port) as connection:
            for _ in left:
                requests += (await _job(connection, way))[2]
        return requests

    return sum(await asyncio.gather(*(client() for _ in range(connections))))


async def _at_a_rate(
    port: int, way: Way, rate: float, seconds: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The seconds until each 202, and until each result."""
    free: list[Connection] = []

    async def client(number: int) -> tuple[float, float, int]:
        await asyncio.sleep(number / rate)
        connection = free.pop() if free else await Connection(port).__aenter__()
        try:
            return await _job(connection, way)
        finally:
            free.append(connection)

    taken = await asyncio.gather(*(client(number) for number in range(round(rate * seconds))))
    for connection in free:
        await connection.__aexit__()
    return tuple(submit for submit, _, _ in taken), tuple(result for _, result, _ in taken)


async def _job(connection: Connection, way: Way) -> tuple[float, float, int]:
    """The seconds until the first answer and until the result, and the number of requests.

    Raises:
        TimeoutError: there is none, as the peer has lost the job.
    """
    async with asyncio.timeout(PATIENCE):
        return await _job_to_its_end(connection, way)


async def _job_to_its_end(connection: Connection, way: Way) -> tuple[float, float, int]:
    start = time.perf_counter()
    headers = WAIT if way is Way.SUBMISSION_WAITS else ""
    status, body = await connection.request("POST", "/job", BODY, headers)
    submitted, requests, pause = time.perf_counter() - start, 1, FIRST_PAUSE
    poll = f"/job/{json.loads(body)['TaskId']}" if status == 202 else ""
    while status == 202:
        if way is Way.POLLS:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)
        headers = "" if way is Way.POLLS else WAIT
        status, body = await connection.request("GET", poll, headers=headers)
        requests += 1
    if status != 200 or json.loads(body) != {"Result": True}:
        raise RuntimeError(f"no result, but {status} {body[:500]!r}")
    return submitted, time.perf_counter() - start, requests
