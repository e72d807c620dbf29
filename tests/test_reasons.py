"""Why a job is where it is: what owners and operators are told of it beside its state."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, abort

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions
from asyncjobs.documents import status_of
from asyncjobs.events import Started
from asyncjobs.job import Job, Request
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import NOW, REQUEST, RESPONSE, a_job
from heard import heard
from luck import NoWait
from schemas import JOB_ID, SCHEMAS, make_store

DEADLINE = 20
CALL = Request("POST", "/work", body=b'{"args": [], "kwargs": {}}')


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{path}"


def fail(message: str) -> None:
    raise ValueError(message)


async def fail_in_the_loop(message: str) -> None:
    fail(message)


async def hold() -> None:
    await asyncio.Event().wait()


HANDLERS = [fail, fail_in_the_loop]


# In a program.


class Words(str):
    """Text that has its own mind."""

    def __bool__(self) -> bool:
        raise KeyError

    __format__ = __bool__  # type: ignore[assignment]


async def test_an_exception_whose_words_are_of_a_kind_of_their_own(url: str) -> None:
    """Its message is a str, and none of its methods is asked for."""

    class Odd(Exception):
        def __str__(self) -> str:
            return Words("as it is")

    async def odd() -> None:
        raise Odd

    jobs = Jobs(store=url)
    jobs.function(odd, name="odd")
    async with jobs:
        job = await jobs.wait((await jobs.submit("odd")).id, DEADLINE)
    assert (job.state, job.reason) == (State.FAILED, f"{Odd.__qualname__}: as it is")


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_reason_forges_no_line_of_the_log(
    url: str, retries: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in the one line of its job, without what a terminal would obey."""
    caplog.set_level(logging.INFO, "asyncjobs")
    jobs = Jobs(store=url, random=NoWait())
    jobs.function(fail_in_the_loop, name="fail", retries=retries)
    async with jobs:
        job = await jobs.submit("fail", "a\nb\x1b[31m\u202e")
        await jobs.wait(job.id, DEADLINE)
    told = [record.getMessage() for record in caplog.records]
    assert sum(r"a\nb\x1b[31m\u202e" in line for line in told) == 1 + retries
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("message", ["no such report", "\ud800 and \0", "x" * 5000])
async def test_what_a_function_has_raised(
    url: str, handler: Callable[[str], Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A job whose function raised an exception has its type and message as the reason, whatever
    that is, and the status of its problem document."""
    caplog.set_level(logging.CRITICAL, "asyncjobs")  # no report of pytest-xdist can have it
    jobs = Jobs(store=url)
    # Not as an argument, which may be no such text.
    jobs.function(lambda: handler(message), name="fail")
    async with jobs:
        job = await jobs.wait((await jobs.submit("fail")).id, DEADLINE)
    assert (job.state, job.status) == (State.FAILED, 500)
    assert job.reason == transitions.as_reason(f"ValueError: {message}")


async def test_a_job_that_is_tried_again_says_why(url: str) -> None:
    """A job that runs once more has the reason for that, until it succeeds."""
    jobs, go_on = Jobs(store=url, random=NoWait()), asyncio.Event()

    async def work() -> None:
        if current_job.attempt == 1:
            raise ValueError("not yet")
        await go_on.wait()

    jobs.function(work, name="work", retries=1)
    async with jobs, asyncio.timeout(DEADLINE):
        with heard(jobs) as events:
            job = await jobs.submit("work")
            for _ in range(2):
                await events.next(Started, job.id)
        running = await jobs.get(job.id)
        assert (running.state, running.attempt) == (State.RUNNING, 2)
        assert (running.reason, running.status) == ("ValueError: not yet", None)
        go_on.set()
        ended = await jobs.wait(job.id)
    assert (ended.state, ended.reason, ended.status) == (State.SUCCEEDED, None, 200)


@pytest.mark.parametrize("idempotent", [True, False])
async def test_the_reason_of_a_job_whose_program_stops(path: Path, idempotent: bool) -> None:
    """A job that a program gives back or interrupts as it stops says so."""
    jobs = Jobs(store=f"sqlite:///{path}", name="app", drain_time=0)
    jobs.function(hold, name="hold", idempotent=idempotent)
    async with jobs:
        job = await jobs.submit("hold")
    async with SqliteStore(path) as store:
        left = await store.get(job.id)
    assert left.state is (State.QUEUED if idempotent else State.INTERRUPTED)
    assert left.reason == "the server was stopped while the job ran"
    assert left.status == (None if idempotent else 500)


async def test_the_reason_of_a_job_that_ran_for_too_long(url: str) -> None:
    """A job that ran past its timeout says how long it had."""
    jobs = Jobs(store=url)
    jobs.function(hold, name="hold", timeout=0.01)
    async with jobs:
        job = await jobs.wait((await jobs.submit("hold")).id, DEADLINE)
    assert (job.state, job.status) == (State.FAILED, 504)
    assert job.reason == "the job ran past the 0.01 s of its route"


@pytest.mark.parametrize("repeatable", [True, False])
async def test_the_reason_of_a_job_whose_process_died(path: Path, repeatable: bool) -> None:
    """A job that a dead process has left says so: while it runs again, or as it is interrupted."""
    jobs, begun = Jobs(store=f"sqlite:///{path}", name="app", random=NoWait()), asyncio.Event()

    async def work() -> None:
        begun.set()
        await hold()

    jobs.function(work, name="work")
    async with SqliteStore(path) as store:
        left = a_job(route="work", program="app", repeatable=repeatable)
        await store.add(transitions.start(left, "0" * 16, NOW), CALL)
    async with jobs, asyncio.timeout(DEADLINE):
        if repeatable:
            await begun.wait()
            assert (await jobs.get(left.id)).reason == "its process ended before it did"
            await jobs.cancel(left.id)
        else:
            ended = await jobs.wait(left.id)
            assert ended.reason is not None
            assert ended.reason.startswith("the process that ran the job died")


async def test_the_reason_of_a_job_whose_handler_has_gone(path: Path) -> None:
    """A job that no handler was there for in time says which one it was."""
    async with SqliteStore(path) as store:
        left = await store.add(a_job(route="renamed", program="app"), CALL)
    jobs = Jobs(store=f"sqlite:///{path}", name="app", gone_after=0)
    jobs.function(hold, name="hold")  # who has none at all says nothing of those of others
    async with jobs:
        ended = await jobs.wait(left.id, DEADLINE)
    assert (ended.state, ended.status) == (State.FAILED, 500)
    assert ended.reason == "the program has no handler 'renamed' any more"


# What is told over HTTP.


@pytest.mark.parametrize("threaded", [True, False])
async def test_what_a_view_has_raised(url: str, threaded: bool) -> None:
    """The status document has the exception that a view raised as the reason, whatever the app has
    answered to it, and the HTTP status of that answer."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store=url)
    handler = fail if threaded else fail_in_the_loop

    @app.errorhandler(ValueError)
    async def unhappy(error: ValueError) -> tuple[str, int]:
        return "sorry", 502

    @app.post("/report")
    @jobs.background
    def report() -> Any:
        return handler("no such report")

    @app.post("/report-async")
    @jobs.background
    async def report_async() -> Any:
        await fail_in_the_loop("no such report")

    document = await ended(app, "/report" if threaded else "/report-async")
    assert (document["state"], document["status"]) == ("failed", 502)
    assert document["reason"] == "ValueError: no such report"


async def test_a_404_is_a_result(url: str) -> None:
    """A view that answers 404 has succeeded; the status document has the status of the answer."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store=url)

    @app.get("/report")
    @jobs.background
    async def report() -> None:
        abort(404)

    document = await ended(app, "/report", "GET")
    assert (document["state"], document["status"]) == ("succeeded", 404)
    assert document["reason"] is None


async def test_a_job_that_is_cancelled(url: str) -> None:
    """The status document of a cancelled job has the status of its problem document."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store=url)

    @app.post("/hold")
    @jobs.background
    async def held() -> None:
        await hold()

    document = await ended(app, "/hold", cancel=True)
    assert (document["state"], document["status"]) == ("cancelled", 410)
    assert document["reason"] == "the job was cancelled while it ran"


async def ended(
    app: Quart, path: str, method: str = "POST", *, cancel: bool = False
) -> dict[str, Any]:
    """The status document of a job, once it has ended."""
    async with app.test_app() as serving:
        client = serving.test_client()
        submitted = await client.open(path, method=method)
        link = submitted.headers["Link"].partition(">")[0].removeprefix("<")
        unsaid = json.loads(await (await client.get(link)).get_data())
        assert unsaid["status"] is None or unsaid["finished"]
        if cancel:
            assert (await client.delete(link)).status_code < 300
        async with asyncio.timeout(DEADLINE):
            while True:
                document: dict[str, Any] = json.loads(await (await client.get(link)).get_data())
                if document["finished"]:
                    return document
                await asyncio.sleep(0.005)


def test_a_document_where_there_is_no_url() -> None:
    """The document can be told where no URL is known, and is the same but for the links."""
    links = {"self": "/jobs/1", "result": "/jobs/1/result"}
    job = transitions.finish(transitions.start(a_job(), "worker", NOW), 503, NOW)
    document = status_of(job)
    assert (document["reason"], document["status"]) == ("the handler answered 503", 503)
    assert status_of(job, links) == {**document, "links": links}
    assert json.loads(json.dumps(document)) == document


# What earlier versions have written.


@pytest.mark.parametrize("version", SCHEMAS)
async def test_a_job_of_an_earlier_version_has_neither(path: Path, version: int) -> None:
    """Of what an earlier version has stored, reason and status are not known: they are null."""
    make_store(path, version)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET state = 'failed', finished = 1e9, expires = 1e12")
    async with SqliteStore(path) as store:
        document = status_of(await store.get(JOB_ID))
    assert document["state"] == "failed"
    assert document["reason"] is document["status"] is None


@pytest.mark.parametrize("state", State)
async def test_what_an_earlier_version_left_standing(
    store: SqliteStore, path: Path, state: State
) -> None:
    """An earlier version that runs beside this one leaves reason and status as they were: what the
    state says cannot be true of the job is not told."""
    job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    failed = transitions.finish(job, 500, NOW, "ValueError: before")
    await store.replace(job, failed, RESPONSE)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET state = ?", (state,))
    told = await store.get(job.id)
    assert told.reason == (None if state is State.SUCCEEDED else "ValueError: before")
    assert told.status == (500 if state.is_final and state is not State.SUCCEEDED else None)


@pytest.mark.parametrize("state", State)
async def test_what_an_earlier_version_has_ended(
    store: SqliteStore, path: Path, state: State
) -> None:
    """Why a job was queued again is not why it has ended, where that was in an earlier version."""
    job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    failed = transitions.finish(job, 500, NOW, "ValueError: before")
    await store.replace(job, failed, RESPONSE)
    await store.replace(failed, transitions.retry(failed, NOW))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET state = ?", (state,))
    told = await store.get(job.id)
    assert told.reason == (None if state.is_final else "somebody had it retried")
    assert told.status is None


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ("reason = CAST(x'ff' AS TEXT)", "reason"),
        ("status = -1", "status"),
        ("status = 9223372036854775807", "status"),
        ("status = 99", "status"),
    ],
)
async def test_damage_to_what_is_told(
    store: SqliteStore, path: Path, change: str, lost: str
) -> None:
    """A reason or a status that is none costs a job nothing else."""
    job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    failed = transitions.finish(job, RESPONSE.status + 100, NOW, "ValueError: \N{SNOWMAN}")
    await store.replace(job, failed, RESPONSE)
    assert await store.get(job.id) == failed
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE jobs SET {change}")
    without: Job = failed._replace(**{lost: None})
    assert await store.result(job.id) == (without, RESPONSE)
