"""A client that costs little, so that it is the server that is measured."""

from __future__ import annotations

import asyncio
import json
from typing import Self

BODY = json.dumps({"rows": list(range(20)), "name": "report"}).encode()
WAIT = "Prefer: wait=20\r\n"


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

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        start = answer.index(b"content-length: ") + len(b"content-length: ")
        length = int(answer[start : answer.index(b"\r\n", start)])
        return int(answer[9:12]), await self._reader.readexactly(length)


async def follow(connection: Connection, path: str, status: int, body: bytes) -> int:
    """Go from the answer to a submission at `path` to the result; the number of polls it took."""
    polls = 0
    if status == 202:
        poll = f"{path}/{json.loads(body)['TaskId']}"
    while status == 202:
        status, body = await connection.request("GET", poll, headers=WAIT)
        polls += 1
    assert (status, body) == (200, b'{"Result":true}\n'), body
    return polls
