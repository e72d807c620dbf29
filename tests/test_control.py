"""To see and to steer jobs, by who runs none: `Control`, and the door for guests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asyncjobs import Jobs, Query, control, transitions
from asyncjobs.control import Control
from asyncjobs.errors import (
    ConfigurationError,
    InvalidTransition,
    JobNotFound,
    JobUnreadable,
    StorePathError,
)
from asyncjobs.events import Finished, Started, Troubled
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.listing import Listing
from asyncjobs.running import sweeper
from asyncjobs.store import ANYONE, Store
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import (
    BROKEN,
    CANCELLED,
    INTERRUPTED,
    NOW,
    REQUEST,
    RESPONSE,
    a_job,
    purge_all,
)
from asyncjobs.watch import Watch
from heard import DEADLINE, heard

CALL = Request("POST", "/work", body=b'{"args": [], "kwargs": {}}')


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Store:
    """A store that nobody has opened."""
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


@asynccontextmanager
async def looked_after(store: Store) -> AsyncIterator[Control]:
    """The jobs of a store, with nothing that runs them."""
    async with store, Watch(store) as watch:
        yield Control(store, watch)


@pytest.fixture
async def jobs(store: Store) -> AsyncIterator[Control]:
    async with looked_after(store) as jobs:
        yield jobs


def running(store: Store, **fields: object) -> Job:
    return transitions.start(a_job(**fields), store.worker, store.now())


async def ended(store: Store, state: State, **fields: object) -> Job:
    """A job that has ended like this, an hour ago at most."""
    at = store.now()
    job = running(store, created=at, **fields)
    await store.add(job, CALL)
    final = {
        State.SUCCEEDED: lambda: transitions.finish(job, 200, at),
        State.FAILED: lambda: transitions.fail(job, at, BROKEN),
        State.CANCELLED: lambda: transitions.cancel(job, at, CANCELLED),
        State.INTERRUPTED: lambda: transitions.interrupt(job, at, INTERRUPTED),
    }[state]()
    await store.replace(job, final, RESPONSE)
    return final


# To see.


async def test_what_there_is_to_see(store: Store, jobs: Control) -> None:
    """A job can be read, polled, found and listed, as it is now, and with its response once it is
    final."""
    queued = await store.add(a_job(), REQUEST)
    final = await ended(store, State.SUCCEEDED)
    assert await jobs.get(queued.id) == queued
    assert await jobs.poll(queued.id) == (queued, None)
    assert await jobs.poll(final.id) == (final, RESPONSE)
    assert await jobs.find(Query(states=frozenset({State.QUEUED}))) == [queued]
    assert (await jobs.list()).jobs == [final, queued]
    assert (await jobs.list(Listing(states=frozenset({State.SUCCEEDED})))).jobs == [final]


async def test_a_wait_ends_with_the_job(store: Store, jobs: Control) -> None:
    """Who waits has the job once it is final; or as it is when the time is over, or has come."""
    job = await store.add(running(store), REQUEST)
    assert await jobs.wait(job.id, 0) == job
    assert await jobs.wait(job.id, 0.01) == job
    waiting = asyncio.create_task(jobs.wait(job.id))
    await asyncio.sleep(0)
    final = transitions.finish(job, 200, store.now())
    await store.replace(job, final, RESPONSE)
    async with asyncio.timeout(DEADLINE):
        assert await waiting == final
        assert await jobs.wait(job.id) == final
    for wrong in ("soon", float("nan")):
        with pytest.raises((TypeError, ValueError)):
            await jobs.wait(job.id, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["get", "wait", "poll", "cancel", "retry"])
async def test_a_job_is_its_owners(store: Store, jobs: Control, name: str) -> None:
    """Who asks for the jobs of one owner has no other's, by whatever he asks; it is as if there
    were none. Nothing changes by that."""
    hers = await ended(store, State.FAILED, owner="ada")
    nobodys = await ended(store, State.FAILED)
    queued = await store.add(a_job(owner="ada"), CALL)
    ask = getattr(jobs, name)
    for job, owner in [(hers, "bob"), (hers, None), (nobodys, "ada"), (queued, "bob")]:
        with pytest.raises(JobNotFound):
            await ask(job.id, owner=owner)
        assert await store.get(job.id) == job
    with pytest.raises(JobNotFound):
        await ask("0" * 32)
    mine = queued if name == "cancel" else hers
    for owner in ("ada", ANYONE) if name in ("get", "poll", "wait") else ("ada",):
        answer = await ask(mine.id, owner=owner)
        assert (answer[0] if name == "poll" else answer).id == mine.id


# To steer.


async def test_a_queued_job_is_cancelled_at_once(store: Store, jobs: Control) -> None:
    """A job that nobody runs is cancelled by that; a second time is refused."""
    job = await store.add(a_job(), REQUEST)
    cancelled = await jobs.cancel(job.id)
    assert (cancelled.state, cancelled.status) == (State.CANCELLED, 410)
    assert await jobs.get(job.id) == cancelled
    with pytest.raises(InvalidTransition, match="cancelled already"):
        await jobs.cancel(job.id)


async def test_a_running_job_is_asked_to_stop(store: Store, jobs: Control) -> None:
    """A job that a living process runs is asked to stop, once, however often that is said."""
    job = await store.add(running(store), REQUEST)
    asked = await jobs.cancel(job.id)
    assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)
    assert await jobs.cancel(job.id) == asked == await jobs.get(job.id)


async def test_a_job_of_a_dead_process_is_cancelled_at_once(store: Store, jobs: Control) -> None:
    """A job that a dead process has left is cancelled by that: nobody else needs to see to it."""
    job = await store.add(transitions.start(a_job(), "0" * 16, NOW), REQUEST)
    assert (await jobs.cancel(job.id)).state is State.CANCELLED


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.INTERRUPTED])
async def test_a_job_is_retried(store: Store, jobs: Control, state: State) -> None:
    """A job that failed, was cancelled or interrupted is queued again: without its result, and its
    counts begin anew."""
    final = await ended(store, state)
    again = await jobs.retry(final.id)
    assert (again.state, again.starts, again.worker) == (State.QUEUED, 0, None)
    assert (again.finished, again.status, again.version) == (None, None, final.version + 1)
    assert await jobs.poll(final.id) == (again, None)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.SUCCEEDED])
async def test_a_retry_that_is_refused(store: Store, jobs: Control, state: State) -> None:
    """A job that is on its way, or has succeeded, is not retried: it stays as it is."""
    if state is State.SUCCEEDED:
        job = await ended(store, state)
    else:
        job = await store.add(a_job() if state is State.QUEUED else running(store), CALL)
    with pytest.raises(InvalidTransition, match=state.value):
        await jobs.retry(job.id)
    assert await jobs.get(job.id) == job


@pytest.mark.parametrize(
    ("error", "refusal", "said"),
    [
        (JobNotFound("it is gone"), InvalidTransition, "its request is not kept.*'keep_requests'"),
        (JobUnreadable("it is damaged"), JobUnreadable, "it is damaged"),
    ],
    ids=["erased", "damaged"],
)
async def test_a_retry_without_a_request(
    store: Store,
    jobs: Control,
    error: Exception,
    refusal: type[Exception],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job whose request is erased or damaged is not queued, to fail again: it stays as it is, and
    it is said why."""
    job = await ended(store, State.FAILED)

    async def request(job_id: str) -> Request:
        raise error

    monkeypatch.setattr(store, "request", request)
    with pytest.raises(refusal, match=said):
        await jobs.retry(job.id)
    assert await jobs.get(job.id) == job


