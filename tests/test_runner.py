"""`Runner.run`: all that an engine needs that is told of the ids of jobs."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from asyncjobs import Jobs, current_job, transitions
from asyncjobs.engine import Engine
from asyncjobs.errors import JobNotFound, ShuttingDown, StoreUnavailable
from asyncjobs.events import Finished, Lost, Started
from asyncjobs.job import Job, Request, State
from asyncjobs.running.claims import Claims
from asyncjobs.running.runner import Runner
from asyncjobs.store import Store
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import NOW, a_job
from asyncjobs.torture.faults import Fault, FaultyStore
from heard import Heard, kinds

DEADLINE = 20
CALL = Request("POST", "/double", body=b'{"args": [21], "kwargs": {}}')

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, path: Path) -> MakeStore:
    """Makes stores; the second one on the same file, if there is one."""
    return MemoryStore if request.param == "memory" else lambda: SqliteStore(path)


class Inline(Engine):
    """Runs each job where it is submitted, one after the other."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.ran: Job | None = None

    async def drain(self) -> None:
        self.is_draining = True

    def admit(self, job: Job) -> Job:
        if self.is_draining:
            raise ShuttingDown("no more jobs")
        return job

    async def submit(self, job: Job, request: Request) -> None:
        self.ran = await self._runner.run(job.id, self)

    def pause(self, job_id: str) -> None:
        """A job that waits for another one has no place to give back."""

    async def resume(self, job_id: str, *, go_on: bool) -> None:
        """Nor has it to wait for one."""


@asynccontextmanager
async def opened(store: Store, events: Heard) -> AsyncIterator[Inline]:
    """An engine on the store, with a handler or two."""
    program = Jobs(store="memory:")

    @program.function(name="double", retries=1)
    async def double(number: int) -> int:
        if current_job.attempt == 2:
            raise ValueError("on purpose")
        return 2 * number

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store)
        claims = Claims(store, program.handlers, events, random.Random(), max_starts=25)
        runner = await stack.enter_async_context(Runner(claims, program, shield_time=1))
        yield await stack.enter_async_context(Inline(runner))


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    return make_store()


@pytest.fixture
def events() -> Heard:
    return Heard()


@pytest.fixture
async def engine(store: Store, events: Heard) -> AsyncIterator[Inline]:
    async with opened(store, events) as engine:
        yield engine


async def test_a_job_is_run_by_its_id(store: Store, engine: Inline, events: Heard) -> None:
    """A queued job is claimed, performed and finished, and given back as it is then."""
    job = await store.add(engine.admit(a_job(route="double")), CALL)
    await engine.submit(job, CALL)
    assert engine.ran == await store.get(job.id)
    assert (engine.ran.state, engine.ran.attempt) == (State.SUCCEEDED, 1)
    assert (await store.response(job.id)).body == b"42"
    assert kinds(events.of(job.id)) == ["Started", "Finished"]


async def test_a_job_that_is_tried_again(store: Store, engine: Inline) -> None:
    """A job whose handler has failed, and is to be tried again, is given back as it is queued."""
    job = await store.add(a_job(route="double", attempt=1), CALL)
    await engine.submit(job, CALL)
    assert engine.ran is not None
    assert (engine.ran.state, engine.ran.attempt) == (State.QUEUED, 2)


async def test_a_job_that_is_not_queued(store: Store, engine: Inline, events: Heard) -> None:
    """A job that runs already, or has ended, is not run once more."""
    running = await store.add(transitions.start(a_job(route="double"), store.worker, NOW), CALL)
    job = await store.add(a_job(route="double"), CALL)
    await engine.submit(job, CALL)
    for other in (running, job):
        engine.ran = job
        before = await store.get(other.id)
        await engine.submit(other, CALL)
        assert engine.ran is None
        assert await store.get(other.id) == before
    assert kinds(events.of(running.id)) == []


async def test_a_job_whose_handler_is_not_here(store: Store, engine: Inline) -> None:
    """A job that nobody here can run is left to who can."""
    job = await store.add(a_job(route="elsewhere"), CALL)
    await engine.submit(job, CALL)
    assert engine.ran is None
    assert await store.get(job.id) == job


async def test_an_unknown_id(engine: Inline) -> None:
    """An id that no job has is an error."""
    with pytest.raises(JobNotFound):
        await engine.submit(a_job(), CALL)


async def test_of_two_who_are_told_at_once_one_runs_the_job(
    make_store: MakeStore, store: Store, engine: Inline, events: Heard
) -> None:
    """Of several who run one id at once, in one process or in two, one does; the others have
    nothing."""
    engines = [engine, Inline(engine._runner)]
    async with AsyncExitStack() as stack:
        if isinstance(store, SqliteStore):
            engines.append(await stack.enter_async_context(opened(make_store(), events)))
        job = await store.add(a_job(route="double"), CALL)
        await asyncio.gather(*(each.submit(job, CALL) for each in engines))
        assert [each.ran for each in engines if each.ran] == [await store.get(job.id)]
    assert kinds(events.of(job.id)) == ["Started", "Finished"]


async def test_a_job_that_cannot_be_claimed(make_store: MakeStore) -> None:
    """If the store does not take the start of a job it is not run, whatever is stored."""
    events = Heard()
    times = iter([Fault.AFTER])
    store = FaultyStore(
        make_store(), lambda call, job: next(times, None) if call == "replace" else None
    )
    async with opened(store, events) as engine:
        job = await store.add(a_job(route="double"), CALL)
        with pytest.raises(StoreUnavailable):
            await engine.submit(job, CALL)
        assert not [event for event in events.all if isinstance(event, Started | Lost | Finished)]


async def test_a_job_that_sleeps_holds_few_objects(path: Path) -> None:
    """Of a job that waits for something, little is kept in memory, and no more of each where many
    do; nothing of how it was stored. All that the garbage collector knows it looks at in each full
    collection, of which there is one whenever that has grown by a quarter."""
    jobs = Jobs(store=f"sqlite:///{path}", concurrency=10_000, drain_time=0)
    asleep = asyncio.Semaphore(0)

    @jobs.function(name="sleep")
    async def sleep() -> None:
        asleep.release()
        await asyncio.sleep(3600)

    async with jobs:
        for count in (500, 2000):
            before = tracked()
            await asyncio.gather(*(jobs.submit("sleep") for _ in range(count)))
            async with asyncio.timeout(DEADLINE):
                for _ in range(count):
                    await asleep.acquire()
                while tracked() - before > 33 * count:
                    await asyncio.sleep(0.01)


def tracked() -> int:
    gc.collect()
    return len(gc.get_objects())
