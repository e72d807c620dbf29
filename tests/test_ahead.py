"""How many jobs are ahead of a queued one: those that will start before it in the same slots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State
from asyncjobs.documents import status_of
from asyncjobs.jobs import MAX_AHEAD
from asyncjobs.stores import SqliteStore, open_url
from asyncjobs.testing import NOW, REQUEST, a_job
from test_queue import add_all
from test_routes import serving, submit

DEADLINE = 20


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


@dataclass
class Program:
    """A program with a slot for a task and one for a thread, in which all jobs wait."""

    jobs: Jobs
    let_go: asyncio.Event

    async def hold(self) -> None:
        await self.let_go.wait()

    def hold_thread(self) -> None:
        asyncio.run_coroutine_threadsafe(self.let_go.wait(), self.jobs.loop).result(DEADLINE)

    async def starts(self, name: str) -> None:
        """One is running."""
        job = await self.jobs.submit(name)
        async with asyncio.timeout(DEADLINE):
            while (await self.jobs.get(job.id)).state is State.QUEUED:
                await asyncio.sleep(0.005)


@pytest.fixture
async def program(store: str) -> AsyncIterator[Program]:
    program = Program(Jobs(store=store, concurrency=1, threads=1, name="app"), asyncio.Event())
    jobs = program.jobs
    for name in ("task", "other task"):
        jobs.function(name=name)(program.hold)
    for name in ("thread", "other thread"):
        jobs.function(name=name)(program.hold_thread)
    jobs.function(name="one at a time", concurrency=1)(program.hold)
    jobs.function(name="two at a time", concurrency=2)(program.hold)
    async with jobs:
        await program.starts("task")
        await program.starts("thread")
        try:
            yield program
        finally:
            program.let_go.set()


async def test_those_of_the_same_kind_are_ahead(program: Program) -> None:
    """Of a job that waits for a slot for tasks, those are ahead that wait for one as well and came
    before it, of whatever route; of one that waits for a thread, those that wait for a thread."""
    jobs = program.jobs
    names = ["other task", "other thread", "task", "thread", "one at a time", "task", "thread"]
    queued = [await jobs.submit(name) for name in names]
    assert [await jobs.ahead(job) for job in queued] == [0, 0, 1, 1, 0, 3, 2]


async def test_of_a_route_with_a_limit_of_its_own(program: Program) -> None:
    """A job of a route with its own `concurrency` waits for those of this route."""
    jobs = program.jobs
    names = ["task", "one at a time", "task", "one at a time", "one at a time"]
    queued = [await jobs.submit(name) for name in names]
    assert [await jobs.ahead(job) for job in queued] == [0, 0, 2, 1, 2]


async def test_of_a_route_with_a_limit_no_more_are_ahead_than_it_has_slots(
    program: Program,
) -> None:
    """Others pass by the jobs of a route that has as many running as it may: whatever waits there,
    only so many of them are in the way."""
    jobs = program.jobs
    names = [*["one at a time"] * 5, "task", *["two at a time"] * 5, "other task"]
    queued = [await jobs.submit(name) for name in names]
    assert [await jobs.ahead(job) for job in queued] == [*range(5), 1, *range(5), 1 + 1 + 2]


async def test_it_goes_down_to_nothing(program: Program) -> None:
    """It is one less with each that is ahead and is cancelled; and of one that has started, or has
    ended, nobody can tell."""
    jobs = program.jobs
    first, second, last = [await jobs.submit("task") for _ in range(3)]
    assert await jobs.ahead(last) == 2
    await jobs.cancel(first.id)
    assert await jobs.ahead(last) == 1
    await jobs.cancel(second.id)
    assert await jobs.ahead(last) == 0
    program.let_go.set()
    done = await jobs.wait(last.id, DEADLINE)
    assert done.state is State.SUCCEEDED
    assert await jobs.ahead(done) is None
    assert await jobs.ahead(await jobs.get(first.id)) is None


async def test_a_route_without_handler_has_no_slots(program: Program) -> None:
    """Of a queued job that this program cannot run, nobody can tell when it starts."""
    assert await program.jobs.ahead(a_job(route="unknown", program="app")) is None


async def test_they_are_not_counted_without_end(path: Path) -> None:
    """Up to 1,000 are counted, and those of another program are not."""
    async with SqliteStore(path):
        pass
    jobs = [a_job(route="task", program="app", created=NOW + n) for n in range(MAX_AHEAD + 2)]
    add_all(path, [*jobs, *(a_job(route="task", program="other") for _ in range(50))])
    program = Program(Jobs(store=f"sqlite:///{path}", name="app"), asyncio.Event())
    program.jobs.function(name="task")(program.hold)
    await program.jobs.open()  # and nothing is run
    try:
        assert await program.jobs.ahead(jobs[0]) == 0
        assert await program.jobs.ahead(jobs[MAX_AHEAD]) == MAX_AHEAD == 1000
        assert await program.jobs.ahead(jobs[MAX_AHEAD + 1]) is None
    finally:
        await program.jobs.__aexit__()


# The status document.


def test_only_of_a_queued_job() -> None:
    """The document has it where somebody has asked and the job is queued, and says null where there
    are too many; else it says nothing."""
    job = a_job()
    assert status_of(job, ahead=3)["ahead"] == 3
    assert status_of(job, ahead=None)["ahead"] is None
    assert "ahead" not in status_of(job)
    for state in set(State) - {State.QUEUED}:
        assert "ahead" not in status_of(job._replace(state=state), ahead=3)


@pytest.fixture
def let_go() -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    event.set()


@asynccontextmanager
async def app_with(store: str, let_go: asyncio.Event) -> AsyncIterator[Any]:
    app = Quart("ahead")
    jobs = QuartJobs(app, store=store, concurrency=1)

    @app.get("/report")
    @jobs.background
    async def report() -> dict[str, str]:
        await let_go.wait()
        return {}

    async with serving(app) as client:
        try:
            yield client
        finally:
            let_go.set()


async def test_a_client_sees_how_many_are_ahead(store: str, let_go: asyncio.Event) -> None:
    """The status document of a queued job has `ahead`; that of one that runs or has ended has
    not."""
    async with app_with(store, let_go) as client:
        polls = [await submit(client, "/report") for _ in range(4)]
        urls = [f"/jobs/{poll.rpartition('/')[2]}" for poll in polls]
        running, *queued = [await (await client.get(url)).get_json() for url in urls]
        assert running["state"] == "running"
        assert "ahead" not in running
        assert [document["ahead"] for document in queued] == [0, 1, 2]
        assert [*queued[0]][-2:] == ["ahead", "links"]
        let_go.set()
        for url, poll in zip(urls, polls, strict=True):
            assert (await client.get(poll, headers={"Prefer": "wait=20"})).status_code == 200
            assert "ahead" not in await (await client.get(url)).get_json()


async def test_a_client_that_has_another_number_is_told(store: str, let_go: asyncio.Event) -> None:
    """The status of a queued job is another one once fewer are ahead, although the job has not
    changed: its tag says so, so that nobody is told by a 304 that the old number is true."""
    async with app_with(store, let_go) as client:
        polls = [await submit(client, "/report") for _ in range(3)]
        _, second, third = [f"/jobs/{poll.rpartition('/')[2]}" for poll in polls]
        tag = (await client.get(third)).headers["ETag"]
        assert (await client.get(third, headers={"If-None-Match": tag})).status_code == 304
        assert (await client.delete(second)).status_code == 200
        answer = await client.get(third, headers={"If-None-Match": tag, "Prefer": "wait=20"})
        assert (answer.status_code, (await answer.get_json())["ahead"]) == (200, 0)
        assert answer.headers["ETag"] != tag


async def test_what_no_program_can_run_has_a_status_as_well(store: str) -> None:
    """`ahead` is null for a job whose route this program has no handler for."""
    app, opened = Quart("ahead"), open_url(store)
    QuartJobs(app, store=opened, gone_after=None)
    async with serving(app) as client:
        job = await opened.add(a_job(route="gone", program="ahead"), REQUEST)
        document = await (await client.get(f"/jobs/{job.id}")).get_json()
        assert (document["state"], document["ahead"]) == ("queued", None)
