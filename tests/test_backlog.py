"""How many jobs may wait in the queue, of all and of one owner; who starts at once does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request
from quart.typing import TestClientProtocol as Client

from asyncjobs import Jobs, QuartJobs, State, current_job
from asyncjobs import backlog as backlog_module
from asyncjobs.backlog import COUNT_TIME, Backlog
from asyncjobs.errors import QueueFull, QuotaExceeded, StoreUnavailable
from asyncjobs.job import Job, Request
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Owner, Query, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import REQUEST, a_job
from waits import until

DEADLINE = 20.0


class Counting(StoreWrapper):
    """A store that notes what is counted."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.counted: list[object] = []
        self.is_away = False

    async def count(self, query: Query) -> int:
        self.counted.append(query.owner)
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("it is away")
        return await super().count(query)


class Parts:
    """An app that runs one job at a time, which goes on until a test says so."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.app = Quart("limits", root_path=str(folder))
        self.store = Counting(SqliteStore(folder / "jobs.db"))
        self.jobs = QuartJobs(
            self.app,
            store=self.store,
            concurrency=1,
            owner=lambda: request.headers.get("X-Owner"),
            **options,
        )
        self.go = asyncio.Event()

        @self.app.post("/work")
        @self.jobs.background
        async def work() -> str:
            await self.go.wait()
            return "done"

        @self.app.post("/quick")
        @self.jobs.background
        async def quick() -> str:
            return "done"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        async with self.app.test_app() as test_app, self.app.app_context():
            yield test_app.test_client()

    async def submitted(self, client: Client, owner: str | None = None) -> Any:
        headers = {} if owner is None else {"X-Owner": owner}
        return await client.post("/work", headers=headers)


async def test_a_full_queue_is_a_503_and_makes_no_job(tmp_path: Path) -> None:
    """One job more than `max_queued` that would have to wait is refused with 503, `queue-full` and
    `Retry-After`; there is no such job. When there is room again it is accepted."""
    parts = Parts(tmp_path, max_queued=2)
    async with parts.serving() as client:
        answers = [await parts.submitted(client) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 503]
        problem = await answers[-1].get_json()
        assert problem["type"] == "urn:asyncjobs:problem:queue-full"
        assert problem["status"] == 503
        assert answers[-1].headers["Retry-After"] in ("10", "11", "12")
        jobs = await parts.jobs.jobs.find(Query())
        assert sorted(job.state for job in jobs) == ["queued", "queued", "running"]
        parts.go.set()
        for job in jobs:
            await parts.jobs.jobs.wait(job.id, DEADLINE)
        async with asyncio.timeout(DEADLINE):
            while (await parts.submitted(client)).status_code != 202:
                await asyncio.sleep(0.01)


async def test_an_owner_with_too_many_is_a_429_and_others_are_not(tmp_path: Path) -> None:
    """An owner who has `max_queued_per_owner` jobs in the queue is refused one more with 429,
    `quota` and `Retry-After`; other owners, and who is nobody, are not."""
    parts = Parts(tmp_path, max_queued_per_owner=1)
    async with parts.serving() as client:
        await parts.submitted(client)
        answers = [await parts.submitted(client, "ada") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 429]
        problem = await answers[-1].get_json()
        assert problem["type"] == "urn:asyncjobs:problem:quota"
        assert answers[-1].headers["Retry-After"] in ("10", "11", "12")
        for owner in ("bob", None, None):
            assert (await parts.submitted(client, owner)).status_code == 202
        assert len(await parts.jobs.jobs.find(Query(owner="ada"))) == 1
        parts.go.set()


async def test_a_job_that_starts_at_once_is_never_refused_nor_counted(tmp_path: Path) -> None:
    """Where no job may wait at all, all that can start at once do; nothing is counted for them."""
    parts = Parts(tmp_path, max_queued=0, max_queued_per_owner=0)
    async with parts.serving() as client:
        for _ in range(3):
            answer = await client.post("/quick", headers={"X-Owner": "ada"})
            assert answer.status_code == 202
            task_id = (await answer.get_json())["TaskId"]
            assert (await parts.jobs.jobs.wait(task_id, DEADLINE)).state is State.SUCCEEDED
        assert parts.store.counted == []
        await parts.submitted(client)
        assert (await parts.submitted(client)).status_code == 503
        assert parts.store.counted == [ANYONE]
        parts.go.set()


async def test_many_at_the_same_time_do_not_pass_the_limit(tmp_path: Path) -> None:
    """Of a hundred submissions at once exactly as many are accepted as may wait, and run."""
    parts = Parts(tmp_path, max_queued=10, max_queued_per_owner=7)
    async with parts.serving() as client:
        await parts.submitted(client)
        answers = await asyncio.gather(*(parts.submitted(client, "ada") for _ in range(100)))
        assert sorted(answer.status_code for answer in answers) == [202] * 7 + [429] * 93
        answers = await asyncio.gather(*(parts.submitted(client, "bob") for _ in range(100)))
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [503] * 97
        parts.go.set()


async def test_functions_are_bound_by_the_queue_and_by_no_owner() -> None:
    """`Jobs.submit` raises QueueFull, and a job of nobody's has no quota."""
    jobs = Jobs(store="memory:", concurrency=1, max_queued=2, max_queued_per_owner=0)
    go = asyncio.Event()
    jobs.function(name="work")(go.wait)
    async with jobs:
        for _ in range(3):
            await jobs.submit("work")
        with pytest.raises(QueueFull, match="2 queued jobs"):
            await jobs.submit("work")
        assert len(await jobs.find(Query())) == 3
        go.set()


