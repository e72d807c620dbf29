"""`Cancel-After: <seconds>` on a submission: how long a client gives its job."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, Request
from quart.typing import TestClientProtocol as Client
from werkzeug.datastructures import Headers

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions
from asyncjobs.errors import InvalidRequest, JobInterrupted
from asyncjobs.job import Job, Response
from asyncjobs.outcome import Outcome, Raised, Stopped
from asyncjobs.problem import problem
from asyncjobs.running.claims import Claims
from asyncjobs.running.overdue import OVERDUE_CHUNK
from asyncjobs.store import Query, Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import BROKEN, NOW, REQUEST, FakeClock, a_job
from asyncjobs.verdict import concluded
from asyncjobs.web.http.cancel_after import cancel_after

DEADLINE = 20.0
FOR_EVER = 3600.0


def said_in(*lines: str) -> float:
    """The seconds that a request with these lines of the header gives its job."""
    headers = Headers([("Cancel-After", line) for line in lines])
    scope: Any = {}
    return cancel_after(
        Request("POST", "http", "/", b"", headers, "", "1.1", scope, send_push_promise=None)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["30"], 30.0),
        (["0"], 0.0),
        (["007"], 7.0),
        (["0.25"], 0.25),
        (["2147483648"], 2147483648.0),
        ([" 5 "], 5.0),
        (["5", "5"], 5.0),
        (["5, 5.0"], 5.0),
    ],
)
def test_whole_and_decimal_seconds_are_taken(lines: list[str], seconds: float) -> None:
    """It is a whole number or a decimal in ASCII digits, at most 2147483648; the same may be said
    more than once."""
    assert said_in(*lines) == seconds


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        ["-1"],
        ["+1"],
        ["1e3"],
        [".5"],
        ["5."],
        ["inf"],
        ["nan"],
        ["soon"],
        ["1_0"],
        ["1 2"],
        ["\N{ARABIC-INDIC DIGIT THREE}"],
        ["2147483649"],
        ["9" * 5000],
        ["5;x=1"],
        ['"5"'],
        ["5", "6"],
        ["5, 6"],
        ["5", "soon"],
        ["5,"],
    ],
)
def test_all_else_is_refused_by_name(lines: list[str]) -> None:
    """What is malformed, negative, too large, or said differently twice, is refused with words that
    name the header."""
    with pytest.raises(InvalidRequest, match=r"^Cancel-After "):
        said_in(*lines)


class Parts:
    """An app with a job that goes on until it is cancelled, and one beside it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.app = Quart("deadlines", root_path=str(folder))
        self.jobs = QuartJobs(self.app, store=f"sqlite:///{folder}/jobs.db", **options)
        self.ran: list[str] = []
        self.inside, self.go = asyncio.Event(), asyncio.Event()

        @self.app.post("/wait")
        @self.jobs.background
        async def wait() -> str:
            await self.until_cancelled("wait")
            return "never"

        @self.app.post("/short")
        @self.jobs.background(timeout=0.05)
        async def short() -> str:
            await self.until_cancelled("short")
            return "never"

        @self.app.post("/shielded")
        @self.jobs.background
        async def shielded() -> str:
            async with current_job.shield():
                self.inside.set()
                await self.go.wait()
                self.ran.append("shielded")
            return "went on"

        @self.app.post("/thread")
        @self.jobs.background
        def thread() -> str:
            self.ran.append("thread")
            never = threading.Event()
            while not never.wait(0.001):
                current_job.check_cancelled()
            return "never"

        @self.app.post("/quick")
        @self.jobs.background
        async def quick() -> str:
            return "done"

    async def until_cancelled(self, name: str) -> None:
        self.ran.append(name)
        self.inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ran.append("cancelled")
            raise

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        async with self.app.test_app() as test_app, self.app.app_context():
            yield test_app.test_client()

    async def submit(self, client: Client, path: str, seconds: str | None = None) -> Job:
        headers = {} if seconds is None else {"Cancel-After": seconds}
        answer = await client.post(path, headers=headers)
        assert answer.status_code == 202
        return await self.jobs.jobs.get((await answer.get_json())["TaskId"])


