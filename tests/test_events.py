"""What happens to jobs is told: each thing once, when it happens, in its order."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions, verdict, watch
from asyncjobs.errors import StoreUnavailable
from asyncjobs.events import (
    Action,
    Draining,
    Event,
    Events,
    Finished,
    HandlerRaised,
    Lost,
    Overran,
    Released,
    Started,
    Submitted,
    Troubled,
)
from asyncjobs.job import Job, Request, Response
from asyncjobs.running import attempt, claim, sweeper
from asyncjobs.running.claims import Claims
from asyncjobs.store import Query, Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job
from asyncjobs.torture.faults import Fault, FaultyStore
from heard import DEADLINE, Heard, heard, kinds

CALL = Request("POST", "/succeed", body=b'{"args": [], "kwargs": {}}')

MakeStore = Callable[[], Store]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done now and then is done often, and nothing waits for its next attempt."""
    monkeypatch.setattr(sweeper, "SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(sweeper, "RESCUE_INTERVAL", 0.02)
    monkeypatch.setattr(watch, "REREAD_INTERVAL", 0.05)
    monkeypatch.setattr(claim, "STORE_RETRY", 0.02)
    monkeypatch.setattr(verdict, "ERROR_BACKOFF", 0.0)
    monkeypatch.setattr(verdict, "CRASH_BACKOFF", 0.0)


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, path: Path) -> MakeStore:
    """Makes stores that have the same jobs, to be open one after the other."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    return lambda: SqliteStore(path)


# Who hears.


def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """What a subscriber raises, be it the end of something that was cancelled, is logged: the
    others hear all the same, and whoever tells goes on."""
    events, told = Events(), list[Event]()
    event = Finished(a_job())
    errors = [ValueError("on purpose"), asyncio.CancelledError("on purpose")]

    def fail(event: Event) -> None:
        raise errors[len(told) % 2]

    for subscriber in (fail, told.append, fail, told.append):
        events.subscribe(subscriber)
    events.emit(event)
    assert told == [event, event]
    assert caplog.text.count("a subscriber of events has failed") == 2


def test_who_has_unsubscribed_hears_nothing_more() -> None:
    """To unsubscribe holds at once, also from within a subscriber, for oneself and for others; one
    who subscribes from within hears what comes after."""
    events, told = Events(), list[str]()

    def first(event: Event) -> None:
        told.append("first")
        end_first()
        end_second()
        events.subscribe(lambda event: told.append("late"))

    end_first = events.subscribe(first)
    end_second = events.subscribe(lambda event: told.append("second"))
    events.subscribe(lambda event: told.append("third"))
    for _ in range(2):
        events.emit(Finished(a_job()))
    assert told == ["first", "third", "third", "late"]
    end_first()  # may be said twice


def test_who_subscribes_twice_hears_twice() -> None:
    """Each subscription is one of its own: the end of one is not the end of the other."""
    events, told = Events(), list[Event]()
    end = events.subscribe(told.append)
    events.subscribe(told.append)
    events.emit(Finished(a_job()))
    end()
    end()
    events.emit(Finished(a_job()))
    assert len(told) == 3


# What is told of a job, however its handler is made.

#: The handlers, and the options of their routes.
OPTIONS: dict[str, dict[str, Any]] = {
    "succeed": {},
    "fail": {},
    "fail_once": {"retries": 1},
    "large": {},
    "hold": {},
    "hold_again": {"idempotent": True},
    "overrun": {"timeout": 0.05},
    "ignore": {"timeout": 0.05},
    "stumble": {"retries": 3},
}


class Program:
    """Handlers of one kind: functions or views, sync or async.

    Attributes:
        begun: is set when one has begun.
        go_on: lets those end that wait.
    """

    jobs: Jobs

    def __init__(self, kind: str, store: Store, **options: Any) -> None:
        self.threaded, self.views = kind.startswith("sync"), kind.endswith("view")
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._app = Quart(__name__)
        settings = {"concurrency": 1, "threads": 1, "max_response": 1000, **options}
        if self.views:
            self._extension = QuartJobs(self._app, store=store, **settings)
        else:
            self.jobs = Jobs(store=store, **settings)
        for name, route_options in OPTIONS.items():
            self._register(name, **route_options)

    def _register(self, name: str, **options: Any) -> None:
        def call() -> Any:
            while not self._is_over(name):
                current_job.check_cancelled()
                time.sleep(0.001)
            return self._end_of(name)

        def ignore() -> None:
            self.begun.set()
            self.go_on.wait(DEADLINE)

        async def call_async() -> Any:
            while not self._is_over(name):
                try:
                    await asyncio.sleep(0.001)
                except asyncio.CancelledError:
                    if name == "stumble":
                        raise ValueError("on the way out") from None
                    if name != "ignore":
                        raise
            return self._end_of(name)

        handler = call_async if not self.threaded else ignore if name == "ignore" else call
        if self.views:
            view = self._extension.background(**options)(handler)
            self._app.post(f"/{name}", endpoint=name)(view)
        else:
            self.jobs.function(name=name, **options)(handler)

    def _is_over(self, name: str) -> bool:
        self.begun.set()
        return self.go_on.is_set() or name in ("succeed", "fail", "fail_once", "large")

    def _end_of(self, name: str) -> Any:
        if name == "fail" or (name == "fail_once" and current_job.attempt == 1):
            raise ValueError("on purpose")
        return "x" * 2000 if name == "large" else "done"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Heard]:
        """Within this its jobs run; all that they tell, also when they come to their end."""
        if not self.views:
            with heard(self.jobs) as events:
                async with self.jobs:
                    yield events
            return
        async with self._app.test_app() as serving:
            self._client = serving.test_client()
            async with self._app.app_context():
                self.jobs = self._extension.jobs
            self.jobs.events.subscribe(events := Heard())
            yield events

    async def submit(self, name: str) -> str:
        if not self.views:
            return (await self.jobs.submit(name)).id
        answer = await self._client.post(f"/{name}")
        return str((await answer.get_json())["TaskId"])


@pytest.fixture(params=["async function", "sync function", "async view", "sync view"])
def program(request: pytest.FixtureRequest, make_store: MakeStore) -> Program:
    return Program(request.param, make_store())


@pytest.mark.parametrize(
    ("name", "told", "state"),
    [
        ("succeed", "Submitted Started Finished", State.SUCCEEDED),
        ("fail", "Submitted Started HandlerRaised Finished", State.FAILED),
        ("fail_once", "Submitted Started HandlerRaised Released Started Finished", State.SUCCEEDED),
        ("large", "Submitted Started Unfit Finished", State.FAILED),
        ("overrun", "Submitted Started Finished", State.FAILED),
    ],
)
async def test_what_is_told_of_a_job(program: Program, name: str, told: str, state: State) -> None:
    """A job that starts at once, and comes to its end by itself, is told step by step: each time
    as it is then, and at last as it stays."""
    async with program.open() as events:
        job_id = await program.submit(name)
        await events.next(Finished, job_id)
        ended = await program.jobs.get(job_id)
        assert ended.state is state
        check(events.of(job_id), told, ended)


async def test_a_job_that_has_to_wait_for_its_start(program: Program) -> None:
    """A job without a slot is told as submitted when it is stored, and as started when it is."""
    async with program.open() as events:
        first, second = await program.submit("hold"), await program.submit("succeed")
        assert kinds(events.of(second)) == ["Submitted"]
        program.go_on.set()
        await events.next(Finished, second)
        (ended,) = (event for event in events.of(first) if isinstance(event, Finished))
        (started,) = (event for event in events.of(second) if isinstance(event, Started))
        assert events.all.index(ended) < events.all.index(started)
        check(events.of(first), "Submitted Started Finished", await program.jobs.get(first))
        check(events.of(second), "Submitted Started Finished", await program.jobs.get(second))


async def test_a_job_that_is_cancelled(program: Program) -> None:
    """A job that is cancelled has its end told once: by who cancels it while it is queued, and by
    who runs it otherwise."""
    async with program.open() as events:
        running, queued = await program.submit("hold"), await program.submit("succeed")
        await program.jobs.cancel(queued)
        check(events.of(queued), "Submitted Finished", await program.jobs.get(queued))
        await program.jobs.cancel(running)
        await events.next(Finished, running)
        ended = await program.jobs.get(running)
        assert ended.state is State.CANCELLED
        check(events.of(running), "Submitted Started Finished", ended)


async def test_a_job_that_is_retried(program: Program) -> None:
    """That a job is queued once more is told before it is started again."""
    async with program.open() as events:
        job_id = await program.submit("fail")
        await events.next(Finished, job_id)
        retried = await program.jobs.retry(job_id)
        await events.next(Finished, job_id)
        told = "Submitted Started HandlerRaised Finished Retried Started HandlerRaised Finished"
        assert kinds(events.of(job_id)) == told.split()
        assert events.of(job_id)[4].job == retried


async def test_a_handler_that_does_not_stop(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that runs on beyond the end of its job is told of, as is its own end; a thread is
    left behind instead, and ends for itself."""
    if not program.threaded:  # what is around a thread ends within it, however busy the machine is
        monkeypatch.setattr(attempt, "STOP_GRACE", 0.05)
    async with program.open() as events:
        job_id = await program.submit("ignore")
        await events.next(Finished, job_id)
        ended = await program.jobs.get(job_id)
        if program.threaded:
            program.go_on.set()
            check(events.of(job_id), "Submitted Started Finished", ended)
            return
        overran = await events.next(Overran, job_id)
        program.go_on.set()
        back = await events.next(Overran, job_id)
        assert (overran.is_over, back.is_over) == (False, True)
        assert back.seconds >= overran.seconds > 0
        check(events.of(job_id), "Submitted Started Overran Finished Overran", ended)