async def test_a_retry_of_a_job_that_is_forgotten_meanwhile(
    store: Store, jobs: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not found: nothing is wrong with its request."""
    job = await ended(store, State.FAILED)
    request = store.request

    async def forgotten(job_id: str) -> Request:
        assert job.expires is not None
        assert await purge_all(store, job.expires + 1)
        return await request(job_id)

    monkeypatch.setattr(store, "request", forgotten)
    with pytest.raises(JobNotFound, match="no job"):
        await jobs.retry(job.id)


@pytest.mark.parametrize("deed", ["cancel", "retry"])
async def test_who_comes_between(
    store: Store, jobs: Control, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else does to the job in the middle of that is not overwritten: it is looked at
    once more."""
    job = await store.add(a_job(), CALL) if deed == "cancel" else await ended(store, State.FAILED)
    replace = store.replace
    moves: list[Job] = [
        transitions.start(job, store.worker, NOW)
        if deed == "cancel"
        else transitions.retry(job, NOW)
    ]

    async def slow(old: Job, new: Job, response: Response | None = None) -> None:
        if moves:
            await replace(job, moves.pop())
        await replace(old, new, response)

    monkeypatch.setattr(store, "replace", slow)
    if deed == "cancel":
        asked = await jobs.cancel(job.id)
        assert (asked.state, asked.cancel_requested, asked.attempt) == (State.RUNNING, True, 1)
    else:
        with pytest.raises(InvalidTransition, match="queued"):
            await jobs.retry(job.id)


# Beside those who run jobs.


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for himself: what is to be done must be hinted at."""
    monkeypatch.setattr(sweeper, "SWEEP_INTERVAL", 3600)
    monkeypatch.setattr(sweeper, "RESCUE_INTERVAL", 3600)
    monkeypatch.setattr("asyncjobs.watch.REREAD_INTERVAL", 3600)


class Program:
    """Runs jobs, each of which waits until it may go on, and ends as it is told to."""

    def __init__(self, store: Store | str) -> None:
        self.jobs = Jobs(store=store, name="program", concurrency=1)
        self.go_on = asyncio.Event()
        self.fails = False
        self.jobs.function(name="work")(self.work)

    async def work(self) -> str:
        await self.go_on.wait()
        if self.fails:
            raise ValueError("on purpose")
        return "done"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.INTERRUPTED])
async def test_a_retried_job_runs_at_once(store: Store, state: State) -> None:
    """A job that is retried, by whomever in this process, is run by the hint alone."""
    program = Program(store)
    program.go_on.set()
    async with program.jobs as jobs, Watch(store) as watch:
        for steer in (jobs, Control(store, watch)):
            job = await ended(store, state, route="work")
            await steer.retry(job.id)
            assert await jobs.result(job.id, DEADLINE) == "done"


@pytest.mark.usefixtures("patient")
async def test_a_running_job_is_stopped_at_once(store: Store) -> None:
    """A job that is cancelled, by whomever in this process, is stopped by the hint alone."""
    program = Program(store)
    async with program.jobs as jobs, Watch(store) as watch:
        for steer in (jobs, Control(store, watch)):
            job = await jobs.submit("work")
            assert (await steer.cancel(job.id)).cancel_requested
            assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED


@pytest.mark.usefixtures("patient")
async def test_a_job_is_retried_whose_handler_is_not_here(store: Store) -> None:
    """A job of a route that nobody here runs can be retried as well: it waits for who does, and
    what is here goes on."""
    program = Program(store)
    async with program.jobs as jobs:
        with heard(jobs) as events:
            running, queued = await jobs.submit("work"), await jobs.submit("work")
            job = await ended(store, State.FAILED, route="elsewhere")
            assert (await jobs.retry(job.id)).state is State.QUEUED
            program.go_on.set()
            for each in (running, queued):
                assert await jobs.result(each.id, DEADLINE) == "done"
            assert (await jobs.get(job.id)).state is State.QUEUED
        assert not [event for event in events.all if isinstance(event, Troubled)]
        jobs.function(lambda: "here now", name="elsewhere")
        jobs._opened.engine.look({"elsewhere"})  # type: ignore[union-attr]
        assert await jobs.result(job.id, DEADLINE) == "here now"


# The door for guests.


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.mark.usefixtures("patient")
async def test_a_guest_beside_a_living_program(url: str) -> None:
    """A guest sees the jobs of a program that runs, waits for them, and has it stop some and run
    some again; the program hears of that at once."""
    program = Program(url)
    async with program.jobs as jobs, control.open(url) as opened:
        with heard(jobs) as events:
            job = await jobs.submit("work")
            await events.next(Started, job.id)
            assert await opened.get(job.id) == await jobs.get(job.id)
            assert [job.id for job in (await opened.list()).jobs] == [job.id]
            assert (await opened.cancel(job.id)).cancel_requested
            assert (await events.next(Finished, job.id)).job.state is State.CANCELLED
            assert (await opened.wait(job.id, DEADLINE)).state is State.CANCELLED
            program.go_on.set()
            assert (await opened.retry(job.id)).state is State.QUEUED
            final, response = await ended_of(opened, job.id)
            assert (final.state, response and response.body) == (State.SUCCEEDED, b'"done"')
            with pytest.raises(InvalidTransition):
                await opened.cancel(job.id)


async def ended_of(jobs: Control, job_id: str) -> tuple[Job, Response | None]:
    await jobs.wait(job_id, DEADLINE)
    return await jobs.poll(job_id)


async def test_a_guest_waits_for_what_another_process_ends(path: Path, url: str) -> None:
    """Who waits as a guest is woken when somebody else ends the job."""
    async with SqliteStore(path) as server:
        job = await server.add(running(server), REQUEST)
        async with control.open(url) as jobs:
            waiting = asyncio.create_task(jobs.wait(job.id, DEADLINE))
            await asyncio.sleep(0)
            final = transitions.finish(job, 200, NOW)
            await server.replace(job, final, RESPONSE)
            assert await waiting == final


async def test_a_guest_of_a_stopped_store(path: Path, url: str) -> None:
    """Where no program runs, a guest sees what there is, cancels at once, and what is retried is
    run by the next start."""
    async with SqliteStore(path) as server:
        queued = await server.add(a_job(), CALL)
        left = await server.add(running(server), CALL)
        failed = await ended(server, State.FAILED, route="work", program="program")
    async with control.open(url) as jobs:
        assert {job.id for job in (await jobs.list()).jobs} == {queued.id, left.id, failed.id}
        assert await jobs.get(queued.id) == queued
        assert await jobs.wait(queued.id, 0.01) == queued
        for job in (queued, left):
            assert (await jobs.cancel(job.id)).state is State.CANCELLED
        assert (await jobs.retry(failed.id)).state is State.QUEUED
    program = Program(url)
    program.go_on.set()
    async with program.jobs as living:
        assert await living.result(failed.id, DEADLINE) == "done"


async def test_a_guest_makes_no_store(path: Path, url: str) -> None:
    """A missing file is an error, and is not made."""
    with pytest.raises(StorePathError):
        async with control.open(url):
            pass
    assert not [*path.parent.iterdir()]


@pytest.mark.parametrize("wrong", ["memory:", "sqlite:///:memory:", "postgres://x", ""])
async def test_what_no_guest_can_see(wrong: str) -> None:
    """What is in the memory of another process, or no store at all, is refused."""
    with pytest.raises(ConfigurationError):
        async with control.open(wrong):
            pass


async def test_two_guests(path: Path, url: str) -> None:
    """Two guests at once see and steer alike: what one does the other sees, and of two that do the
    same one comes second."""
    async with SqliteStore(path) as server:
        job = await server.add(a_job(), CALL)
    async with control.open(url) as one, control.open(url) as two:
        told = await asyncio.gather(one.cancel(job.id), two.cancel(job.id), return_exceptions=True)
        (cancelled,) = [each for each in told if isinstance(each, Job)]
        (refused,) = [each for each in told if isinstance(each, BaseException)]
        assert isinstance(refused, InvalidTransition)
        assert await one.get(job.id) == await two.get(job.id) == cancelled
        assert (await two.retry(job.id)).state is State.QUEUED
        assert (await one.cancel(job.id)).state is State.CANCELLED


async def test_a_guest_joins_once(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look joins nothing; to steer joins once, however much is steered at a time."""
    joined: list[str] = []
    enter = SqliteStore.__aenter__

    async def join(self: SqliteStore) -> SqliteStore:
        joined.append(type(self).__name__)
        return await enter(self)

    async with SqliteStore(path) as server:
        queued = [await server.add(a_job(), CALL) for _ in range(5)]
    monkeypatch.setattr(SqliteStore, "__aenter__", join)
    async with control.open(url) as jobs:
        await jobs.list()
        assert joined == []
        ended = await asyncio.gather(*(jobs.cancel(job.id) for job in queued))
        assert {job.state for job in ended} == {State.CANCELLED}
        assert joined == ["SteeringStore"]


async def test_to_close_ends_all_waiting(store: Store) -> None:
    """Who waits when nothing is looked after any more has the job as it was."""
    async with looked_after(store) as jobs:
        job = await store.add(a_job(), CALL)
        waiting = asyncio.create_task(jobs.wait(job.id))
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        assert await waiting == job


async def test_a_guest_that_leaves_while_it_waits(path: Path, url: str) -> None:
    """Who still waits when the door is closed has the job as it was."""
    async with SqliteStore(path) as server:
        job = await server.add(a_job(), CALL)
    async with control.open(url) as jobs:
        waiting = [asyncio.create_task(jobs.wait(job.id)) for _ in range(3)]
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        assert await asyncio.gather(*waiting) == [job] * 3