@pytest.mark.parametrize("path", ["/wait", "/thread"])
async def test_a_running_job_is_cancelled_by_itself(tmp_path: Path, path: str) -> None:
    """When its time is over a running job is stopped as by DELETE: an async handler gets its
    `CancelledError`, a thread learns it at its next look; the result says why."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, path, "0.2")
        assert job.cancel_at is not None
        ended = await parts.jobs.jobs.wait(job.id, DEADLINE)
        assert (ended.state, ended.cancel_at) == (State.CANCELLED, None)
        result = await client.get(f"/jobs/{job.id}/result")
        problem = await result.get_json()
        assert (result.status_code, problem["type"]) == (410, "urn:asyncjobs:problem:cancelled")
        said = "the job was cancelled while it ran: its Cancel-After was over"
        assert (ended.reason, problem["detail"]) == (said, said)
    assert parts.ran == (["wait", "cancelled"] if path == "/wait" else ["thread"])


async def test_it_is_counted_from_the_submission_and_told_in_the_status(tmp_path: Path) -> None:
    """The time runs from the submission on; the status document tells when it is over, and nothing
    once the job has ended or where it has none."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, "/wait", "3600")
        assert job.cancel_at is not None
        assert job.cancel_at == pytest.approx(job.created + 3600, abs=DEADLINE)
        status = await (await client.get(f"/jobs/{job.id}")).get_json()
        assert status["cancel_at"][:10] >= status["created"][:10]
        assert status["cancel_at"].endswith("+00:00")
        await client.delete(f"/jobs/{job.id}")
        await parts.jobs.jobs.wait(job.id, DEADLINE)
        assert (await (await client.get(f"/jobs/{job.id}")).get_json())["cancel_at"] is None

        without = await parts.submit(client, "/quick")
        assert (await (await client.get(f"/jobs/{without.id}")).get_json())["cancel_at"] is None


async def test_a_job_that_is_soon_done_is_not_harmed(tmp_path: Path) -> None:
    """A job that ends in time has its result."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, "/quick", "3600")
        assert (await parts.jobs.jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED


async def test_a_client_can_only_shorten_what_the_route_allows(tmp_path: Path) -> None:
    """The route's timeout goes on to hold, however long a client gives its job."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, "/short", "3600")
        ended = await parts.jobs.jobs.wait(job.id, DEADLINE)
        assert (ended.state, ended.status) == (State.FAILED, 504)


async def test_a_shield_holds(tmp_path: Path) -> None:
    """What is shielded is not cut by the end of the time; the job is cancelled after it."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, "/shielded", "0.05")
        await asyncio.wait_for(parts.inside.wait(), DEADLINE)
        async with asyncio.timeout(DEADLINE):  # as for a DELETE, that it was asked to is stored
            while not (await parts.jobs.jobs.get(job.id)).cancel_requested:
                await asyncio.sleep(0.005)
        assert parts.ran == []
        parts.go.set()
        ended = await parts.jobs.jobs.wait(job.id, DEADLINE)
        assert ended.state is State.CANCELLED
        assert ended.reason == "the job was cancelled while it ran: its Cancel-After was over"
    assert parts.ran == ["shielded"]


async def test_a_queued_job_is_cancelled_and_never_starts(tmp_path: Path) -> None:
    """A job that still waits in the queue when its time is over is cancelled there, and does not
    start when there is room."""
    parts = Parts(tmp_path, concurrency=1)
    async with parts.serving() as client:
        first = await parts.submit(client, "/wait")
        await asyncio.wait_for(parts.inside.wait(), DEADLINE)
        queued = await parts.submit(client, "/wait", "0.05")
        assert queued.state is State.QUEUED
        ended = await parts.jobs.jobs.wait(queued.id, DEADLINE)
        said = "the job was cancelled before it started: its Cancel-After was over"
        assert (ended.state, ended.reason) == (State.CANCELLED, said)
        await parts.jobs.jobs.cancel(first.id)
        await parts.jobs.jobs.wait(first.id, DEADLINE)
    assert parts.ran == ["wait", "cancelled"]


async def test_no_time_at_all_starts_nothing(tmp_path: Path) -> None:
    """With `Cancel-After: 0` there is a job, which is cancelled and never starts."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        job = await parts.submit(client, "/wait", "0")
        ended = await parts.jobs.jobs.wait(job.id, DEADLINE)
        assert (ended.state, ended.attempt, parts.ran) == (State.CANCELLED, 0, [])