@pytest.mark.parametrize("kind", ["async function", "sync function", "async view", "sync view"])
@pytest.mark.parametrize("again", [False, True])
async def test_a_program_that_stops(make_store: MakeStore, kind: str, again: bool) -> None:
    """A program that stops tells that it does, and what becomes of what runs: its end, or that it
    is given back."""
    program = Program(kind, make_store(), drain_time=0)
    async with program.open() as events:
        job_id = await program.submit("hold_again" if again else "hold")
        await asyncio.to_thread(program.begun.wait, DEADLINE)
    assert kinds(events.of(job_id)) == ["Submitted", "Started", "Released" if again else "Finished"]
    (end,) = events.of(job_id)[2:]
    assert isinstance(end, Finished | Released)
    assert end.job.state is (State.QUEUED if again else State.INTERRUPTED)
    assert end.job.reason == "the server was stopped while the job ran"
    draining = [event for event in events.all if isinstance(event, Draining)]
    assert draining == [Draining(1, 0), Draining(1, None)]


def check(events: list[Event], told: str, ended: Job) -> None:
    """These are the events of a job that has ended, each with the job as it was then."""
    assert kinds(events) == told.split()
    versions = []
    for event in events:
        assert not isinstance(event, Draining | Troubled)
        assert event.job.id == ended.id
        if isinstance(event, Submitted | Started | Released | Finished):
            versions.append(event.job.version)
        match event:
            case Submitted(job):
                assert job.state in (State.QUEUED, State.RUNNING)
            case Released(job):
                assert job.state is State.QUEUED
            case Finished(job):
                assert job == ended
            case Started(job) | HandlerRaised(job):
                assert job.state is State.RUNNING
    assert versions == sorted(versions)


