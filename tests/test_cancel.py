"""Cancelling: whoever is told that a job will end can rely on it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions
from asyncjobs.errors import StoreUnavailable
from asyncjobs.store import Liveness
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.peers import Peers
from asyncjobs.testing import NOW, REQUEST, a_job

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
