"""Latencies at a rate that is kept: who begins late, as the server or the client was busy, has
waited since it should have begun."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from .client import BODY, Connection, follow


@dataclass
class Latencies:
    """Seconds, each from when its job should have been submitted.

    Attributes:
        submissions: until the submission was answered.
        results: until the result was there.
    """

    submissions: list[float] = field(default_factory=list)
    results: list[float] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        self.submissions += other.submissions
        self.results += other.results
        return self


class Paced:
    """Submits jobs at a rate, and follows each to its result; as many at a time as it takes.

    Args:
        rate: jobs a second.
        headers: of each submission.
    """

    def __init__(self, port: int, path: str, *, rate: float, headers: str = "") -> None:
        self._port = port
        self._path = path
        self._pause = 1 / rate
        self._headers = headers
        self._free: list[Connection] = []
        self._latencies = Latencies()

    async def run(self, seconds: float) -> Latencies:
        """Begin so many seconds' worth of jobs, and wait for all of them."""
        clock = asyncio.get_running_loop().time
        # The connections are closed last.
        async with AsyncExitStack() as self._opened, asyncio.TaskGroup() as jobs:
            begun = clock()
            for number in range(int(seconds / self._pause)):
                due = begun + number * self._pause
                await asyncio.sleep(due - clock())
                jobs.create_task(self._job(due))
        return self._latencies

    async def _job(self, due: float) -> None:
        clock = asyncio.get_running_loop().time
        connection = await self._connection()
        status, body = await connection.request("POST", self._path, BODY, self._headers)
        self._latencies.submissions.append(clock() - due)
        await follow(connection, self._path, status, body)
        self._latencies.results.append(clock() - due)
        self._free.append(connection)

    async def _connection(self) -> Connection:
        """One that is free, the last one used first, or one more."""
        if self._free:
            return self._free.pop()
        return await self._opened.enter_async_context(Connection(self._port))