@pytest.mark.parametrize("kind", ["function", "view"])
async def test_what_a_handler_raises_that_was_told_to_stop(
    make_store: MakeStore, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that answers its cancellation with an exception has that logged; but nobody says
    that it is tried again, however often it might have been, as its job is cancelled."""
    program = Program(f"async {kind}", make_store())
    async with program.open() as events:
        job_id = await program.submit("stumble")
        await asyncio.to_thread(program.begun.wait, DEADLINE)
        await program.jobs.cancel(job_id)
        assert (await events.next(Finished, job_id)).job.state is State.CANCELLED
        assert all(event.is_last for event in events.of(job_id) if isinstance(event, HandlerRaised))
    assert "ValueError: on the way out" in caplog.text
    assert "tried again" not in caplog.text


# What is told of a job that nobody here has submitted.


async def test_a_job_whose_process_died(make_store: MakeStore) -> None:
    """A job that a dead process has left is told as rescued, and then as finished, or as started
    once more."""
    async with make_store() as before:
        left = [
            await before.add(
                transitions.start(
                    a_job(route="succeed", repeatable=repeatable, due=0.0), before.worker, NOW
                ),
                CALL,
            )
            for repeatable in (False, True)
        ]
    program = Program("async function", make_store())
    async with program.open() as events:
        for job in left:
            await events.next(Finished, job.id)
        interrupted, again = [await program.jobs.get(job.id) for job in left]
        assert (interrupted.state, again.state) == (State.INTERRUPTED, State.SUCCEEDED)
        check(events.of(interrupted.id), "Rescued Finished", interrupted)
        check(events.of(again.id), "Rescued Started Finished", again)


async def test_a_job_whose_handler_has_gone(make_store: MakeStore) -> None:
    """A job that nobody can run any more is told as gone, and as finished."""
    async with make_store() as before:
        gone = await before.add(a_job(route="renamed"), REQUEST)
    program = Program("async function", make_store(), gone_after=0.05)
    async with program.open() as events:
        await events.next(Finished, gone.id)
        check(events.of(gone.id), "Gone Finished", await program.jobs.get(gone.id))


async def test_a_job_that_was_stored_as_started_but_is_not(make_store: MakeStore) -> None:
    """A job whose start was stored although the store said nothing is told as never started; then
    it is started, or ends if it was cancelled meanwhile."""
    program = Program("async function", FaultyStore(make_store(), once("add", Fault.AFTER)))
    async with program.open() as events:
        with pytest.raises(StoreUnavailable):
            await program.submit("succeed")
        ended = (await events.next(Finished)).job
        check(events.of(ended.id), "NeverStarted Started Finished", ended)


async def test_a_job_that_was_never_started_and_is_cancelled(make_store: MakeStore) -> None:
    """A job that is stored as started by mistake, and was cancelled, is told to its end."""
    events = Heard()
    async with make_store() as store:
        handlers = Program("async function", MemoryStore()).jobs.handlers
        claims = Claims(store, handlers, events, random.Random(), max_starts=25)
        claim = claims.start(a_job(route="succeed"), NOW)
        await store.add(claim.job, CALL)
        claims.doubt(claim)
        await store.replace(claim.job, transitions.ask_to_cancel(claim.job))
        await claims.settle()
        await claims.settle()
        check(events.all, "NeverStarted Finished", await store.get(claim.job.id))


async def test_a_job_that_somebody_else_has_ended(make_store: MakeStore) -> None:
    """A job that ends here after it has ended elsewhere is told as lost: it was not finished by
    us."""
    store = make_store()
    program = Program("async function", store)
    async with program.open() as events:
        job_id = await program.submit("hold")
        job = await store.get(job_id)
        await store.replace(job, transitions.fail(job, job.created, BROKEN), RESPONSE)
        program.go_on.set()
        await events.next(Lost, job_id)
    assert kinds(events.of(job_id)) == ["Submitted", "Started", "Lost"]


# What is told when the store fails, or who asks has gone.


def once(call: str, fault: Fault, state: State | None = None) -> Callable[..., Fault | None]:
    """A plan: the first such call has the fault."""
    met: list[str] = []

    def plan(name: str, job: Job | None) -> Fault | None:
        if met or name != call or (state and job and job.state is not state):
            return None
        met.append(name)
        return fault

    return plan


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
@pytest.mark.parametrize(
    ("name", "state", "told"),
    [
        ("succeed", State.SUCCEEDED, "Submitted Started Troubled Finished"),
        ("fail", State.FAILED, "Submitted Started HandlerRaised Troubled Finished"),
        (
            "fail_once",
            State.QUEUED,
            "Submitted Started HandlerRaised Troubled Released Started Finished",
        ),
    ],
)
async def test_an_end_that_the_store_does_not_answer_for(
    make_store: MakeStore, fault: Fault, name: str, state: State, told: str
) -> None:
    """An end that was stored although the store did not say so is told as what it is, as is one
    that was stored by the next try: it is not lost to somebody else."""
    store = FaultyStore(make_store(), once("replace", fault, state))
    program = Program("async function", store)
    async with program.open() as events:
        job_id = await program.submit(name)
        await events.next(Finished, job_id)
        assert kinds(events.of(job_id)) == told.split()
        finished = events.of(job_id)[-1]
        assert isinstance(finished, Finished)
        assert finished.job == await program.jobs.get(job_id)


async def test_a_cancellation_whose_caller_has_gone(make_store: MakeStore) -> None:
    """A job that is cancelled by somebody who does not wait for that is told as finished."""
    store = FaultyStore(make_store(), once("replace", Fault.HELD, State.CANCELLED))
    program = Program("async function", store)
    async with program.open() as events:
        await program.submit("hold")
        queued = await program.submit("succeed")
        cancelling = asyncio.create_task(program.jobs.cancel(queued))
        while (await program.jobs.get(queued)).state is State.QUEUED:
            await asyncio.sleep(0)
        cancelling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelling
        store.release()
        await events.next(Finished, queued)
        check(events.of(queued), "Submitted Finished", await program.jobs.get(queued))
        program.go_on.set()


@pytest.mark.parametrize("route", ["succeed", "renamed"])
async def test_what_is_decided_while_the_program_stops(make_store: MakeStore, route: str) -> None:
    """What a sweep has begun to write when its program stops is told as well: the rescue of a job,
    or its end as nobody has its handler."""
    state = State.INTERRUPTED if route == "succeed" else State.FAILED
    met = asyncio.Event()
    hold = once("replace", Fault.HELD, state)

    def plan(name: str, job: Job | None) -> Fault | None:
        if (fault := hold(name, job)) is not None:
            met.set()
        return fault

    store = FaultyStore(make_store(), plan)
    program = Program("async function", store, gone_after=0.01)
    async with program.open() as events:
        job = a_job(route=route)
        if route == "succeed":
            job = transitions.start(job, "0" * 16, NOW)
        await store.add(job, CALL)
        async with asyncio.timeout(DEADLINE):
            await met.wait()
        closing = asyncio.create_task(program.jobs.drain())
        await closing
        asyncio.get_running_loop().call_later(0.05, store.release)
    told = ["Rescued" if route == "succeed" else "Gone", "Finished"]
    assert kinds(events.of(job.id)) == told


SHAPE = re.compile("Submitted (Started (HandlerRaised )?(Unfit )?(Released )?)+Finished ")


@pytest.mark.parametrize("seed", range(3))
async def test_every_end_is_told_once(make_store: MakeStore, seed: int) -> None:
    """Of many jobs of all kinds, on a store that often does not answer when one ends, each is told
    in its order, and its end once."""
    luck = random.Random(seed)

    def plan(name: str, job: Job | None) -> Fault | None:
        ends = name == "replace" and job is not None and job.state is not State.RUNNING
        return luck.choice([Fault.BEFORE, Fault.AFTER, None]) if ends else None

    store = FaultyStore(make_store(), plan)
    program = Program("async function", store, concurrency=5)
    async with program.open() as events:
        names = [luck.choice(["succeed", "fail", "fail_once", "large", "hold"]) for _ in range(60)]
        submitted = [await program.submit(name) for name in names]
        cancelled = [job for job, name in zip(submitted, names, strict=True) if name == "hold"]
        for job_id in cancelled:
            await events.next(Started, job_id)
            await program.jobs.cancel(job_id)
        for job_id in submitted:
            await events.next(Finished, job_id)
    for job_id in submitted:
        # That an attempt was given back may be known when the next one runs already.
        doubts = ("Troubled", "Lost")
        told = "".join(f"{kind} " for kind in kinds(events.of(job_id)) if kind not in doubts)
        assert SHAPE.fullmatch(told), told


# What is told of trouble.


class Troublesome(StoreWrapper):
    """Raises an error at a call, so often; if that is about a job, then about one in this state."""

    def __init__(self, inner: Store, call: str, error: Exception, state: State | None) -> None:
        super().__init__(inner)
        self.call, self.error, self.state, self.left = call, error, state, 0

    def _try(self, call: str, job: Job | None = None) -> None:
        about = job is None or self.state in (None, job.state)
        if self.left > 0 and call == self.call and about:
            self.left -= 1
            raise self.error

    async def find(self, query: Query) -> list[Job]:
        # To look at the queue names its routes, to sweep those that it is not for.
        asks = "heed" if query.cancel_requested else "look" if query.routes else "find"
        self._try(asks)
        return await super().find(query)

    async def request(self, job_id: str) -> Request:
        self._try("request")
        return await super().request(job_id)

    async def purge(self, before: float) -> int:
        self._try("purge")
        return await super().purge(before)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        self._try("replace", new)
        await super().replace(old, new, response, erase=erase)


STORE_IS_AWAY = StoreUnavailable("on purpose")


@pytest.mark.parametrize(
    ("task", "call", "state", "error", "about_job"),
    [
        (Action.LOOK, "look", None, STORE_IS_AWAY, False),
        (Action.LOOK, "look", None, ValueError("on purpose"), False),
        (Action.CLAIM, "replace", State.RUNNING, STORE_IS_AWAY, True),
        (Action.CLAIM, "replace", State.RUNNING, ValueError("on purpose"), True),
        (Action.FETCH, "request", None, STORE_IS_AWAY, True),
        (Action.STORE, "replace", State.SUCCEEDED, STORE_IS_AWAY, True),
        (Action.CONCLUDE, "replace", State.SUCCEEDED, ValueError("on purpose"), True),
        (Action.HEED, "heed", None, ValueError("on purpose"), False),
        (Action.SWEEP, "purge", None, STORE_IS_AWAY, False),
        (Action.SWEEP, "purge", None, ValueError("on purpose"), False),
    ],
)
async def test_trouble_is_told(
    make_store: MakeStore,
    task: Action,
    call: str,
    state: State | None,
    error: Exception,
    about_job: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What goes wrong that is no job's own failure is told, with what was to be done, why it was
    not, and for which job; the job comes to its end all the same."""
    store = Troublesome(make_store(), call, error, state)
    program = Program("async function", store)
    async with program.open() as events:
        first, second = await program.submit("hold"), await program.submit("succeed")
        store.left = 1
        if task is not Action.HEED:
            program.go_on.set()
        troubled = await events.next(Troubled)
        program.go_on.set()
        assert (troubled.action, troubled.error) == (task, error)
        assert (troubled.job_id in (first, second)) is about_job
        for job_id in (first, second):
            assert (await events.next(Finished, job_id)).job.state is State.SUCCEEDED
    assert sum(isinstance(event, Troubled) for event in events.all) == 1
    assert "a subscriber of events has failed" not in caplog.text


@pytest.mark.parametrize(
    ("task", "state"),
    [(Action.RESCUE, State.INTERRUPTED), (Action.SETTLE, State.QUEUED), (Action.END, State.FAILED)],
)
async def test_trouble_with_one_of_many(make_store: MakeStore, task: Action, state: State) -> None:
    """What cannot be decided about one job is told once, however often it is tried."""
    events, error = Heard(), ValueError("on purpose")
    store = Troublesome(make_store(), "replace", error, state)
    async with store:
        handlers = Program("async function", MemoryStore()).jobs.handlers
        claims = Claims(store, handlers, events, random.Random(), max_starts=25)
        job = a_job(route="renamed" if task is Action.END else "succeed")
        if task is Action.SETTLE:
            claims.doubt(claim := claims.start(job, NOW))
            job = claim.job
        if task is Action.RESCUE:
            job = transitions.start(job, "0" * 16, NOW)
        await store.add(job, CALL)
        store.left = 3
        while store.left:
            await (claims.rescue() if task is Action.RESCUE else claims.settle())
            await claims.end([job] * (task is Action.END))
        assert events.all == [Troubled(task, error, job.id)]


async def hang_up(program: Program, store: Store) -> None:
    """Submit a job, and go once it is stored, before that is known."""
    submission = asyncio.create_task(program.submit("succeed"))
    while not await store.find(Query()):
        await asyncio.sleep(0)
    submission.cancel()
    with suppress(asyncio.CancelledError):
        await submission


async def test_trouble_with_a_submission_whose_caller_has_gone(make_store: MakeStore) -> None:
    """If it cannot be told whether a job was stored, as who submits it has gone, that is told."""
    error = ValueError("on purpose")

    class Unreadable(FaultyStore):
        async def get(self, *args: Any) -> Job:
            raise error

    store = Unreadable(make_store(), once("add", Fault.HELD))
    program = Program("async function", store)
    async with program.open() as events:
        await hang_up(program, store)
        troubled = await events.next(Troubled)
        assert (troubled.action, troubled.error) == (Action.ADD, error)


async def test_a_submission_whose_caller_has_gone(make_store: MakeStore) -> None:
    """A job that is stored although its caller has gone is told as submitted, and then started."""
    store = FaultyStore(make_store(), once("add", Fault.HELD))
    program = Program("async function", store)
    async with program.open() as events:
        await hang_up(program, store)
        ended = (await events.next(Finished)).job
        check(events.of(ended.id), "Submitted Started Finished", ended)
