"""Large results are sent in pieces, as their clients take them, and from one copy."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs
from asyncjobs.web.answering import large, sending
from test_watching import DEADLINE, Stream
from waits import until

BODY = bytes(range(256)) * 1024 + b"the end"
ways = pytest.mark.parametrize("way", ["a queue", "a function"])


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    app = Quart("large")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")

    @app.get("/large")
    @jobs.background
    async def answer() -> bytes:
        return BODY

    async with app.test_app():
        yield app


@pytest.fixture
async def poll(app: Quart) -> str:
    """Where the result is."""
    client: Client = app.test_client()
    poll: str = (await client.get("/large")).headers["Location"]
    assert (await client.get(poll, headers={"Prefer": "wait=20"})).status_code == 200
    return poll


@ways
async def test_it_is_sent_in_pieces(
    app: Quart, poll: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is larger than they are meant to be, and together they are the result;
    ``RESPONSE_TIMEOUT`` is for each of them, the head and the end as well, and not for all."""
    app.config["RESPONSE_TIMEOUT"] = 7
    timeouts: list[float | None] = []
    in_time = sending.in_time

    async def noted(deed: Any, timeout: float | None) -> Any:
        timeouts.append(timeout)
        return await in_time(deed, timeout)

    monkeypatch.setattr(sending, "in_time", noted)
    stream = Stream(app, poll, way=way)
    status, headers = await stream.opened()
    pieces = await stream.rest()
    assert (status, headers["content-length"]) == (200, str(len(BODY)))
    assert b"".join(pieces) == BODY
    assert {len(piece) for piece in pieces[:-1]} == {large.PIECE}
    assert timeouts == [7] * (1 + len(pieces) + 1)


async def test_all_who_are_sent_it_share_a_copy(app: Quart, poll: str) -> None:
    """However many take their time, it is in memory once, and gone when they are."""
    streams = [Stream(app, poll, takes=False) for _ in range(5)]
    for stream in streams:
        assert (await stream.opened())[0] == 200
    gc.collect()
    (copy,) = large._copies.values()
    assert copy.data == BODY
    del copy
    for stream in streams:
        stream.takes.set()
        assert b"".join(await stream.rest()) == BODY
    assert is_let_go()


class Slow(Stream):
    """A client that takes so many messages of an answer, and no more."""

    def __init__(self, app: Quart, path: str, *, way: str, taken: int) -> None:
        self._taken = taken
        super().__init__(app, path, way=way)

    async def _send(self, message: Any) -> None:
        if self.waiting() == self._taken:
            self.takes.clear()
        await super()._send(message)


@ways
@pytest.mark.parametrize("taken", [0, 1, 6], ids=["the head", "a piece", "the end"])
async def test_whatever_a_client_does_not_take_is_given_up(
    app: Quart, poll: str, taken: int, way: str
) -> None:
    """Be it the head of the answer, which a client does not take that has not taken an earlier
    answer, a piece, or the end: after ``RESPONSE_TIMEOUT`` the result is let go of, although the
    client is still there."""
    app.config["RESPONSE_TIMEOUT"] = 0.05
    stream = Slow(app, poll, way=way, taken=taken)
    await until(lambda: stream.waiting() == taken + 1 and is_let_go())
    assert not stream.takes.is_set()
    stream.hang_up()  # some of Quart's versions listen on
    await asyncio.wait([stream.handled], timeout=DEADLINE)
    assert stream.handled.exception() is None
    assert stream.waiting() == taken + 1


@ways
async def test_a_part_of_it_is_sent_in_pieces(app: Quart, poll: str, way: str) -> None:
    """Where a hook has made it a part, as for ``Range``, that is what is sent."""

    @app.after_request
    async def part(response: Any) -> Any:
        if response.status_code == 200:
            await response.response.make_conditional(10, 10 + large.PIECE + 1)
            response.content_length = large.PIECE + 1
        return response

    stream = Stream(app, poll, way=way)
    await stream.opened()
    pieces = await stream.rest()
    assert [len(piece) for piece in pieces] == [large.PIECE, 1]
    assert b"".join(pieces) == BODY[10 : 10 + large.PIECE + 1]


def is_let_go() -> bool:
    """Whether nobody is sent a large result any more."""
    gc.collect()
    return not large._copies
