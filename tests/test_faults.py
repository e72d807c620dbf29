"""What the store's faults do to jobs: none is lost, none stays running, none ends twice."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from asyncjobs import Jobs, Query, State, current_job, transitions, watch
from asyncjobs.errors import JobTimedOut, JobWasCancelled, StoreUnavailable
from asyncjobs.events import Event, Finished, Lost
from asyncjobs.job import Job, Request, Response
from asyncjobs.running import attempt, claim, sweeper
from asyncjobs.running.claims import Claims
from asyncjobs.store import Store
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import NOW, REQUEST, a_job
from asyncjobs.torture.faults import Fault, FaultyStore, Plan
from asyncjobs.torture.handles import STORES
from waits import until

T = TypeVar("T")

DEADLINE = 60

a_failure = pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done now and then is done often."""
    monkeypatch.setattr(sweeper, "SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(sweeper, "RESCUE_INTERVAL", 0.02)
    monkeypatch.setattr(watch, "REREAD_INTERVAL", 0.02)
    monkeypatch.setattr(claim, "STORE_RETRY", 0.02)
    monkeypatch.setattr(attempt, "PROGRESS_INTERVAL", 0.01)
    monkeypatch.setattr(attempt, "STOP_GRACE", 0.02)


@pytest.fixture(params=STORES)
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param].open(tmp_path)


class Faults:
    """A plan: the first of the calls that match has the fault, or more of them.

    Attributes:
        met: how many calls have matched.
        sweeps: how many sweeps there were.
    """

    def __init__(
        self, fault: Fault, call: str, state: State | None = None, *, times: float = 1
    ) -> None:
        self.fault = fault
        self.call = call
        self.state = state
        self.times = times
        self.met = 0
        self.sweeps = 0

    def __call__(self, call: str, job: Job | None) -> Fault | None:
        self.sweeps += call == "purge"  # as often as there is one
        if call != self.call or (self.state and job and job.state is not self.state):
            return None
        self.met += 1
        return self.fault if self.met <= self.times else None

    async def have_met(self, times: int = 1) -> None:
        await until(lambda: self.met >= times)

    async def have_passed(self, sweeps: int) -> None:
        """Wait for so many more sweeps."""
        seen = self.sweeps
        await until(lambda: self.sweeps >= seen + sweeps)


class Program:
    """One that runs one job at a time, counts them, and lets them go on when it is told to."""

    def __init__(self, store: Store) -> None:
        self.jobs = Jobs(store=store, concurrency=1)
        self.runs: list[str] = []
        self.go_on = asyncio.Event()
        self.jobs.function(self.work, name="work")
        self.jobs.function(self.wait, name="wait")
        self.jobs.function(self.report, name="report")
        self.jobs.function(self.ignore, name="ignore", timeout=0.01)

    async def work(self, number: int) -> int:
        self.runs.append(current_job.id)
        return number

    async def wait(self) -> None:
        await self.go_on.wait()

    async def report(self) -> None:
        done = 0
        while not self.go_on.is_set():
            done += 1
            current_job.progress(done)
            await asyncio.sleep(0.001)

    async def ignore(self) -> None:
        """Go on whatever anybody says."""
        while not self.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await self.go_on.wait()

    async def ended(self, jobs: int) -> list[Job]:
        """All jobs, once they are so many and all of them are final."""
        found: list[Job] = []

        async def are_final() -> bool:
            found[:] = await self.jobs.find(Query())
            return len(found) == jobs and all(job.state.is_final for job in found)

        await until(are_final)
        return found

    async def has_its_slot(self) -> None:
        """Nothing holds the only slot: one job after the other gets it."""
        for number in range(3):
            job = await self.jobs.submit("work", number)
            assert await self.jobs.result(job.id, DEADLINE) == number


def together(*plans: Plan) -> Plan:
    """The fault that the first of these plans has for a call, if any has one."""
    return lambda call, job: next((f for plan in plans if (f := plan(call, job))), None)


@contextmanager
def released(store: FaultyStore) -> Iterator[None]:
    """Release the store in the end, also if the test fails: to stop waits for what is held."""
    try:
        yield
    finally:
        store.release()


