"""Cancelling: whoever is told that a job will end can rely on it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions
from asyncjobs.control import Control
from asyncjobs.errors import StoreUnavailable
from asyncjobs.hints import Hint, Hints
from asyncjobs.store import Liveness, StoreWrapper
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.peers import Peers
from asyncjobs.testing import NOW, REQUEST, a_job
from asyncjobs.watch import Watch

DEADLINE = 20
STRANGER = "0" * 16


def judged(monkeypatch: pytest.MonkeyPatch, liveness: Liveness) -> None:
    """Have a process that is not there be taken for this, and us for what we are."""
    judge = Peers.liveness

    def judge_stranger(self: Peers, name: str) -> Liveness:
        return liveness if name == STRANGER else judge(self, name)

    monkeypatch.setattr(Peers, "liveness", judge_stranger)


async def test_a_job_of_a_living_process_is_asked_to_stop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that another living process runs is asked to stop: that process ends it."""
    judged(monkeypatch, Liveness.ALIVE)
    async with Jobs(store=f"sqlite:///{path}") as jobs, SqliteStore(path) as other:
        job = await other.add(transitions.start(a_job(), STRANGER, NOW), REQUEST)
        asked = await jobs.cancel(job.id)
        assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)


async def test_a_job_of_a_dead_process_is_cancelled_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that a dead process has left running ends by the cancellation itself."""
    judged(monkeypatch, Liveness.ALIVE)  # so that nobody rescues it first
    async with Jobs(store=f"sqlite:///{path}") as jobs, SqliteStore(path) as other:
        job = await other.add(transitions.start(a_job(ttl=5), STRANGER, NOW), REQUEST)
        judged(monkeypatch, Liveness.DEAD)
        ended = await jobs.cancel(job.id)
        assert (ended.state, ended.finished and ended.expires) == (
            State.CANCELLED,
            ended.finished and ended.finished + 5,
        )
        assert (await jobs.response(job.id)).status == 410


async def test_a_cancellation_that_nobody_may_heed_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be told whether the process of a job lives, nothing is changed and nothing is
    promised: the answer is a 503, and works once that can be told."""
    judged(monkeypatch, Liveness.UNKNOWN)
    app = Quart("app", root_path=str(path.parent))
    jobs = QuartJobs(app, store=f"sqlite:///{path}")
    async with app.test_app() as test_app, SqliteStore(path) as other, app.app_context():
        job = await other.add(transitions.start(a_job(), STRANGER, NOW), REQUEST)
        with pytest.raises(StoreUnavailable, match="whether the process"):
            await jobs.jobs.cancel(job.id)
        answer = await test_app.test_client().delete(f"/jobs/{job.id}")
        assert answer.status_code == 503
        assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:store-unavailable"
        assert "Retry-After" in answer.headers
        assert await jobs.jobs.get(job.id) == job

        judged(monkeypatch, Liveness.DEAD)
        answer = await test_app.test_client().delete(f"/jobs/{job.id}")
        assert (answer.status_code, (await answer.get_json())["state"]) == (200, "cancelled")


@pytest.mark.parametrize("memory", [False, True])
async def test_a_job_of_this_process_is_stopped(path: Path, memory: bool) -> None:
    """A job that runs here is asked to stop, and is cancelled in a moment."""
    jobs = Jobs(store="memory:" if memory else f"sqlite:///{path}")

    @jobs.function
    async def wait() -> None:
        await asyncio.Event().wait()

    async with jobs:
        job = await jobs.submit(wait)
        assert (await jobs.cancel(job.id)).cancel_requested
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED


async def test_a_handler_that_cleans_up_is_not_cancelled_once_more() -> None:
    """A handler that has seen that it shall stop, or was cancelled, can await what it has to do."""
    jobs = Jobs(store="memory:")
    begun, cleaned_up = asyncio.Event(), asyncio.Event()

    @jobs.function
    async def look() -> None:
        begun.set()
        try:
            while True:
                current_job.check_cancelled()
                await asyncio.sleep(0)
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            cleaned_up.set()

    async with jobs:
        job = await jobs.submit(look)
        await begun.wait()
        await jobs.cancel(job.id)
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert cleaned_up.is_set()


