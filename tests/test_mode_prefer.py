"""`mode="prefer"`: the result itself, as a durable job, unless the client prefers not to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs, State
from asyncjobs.job import Job
from asyncjobs.store import Query
from asyncjobs.stores import MemoryStore
from asyncjobs.web.answering import outlasting
from server import DEADLINE
from test_result_in_one_request import answered

#: Far longer than a test takes.
LONG = 3600.0


class Parts:
    """An app with a route of each mode, whose jobs end when a test says so."""

    def __init__(self, **options: Any) -> None:
        self.app = Quart("prefer")
        self.jobs = QuartJobs(self.app, store=MemoryStore(), **options)
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.before: list[str] = []

        @self.app.before_request
        async def note() -> None:
            self.before.append("asked")

        @self.app.teardown_request
        async def leave(error: BaseException | None) -> None:
            self.left.set()

        @self.app.route("/held", methods=["GET", "POST"])
        @self.jobs.background(mode="prefer")
        async def held() -> Any:
            await self.go.wait()
            return "done", 201

        @self.app.post("/sync")
        @self.jobs.background(mode="prefer")
        def in_a_thread() -> str:
            return "from a thread"

        @self.app.post("/unheld")
        @self.jobs.background
        async def unheld() -> Any:
            await self.go.wait()
            return "done", 201

        @self.app.get("/plain")
        async def plain() -> str:
            return "plain"

    async def stored(self) -> list[Job]:
        """All jobs."""
        async with self.app.app_context():
            return await self.jobs.jobs.find(Query())


@pytest.fixture
def parts() -> Parts:
    return Parts(max_wait=LONG)


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[Client]:
    async with parts.app.test_app() as running:
        yield running.test_client()
        parts.go.set()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_result_is_the_answer(parts: Parts, client: Client, method: str) -> None:
    """Also where the client has said nothing: it is a job, whose result is answered again where
    that is told; and no preference is said to be obeyed."""
    asking = asyncio.create_task(client.open("/held", method=method))
    async with asyncio.timeout(DEADLINE):
        await parts.left.wait()  # its context is left before the wait
    assert not asking.done()
    parts.go.set()
    answer = await answered(asking)
    again = await client.get(answer.headers["Content-Location"])

    assert (answer.status_code, await answer.get_data()) == (201, b"done")
    assert (again.status_code, await again.get_data()) == (201, b"done")
    assert answer.headers["Job-State"] == "succeeded"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Preference-Applied" not in answer.headers
    assert [job.state for job in await parts.stored()] == [State.SUCCEEDED]
    assert parts.before == ["asked", "asked"]  # once for the job, once for the poll


async def test_a_sync_view_as_well(client: Client) -> None:
    """A job of a thread is waited for like any other."""
    answer = await answered(client.post("/sync"))

    assert (answer.status_code, await answer.get_data()) == (200, b"from a thread")


@pytest.mark.parametrize(
    ("preferred", "applied"),
    [
        ("respond-async", "respond-async"),
        ("handling=lenient, Respond-Async; foo=bar", "respond-async"),
        ("wait=0", "wait=0"),
        ("respond-async, wait=0", "respond-async, wait=0"),
    ],
)
@pytest.mark.parametrize("path", ["/held", "/unheld"])
async def test_who_prefers_not_to_wait(
    client: Client, path: str, preferred: str, applied: str
) -> None:
    """They are answered the 202 at once, which says why, in either mode."""
    answer = await answered(client.post(path, headers={"Prefer": preferred}))

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == applied


@pytest.mark.parametrize(
    ("preferred", "applied"),
    [
        ("wait=20", "wait=20"),
        ("wait=20, respond-async", "respond-async, wait=20"),
        ("wait=7200", "wait=3600"),
    ],
)
@pytest.mark.parametrize("path", ["/held", "/unheld"])
async def test_who_prefers_to_wait_for_so_long(
    parts: Parts, client: Client, path: str, preferred: str, applied: str
) -> None:
    """They have the result if it is there by then, in either mode; `max_wait` is the most."""
    asking = asyncio.create_task(client.post(path, headers={"Prefer": preferred}))
    async with asyncio.timeout(DEADLINE):
        await parts.left.wait()
    assert not asking.done()
    parts.go.set()
    answer = await answered(asking)

    assert answer.status_code == 201
    assert answer.headers.getlist("Preference-Applied") == [applied]


@pytest.mark.parametrize("preferred", ["wait=1", "wait=1, respond-async"])
async def test_who_has_waited_for_so_long(client: Client, preferred: str) -> None:
    """They are answered the 202 then."""
    answer = await answered(client.post("/held", headers={"Prefer": preferred}))

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"].endswith("wait=1")


@pytest.mark.parametrize("preferred", [None, "wait=20", "wait=soon", "handling=lenient"])
async def test_nobody_waits_longer_than_max_wait(preferred: str | None) -> None:
    """The 202 comes then, and says no more than that; what is no preference of ours is none."""
    parts = Parts(max_wait=0.01)
    async with parts.app.test_app() as running:
        headers = {} if preferred is None else {"Prefer": preferred}
        answer = await answered(running.test_client().post("/held", headers=headers))

    assert (answer.status_code, (await answer.get_json()).keys()) == (202, {"TaskId"})
    applied = "wait=1" if preferred == "wait=20" else None
    assert answer.headers.get("Preference-Applied") == applied


async def test_head_starts_nothing(parts: Parts, client: Client) -> None:
    """On a route that answers with results as on any other."""
    answer = await answered(client.head("/held"))

    assert answer.status_code == 202
    assert not await parts.stored()


@pytest.mark.parametrize("mode", ["/held", "/unheld"])
async def test_what_hooks_put_in_the_place_of_the_202_is_sent(
    parts: Parts, client: Client, mode: str
) -> None:
    """At once, and nothing says that a preference was obeyed."""

    @parts.app.after_request
    async def put(response: Any) -> Any:
        response.set_data("instead")
        return response

    answer = await answered(client.post(mode, headers={"Prefer": "wait=3600, respond-async"}))
    at_once = await answered(client.post("/held"))

    for each in (answer, at_once):
        assert (each.status_code, await each.get_data()) == (202, b"instead")
        assert "Preference-Applied" not in each.headers


async def test_a_client_that_hangs_up_cancels_nothing(
    parts: Parts, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job goes on to its end."""
    monkeypatch.setattr(outlasting, "SEND_TIME", 0.01)
    async with asyncio.timeout(DEADLINE):
        async with client.request("/held", method="POST") as connection:
            await connection.send_complete()
            await parts.left.wait()
            await connection.disconnect()
    (job,) = await parts.stored()
    assert job.state is State.RUNNING
    parts.go.set()
    async with parts.app.app_context():
        assert (await parts.jobs.jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED


async def test_a_shutdown_answers_who_waits(parts: Parts) -> None:
    """With the 202, at once."""
    async with parts.app.test_app() as running:
        asking = asyncio.create_task(running.test_client().post("/held"))
        async with asyncio.timeout(DEADLINE):
            await parts.left.wait()
        (job,) = await parts.stored()
    answer = await answered(asking)

    assert (answer.status_code, await answer.get_json()) == (202, {"TaskId": job.id})


async def test_where_no_connection_can_wait_the_view_does(parts: Parts, client: Client) -> None:
    """In `test_request_context`, for one: the view returns the result."""
    parts.go.set()
    async with parts.app.test_request_context("/held", method="POST") as context:
        context.request.body.set_complete()
        answer = await parts.app.full_dispatch_request(context)

    assert answer.status_code == 201


async def test_other_routes_of_the_app_are_what_they_were(parts: Parts, client: Client) -> None:
    """Those of the default mode answer the 202 at once, and plain ones their own."""
    answer = await answered(client.post("/unheld"))
    plain = await answered(client.get("/plain"))
    poll = await answered(client.get(answer.headers["Location"]))

    assert (answer.status_code, poll.status_code) == (202, 202)
    assert await plain.get_data() == b"plain"
    for each in (answer, poll):
        assert "Preference-Applied" not in each.headers
