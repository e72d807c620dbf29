"""Jobs that have to do with other jobs: they submit them, wait for them, and pass on what they say."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from asyncjobs import Jobs, State, current_job
from asyncjobs.errors import HandlerFailed, JobInterrupted, JobTimedOut, JobWasCancelled

DEADLINE = 20


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


class NoWait(random.Random):
    """Randomness by which nothing waits for its next attempt."""

    def uniform(self, a: float, b: float) -> float:
        return a


@pytest.mark.parametrize("child", ["cancelled", "timed out", "interrupted", "failed"])
@pytest.mark.parametrize("passed_on", ["by result", "by hand"])
@pytest.mark.parametrize("repeatable", [True, False])
async def test_the_failure_of_one_job_is_not_that_of_another(
    store: str, child: str, passed_on: str, repeatable: bool
) -> None:
    """A job that waits for another one, and passes on what became of that, has raised an exception
    like any other: it is not cancelled, timed out, interrupted or started again for it."""
    jobs = Jobs(store=store, max_starts=3)
    failures = {
        "cancelled": JobWasCancelled("the child was cancelled"),
        "timed out": JobTimedOut("the child took too long"),
        "interrupted": JobInterrupted("the child was interrupted"),
        "failed": HandlerFailed("the child failed"),
    }

    @jobs.function(name="child", timeout=0.05 if child == "timed out" else None)
    async def run_child() -> None:
        if child == "cancelled":
            await jobs.cancel(current_job.id)
        if child == "failed":
            raise ValueError
        await asyncio.Event().wait()

    @jobs.function(name="parent", idempotent=repeatable)
    async def parent() -> None:
        if passed_on == "by hand" or child == "interrupted":
            raise failures[child]
        await jobs.result((await jobs.submit("child")).id)

    async with jobs:
        job = await jobs.submit("parent")
        with pytest.raises(HandlerFailed, match=f"raised {type(failures[child]).__name__}"):
            await jobs.result(job.id, DEADLINE)
        ended = await jobs.get(job.id)
        assert (ended.state, ended.attempt) == (State.FAILED, 1)


async def test_a_child_that_fails_is_tried_again_by_its_parent(store: str) -> None:
    """What a job passes on of another one counts as an error for its own `retries`."""
    jobs = Jobs(store=store, random=NoWait())

    @jobs.function(retries=2)
    async def parent() -> None:
        raise JobTimedOut("that was another job")

    async with jobs:
        job = await jobs.submit(parent)
        ended = await jobs.wait(job.id, DEADLINE)
        assert (ended.state, ended.attempt, ended.errors) == (State.FAILED, 3, 2)
