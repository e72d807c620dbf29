"""`max_waiting`: so many requests are held at a time, and more are answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from quart import Quart, Response, request
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs
from asyncjobs.stores import MemoryStore
from asyncjobs.web.answering import outlasting
from server import DEADLINE
from waits import until

WAIT = {"Prefer": "wait=3600"}


class Parts:
    """An app that holds one request at a time."""

    def __init__(self, most: int = 1) -> None:
        self.app = Quart("waiting")
        self.jobs = QuartJobs(self.app, store=MemoryStore(), max_waiting=most, max_wait=3600)
        self.go = asyncio.Event()

        @self.app.post("/slow")
        @self.jobs.background
        async def slow() -> str:
            await self.go.wait()
            return "done"

        @self.app.post("/held")
        @self.jobs.background(mode="prefer")
        async def held() -> str:
            await self.go.wait()
            return "done"

        @self.app.route("/by-hand/<job_id>", methods=["GET", "POST"])
        async def by_hand(job_id: str) -> Response:
            await request.get_data()
            return await self.jobs.poll(job_id)

        @self.app.route("/twice/<job_id>", methods=["GET", "POST"])
        async def twice(job_id: str) -> Response:
            await self.jobs.poll(job_id)
            return await self.jobs.poll(job_id)

    @property
    def taken(self) -> int:
        """So many requests are held now."""
        status: Any = self.app.view_functions["asyncjobs_status"]
        taken: int = status.__self__.side.places.taken
        return taken


#: The ways to be held, by what is asked for with a job that has not ended.
WAYS: dict[str, Callable[[Client, str], Awaitable[Response]]] = {
    "a poll": lambda client, poll: client.get(poll, headers=WAIT),
    "a status": lambda client, poll: client.get(f"/jobs/{poll[-32:]}", headers=WAIT),
    "a result": lambda client, poll: client.get(f"/jobs/{poll[-32:]}/result", headers=WAIT),
    "by hand": lambda client, poll: client.get(f"/by-hand/{poll[-32:]}", headers=WAIT),
    "in the view": lambda client, poll: client.post(f"/by-hand/{poll[-32:]}", headers=WAIT),
    "two polls of one request": lambda client, poll: client.get(
        f"/twice/{poll[-32:]}", headers=WAIT
    ),
    "two polls in the view": lambda client, poll: client.post(
        f"/twice/{poll[-32:]}", data=b"a body", headers=WAIT
    ),
    "a submission": lambda client, poll: client.post("/slow", headers=WAIT),
    "a submission that is held": lambda client, poll: client.post("/held"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_so_many_are_held_and_no_more(way: str) -> None:
    """The next one is answered the 202, or the status, at once, and nothing says that it has
    waited; the first one gets what it waits for, and then there is a place again."""
    parts = Parts()
    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = (await client.post("/slow")).headers["Location"]
        first = asyncio.create_task(WAYS[way](client, poll))  # type: ignore[arg-type]
        await until(lambda: parts.taken == 1)
        for other in WAYS.values():
            async with asyncio.timeout(DEADLINE):
                answer = await other(client, poll)
            assert answer.headers["Job-State"] == "running"
            assert "Preference-Applied" not in answer.headers
        assert (parts.taken, first.done()) == (1, False)
        parts.go.set()
        async with asyncio.timeout(DEADLINE):
            answer = await first
        assert answer.headers["Job-State"] == "succeeded"
        assert parts.taken == 0


async def test_what_need_not_wait_takes_no_place() -> None:
    """With none at all, a wait of no seconds and one for what is there are obeyed; so is
    `respond-async`, which is no wait."""
    parts = Parts(most=1)
    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = (await client.post("/slow")).headers["Location"]
        first = asyncio.create_task(client.get(poll, headers=WAIT))
        await until(lambda: parts.taken == 1)
        at_once = await client.get(poll, headers={"Prefer": "wait=0"})
        both = await client.post("/slow", headers={"Prefer": "respond-async, wait=9"})
        parts.go.set()
        await first
        there = await client.get(poll, headers=WAIT)

    assert at_once.headers["Preference-Applied"] == "wait=0"
    assert both.headers["Preference-Applied"] == "respond-async"
    assert there.headers["Preference-Applied"] == "wait=3600"


@pytest.mark.parametrize("path", ["poll", "submission"])
async def test_a_client_that_hangs_up_gives_its_place_back(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as that is known."""
    monkeypatch.setattr(outlasting, "SEND_TIME", 0.01)
    parts = Parts()
    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = (await client.post("/slow")).headers["Location"]
        method, url = ("GET", poll) if path == "poll" else ("POST", "/held")
        headers: Any = WAIT if path == "poll" else {}
        async with asyncio.timeout(DEADLINE):
            async with client.request(url, method=method, headers=headers) as connection:
                await connection.send_complete()
                await until(lambda: parts.taken == 1)
                await connection.disconnect()
        await until(lambda: parts.taken == 0)
        parts.go.set()


async def test_an_error_gives_the_place_back() -> None:
    """Whatever hooks make of the answer."""
    parts = Parts()

    @parts.app.after_request
    async def fail(response: Response) -> Response:
        if request.method == "GET" or request.path == "/held":
            raise ValueError
        return response

    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = (await client.post("/slow")).headers["Location"]
        assert (await client.post("/held")).status_code == 500
        parts.go.set()
        assert (await client.get(poll, headers=WAIT)).status_code == 500
        assert parts.taken == 0