@a_failure
@pytest.mark.parametrize("state", [State.RUNNING, State.QUEUED])
async def test_a_submission_that_fails(inner: Store, fault: Fault, state: State) -> None:
    """A job whose submission failed is not there, or runs once to its end; its slot is free."""
    program = Program(FaultyStore(inner, Faults(fault, "add", state)))
    async with program.jobs as jobs:
        others = 0
        if state is State.QUEUED:
            await jobs.submit("wait")
            others = 1
        with pytest.raises(StoreUnavailable):
            await jobs.submit("work", 1)
        program.go_on.set()
        found = await program.ended(others + (fault is Fault.AFTER))
        assert {job.state for job in found} <= {State.SUCCEEDED}
        assert len(program.runs) == (fault is Fault.AFTER)
        await program.has_its_slot()


async def test_a_job_to_be_cancelled_whose_submission_failed(inner: Store) -> None:
    """A job that is stored as started, but never was, can be cancelled: it is not started then."""
    plan = Faults(Fault.AFTER, "add")
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        with pytest.raises(StoreUnavailable):
            await jobs.submit("work", 1)
        (job,) = await jobs.find(Query())
        await jobs.cancel(job.id)
        (job,) = await program.ended(1)
        assert (job.state, program.runs) == (State.CANCELLED, [])
        with pytest.raises(JobWasCancelled):
            await jobs.result(job.id)


@a_failure
async def test_a_claim_that_fails(inner: Store, fault: Fault) -> None:
    """A queued job whose start failed is started again, and runs once."""
    plan = Faults(fault, "replace", State.RUNNING)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        await jobs.submit("wait")
        job = await jobs.submit("work", 7)
        assert job.state is State.QUEUED
        program.go_on.set()
        assert await jobs.result(job.id, DEADLINE) == 7
        assert program.runs == [job.id]
        assert plan.met >= 2
        await program.has_its_slot()


async def test_a_write_that_takes_long_is_not_taken_for_lost(inner: Store) -> None:
    """A start that failed at first, and takes its time at the next try, is not given back."""
    first = Faults(Fault.BEFORE, "replace", State.RUNNING)
    second = Faults(Fault.HELD, "replace", State.RUNNING)
    # The doubt about the first try is not settled before the second one.
    unread = Faults(Fault.BEFORE, "get", times=math.inf)
    store = FaultyStore(inner, together(first, second, unread))
    program = Program(store)
    async with program.jobs as jobs:
        await jobs.submit("wait")
        job = await jobs.submit("work", 7)
        program.go_on.set()
        with released(store):
            await second.have_met()
            unread.times = 0
            await second.have_passed(sweeps=3)
            assert (await jobs.get(job.id)).state is State.RUNNING
        assert await jobs.result(job.id, DEADLINE) == 7
        assert program.runs == [job.id]
        assert (await jobs.get(job.id)).attempt == 1


async def test_a_start_that_began_while_doubts_are_settled(inner: Store) -> None:
    """A doubt is settled without harm to a start of the same job that begins meanwhile."""
    plan = Faults(Fault.HELD, "get")
    async with FaultyStore(inner, plan) as store:
        handlers = Program(store).jobs.handlers
        claims = Claims(store, handlers, lambda event: None, random.Random(), max_starts=25)
        first, queued = a_job(route="work"), await store.add(a_job(route="work"), REQUEST)
        await store.add(first, REQUEST)
        for job in (first, queued):
            claims.doubt(claims.start(job, NOW))
        settling = asyncio.create_task(claims.settle())
        with released(store):
            await plan.have_met()
            started = claims.start(queued, NOW).job
            await store.replace(queued, started)
        await settling
        assert await store.get(queued.id) == started


async def test_an_answer_that_takes_long(inner: Store) -> None:
    """A job whose submission takes its time is started once, when it is stored."""
    plan = Faults(Fault.HELD, "add")
    store = FaultyStore(inner, plan)
    program = Program(store)
    async with program.jobs as jobs:
        submission = asyncio.create_task(jobs.submit("work", 7))
        with released(store):
            await plan.have_passed(sweeps=3)
            assert program.runs == []
        job = await submission
        assert await jobs.result(job.id, DEADLINE) == 7
        assert (program.runs, (await jobs.get(job.id)).attempt) == ([job.id], 1)