async def test_a_malformed_one_makes_no_job(tmp_path: Path) -> None:
    """A header that says no seconds is answered by a 400 problem that names it; there is no job."""
    parts = Parts(tmp_path)
    async with parts.serving() as client:
        for headers in ({"Cancel-After": "soon"}, {"cancel-after": "-1"}):
            answer = await client.post("/quick", headers=headers)
            problem = await answer.get_json()
            assert answer.status_code == 400
            assert problem["type"] == "urn:asyncjobs:problem:invalid-request"
            assert "Cancel-After" in problem["detail"]
        assert await parts.jobs.jobs.find(Query()) == []


@pytest.fixture(params=["memory", "sqlite"])
def make_store(
    request: pytest.FixtureRequest, path: Path
) -> Callable[[Callable[[], float]], Store]:
    """Makes a store that goes by a clock."""

    def make(clock: Callable[[], float]) -> Store:
        return (
            MemoryStore(clock=clock)
            if request.param == "memory"
            else SqliteStore(path, clock=clock)
        )

    return make


async def final(jobs: Jobs, job: Job) -> Job:
    return await jobs.wait(job.id, DEADLINE)


async def test_a_job_that_nobody_here_can_run_is_cancelled_as_well(
    make_store: Callable[[Callable[[], float]], Store],
) -> None:
    """Every process looks for jobs whose time is over: also those of handlers that it does not
    have; others are left alone."""
    clock = FakeClock()
    store = make_store(clock)
    async with Jobs(store=store, clock=clock, name="one") as jobs:
        overdue, other, none = [
            await store.add(a_job(cancel_at=cancel_at, program="one"), REQUEST)
            for cancel_at in (NOW + 10, NOW + 1000, None)
        ]
        clock.now = NOW + 11
        ended = await final(jobs, overdue)
        assert ended.reason == "the job was cancelled before it started: its Cancel-After was over"
        assert [(await jobs.get(job.id)).state for job in (other, none)] == [State.QUEUED] * 2


class Restless(random.Random):
    """Has those who look now and then do so soon; and never again once it `sleeps`."""

    sleeps = False

    def uniform(self, a: float, b: float) -> float:
        return 1e6 if self.sleeps else 0.01


