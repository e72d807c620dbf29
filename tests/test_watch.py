"""What it takes to wait: a read for each change of a job, and now and then one look for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest

from asyncjobs import Jobs, State, transitions, watch
from asyncjobs.errors import JobNotFound, StoreUnavailable
from asyncjobs.job import Job, Progress
from asyncjobs.store import ANYONE, SOMETHING, Owner, Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import BROKEN, CANCELLED, NOW, REQUEST, RESPONSE, a_job

DEADLINE = 20
#: Jobs, or waiters, that are many for a test.
MANY = 50
#: Seconds between two looks at versions: soon enough for a test, or never.
SOON, NEVER = 0.01, 3600


class Counting(StoreWrapper):
    """A store that counts what is read, gives the hints that it is told to give, and may fail.

    Attributes:
        gets: how often each job was read.
        looks: the ids of each look at versions.
        hints: what is given as hints; the store's own are lost.
        broken: the reads that fail.
        answers: set unless what was read is kept back.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gets: Counter[str] = Counter()
        self.looks: list[list[str]] = []
        self.hints: asyncio.Queue[str] = asyncio.Queue()
        self.broken: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        self.gets[job_id] += 1
        if "get" in self.broken:
            raise StoreUnavailable("the job store cannot be read")
        job = await super().get(job_id, owner)
        await self.answers.wait()
        return job

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        self.looks.append(list(job_ids))
        if "versions" in self.broken:
            raise StoreUnavailable("the job store cannot be read")
        return await super().versions(job_ids)

    async def changes(self) -> AsyncIterator[str]:
        while True:
            yield await self.hints.get()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Counting:
    inner = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.db")
    return Counting(inner)


@pytest.fixture
async def jobs(store: Counting) -> AsyncIterator[Jobs]:
    """The jobs of a program that has no handlers: nothing happens by itself."""
    async with Jobs(store=store) as jobs:
        yield jobs


@pytest.fixture
def looking_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REREAD_INTERVAL", SOON)


@pytest.fixture
def never_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REREAD_INTERVAL", NEVER)


# While nothing happens.


@pytest.mark.usefixtures("looking_soon")
async def test_who_waits_reads_nothing(store: Counting, jobs: Jobs) -> None:
    """While nothing happens, no job is read by those who wait, but all are looked at together."""
    ids = [(await store.add(running(store), REQUEST)).id for _ in range(MANY)]
    async with waiters(jobs, [*ids, *ids]) as waiting:
        await until(lambda: store.gets.total() == 2 * MANY)
        await look(store)
        assert not any(task.done() for task in waiting)
    assert store.gets == Counter(dict.fromkeys(ids, 2))
    assert sorted(store.looks[-1]) == sorted(ids)


