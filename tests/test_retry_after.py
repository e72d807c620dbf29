"""Who asks again when told to finds the job, or its result."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, request

from asyncjobs import Jobs, QuartJobs, errors, transitions
from asyncjobs.stores import MemoryStore
from asyncjobs.testing import FakeClock, a_job
from asyncjobs.web.answering import answers
from asyncjobs.web.answering.retry_after import retry_after, spread

NOW = 1_000_000.0
WAIT = {"Prefer": "wait=20"}
CHANCES = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("age", "ttl", "seconds"),
    [
        (0, 86400, 1),
        (100, 86400, 10),
        (10_000, 86400, 30),
        (10_000, math.inf, 30),
        (10_000, 60, 30),
        (10_000, 59, 29),
        (10_000, 5, 2),
        (10_000, 2, 1),
        (10_000, 0, 1),
        (10, 60, 1),
        (-10_000, 86400, 1),  # somebody has set the clock
    ],
)
def test_when_to_ask_again(age: float, ttl: float, seconds: int) -> None:
    """A tenth of the job's age, at most 30 s, and never more than half of what its result is kept
    for; at least 1 s."""
    assert retry_after(a_job(created=NOW - age, ttl=ttl), NOW, 0) == seconds


@given(st.floats(0, 1e9), st.floats(2, 1e9), CHANCES)
def test_who_is_answered_together_does_not_come_back_together(
    age: float, ttl: float, chance: float
) -> None:
    """By chance it is up to a quarter more, in whole seconds, and never more than half of what the
    result is kept for."""
    job = a_job(created=NOW - age, ttl=ttl)
    least, seconds = retry_after(job, NOW, 0), retry_after(job, NOW, chance)
    assert least <= seconds <= 1.25 * least
    assert seconds <= max(1, ttl / 2)


def test_all_whole_seconds_up_to_a_quarter_more_are_as_likely() -> None:
    """Of 20 s there are six of them, from 20 to 25, each for a sixth of all chances."""
    job = a_job(created=NOW - 200, ttl=86400)
    found = [retry_after(job, NOW, (number + 0.5) / 60) for number in range(60)]
    assert found == [20 + number // 10 for number in range(60)]


@given(st.floats(0, 1e9), st.floats(2, 1e9), st.floats(0, 1), CHANCES)
def test_who_obeys_finds_the_result(age: float, ttl: float, ended: float, chance: float) -> None:
    """Whenever a job ends after it was polled, its result is still there when its client comes
    back: `ttl` runs from the end of the job."""
    job = transitions.start(a_job(created=NOW - age, ttl=ttl), "worker", NOW - age)
    back = NOW + retry_after(job, NOW, chance)
    end = transitions.finish(job, 200, NOW + ended * (back - NOW))
    assert end.expires is not None
    assert end.expires > back


class Chances(random.Random):
    """These, one after the other, and then the last one for ever."""

    def __init__(self, *chances: float) -> None:
        super().__init__()
        self._chances = [*chances]

    def random(self) -> float:
        return self._chances.pop(0) if len(self._chances) > 1 else self._chances[0]


def left_to(app: Quart, chances: Chances) -> None:
    """Have an app with jobs leave to these what it leaves to chance."""
    status: Any = app.view_functions["asyncjobs_status"]
    status.__self__.side.random = chances


async def test_poll_and_status_say_it_by_chance() -> None:
    """Each answer about a job that has not ended has a chance of its own, the 202 of the submission
    is the same for all."""
    app, clock = Quart("chance"), FakeClock()
    jobs = QuartJobs(app, store=MemoryStore(clock=clock))

    @app.post("/hold")
    @jobs.background
    async def hold() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        left_to(app, Chances(0.0, 0.999, 0.5))
        client = running.test_client()
        answer = await client.post("/hold")
        poll = answer.headers["Location"]
        clock.advance(200)
        urls = [poll, f"/jobs/{poll[-32:]}", f"/jobs/{poll[-32:]}/result"]
        said = [(await client.get(url)).headers["Retry-After"] for url in urls]

    assert (answer.headers["Retry-After"], said) == ("1", ["20", "25", "23"])


@given(st.integers(1, 1000), CHANCES)
def test_more_by_chance_is_a_quarter_at_most(seconds: int, chance: float) -> None:
    """In whole seconds, and never less."""
    assert seconds <= spread(seconds, chance) <= 1.25 * seconds


async def test_who_is_refused_together_does_not_come_back_together() -> None:
    """A refusal says by chance up to a quarter more, as a poll does: of all kinds, at a submission,
    at a poll, and where the result of a repeat cannot be read."""
    app = Quart("refused")
    jobs = QuartJobs(app, store=MemoryStore(), max_queued=1)
    go = asyncio.Event()

    @app.post("/hold")
    @jobs.background(concurrency=1)
    async def hold() -> str:
        await go.wait()
        return "held"

    async def refuse(*args: Any, **kwargs: Any) -> Any:
        raise errors.StoreUnavailable("the disk cannot be read")

    async with app.test_app() as running:
        client = running.test_client()
        key = {"Idempotency-Key": "first"}
        first = await client.post("/hold", headers=key)
        await client.post("/hold")
        said = []
        for chance in (0.0, 0.5, 0.999):
            left_to(app, Chances(chance))
            answers = [await client.post("/hold")]
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Jobs, "poll", refuse)
                answers.append(await client.get(first.headers["Location"]))
            assert {answer.status_code for answer in answers} == {503}
            said.append([answer.headers["Retry-After"] for answer in answers])
        go.set()
        assert (await client.get(first.headers["Location"], headers=WAIT)).status_code == 200
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Jobs, "poll", refuse)
            left_to(app, Chances(0.999))
            repeat = await client.post("/hold", headers={**key, **WAIT})

    assert said == [["10", "10"], ["11", "11"], ["12", "12"]]
    assert (repeat.status_code, repeat.headers["Retry-After"]) == (503, "12")


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.StoreUnavailable, 10, 12),
        (errors.ShuttingDown, 5, 6),
        (errors.QuotaExceeded, 10, 12),
        (errors.QueueFull, 10, 12),
        (errors.TooManyWatchers, 30, 37),
    ],
)
def test_when_to_ask_again_after_a_refusal(
    error: type[errors.AsyncJobsError], least: int, most: int
) -> None:
    """All that is refused for a while says for how long, and others say nothing of that."""
    app = Quart("refused")
    found = {
        int(answers.refused(app, error("no"), chance / 100).headers["Retry-After"])
        for chance in range(100)
    }
    assert found == {*range(least, most + 1)}
    assert "Retry-After" not in answers.refused(app, errors.KeyReused("no"), 0.5).headers


async def test_the_header_heeds_the_ttl_of_the_route() -> None:
    """Poll and status of a job that has run for long say so, whatever other routes have."""
    app, clock = Quart("short"), FakeClock()
    jobs = QuartJobs(app, store=MemoryStore(clock=clock))

    @app.get("/short")
    @jobs.background(ttl=6)
    async def short() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.get("/short")).headers["Location"]
        clock.advance(1000)
        for url in (poll, f"/jobs/{poll[-32:]}"):
            assert (await client.get(url)).headers["Retry-After"] == "3"


async def test_the_time_is_the_stores() -> None:
    """Jobs and views ask the store for the time: on one whose clock is an hour ahead, jobs have its
    times, and who polls is told to ask again as after one second; and a poll that waits, which
    would be taken for one that has made its job itself by any other clock, holds nothing."""
    clock, go_on = FakeClock(time.time() + 3600), asyncio.Event()
    app = Quart("ahead")
    jobs = QuartJobs(app, store=MemoryStore(clock=clock))
    polls = 0

    @app.post("/work")
    @jobs.background
    async def work() -> str:
        await go_on.wait()
        return "done"

    @app.teardown_request
    async def leave(error: BaseException | None) -> None:
        nonlocal polls
        if request.method == "GET":
            polls += 1
            go_on.set()

    async with app.test_app() as running:
        client = running.test_client()
        submitted = clock.now
        poll = (await client.post("/work")).headers["Location"]
        clock.advance(1)
        async with app.app_context():
            job = await jobs.jobs.get(poll[-32:])
            assert jobs.jobs.now() == clock.now
        assert (job.created, job.due, job.started) == (submitted, submitted, submitted)
        answer = await client.get(poll, headers={"Prefer": "wait=20"})
        assert await answer.get_data(as_text=True) == "done"
        assert polls == 2  # its context was left for the wait, which let the handler go on
        async with app.app_context():
            assert (await jobs.jobs.get(poll[-32:])).finished == clock.now


async def test_polls_of_a_store_that_is_ahead() -> None:
    """Poll, status and cancellation of a young job say 1 s, by the clock of its store."""
    clock, app = FakeClock(time.time() + 3600), Quart("ahead")
    jobs = QuartJobs(app, store=MemoryStore(clock=clock))

    @app.post("/hold")
    @jobs.background
    async def hold() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        left_to(app, Chances(0.0))
        client = running.test_client()
        poll = (await client.post("/hold")).headers["Location"]
        status = f"/jobs/{poll[-32:]}"
        for age, seconds in ((0, "1"), (50, "5")):
            clock.advance(age)
            for url in (poll, status):
                assert (await client.get(url)).headers["Retry-After"] == seconds
        assert (await client.delete(status)).headers["Retry-After"] == "5"