async def test_jobs_of_jobs_count_as_any_other() -> None:
    """A running job that submits one more than may wait is refused as anybody."""
    jobs = Jobs(store="memory:", concurrency=1, max_queued=1)

    @jobs.function(name="parent")
    async def parent() -> str:
        await jobs.submit("child")
        try:
            await jobs.submit("child")
        except QueueFull:
            return "refused"
        return "accepted"

    @jobs.function(name="child")
    async def child() -> None:
        pass

    async with jobs:
        job = await jobs.submit("parent")
        assert await jobs.result(job.id, DEADLINE) == "refused"


async def test_a_job_that_comes_back_is_never_refused() -> None:
    """Neither the retry by an operator nor another attempt is bound by what is in the queue."""
    jobs = Jobs(store="memory:", concurrency=1, max_queued=1)
    go = asyncio.Event()

    @jobs.function(name="work", retries=1)
    async def work() -> None:
        if current_job.attempt == 1:
            await go.wait()
            raise LookupError

    @jobs.function(name="other")
    async def other() -> None:
        pass

    async with jobs:
        cancelled = await jobs.submit("other")
        await jobs.wait(cancelled.id, DEADLINE)
        first = await jobs.submit("work")
        queued = await jobs.submit("other")
        with pytest.raises(QueueFull):
            await jobs.submit("other")
        await jobs.cancel(queued.id)
        full = await full_again(jobs)
        again = await jobs.retry(queued.id)
        assert again.state is State.QUEUED
        go.set()  # it is given back, where the queue is over its limit
        for job in (first, again, full):
            assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED


async def full_again(jobs: Jobs) -> Job:
    """One more job in the queue, once it is counted anew that one has gone."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await jobs.submit("other")
            except QueueFull:
                await asyncio.sleep(0.01)


class Clock:
    """Seconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def counting() -> AsyncIterator[Counting]:
    async with Counting(MemoryStore()) as store:
        yield store


async def add(backlog: Backlog, store: Counting, owner: str | None = None) -> None:
    settled = await backlog.add(owner)
    await store.add(a_job(owner=owner), REQUEST)
    settled()


async def test_a_count_is_kept_for_a_while(counting: Counting) -> None:
    """A full queue is counted once in `COUNT_TIME`, however many are refused; what this process
    adds counts at once, and what others do at the next count."""
    clock = Clock()
    backlog = Backlog(counting, most=3, most_of_owner=9, clock=clock)
    await add(backlog, counting)
    for _ in range(2):
        await counting.inner.add(a_job(), REQUEST)  # by another process
    await add(backlog, counting)  # which does not know of them yet
    clock.now += COUNT_TIME
    for _ in range(100):
        with pytest.raises(QueueFull):
            await add(backlog, counting)
    assert counting.counted == [ANYONE, ANYONE]


async def test_what_is_on_its_way_to_the_store_counts(counting: Counting) -> None:
    """A job that is being stored, and that a count does not find yet, takes its place all the
    same; one that was not stored after all is no more counted at the next count."""
    clock = Clock()
    backlog = Backlog(counting, most=1, most_of_owner=1, clock=clock)
    settled = await backlog.add("ada")
    clock.now += COUNT_TIME
    with pytest.raises(QuotaExceeded):
        await add(backlog, counting, "ada")
    with pytest.raises(QueueFull):
        await add(backlog, counting, "bob")
    settled()  # the store did not take it
    clock.now += COUNT_TIME
    await add(backlog, counting, "ada")


