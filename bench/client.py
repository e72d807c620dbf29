"""A client that costs little, so that it is the server that is measured."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from enum import Enum
from typing import Self

BODY = json.dumps({"rows": list(range(20)), "name": "report"}).encode()
WAIT = "Prefer: wait=20\r\n"
#: Seconds from the submission to the first poll that does not wait, and from each to the next one:
#: twice as long each time, up to the last.
FIRST_PAUSE, LAST_PAUSE = 0.005, 0.04
#: Seconds for a job, in which all those before it in the queue must have ended too.
PATIENCE = 30.0


class Connection:
    """One keep-alive connection; a request at a time; bodies with a Content-Length only."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    @property
    def is_open(self) -> bool:
        """Whether the server has not hung up, as it does on one that idles."""
        return not self._reader.at_eof()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        """The status and the body of the answer.

        Raises:
            ConnectionError: the server has hung up.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        )
        self._writer.write(head.encode() + body)
        try:
            answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            if answer[9:12] == b"304":  # which has no body, and no length
                return 304, b""
            start = answer.index(b"content-length: ") + len(b"content-length: ")
            length = int(answer[start : answer.index(b"\r\n", start)])
            return int(answer[9:12]), await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:  # an EOFError: click would say "Aborted!"
            raise ConnectionError("the server has hung up in the place of an answer") from error


class Way(Enum):
    """How a client comes to the result of its job."""

    POLLS = "polls at intervals"
    POLL_WAITS = "`Prefer: wait` on the poll"
    SUBMISSION_WAITS = "`Prefer: wait` on the submission"


@dataclass(frozen=True)
class Done:
    """A job that has its result; times are those of `time.perf_counter`.

    Attributes:
        accepted: when its 202 came, or None if the first answer was the result already.
        ended: when its result came.
        requests: how many it took.
    """

    accepted: float | None
    ended: float
    requests: int


async def run_job(connection: Connection, path: str, way: Way = Way.POLL_WAITS) -> Done:
    """Submit a job at `path`, and ask until there is its result.

    Raises:
        TimeoutError: there is none, as the server has lost the job.
        RuntimeError: the answer is another one.
    """
    async with asyncio.timeout(PATIENCE):
        headers = WAIT if way is Way.SUBMISSION_WAITS else ""
        status, body = await connection.request("POST", path, BODY, headers)
        accepted, requests, pause = None, 1, FIRST_PAUSE
        if status == 202:
            accepted = time.perf_counter()
            poll = f"{path}/{json.loads(body)['TaskId']}"
        headers = "" if way is Way.POLLS else WAIT
        while status == 202:
            if way is Way.POLLS:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
            status, body = await connection.request("GET", poll, headers=headers)
            requests += 1
    if status != 200 or json.loads(body) != {"Result": True}:
        raise RuntimeError(f"no result, but {status} {body[:500]!r}")
    return Done(accepted, time.perf_counter(), requests)


async def run_jobs(
    port: int, jobs: int, connections: int, *, path: str = "/job", way: Way = Way.POLL_WAITS
) -> int:
    """Have as many jobs done as so many connections can, one after the other on each of them; how
    many requests it has taken."""
    left = iter(range(jobs))

    async def client() -> int:
        requests = 0
        async with Connection(port) as connection:
            for _ in left:
                requests += (await run_job(connection, path, way)).requests
        return requests

    return sum(await asyncio.gather(*(client() for _ in range(connections))))