@pytest.mark.parametrize("readable", [True, False])
async def test_a_client_that_goes_while_its_job_is_being_stored(
    inner: Store, readable: bool
) -> None:
    """The job of a client that has gone runs once, also if it cannot be seen to be stored."""
    held = Faults(Fault.HELD, "add")
    unreadable = Faults(Fault.BEFORE, "get", times=0 if readable else 1)
    store = FaultyStore(inner, together(held, unreadable))
    program = Program(store)
    async with program.jobs as jobs:
        submission = asyncio.create_task(jobs.submit("work", 7))
        await until(lambda: held.met == 1)
        await held.have_passed(sweeps=1)
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        (job,) = await program.ended(1)
        assert (job.state, program.runs) == (State.SUCCEEDED, [job.id])
        await program.has_its_slot()


@a_failure
async def test_a_progress_that_fails(inner: Store, fault: Fault) -> None:
    """After a progress that was not stored, later ones are, and the result."""
    plan = Faults(fault, "replace", State.RUNNING)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        job = await jobs.submit("report")
        await plan.have_met()

        async def has_gone_on() -> bool:
            progress = (await jobs.get(job.id)).progress
            return progress is not None and progress.current > lost

        lost = 0 if (stored := (await jobs.get(job.id)).progress) is None else stored.current
        await until(has_gone_on)
        program.go_on.set()
        assert await jobs.result(job.id, DEADLINE) is None
        await program.has_its_slot()


async def test_a_progress_takes_no_cancellation_back(inner: Store) -> None:
    """A progress that was not stored does not make the next one overwrite what came between."""
    progress = Faults(Fault.BEFORE, "replace", State.RUNNING)
    blind = Faults(Fault.BEFORE, "find", times=math.inf)
    store = FaultyStore(inner, together(progress, blind))
    program = Program(store)
    blind.times = 0
    async with program.jobs as jobs:
        job = await jobs.submit("report")
        await progress.have_met()
        blind.times = math.inf  # so that the wish is not seen at once
        with suppress(StoreUnavailable):
            await jobs.cancel(job.id)
        met = progress.met
        await progress.have_met(met + 3)
        assert (await jobs.get(job.id)).cancel_requested
        blind.times = 0
        with pytest.raises(JobWasCancelled):
            await jobs.result(job.id, DEADLINE)


@a_failure
@pytest.mark.parametrize("times", [1, 5])
async def test_a_result_that_cannot_be_stored(inner: Store, fault: Fault, times: int) -> None:
    """A result waits for the store, and is stored once; the handler does not run again."""
    plan = Faults(fault, "replace", State.SUCCEEDED, times=times)
    program = Program(FaultyStore(inner, plan))
    told: list[Event] = []
    program.jobs.events.subscribe(told.append)
    async with program.jobs as jobs:
        job = await jobs.submit("work", 7)
        assert await jobs.result(job.id, DEADLINE) == 7
        assert program.runs == [job.id]
        await plan.have_passed(sweeps=2)
        ended = await jobs.get(job.id)
        assert ended.attempt == 1
        # That it has ended is told once, also if the store has said that it could not be stored.
        assert [event for event in told if isinstance(event, (Finished, Lost))] == [Finished(ended)]
        await program.has_its_slot()


async def test_a_result_keeps_the_slot_while_it_waits(inner: Store) -> None:
    """What waits for the store is still at work: no further job begins, and no more are taken."""
    results = Faults(Fault.BEFORE, "replace", times=math.inf)
    program = Program(FaultyStore(inner, results))
    async with program.jobs as jobs:
        first = await jobs.submit("work", 1)
        await results.have_met()
        second = await jobs.submit("work", 2)
        assert second.state is State.QUEUED
        await results.have_passed(sweeps=3)
        assert program.runs == [first.id]
        results.times = 0
        assert await jobs.result(first.id, DEADLINE) == 1
        assert await jobs.result(second.id, DEADLINE) == 2
        await program.has_its_slot()


async def test_a_handler_that_ends_after_its_job(inner: Store) -> None:
    """A job that had to end without its handler does, also if that ends while the store fails."""
    plan = Faults(Fault.BEFORE, "replace", State.FAILED, times=math.inf)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        job = await jobs.submit("ignore")
        await plan.have_met()
        program.go_on.set()
        met = plan.met
        await plan.have_met(met + 2)
        plan.times = 0
        with pytest.raises(JobTimedOut):
            await jobs.result(job.id, DEADLINE)
        await program.has_its_slot()