async def test_what_is_stored_already_is_not_counted_twice(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that a count finds, and of which its process has not heard yet that it is stored, takes
    one place and not two: who would be refused by that waits until it is known."""
    monkeypatch.setattr(backlog_module, "SETTLE_TIME", DEADLINE)
    clock = Clock()
    backlog = Backlog(counting, most=2, most_of_owner=2, clock=clock)
    settled = await backlog.add("ada")
    await counting.add(a_job(owner="ada"), REQUEST)
    clock.now += COUNT_TIME
    counted = len(counting.counted)
    second = asyncio.create_task(add(backlog, counting, "ada"))
    await until(lambda: len(counting.counted) > counted)
    settled()
    await second
    clock.now += COUNT_TIME
    with pytest.raises(QuotaExceeded):
        await add(backlog, counting, "ada")
    with pytest.raises(QueueFull):
        await add(backlog, counting, "bob")


async def test_a_store_that_is_away_is_asked_again(counting: Counting) -> None:
    """While the queue cannot be counted nothing is added to it, and then as before."""
    backlog = Backlog(counting, most=1, most_of_owner=1, clock=Clock())
    counting.is_away = True
    with pytest.raises(StoreUnavailable):
        await add(backlog, counting, "ada")
    counting.is_away = False
    await add(backlog, counting, "ada")


async def test_counts_of_owners_are_not_kept_for_ever(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of owners who have come and gone nothing is kept, however many there are."""
    monkeypatch.setattr("asyncjobs.backlog.MANY_COUNTS", 10)
    clock = Clock()
    backlog = Backlog(counting, most=1000, most_of_owner=1, clock=clock)
    for number in range(100):
        await add(backlog, counting, f"owner {number}")
        clock.now += COUNT_TIME
    assert len(backlog._counts) <= 10


async def test_counts_of_many_owners_are_not_gone_through_for_each(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where very many owners come at a time, none of whose counts is old, these are gone through
    each time that there are twice as many, and not for each owner."""
    monkeypatch.setattr("asyncjobs.backlog.MANY_COUNTS", 10)
    backlog = Backlog(counting, most=1000, most_of_owner=1, clock=Clock())
    tables = [backlog._counts]
    for number in range(100):
        await add(backlog, counting, f"owner {number}")
        if backlog._counts is not tables[-1]:
            tables.append(backlog._counts)
    assert len(tables) == 5


async def test_a_count_that_is_being_made_is_kept(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many other owners come while the jobs of one are counted: all that ask for this one
    meanwhile count as one owner's."""
    monkeypatch.setattr("asyncjobs.backlog.MANY_COUNTS", 1)
    backlog = Backlog(counting, most=1000, most_of_owner=1, clock=Clock())
    owners = ["ada", "bob", "ada", "eve", "ada"]
    # None of them is in the store before all were asked for.
    asked = [asyncio.create_task(backlog.add(owner)) for owner in owners]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [isinstance(outcome, QuotaExceeded) for outcome in outcomes]
    assert refused == [False, False, True, False, True]


class Slow(StoreWrapper):
    """A store that takes its time to write, and then does so also for who waits no more."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.writes: dict[str, asyncio.Task[Job]] = {}

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        if job.state is not State.QUEUED:
            return await super().add(job, request, key)
        self.writes[job.id] = asyncio.create_task(self._add_later(job, request, key))
        self.begun.set()
        return await asyncio.shield(self.writes[job.id])

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        if job_id in self.writes:
            await asyncio.wait([self.writes[job_id]])
        return await super().get(job_id, owner)

    async def _add_later(self, job: Job, request: Request, key: Key | None) -> Job:
        await self.go.wait()
        return await super().add(job, request, key)


@pytest.mark.parametrize("key", [None, Key(b"k" * 16, b"f" * 16)], ids=["plain", "with a key"])
async def test_what_is_stored_for_nobody_counts(
    key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose caller has gone while it was on its way to the store takes its place in the
    queue: another one is refused, and who repeats the submission is answered with it."""
    monkeypatch.setattr("asyncjobs.backlog.COUNT_TIME", 0.0)
    store = Slow(MemoryStore())
    jobs = Jobs(store=store, concurrency=1, max_queued=1, drain_time=0)
    call = Request("POST", "work", body=b'{"args": [], "kwargs": {}}')

    @jobs.function(name="work")
    async def work() -> None:
        await asyncio.Event().wait()

    async with jobs:
        running = await jobs.submit("work")
        first = asyncio.create_task(jobs.accept("work", call, key=key))
        await store.begun.wait()
        first.cancel()
        await asyncio.wait([first])
        repeat = None if key is None else asyncio.create_task(jobs.accept("work", call, key=key))
        try:
            with pytest.raises(QueueFull):
                await asyncio.wait_for(jobs.submit("work"), DEADLINE)
        finally:
            store.go.set()
        if repeat is not None:
            assert (await repeat)[0].id in store.writes
        (job,) = await every_job_but(jobs, running)
        assert job.id in store.writes
        with pytest.raises(QueueFull):
            await jobs.submit("work")


async def every_job_but(jobs: Jobs, running: Job) -> list[Job]:
    """All other jobs, once there are some."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = [job for job in await jobs.find(Query()) if job.id != running.id]
            if found:
                return found
            await asyncio.sleep(0.01)
