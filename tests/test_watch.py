"""What it takes to wait: a read for each change of a job, and now and then one look for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import Jobs, State, current_job, transitions, watch
from asyncjobs.errors import JobNotFound, StoreUnavailable
from asyncjobs.events import Started
from asyncjobs.hints import Changed, Hint, Overruled, Queued, Something
from asyncjobs.job import Job, Progress
from asyncjobs.running import sweeper
from asyncjobs.store import ANYONE, Owner, Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import BROKEN, CANCELLED, NOW, REQUEST, RESPONSE, a_job
from heard import heard
from waits import until

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
        follows: the jobs that it was told of as followed, in order, with their versions.
        hints: what is given as hints; the store's own are lost.
        broken: the reads that fail.
        answers: set unless what was read is kept back.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gets: Counter[str] = Counter()
        self.looks: list[list[str]] = []
        self.follows: list[tuple[str, int]] = []
        self.hints: asyncio.Queue[Hint] = asyncio.Queue()
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

    def follow(self, job: Job) -> None:
        self.follows.append((job.id, job.version))
        super().follow(job)

    async def changes(self) -> AsyncIterator[Hint]:
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
            store.hints.put_nowait(Changed(job.id))
            await until(lambda reads=MANY + 1 + done: store.gets.total() == reads)
        assert not any(task.done() for task in waiting)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(Changed(job.id))
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
        store.hints.put_nowait(Something())
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
        store.hints.put_nowait(Changed(job.id))
        await until(lambda: store.gets[job.id] == 4)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(Changed(job.id))
        await until(store.hints.empty)
        waiting[0].cancel()
        store.answers.set()
        assert [await ended(task) for task in waiting[1:]] == [job, job]


async def test_who_comes_after_a_retry_waits_for_its_end(store: Counting, jobs: Jobs) -> None:
    """The end that a job had before it was retried is none for who comes later."""
    job = await store.add(running(store), REQUEST)
    failed = transitions.fail(job, NOW, BROKEN)
    followed = watch.Followed(store)
    follower = watch.Follower(followed, to_the_end=False, has_ended=False)
    followed.followers.add(follower)
    followed.found(failed)
    assert await follower.until_final(job, DEADLINE) == failed
    again = transitions.retry(failed, NOW)
    waiting = asyncio.create_task(follower.until_final(again, DEADLINE))
    await asyncio.sleep(0)
    followed.found(again)
    await asyncio.sleep(0)
    assert not waiting.done()
    cancelled = transitions.cancel(again, NOW, CANCELLED)
    followed.found(cancelled)
    assert await ended(waiting) == cancelled


# Who waits for any change.


@pytest.mark.usefixtures("never_looking")
async def test_each_change_is_told_to_who_waits_for_one(store: Counting, jobs: Jobs) -> None:
    """A job that changes is read once for all who wait for that, who have it then; it is no end for
    those who wait for that."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id]) as (to_its_end,):
        await until(lambda: store.gets[job.id] == 1)
        for done in range(1, 4):
            waiting = [changed_soon(jobs, job) for _ in range(MANY)]
            await until(lambda job=job: len(followers(jobs, job)) == MANY + 1)
            before = store.gets[job.id]
            job = await changed(store, job, transitions.report(job, Progress(done)))
            store.hints.put_nowait(Changed(job.id))
            async with asyncio.timeout(DEADLINE):
                assert await asyncio.gather(*waiting) == [job] * MANY
            assert store.gets[job.id] == before + 1
        assert not to_its_end.done()
        waiting = [changed_soon(jobs, job)]
        await until(lambda: len(followers(jobs, job)) == 2)
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(Changed(job.id))
        assert await ended(waiting[0]) == await ended(to_its_end) == job


