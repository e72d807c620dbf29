"""What the log says of jobs: a line for each that ends, and words for all that happens besides."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State, current_job, log, transitions
from asyncjobs.errors import HandlerFailed, StoreUnavailable
from asyncjobs.events import (
    Action,
    Draining,
    Event,
    Finished,
    Gone,
    HandlerRaised,
    Lost,
    NeverStarted,
    Overran,
    Released,
    Rescued,
    Retried,
    Started,
    Submitted,
    Troubled,
    Unfit,
)
from asyncjobs.job import Job
from asyncjobs.running import attempt
from asyncjobs.testing import CANCELLED, INTERRUPTED, NOW, a_job
from heard import DEADLINE, heard
from luck import NoWait


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{path}"


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncjobs")


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """The lines of one level, of the jobs and not of their store."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and record.name == "asyncjobs"
    ]


# Of each job that ends.


async def test_each_job_that_ends_has_its_line(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each job that ends has one line at the level INFO, and no other: its id, its route, how it
    ended, with which HTTP status, in how many milliseconds, and why, if that is known."""
    jobs = Jobs(store=store, random=NoWait(), concurrency=1)

    @jobs.function(name="answer", retries=1)
    async def answer(attempts: int) -> None:
        if current_job.attempt <= attempts:
            raise ValueError("on purpose")

    async with jobs:
        succeeds, fails, again = [await jobs.submit("answer", number) for number in (0, 2, 1)]
        for job in (succeeds, fails, again):
            await jobs.wait(job.id)
    lines = said(caplog, logging.INFO)
    expected = [
        (succeeds, r"succeeded with 200 in \d+ ms"),
        (fails, r"failed with 500 in \d+ ms: ValueError: on purpose"),
        (again, r"succeeded with 200 in \d+ ms"),
    ]
    assert len(lines) == len(expected)
    for job, how in expected:
        assert [line for line in lines if re.fullmatch(f"job {job.id} of answer {how}", line)]


async def test_a_job_of_a_view_has_its_line(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """The line of a view's job has the status that the view answered: a 404 has succeeded."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store=store)

    @app.post("/nothing")
    @jobs.background
    async def nothing() -> tuple[str, int]:
        return "", 404

    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.post("/nothing")).headers["Location"]
        assert (await client.get(poll, headers={"Prefer": "wait=20"})).status_code == 404
    (line,) = said(caplog, logging.INFO)
    assert re.fullmatch(rf"job {poll[-32:]} of nothing succeeded with 404 in \d+ ms", line)


