"""What a handler comes to is stored in any case: no job is left running for what it has said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import Job, Jobs, Request, Response, State, current_job
from asyncjobs.handler import Handler
from asyncjobs.job import Progress
from asyncjobs.outcome import Outcome, Raised
from asyncjobs.running.attempt import PROGRESS_INTERVAL
from asyncjobs.running.claim import Claim
from asyncjobs.running.deadlines import Deadlines

DEADLINE = 20


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


UNSTORABLE: dict[str, Callable[[], Any]] = {
    "no JSON": object,
    "a set": set,
    "bytes": lambda: b"x",
}


@pytest.mark.parametrize("what", UNSTORABLE)
@pytest.mark.parametrize("threaded", [False, True])
async def test_a_progress_that_cannot_be_stored_costs_no_result(
    store: str, what: str, threaded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """If the final write fails because of a progress, the result is stored without that."""
    jobs = Jobs(store=store)

    def spoil() -> str:
        # Past `current_job.progress`, which would refuse it.
        current_job.latest = Progress(1, None, UNSTORABLE[what]())
        return "the result"

    async def spoil_in_the_loop() -> str:
        return spoil()

    jobs.function(spoil if threaded else spoil_in_the_loop, name="spoil")
    async with jobs:
        job = await jobs.submit("spoil")
        assert await jobs.result(job.id, DEADLINE) == "the result"
        assert (await jobs.get(job.id)).progress is None
    assert "cannot be stored like this" in caplog.text


@pytest.mark.parametrize("raised", [False, True])
async def test_a_response_that_cannot_be_stored_is_a_failure(
    store: str, raised: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler whose response no store can keep has failed, and its job is over."""
    spoilt = Response(500 if raised else 200, ((b"a", b"b\r\nc: d"),))

    async def perform(request: Request) -> Outcome:
        current_job.progress(1, 2, "half")
        return Raised(spoilt, "ValueError") if raised else spoilt

    jobs = Jobs(store=store)
    jobs.register(Handler("spoil", perform, False, timeout=None, concurrency=None, ttl=60))
    async with jobs:
        job = await jobs.wait((await jobs.submit("spoil")).id, DEADLINE)
        assert job.state is State.FAILED
        assert b"the job's outcome cannot be stored" in (await jobs.response(job.id)).body
    assert [record.levelno for record in caplog.records].count(logging.ERROR) >= 1


async def test_the_store_goes_on_beside_what_it_cannot_keep(store: str) -> None:
    """Jobs that end in the same moment as one that cannot be stored lose nothing by that."""
    jobs = Jobs(store=store)

    @jobs.function(name="spoil")
    async def spoil(number: int) -> int:
        if number % 2:
            current_job.latest = Progress(1, None, object())  # type: ignore[arg-type]
        return number

    async with jobs:
        submitted = [await jobs.submit("spoil", number) for number in range(20)]
        results = [await jobs.result(job.id, DEADLINE) for job in submitted]
        assert results == list(range(20))
        assert (await jobs.health()).accepting


async def test_a_job_that_is_given_back_again_and_again_comes_to_an_end(store: str) -> None:
    """A job that never ends in time is given back by each program that stops, and is interrupted
    once it was started `max_starts` times; its result says why."""
    for start in range(1, 4):
        jobs = Jobs(store=store, name="app", drain_time=0, max_starts=3)
        begun = asyncio.Event()

        @jobs.function(name="endless", idempotent=True)
        async def endless(begun: asyncio.Event = begun) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with jobs:
            if start == 1:
                job_id = (await jobs.submit("endless")).id
            async with asyncio.timeout(DEADLINE):
                await begun.wait()
            assert (await jobs.get(job_id)).attempt == start
    async with Jobs(store=store, name="app") as after:
        ended = await after.get(job_id)
        assert (ended.state, ended.attempt, ended.crashes) == (State.INTERRUPTED, 3, 0)
        assert b"'max_starts'" in (await after.response(job_id)).body


async def test_who_cancels_the_handlers_task_keeps_no_outcome_from_being_stored(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation of a handler's task that comes when the handler has ended changes nothing."""
    jobs = Jobs(store=store)
    tasks: list[asyncio.Task[object] | None] = []
    replaced = asyncio.Event()

    @jobs.function(name="done")
    async def done() -> str:
        tasks.append(asyncio.current_task())
        return "done"

    async with jobs, asyncio.timeout(DEADLINE):
        replace = jobs._opened.store.replace

        async def slow(*args: Any) -> None:
            replaced.set()
            for _ in range(5):
                for task in tasks:
                    assert task is not None
                    task.cancel()
                await asyncio.sleep(0)
            await replace(*args)

        monkeypatch.setattr(jobs._opened.store, "replace", slow)
        job = await jobs.submit("done")
        await replaced.wait()
        assert await jobs.result(job.id) == "done"
        assert (await jobs.health()).running == 0


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_a_progress_that_comes_too_late_is_no_error(
    store: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A progress that was to be stored when its job ended leaves nothing in the log."""
    jobs = Jobs(store=store if url == "sqlite" else url)

    @jobs.function(name="report")
    async def report() -> None:
        current_job.progress(1)
        await asyncio.sleep(PROGRESS_INTERVAL)

    async with jobs:
        submitted = [await jobs.submit("report") for _ in range(20)]
        for job in submitted:
            assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED
    assert not caplog.records


async def test_a_claim_that_fails_for_whatever_reason_costs_no_place(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a job cannot be claimed because of an error that nobody expects, it is tried again, and
    the place that it was to have is free."""
    jobs = Jobs(store=store, concurrency=1)
    go_on = asyncio.Event()

    @jobs.function(name="work")
    async def work() -> None:
        await go_on.wait()

    async with jobs:
        claim = jobs._opened.claims.claim
        failures = 3

        async def fail(job: Job) -> Claim | None:
            nonlocal failures
            if failures:
                failures -= 1
                raise ValueError("nobody expects this")
            return await claim(job)

        monkeypatch.setattr(jobs._opened.claims, "claim", fail)
        submitted = [await jobs.submit("work") for _ in range(3)]
        go_on.set()
        for job in submitted:
            assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED
    assert "cannot be started; the next try is soon" in caplog.text


async def test_an_attempt_that_breaks_where_nobody_expects_it(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in what is ours around a handler, its job is not left running."""
    jobs = Jobs(store=store)

    @jobs.function(name="work")
    async def work() -> None:
        pass

    def fail(*args: object) -> None:
        raise ValueError("nobody expects this")

    monkeypatch.setattr(Deadlines, "clear", fail)
    async with jobs:
        job = await jobs.wait((await jobs.submit("work")).id, DEADLINE)
        assert job.state is State.FAILED
        assert job.reason == "the attempt could not be brought to its end"
        assert (await jobs.health()).running == 0