async def test_however_many_are_overdue_none_waits_for_the_next_look(
    make_store: Callable[[Callable[[], float]], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that finds many jobs whose time is over goes on until all of them are cancelled."""
    clock, luck = FakeClock(), Restless()
    store, look = make_store(clock), Claims.cancel_overdue

    async def look_for_the_last_time(claims: Claims) -> bool:
        luck.sleeps = clock.now > NOW + 10
        return await look(claims)

    monkeypatch.setattr(Claims, "cancel_overdue", look_for_the_last_time)
    async with Jobs(store=store, clock=clock, name="one", random=luck) as jobs:
        overdue = [
            await store.add(a_job(cancel_at=NOW + 10, program="one"), REQUEST)
            for _ in range(2 * OVERDUE_CHUNK + 1)
        ]
        clock.now = NOW + 11
        for job in overdue:
            assert (await final(jobs, job)).state is State.CANCELLED


async def test_a_job_that_another_process_runs_is_asked_to_stop(path: Path) -> None:
    """A running job whose time is over is asked to stop by whoever sees that first, as if somebody
    had cancelled it: so it is stopped also by a program that does not know of Cancel-After."""
    clock = FakeClock()
    async with (
        SqliteStore(path, clock=clock) as worker,
        Jobs(store=f"sqlite:///{path}", clock=clock, name="one") as jobs,
    ):
        job = transitions.start(a_job(cancel_at=NOW + 10, program="one"), worker.worker, NOW)
        await worker.add(job, REQUEST)
        clock.now = NOW + 11
        async with asyncio.timeout(DEADLINE):
            while not (await jobs.get(job.id)).cancel_requested:
                await asyncio.sleep(0.005)
        assert (await jobs.get(job.id)).state is State.RUNNING


class Busy(StoreWrapper):
    """The first end of a job that comes to it waits until it may `go` on."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.has_come, self.go = asyncio.Event(), asyncio.Event()

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if new.state.is_final:
            self.has_come.set()
            await self.go.wait()
        await super().replace(old, new, response, erase=erase)


async def test_a_job_whose_time_is_over_before_its_end_is_stored_is_told_why(
    make_store: Callable[[Callable[[], float]], Store],
) -> None:
    """A handler has raised an exception in time, but somebody has asked for the end of the job
    before that was stored, as its time was over: then it is cancelled for that reason, and not
    before its time."""
    clock = FakeClock()
    store = Busy(make_store(clock))
    jobs = Jobs(store=store, clock=clock, name="one", random=Restless())

    @jobs.function(name="work")
    async def work() -> None:
        raise RuntimeError

    async with jobs, asyncio.timeout(DEADLINE):
        job, _ = await jobs.accept("work", jobs._functions.call("work", (), {}), cancel_at=NOW + 10)
        await store.has_come.wait()
        clock.now = NOW + 11
        while not (await jobs.get(job.id)).cancel_requested:
            await asyncio.sleep(0.005)
        store.go.set()
        ended = await final(jobs, job)
    assert ended.state is State.CANCELLED
    assert ended.reason == "the job was cancelled while it ran: its Cancel-After was over"
    assert ended.finished == NOW + 11


async def test_a_job_that_is_claimed_after_its_time_does_not_start(
    make_store: Callable[[Callable[[], float]], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has looked meanwhile, the process that would start a job whose time is over
    cancels it, and goes on to the next one."""

    async def no_look(self: object) -> None:
        pass

    monkeypatch.setattr("asyncjobs.running.claims.Claims.cancel_overdue", no_look)
    clock, ran = FakeClock(), []
    store = make_store(clock)
    jobs = Jobs(store=store, clock=clock, name="one", concurrency=1)
    go = asyncio.Event()

    @jobs.function(name="work")
    async def work(number: int) -> None:
        ran.append(number)
        await go.wait()

    async with jobs:
        await jobs.submit("work", 1)
        call = jobs._functions.call("work", (2,), {})
        late = [(await jobs.accept("work", call, cancel_at=NOW + 10))[0] for _ in range(3)]
        last = await jobs.submit("work", 3)
        clock.now = NOW + 11
        go.set()
        assert (await final(jobs, last)).state is State.SUCCEEDED
        for job in late:
            assert (await final(jobs, job)).state is State.CANCELLED
    assert ran == [1, 3]


@pytest.mark.parametrize("deed", ["interrupted", "raised"])
async def test_a_job_whose_time_is_over_does_not_run_again(deed: str) -> None:
    """A job that would be started again, after an exception or the stop of the server, is cancelled
    if its time is over."""
    job = transitions.start(a_job(cancel_at=NOW + 1, repeatable=True), "worker", NOW)
    outcome: Outcome = (
        Stopped(JobInterrupted("stopped"))
        if deed == "interrupted"
        else Raised(problem(BROKEN), "x")
    )
    for at, state in ((NOW + 0.5, State.QUEUED), (NOW + 1, State.CANCELLED)):
        after, _ = concluded(job, outcome, at, random.Random(1), retries=3, max_starts=9)
        assert after.state is state


async def test_embedding_takes_a_time_as_well() -> None:
    """`Jobs.accept(cancel_at=)` takes a time by the clock of the jobs, and refuses what is none."""
    jobs = Jobs(store="memory:")

    @jobs.function(name="work")
    async def work() -> None:
        await asyncio.Event().wait()

    async with jobs:
        call = jobs._functions.call("work", (), {})
        job, _ = await jobs.accept("work", call, cancel_at=jobs.now() + 0.05)
        assert (await final(jobs, job)).state is State.CANCELLED
        for wrong in ("soon", float("nan"), float("inf"), 1e15, -1e15, 10**400):
            with pytest.raises((TypeError, ValueError), match="cancel_at"):
                await jobs.accept("work", call, cancel_at=wrong)  # type: ignore[arg-type]


async def test_a_retry_has_no_time_of_its_own() -> None:
    """A job that an operator has retried is not cancelled by the Cancel-After of its submission."""
    jobs = Jobs(store="memory:")
    runs: asyncio.Queue[int] = asyncio.Queue()

    @jobs.function(name="work")
    async def work() -> None:
        runs.put_nowait(current_job.attempt)
        await asyncio.Event().wait()

    async with jobs:
        call = jobs._functions.call("work", (), {})
        job, _ = await jobs.accept("work", call, cancel_at=jobs.now() + 0.05)
        assert (await final(jobs, job)).state is State.CANCELLED
        again = await jobs.retry(job.id)
        assert again.cancel_at is None
        assert [await runs.get(), await runs.get()] == [1, 2]
        assert (await jobs.get(job.id)).cancel_at is None