@a_failure
@pytest.mark.parametrize("function", ["wait", "work"])
async def test_a_cancellation_that_fails(inner: Store, fault: Fault, function: str) -> None:
    """Who could not cancel a job, queued or running, can try again, or finds it cancelled."""
    plan = Faults(fault, "replace", State.CANCELLED if function == "work" else State.RUNNING)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        running = await jobs.submit("wait")
        job = running if function == "wait" else await jobs.submit("work", 1)
        with pytest.raises(StoreUnavailable):
            await jobs.cancel(job.id)
        if fault is Fault.BEFORE:
            assert await jobs.get(job.id) == job
            await jobs.cancel(job.id)
        with pytest.raises(JobWasCancelled):
            await jobs.result(job.id, DEADLINE)
        program.go_on.set()
        await program.has_its_slot()
        assert job.id not in program.runs


@a_failure
@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_rescue_that_fails(tmp_path: Path, fault: Fault, repeatable: bool) -> None:
    """A dead worker's job is rescued, once, as soon as the store takes it."""
    path = tmp_path / "jobs.db"
    request = Request("POST", "/work", body=b'{"args": [7], "kwargs": {}}')
    async with SqliteStore(path) as dead:
        left = transitions.start(a_job(route="work", repeatable=repeatable), dead.worker, 0.0)
        await dead.add(left, request)
    state = State.QUEUED if repeatable else State.INTERRUPTED
    plan = Faults(fault, "replace", state)
    program = Program(FaultyStore(SqliteStore(path), plan))
    async with program.jobs as jobs:
        (job,) = await program.ended(1)
        assert plan.met == (2 if fault is Fault.BEFORE else 1)
        assert job.state is (State.SUCCEEDED if repeatable else State.INTERRUPTED)
        assert program.runs == [left.id] * repeatable
        assert job.attempt == left.attempt + repeatable
        assert (await jobs.response(left.id)).status == (200 if repeatable else 500)


class Refusing(SqliteStore):
    """Has something against one job."""

    refused: str | None = None
    refusals = 0

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if old.id == self.refused:
            self.refusals += 1
            raise OverflowError("there is something about this job")
        await super().replace(old, new, response, erase=erase)


async def test_a_job_that_cannot_be_rescued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A job of a dead worker that cannot be decided about keeps no other from being rescued, and
    the log tells of it once."""
    path = tmp_path / "jobs.db"
    request = Request("POST", "/work", body=b'{"args": [7], "kwargs": {}}')
    store = Refusing(path)
    async with SqliteStore(path) as dead:
        left = [
            await dead.add(
                transitions.start(a_job(route="work", repeatable=True), dead.worker, NOW), request
            )
            for _ in range(3)
        ]
    store.refused = left[0].id
    program = Program(store)
    async with program.jobs as jobs:
        for job in left[1:]:
            assert await jobs.result(job.id, DEADLINE) == 7
        refusals = store.refusals
        await until(lambda: store.refusals >= refusals + 3)
        assert (await jobs.get(left[0].id)).state is State.RUNNING
        store.refused = None
        assert await jobs.result(left[0].id, DEADLINE) == 7
    told = [record.getMessage() for record in caplog.records if "others go on" in record.message]
    assert told == [f"job {left[0].id} of a dead worker cannot be decided about; the others go on"]


@pytest.mark.parametrize("call", ["request", "find", "orphans", "purge"])
async def test_a_store_that_cannot_be_read_for_a_while(inner: Store, call: str) -> None:
    """What looks at the store in vain looks again: no job fails of that, nor does the start."""
    plan = Faults(Fault.BEFORE, call, times=3)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        first = await jobs.submit("wait")
        second = await jobs.submit("work", 7)
        program.go_on.set()
        assert await jobs.result(first.id, DEADLINE) is None
        assert await jobs.result(second.id, DEADLINE) == 7
        await plan.have_met(4 if call != "request" else 2)
        assert program.runs == [second.id]


async def test_a_store_that_fails_is_not_asked_without_end(inner: Store) -> None:
    """While jobs cannot be started, it is tried now and then, and not all the time."""
    plan = Faults(Fault.BEFORE, "replace", State.RUNNING, times=math.inf)
    program = Program(FaultyStore(inner, plan))
    async with program.jobs as jobs:
        await jobs.submit("wait")
        job = await jobs.submit("work", 7)
        program.go_on.set()
        await plan.have_met()
        met = plan.met
        await plan.have_passed(sweeps=5)
        assert plan.met - met <= 10
        plan.times = 0
        assert await jobs.result(job.id, DEADLINE) == 7