async def test_a_second_cancellation_is_told_the_truth_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To cancel a job once more that was asked to stop already promises no more than the first
    time: its process may have died since."""
    judged(monkeypatch, Liveness.ALIVE)
    async with Jobs(store=f"sqlite:///{path}") as jobs, SqliteStore(path) as other:
        job = await other.add(transitions.start(a_job(), STRANGER, NOW), REQUEST)
        await jobs.cancel(job.id)
        judged(monkeypatch, Liveness.UNKNOWN)
        with pytest.raises(StoreUnavailable):
            await jobs.cancel(job.id)
        judged(monkeypatch, Liveness.DEAD)
        assert (await jobs.cancel(job.id)).state is State.CANCELLED


class Deaf(StoreWrapper):
    """A store of which no hint arrives here."""

    def changes(self) -> AsyncIterator[Hint]:
        return Hints().listen()


async def test_a_job_of_another_process_is_stopped_also_if_no_hint_arrives(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that runs in one process, and is cancelled in another one, is stopped at the next look
    of the first, where the hint was lost: a handler gets its `CancelledError` all the same."""
    monkeypatch.setattr("asyncjobs.watch.REREAD_INTERVAL", 0.05)
    jobs = Jobs(store=Deaf(SqliteStore(path)), name="one")
    begun, told = asyncio.Event(), []

    @jobs.function(name="wait")
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async with jobs, SqliteStore(path) as theirs, Watch(theirs) as watch:
        other = Control(theirs, watch)
        job = await jobs.submit("wait")
        await begun.wait()
        assert (await other.cancel(job.id)).cancel_requested
        assert (await other.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert told == ["cancelled"]


LOOKS: dict[str, Callable[[], object]] = {
    "progress": lambda: current_job.progress(1),
    "track": lambda: next(iter(current_job.track([1]))),
    "check_cancelled": lambda: current_job.check_cancelled(),
}


@pytest.mark.parametrize("look", LOOKS)
async def test_a_thread_stops_at_its_next_look(look: str) -> None:
    """A sync handler stops at its next `progress`, step of `track`, or `check_cancelled`."""
    jobs = Jobs(store="memory:")
    begun, told = threading.Event(), []

    @jobs.function(name="work")
    def work() -> None:
        begun.set()
        try:
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                LOOKS[look]()
        except asyncio.CancelledError as error:
            told.append(type(error).__name__)
            raise

    async with jobs:
        job = await jobs.submit("work")
        assert await asyncio.to_thread(begun.wait, DEADLINE)
        await jobs.cancel(job.id)
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert told == ["JobCancelled"]


async def test_a_queued_job_is_cancelled_at_once_and_never_starts() -> None:
    """A job that waits in the queue is cancelled by the cancellation itself, and does not start
    when there is room."""
    jobs = Jobs(store="memory:", concurrency=1)
    go, ran = asyncio.Event(), []

    @jobs.function(name="work")
    async def work(number: int) -> None:
        ran.append(number)
        await go.wait()

    async with jobs:
        first = await jobs.submit("work", 1)
        second, third = await jobs.submit("work", 2), await jobs.submit("work", 3)
        assert (await jobs.cancel(second.id)).state is State.CANCELLED
        go.set()
        for job in (first, third):
            assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED
        assert (await jobs.get(second.id)).state is State.CANCELLED
    assert ran == [1, 3]


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("threaded", [False, True])
async def test_a_cancelled_job_stays_so_whatever_its_handler_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, memory: bool, threaded: bool
) -> None:
    """Once its cancellation is stored a job is cancelled for good: neither the progress nor the
    result of a handler that goes on changes anything."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
    jobs = Jobs(store="memory:" if memory else f"sqlite:///{path}")
    begun, go, ended = (threading.Event() for _ in range(3))

    async def stubborn() -> str:
        begun.set()
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        with suppress(asyncio.CancelledError):
            current_job.progress(1)
        ended.set()
        return "done"

    def stubborn_thread() -> str:
        begun.set()
        assert go.wait(DEADLINE)
        with suppress(asyncio.CancelledError):
            current_job.progress(1)
        ended.set()
        return "done"

    jobs.function(name="work")(stubborn_thread if threaded else stubborn)
    async with jobs:
        job = await jobs.submit("work")
        assert await asyncio.to_thread(begun.wait, DEADLINE)
        await jobs.cancel(job.id)
        cancelled = await jobs.wait(job.id, DEADLINE)
        assert cancelled.state is State.CANCELLED
        go.set()
        assert await asyncio.to_thread(ended.wait, DEADLINE)
    # What it has come to is dropped by the time that all is closed.
    if not memory:
        async with SqliteStore(path) as store:
            assert await store.get(job.id) == cancelled
