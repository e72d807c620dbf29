"""Latencies at a rate that is kept: who begins late, as the server or the client was busy, has
waited since it should have begun."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from .client import Connection, Way, run_job

#: Connections at a time, as descriptors are few. Who is due and finds none waits, and that counts.
MOST = 500


@dataclass
class Latencies:
    """Seconds, each from when its job should have been submitted.

    Attributes:
        accepted: until the 202, for each job that was answered by one: there is none where the
            first answer is the result.
        results: until the result was there.
    """

    accepted: list[float] = field(default_factory=list)
    results: list[float] = field(default_factory=list)


class Paced:
    """Submits jobs at a rate, and follows each to its result; as many at a time as it takes.

    Args:
        rate: jobs a second.
        way: how each comes to its result.
    """

    def __init__(self, port: int, path: str, *, rate: float, way: Way = Way.POLL_WAITS) -> None:
        self._port = port
        self._path = path
        self._pause = 1 / rate
        self._way = way
        self._free: list[Connection] = []
        self._room = asyncio.Semaphore(MOST)
        self._latencies = Latencies()

    async def run(self, jobs: int) -> Latencies:
        """Begin so many jobs, and wait for all of them.

        Raises:
            RuntimeError, OSError: what is wrong with the first that failed.
        """
        clock = time.perf_counter
        try:
            # The connections are closed last.
            async with AsyncExitStack() as self._opened, asyncio.TaskGroup() as tasks:
                begun = clock()
                for number in range(jobs):
                    due = begun + number * self._pause
                    await asyncio.sleep(due - clock())
                    tasks.create_task(self._job(due))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return self._latencies

    async def _job(self, due: float) -> None:
        async with self._room:
            connection = await self._connection()
            done = await run_job(connection, self._path, self._way)
            self._free.append(connection)
        if done.accepted is not None:
            self._latencies.accepted.append(done.accepted - due)
        self._latencies.results.append(done.ended - due)

    async def _connection(self) -> Connection:
        """One that is free, the last one used first, or one more."""
        while self._free:
            if (connection := self._free.pop()).is_open:
                return connection
        return await self._opened.enter_async_context(Connection(self._port))