@pytest.mark.usefixtures("never_looking")
async def test_a_change_before_the_wait_is_not_missed(store: Counting, jobs: Jobs) -> None:
    """Who knows an older version than somebody else has read meanwhile has it at once."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id]) as (to_its_end,):
        await until(lambda: len(followers(jobs, job)) == 1)
        newer = await changed(store, job, transitions.report(job, Progress(1)))
        store.hints.put_nowait(Changed(job.id))
        await until(lambda: jobs_watch(jobs)._followed[job.id].version == newer.version)
        assert await ended(changed_soon(jobs, job)) == newer
        assert not to_its_end.done()


@pytest.mark.usefixtures("never_looking")
async def test_a_hint_of_what_is_known_is_no_change(store: Counting, jobs: Jobs) -> None:
    """It may come late, or twice: the wait goes on."""
    job = await store.add(running(store), REQUEST)
    waiting = changed_soon(jobs, job)
    await until(lambda: len(followers(jobs, job)) == 1)
    for reads in (1, 2):
        store.hints.put_nowait(Changed(job.id))
        await until(lambda reads=reads: store.gets[job.id] == reads)
    assert not waiting.done()
    job = await changed(store, job, transitions.report(job, Progress(1)))
    store.hints.put_nowait(Changed(job.id))
    assert await ended(waiting) == job


@pytest.mark.usefixtures("looking_soon")
async def test_a_change_without_a_hint_is_found(store: Counting, jobs: Jobs) -> None:
    """By the next look, as an end is."""
    job = await store.add(running(store), REQUEST)
    waiting = changed_soon(jobs, job)
    await look(store)
    job = await changed(store, job, transitions.report(job, Progress(1)))
    assert await ended(waiting) == job


@pytest.mark.usefixtures("never_looking")
async def test_a_retry_is_a_change(store: Counting, jobs: Jobs) -> None:
    """A final job is waited for as well, as it may be retried."""
    job = await store.add(running(store), REQUEST)
    job = await changed(store, job, transitions.finish(job, 500, NOW))
    waiting = changed_soon(jobs, job)
    await until(lambda: len(followers(jobs, job)) == 1)
    job = await changed(store, job, transitions.retry(job, NOW))
    store.hints.put_nowait(Changed(job.id))
    assert await ended(waiting) == job


@pytest.mark.usefixtures("never_looking")
async def test_no_change_in_time_is_none(store: Counting, jobs: Jobs) -> None:
    """Nor is there one when all waiting ends; and who comes then does not wait."""
    job = await store.add(running(store), REQUEST)
    assert await ended(changed_soon(jobs, job, 0.01)) is None
    assert followers(jobs, job) == set()
    waiting = changed_soon(jobs, job)
    await until(lambda: len(followers(jobs, job)) == 1)
    jobs_watch(jobs).end()
    assert await ended(waiting) is None
    assert await ended(changed_soon(jobs, job)) is None


@pytest.mark.usefixtures("looking_soon")
@pytest.mark.parametrize("wrong", [JobNotFound, StoreUnavailable])
async def test_who_waits_for_a_change_meets_what_is_wrong(
    store: Counting, jobs: Jobs, wrong: type[Exception]
) -> None:
    """A job that is forgotten meanwhile, and a store that cannot be read."""
    job = await store.add(running(store), REQUEST)
    waiting = changed_soon(jobs, job)
    await look(store)
    if wrong is StoreUnavailable:
        store.broken = {"get", "versions"}
    else:
        final = transitions.fail(job, NOW, BROKEN)
        await store.inner.replace(job, final, RESPONSE)
        assert final.expires is not None
        assert await ended(waiting) == final
        waiting = changed_soon(jobs, final)
        await look(store)
        await store.purge(final.expires + 1)
    with pytest.raises(wrong):
        await ended(waiting)


def changed_soon(jobs: Jobs, job: Job, limit: float = float("inf")) -> asyncio.Task[Job | None]:
    """Waits for a change of a job that is known as this."""

    async def wait() -> Job | None:
        with jobs.follow(job.id) as follower:
            return await follower.until_changed(job, limit)

    return asyncio.create_task(wait())


def jobs_watch(jobs: Jobs) -> watch.Watch:
    assert jobs._opened is not None
    return jobs._opened.watch


def followers(jobs: Jobs, job: Job) -> set[watch.Follower]:
    """Those who wait for a job by now."""
    followed = jobs_watch(jobs)._followed.get(job.id)
    every = set() if followed is None else followed.followers
    return {follower for follower in every if follower._woken is not None}


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
    store.hints.put_nowait(Changed(job.id))
    with pytest.raises(JobNotFound):
        await jobs.wait(job.id, owner="bob")
    assert (await ended(theirs)).state is State.SUCCEEDED


# What the store is told.


@pytest.mark.usefixtures("never_looking")
async def test_the_store_knows_what_is_waited_for(store: Counting, jobs: Jobs) -> None:
    """The store is told of a job when somebody begins to wait for it, as it was read, and of each
    newer version for as long as somebody does; of no other, and not of its end."""
    job = await store.add(running(store), REQUEST)
    await jobs.get(job.id)
    await jobs.wait(job.id, 0)
    assert store.follows == []
    async with waiters(jobs, [job.id]) as (waiting,):
        await until(lambda: store.follows == [(job.id, job.version)])
        async with waiters(jobs, [job.id]):
            await until(lambda: store.follows == [(job.id, job.version)] * 2)
        del store.follows[:]
        job = await changed(store, job, transitions.report(job, Progress(1)))
        store.hints.put_nowait(Changed(job.id))
        await until(lambda: store.follows == [(job.id, job.version)])
        job = await changed(store, job, transitions.finish(job, 200, NOW))
        store.hints.put_nowait(Changed(job.id))
        await ended(waiting)
    reads = store.gets.total()
    store.hints.put_nowait(Changed(job.id))
    store.hints.put_nowait(Something())
    await until(store.hints.empty)
    assert await jobs.wait(job.id) == job
    assert (len(store.follows), store.gets.total()) == (1, reads + 1)


@pytest.mark.usefixtures("never_looking")
async def test_nothing_is_asked_for_who_has_gone(store: Counting, jobs: Jobs) -> None:
    """A job that is read for somebody who waits no more is not followed."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id]):
        await until(lambda: len(store.follows) == 1)
        job = await changed(store, job, transitions.report(job, Progress(1)))
        store.answers.clear()
        store.hints.put_nowait(Changed(job.id))
        await until(lambda: store.gets[job.id] == 2)
    store.answers.set()
    await until(lambda: not jobs._opened.watch._reads)
    assert len(store.follows) == 1