async def test_a_cancelled_job_has_its_line(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """A job that was cancelled, queued or running, has its line as well."""
    jobs = Jobs(store=store, concurrency=1)

    @jobs.function(name="hold")
    async def hold() -> None:
        await jobs.wait(current_job.id)

    async with jobs:
        running, queued = await jobs.submit("hold"), await jobs.submit("hold")
        for job in (queued, running):
            await jobs.cancel(job.id)
            await jobs.wait(job.id)
    first, second = said(caplog, logging.INFO)
    assert re.fullmatch(
        rf"job {queued.id} of hold cancelled with 410 in \d+ ms: .* cancelled before it started",
        first,
    )
    assert re.fullmatch(
        rf"job {running.id} of hold cancelled with 410 in \d+ ms: .* cancelled while it ran", second
    )


async def test_an_interrupted_job_has_a_warning(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That a job was interrupted, and may have had effects, is a warning, with its reason."""
    jobs = Jobs(store=store, drain_time=0)

    @jobs.function(name="hold")
    async def hold() -> None:
        await jobs.wait(current_job.id)

    with heard(jobs) as events:
        async with jobs:
            job = await jobs.submit("hold")
            await events.next(Started)
    (line,) = [line for line in said(caplog, logging.WARNING) if job.id in line]
    assert re.fullmatch(
        rf"job {job.id} of hold interrupted with 500 in \d+ ms: the server was stopped while .*",
        line,
    )
    assert not [line for line in said(caplog, logging.INFO) if job.id in line]


def a_finished_job(seconds: float = 1.5, route: str = "report", reason: str | None = None) -> Job:
    started = transitions.start(a_job(route=route), "worker", NOW)
    return transitions.finish(started, 500 if reason else 200, NOW + seconds, reason)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1.5, "1500"), (0.0004, "0"), (0, "0"), (-3600, "0")]
)
def test_no_job_takes_less_than_no_time(
    seconds: float, milliseconds: str, caplog: pytest.LogCaptureFixture
) -> None:
    """How long a job took is never less than nothing, also if the clock was set back meanwhile."""
    log.say(Finished(a_finished_job(seconds)))
    (line,) = said(caplog, logging.INFO)
    assert f" in {milliseconds} ms" in line


def test_a_job_that_never_began_took_as_long_as_it_waited(caplog: pytest.LogCaptureFixture) -> None:
    """A job that ends before it has begun took from when it was made; also by a clock set back."""
    for seconds in (2, -2):
        job = a_job()
        log.say(Finished(transitions.cancel(job, job.created + seconds, CANCELLED)))
    first, second = said(caplog, logging.INFO)
    assert (" in 2000 ms" in first, " in 0 ms" in second) == (True, True)


# Words for everything.

ERRORS = [None, StoreUnavailable("it is away"), TimeoutError(), ValueError("a bug")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("task", Action)
def test_all_trouble_has_words(
    task: Action, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was to be done, and whatever kept it from being done, is said in one line: with a
    traceback unless that was to be expected."""
    log.say(Troubled(task, error, job_id="0123", count=7))
    (record,) = caplog.records
    line = record.getMessage()
    assert "%" not in line
    assert "None" not in line
    assert record.levelno >= logging.WARNING
    if isinstance(error, ValueError):
        assert record.exc_info is not None
    elif (
        error is not None and not record.exc_info and task not in (Action.STOP_SWEEP, Action.DRAIN)
    ):
        assert "it is away" in line or "TimeoutError" in line
    about_one = {
        Action.CLAIM,
        Action.FETCH,
        Action.STORE,
        Action.CONCLUDE,
        Action.PERFORM,
        Action.ADD,
    }
    if task in {*about_one, Action.RESCUE, Action.CANCEL, Action.SETTLE, Action.END}:
        assert "0123" in line


FORGED = "done\n2026-01-01 ERROR asyncjobs: all is lost\r\x1b[31m\u2028\u202e"


def all_events() -> list[Event]:
    """One of each kind, with all the text that somebody else has written."""
    queued = a_job(route=FORGED)
    running = transitions.start(queued, "worker", NOW)
    failed = transitions.finish(running, 500, NOW, FORGED)
    return [
        Submitted(queued),
        Started(running),
        *(HandlerRaised(running, None, is_last) for is_last in (True, False)),
        Unfit(running, HandlerFailed(FORGED)),
        Released(transitions.release(running, FORGED)),
        Finished(failed),
        Finished(transitions.interrupt(running, NOW, INTERRUPTED)),
        Retried(transitions.retry(failed, NOW)),
        Rescued(failed),
        NeverStarted(failed),
        Gone(failed),
        Lost(running),
        *(Overran(running, 2.5, is_over) for is_over in (True, False)),
        *(Draining(2, seconds) for seconds in (5.0, None)),
        *(Troubled(task, StoreUnavailable(FORGED), running.id) for task in Action),
    ]


def test_there_is_one_of_each_kind() -> None:
    """What is tried here is all there is."""
    assert {type(event) for event in all_events()} == set(Event.__args__)


@pytest.mark.parametrize("event", all_events(), ids=lambda event: type(event).__name__)
def test_nobody_writes_lines_of_his_own(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    """A route, a reason or an error with line ends and control characters makes no line in the log,
    and colours none; each event has one line at most."""
    log.say(event)
    assert len(caplog.records) <= 1
    for record in caplog.records:
        assert record.getMessage().isprintable()


def test_an_exception_that_is_tried_again_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does the route of a job whose attempt has failed; the traceback is Python's own."""
    error = ValueError("on purpose")
    for is_last in (True, False):
        log.say(
            HandlerRaised(transitions.start(a_job(route=FORGED), "worker", NOW), error, is_last)
        )
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert record.exc_info is not None


async def test_a_handler_forges_no_line(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """The message of a handler's exception makes no line but that of its job."""
    jobs = Jobs(store=store)

    @jobs.function(name="forge")
    async def forge() -> None:
        raise ValueError(FORGED)

    async with jobs:
        job = await jobs.wait((await jobs.submit("forge")).id)
    assert job.state is State.FAILED
    (line,) = said(caplog, logging.INFO)
    assert line.isprintable()
    assert r"ValueError: done\n2026-01-01 ERROR" in line


async def test_the_name_of_a_function_forges_no_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does the name of a function, wherever it is written: also of a thread that is lost."""
    monkeypatch.setattr(attempt, "STOP_GRACE", 0.05)
    jobs, go_on = Jobs(store="memory:"), threading.Event()
    jobs.function(name=FORGED, timeout=0.05)(lambda: go_on.wait(DEADLINE))
    async with jobs:
        await jobs.wait((await jobs.submit(FORGED)).id)
        go_on.set()
        async with asyncio.timeout(DEADLINE):
            while "is back" not in caplog.text:
                await asyncio.sleep(0.005)
    lines = [record.getMessage() for record in caplog.records if record.name == "asyncjobs"]
    assert [line for line in lines if "does not stop" in line]
    assert all(line.isprintable() for line in lines)


def test_the_template_of_a_line_is_the_same_for_all_jobs(caplog: pytest.LogCaptureFixture) -> None:
    """What varies is no part of the template, by which error trackers put lines together."""
    for job_id in ("0123", "4567"):
        log.say(Troubled(Action.CLAIM, StoreUnavailable("it is away"), job_id))
        log.say(Finished(a_finished_job()))
    templates = {record.msg for record in caplog.records}
    assert len(templates) == 2
    assert not any("0123" in template for template in templates)
