"""Who asks again when told to finds the job, or its result."""

from __future__ import annotations

import asyncio
import math
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart

from asyncjobs import QuartJobs, transitions
from asyncjobs.testing import a_job
from asyncjobs.web.answering.answers import retry_after

NOW = 1_000_000.0


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
    assert retry_after(a_job(created=NOW - age, ttl=ttl), NOW) == seconds


@given(st.floats(0, 1e9), st.floats(2, 1e9), st.floats(0, 1))
def test_who_obeys_finds_the_result(age: float, ttl: float, ended: float) -> None:
    """Whenever a job ends after it was polled, its result is still there when its client comes
    back: `ttl` runs from the end of the job."""
    job = transitions.start(a_job(created=NOW - age, ttl=ttl), "worker", NOW - age)
    back = NOW + retry_after(job, NOW)
    end = transitions.finish(job, 200, NOW + ended * (back - NOW))
    assert end.expires is not None
    assert end.expires > back


async def test_the_header_heeds_the_ttl_of_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll and status of a job that has run for long say so, whatever other routes have."""
    app = Quart("short")
    jobs = QuartJobs(app, store="memory:")

    @app.get("/short")
    @jobs.background(ttl=6)
    async def short() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.get("/short")).headers["Location"]
        later = SimpleNamespace(time=lambda: time.time() + 1000)
        monkeypatch.setattr("asyncjobs.web.answering.polls.time", later)
        for url in (poll, f"/jobs/{poll[-32:]}"):
            assert (await client.get(url)).headers["Retry-After"] == "3"