# Who is called.


async def test_whoever_subscribes_is_called(store: Counting) -> None:
    """Each hint that there may be jobs to start, or to stop, is passed on to all who subscribe, and
    both where nobody knows what has happened; that a job has changed is not. What one of them
    makes of it is nothing to the others, and none is called once it has left."""
    heard: list[Hint] = []
    heard_too: list[Hint] = []

    def fail(hint: Hint) -> None:
        heard_too.append(hint)
        raise ValueError("this is no concern of the others")

    async with store, watch.Watch(store) as watched:
        with watched.subscribe(fail), watched.subscribe(heard.append):
            for hint in (Queued("report"), Changed("0" * 32), Overruled(), Queued(), Something()):
                store.hints.put_nowait(hint)
            expected = [Queued("report"), Overruled(), Queued(), Queued(), Overruled()]
            await until(lambda: len(heard) == len(expected))
            assert heard == heard_too == expected
        with watched.subscribe(heard_too.append):
            store.hints.put_nowait(Overruled())
            await until(lambda: len(heard_too) == len(expected) + 1)
        assert heard == expected


@pytest.fixture
def only_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for anything now and then."""
    for module, name in (
        (watch, "REREAD_INTERVAL"),
        (sweeper, "SWEEP_INTERVAL"),
        (sweeper, "RESCUE_INTERVAL"),
    ):
        monkeypatch.setattr(module, name, NEVER)


@pytest.mark.usefixtures("only_hints")
@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("by", ["the jobs", "the store"])
async def test_a_job_of_this_process_is_stopped_by_a_hint(
    store: Counting, threaded: bool, by: str
) -> None:
    """Whoever in this process asks for a job that runs here to stop, by whatever way, needs to tell
    nobody else: the store's hint has it stop. So it is with a job that is queued."""
    jobs = Jobs(store=store.inner)

    @jobs.function(name="async")
    async def wait() -> None:
        await asyncio.Event().wait()

    @jobs.function(name="sync")
    def wait_in_thread() -> None:
        while True:
            current_job.check_cancelled()

    async with jobs:
        route = "sync" if threaded else "async"
        call = jobs._functions.call(route, (), {})
        with heard(jobs) as events:
            job = await store.inner.add(a_job(route=route, due=0.0), call)
            job = (await events.next(Started, job.id)).job
        if by == "the jobs":
            assert (await jobs.cancel(job.id)).cancel_requested
        else:
            await store.inner.replace(job, transitions.ask_to_cancel(job))
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED


# The end.


@pytest.mark.usefixtures("never_looking")
async def test_at_the_end_nobody_waits(store: Counting, jobs: Jobs) -> None:
    """When waiting ends, all who wait have the job as it is then, after one more read of each; and
    who comes later has it at once. What is asked for in passing asks the store for no hint."""
    job = await store.add(running(store), REQUEST)
    async with waiters(jobs, [job.id] * 3) as waiting:
        await until(lambda: store.gets[job.id] == 3)
        further = await changed(store, job, transitions.report(job, Progress(1)))
        jobs._opened.watch.end()
        assert [await ended(task) for task in waiting] == [further] * 3
        assert store.gets[job.id] == 6
        del store.follows[:]
        assert await jobs.wait(job.id) == further
    assert store.follows == []


@pytest.mark.usefixtures("never_looking")
async def test_who_waits_to_the_end_goes_on_until_it_is_closed(store: Counting) -> None:
    """Who is not to be answered at the end goes on waiting, also one who comes after it, and hears
    of the job; when the watch is closed even that is over."""
    async with store:
        job = await store.add(running(store), REQUEST)
        other = await store.add(running(store), REQUEST)
        async with watch.Watch(store) as watched:
            with (
                watched.follow(job.id, to_the_end=True) as before,
                watched.follow(job.id) as guest,
                watched.follow(other.id, to_the_end=True) as left,
            ):
                waiting = [
                    asyncio.create_task(each.until_final(job, DEADLINE)) for each in (before, guest)
                ]
                waiting.append(asyncio.create_task(left.until_final(other, DEADLINE)))
                await until(lambda: len(store.follows) == 3)
                watched.end()
                with watched.follow(job.id, to_the_end=True) as after:
                    waiting.append(asyncio.create_task(after.until_final(job, DEADLINE)))
                    await until(lambda: len(store.follows) == 4)
                    assert await waiting[1] is None
                    assert [each.has_ended for each in (before, guest, after)] == [0, 1, 0]
                    assert [task.done() for task in waiting] == [False, True, False, False]
                    job = await changed(store, job, transitions.finish(job, 200, NOW))
                    store.hints.put_nowait(Changed(job.id))
                    assert await ended(waiting[0]) == await ended(waiting[3]) == job
                await watched.__aexit__()
                assert left.has_ended
                async with asyncio.timeout(DEADLINE):
                    assert await waiting[2] is None
                with watched.follow(other.id, to_the_end=True) as late:
                    assert late.has_ended
                    assert await late.until_final(other, DEADLINE) is None


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


async def ended(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await task