async def test_many_are_looked_at_in_parts(
    store: Counting, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at very many jobs goes on in parts, between which others have their turn."""
    monkeypatch.setattr(watch, "LOOK_CHUNK", 20)
    monkeypatch.setattr(watch, "REREAD_INTERVAL", SOON)
    ids = [(await store.add(running(store), REQUEST)).id for _ in range(MANY)]
    async with waiters(jobs, ids):
        await until(lambda: store.gets.total() == MANY)
        del store.looks[:]
        await until(lambda: len(store.looks) == 1)
        assert len(store.looks[0]) <= 20  # and this had its turn
        await until(lambda: len(store.looks) > 6)
    assert max(map(len, store.looks)) == 20
    assert set().union(*store.looks) == set(ids)


async def test_a_look_at_versions_is_one_statement(tmp_path: Path) -> None:
    """SQLite is asked once, however many jobs there are to look at."""
    async with SqliteStore(tmp_path / "jobs.db") as store:
        jobs = [await store.add(a_job(), REQUEST) for _ in range(MANY)]
        statements: list[str] = []
        store._file.database.connection.set_trace_callback(statements.append)
        assert await store.versions([job.id for job in jobs]) == {
            job.id: job.version for job in jobs
        }
        assert len(statements) == 1


# When something happens.


@pytest.mark.usefixtures("never_looking")
async def test_a_job_is_read_once_for_all_who_wait(store: Counting, jobs: Jobs) -> None:
    """A change of a job is read once, however many wait for it, and wakes them if it is the end."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id] * MANY) as waiting:
        await until(lambda: store.gets[job.id] == MANY)
        for done in range(3):
            job = await changed(store, job, transitions.report(job, Progress(done, 3)))
            store.hints.put_nowait(job.id)
            await until(lambda reads=MANY + 1 + done: store.gets.total() == reads)
        assert not any(task.done() for task in waiting)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(job.id)
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.gather(*waiting) == [job] * MANY
    assert store.gets[job.id] == MANY + 4


@pytest.mark.usefixtures("never_looking")
async def test_if_anything_may_have_changed_all_are_looked_at(store: Counting, jobs: Jobs) -> None:
    """A hint that does not say what changed is one look, and a read of what has changed."""
    added = [await store.add(running(store), REQUEST) for _ in range(MANY)]
    async with waiters(jobs, [job.id for job in added]) as waiting:
        await until(lambda: store.gets.total() == MANY)
        done = await changed(store, added[0], transitions.finish(added[0], 200, NOW))
        store.hints.put_nowait(SOMETHING)
        assert await ended(waiting[0]) == done
        assert store.gets.total() == MANY + 1
        assert len(store.looks) == 1


@pytest.mark.usefixtures("looking_soon")
async def test_lost_hints_are_made_up_for(store: Counting, jobs: Jobs) -> None:
    """A change that no hint tells of is found by the next look."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id]) as (waiting,):
        await look(store)
        job = await changed(store, job, transitions.report(job, Progress(1)))
        await look(store)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        assert await ended(waiting) == job


@pytest.mark.usefixtures("looking_soon")
async def test_who_waits_for_a_job_that_is_forgotten_is_told(store: Counting, jobs: Jobs) -> None:
    """A job that is deleted while it is waited for is not found any more."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id] * 3) as waiting:
        await look(store)
        final = transitions.fail(job, NOW, BROKEN)
        await store.inner.replace(job, final, RESPONSE)
        assert final.expires is not None
        await store.purge(final.expires + 1)
        for task in waiting:
            with pytest.raises(JobNotFound):
                await ended(task)


@pytest.mark.usefixtures("never_looking")
async def test_a_change_while_a_job_is_read_is_seen(store: Counting, jobs: Jobs) -> None:
    """A job that changes while it is read is read once more, and a waiter that goes meanwhile
    leaves the others theirs."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id] * 3) as waiting:
        await until(lambda: store.gets[job.id] == 3)
        store.answers.clear()
        store.hints.put_nowait(job.id)
        await until(lambda: store.gets[job.id] == 4)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(job.id)
        await until(store.hints.empty)
        waiting[0].cancel()
        store.answers.set()
        assert [await ended(task) for task in waiting[1:]] == [job, job]


async def test_who_comes_after_a_retry_waits_for_its_end(store: Counting, jobs: Jobs) -> None:
    """The end that a job had before it was retried is none for who comes later."""
    job = await store.add(running(store), REQUEST)
    failed = transitions.fail(job, NOW, BROKEN)
    followed = watch.Followed()
    followed.found(failed)
    assert await followed.final(job) == failed
    again = transitions.retry(failed, NOW)
    waiting = asyncio.create_task(followed.final(again))
    await asyncio.sleep(0)
    followed.found(again)
    await asyncio.sleep(0)
    assert not waiting.done()
    cancelled = transitions.cancel(again, NOW, CANCELLED)
    followed.found(cancelled)
    assert await ended(waiting) == cancelled


# When the store cannot be read.


@pytest.mark.usefixtures("looking_soon")
async def test_who_waits_learns_that_the_store_cannot_be_read(store: Counting, jobs: Jobs) -> None:
    """If a store cannot be read, those who wait are told so."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id] * 3) as waiting:
        await look(store)
        store.broken = {"get", "versions"}
        for task in waiting:
            with pytest.raises(StoreUnavailable):
                await ended(task)


@pytest.mark.usefixtures("looking_soon")
async def test_a_look_that_fails_is_made_up_for(store: Counting, jobs: Jobs) -> None:
    """If versions cannot be looked at, the jobs are read, and the wait goes on."""
    job = await store.add(running(store), REQUEST)
    store.broken = {"versions"}
    async with waiters(jobs, [job.id]) as (waiting,):
        await look(store)
        assert not waiting.done()
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        assert await ended(waiting) == job


# Who may wait.


async def test_who_does_not_own_a_job_cannot_wait_for_it(store: Counting, jobs: Jobs) -> None:
    """A job that its owner waits for is not there for anybody else."""
    job = await store.add(running(store, owner="alice"), REQUEST)
    theirs = asyncio.create_task(jobs.wait(job.id, owner="alice"))
    await until(lambda: store.gets[job.id] == 1)
    with pytest.raises(JobNotFound):
        await jobs.wait(job.id, owner="bob")
    job = await changed(store, job, transitions.finish(job, 200, NOW))
    store.hints.put_nowait(job.id)
    with pytest.raises(JobNotFound):
        await jobs.wait(job.id, owner="bob")
    assert (await ended(theirs)).state is State.SUCCEEDED


def running(store: Store, owner: str | None = None) -> Job:
    return transitions.start(a_job(owner=owner), store.worker, NOW)


async def changed(store: Store, old: Job, new: Job) -> Job:
    """Have the store put `new` in the place of `old`."""
    await store.replace(old, new, RESPONSE if new.state.is_final else None)
    return new


class waiters:  # noqa: N801 - used as a function
    """Tasks that wait for these jobs, one each."""

    def __init__(self, jobs: Jobs, job_ids: list[str]) -> None:
        self._jobs = jobs
        self._ids = job_ids

    async def __aenter__(self) -> list[asyncio.Task[Job]]:
        self._tasks = [asyncio.create_task(self._jobs.wait(job_id)) for job_id in self._ids]
        return self._tasks

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def look(store: Counting) -> None:
    """Let a whole look go by that begins after this."""
    number = len(store.looks)
    await until(lambda: len(store.looks) >= number + 2)


async def ended(task: asyncio.Task[Job]) -> Job:
    async with asyncio.timeout(DEADLINE):
        return await task


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)
