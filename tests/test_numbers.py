"""What handlers and callers give that no store or timer can take: refused where it is given."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request

from asyncjobs import Jobs, QuartJobs, Query, State, current_job, transitions
from asyncjobs.errors import ConfigurationError, HandlerFailed, SetupError
from asyncjobs.job import Job, Progress, Request
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job

DEADLINE = 20
HUGE = 10**400
LONE = "\ud800"


def short(value: Any) -> str:
    """The name of a parameter."""
    return repr(value)[:30]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


# Progress.

Call = tuple[tuple[Any, ...], type[Exception], str]
WRONG: list[Call] = [
    ((Decimal(1),), TypeError, "current must be an int or a float, not Decimal('1')"),
    ((Fraction(1, 2),), TypeError, "give float(current)"),
    ((b"1",), TypeError, "not b'1' (bytes)"),
    (("1",), TypeError, "not '1' (str)"),
    ((datetime(2026, 1, 1, tzinfo=UTC),), TypeError, "(datetime)"),
    ((ValueError("no"),), TypeError, "(ValueError)"),
    ((Path("/"),), TypeError, "PosixPath('/')"),
    ((None,), TypeError, "not None"),
    ((True,), TypeError, "not True (bool)"),
    ((math.nan,), ValueError, "current must be finite"),
    ((math.inf,), ValueError, "not inf"),
    ((HUGE,), ValueError, "no larger than a float can be"),
    ((1, Decimal(2)), TypeError, "total must be an int or a float, not Decimal('2')"),
    ((1, math.nan), ValueError, "total must be finite"),
    ((1, 2, b"half"), TypeError, "message must be str or None, not b'half'"),
    ((1, 2, ValueError("no")), TypeError, "give str(message)"),
]


@pytest.mark.parametrize("threaded", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("arguments", "error", "says"), WRONG, ids=[short(call[0]) for call in WRONG]
)
async def test_a_progress_that_cannot_be_stored_is_refused_in_the_handler(
    store: str, threaded: bool, arguments: Any, error: type[Exception], says: str
) -> None:
    """The handler learns what is wrong, its progress stays what it was, and its job ends."""

    def report() -> str:
        current_job.progress(1, 4, "before")
        try:
            current_job.progress(*arguments)
        except error as refusal:
            return str(refusal)
        return "nothing was said"

    async def report_async() -> str:
        return report()

    jobs = Jobs(store=store)
    jobs.function(name="report")(report if threaded else report_async)
    async with jobs:
        job = await jobs.submit("report")
        assert says in await jobs.result(job.id, DEADLINE)
        assert (await jobs.get(job.id)).progress == Progress(1, 4, "before")


async def test_a_handler_that_reports_nonsense_fails(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that does not care fails with that error, which the log has."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: current_job.progress(Decimal(1)))  # type: ignore[arg-type]
    async with jobs:
        job = await jobs.submit("f")
        with pytest.raises(HandlerFailed, match="TypeError"):
            await jobs.result(job.id, DEADLINE)
        assert (await jobs.get(job.id)).state is State.FAILED
    assert "give float(current)" in caplog.text


@pytest.mark.parametrize("message", ["a\ud800b", "x" * 5000, "\0\x1b", "\ud83d\ude00"])
async def test_any_message_can_be_reported(store: str, message: str) -> None:
    """A message is stored and sent whatever is in it, as far as that can be."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: current_job.progress(1, message=message))
    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) is None
        progress = (await jobs.get(job.id)).progress
        assert progress is not None
        assert progress.message is not None
        assert len(progress.message.encode()) <= 1002


async def numbers() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("iterable", [[1], numbers], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"total": Decimal(1)}, TypeError),
        ({"total": math.nan}, ValueError),
        ({"total": HUGE}, ValueError),
        ({"message": b""}, TypeError),
    ],
    ids=short,
)
async def test_what_cannot_be_tracked_is_refused_by_the_call(
    store: str, iterable: Any, options: Any, error: type[Exception]
) -> None:
    """`track` refuses what `progress` refuses, before anything is asked for its first item."""

    async def track() -> bool:
        try:
            current_job.track(iterable() if callable(iterable) else iterable, **options)
        except error:
            return True
        return False

    jobs = Jobs(store=store)
    jobs.function(name="f")(track)
    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) is True
        assert (await jobs.get(job.id)).progress is None


@pytest.mark.parametrize("what", [5, None, object()], ids=["int", "None", "object"])
async def test_what_has_no_items_is_refused_by_the_call(what: Any) -> None:
    """What cannot be gone through is a TypeError of `track` itself."""
    jobs = Jobs(store="memory:")

    @jobs.function(name="f")
    def track() -> bool:
        try:
            current_job.track(what)
        except TypeError:
            return True
        return False

    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) is True


async def test_a_length_that_python_cannot_tell(store: str) -> None:
    """What is longer than `len` can tell is tracked without a total."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: next(iter(current_job.track(range(10**20)))))
    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) == 0
        assert (await jobs.get(job.id)).progress == Progress(0)


async def test_a_progress_of_an_earlier_version(tmp_path: Path) -> None:
    """A stored nan or infinity, which earlier versions took, is read as a number of JSON."""
    path = tmp_path / "jobs.db"
    job = transitions.report(transitions.start(a_job(), "worker", NOW), Progress(1, 2, "kept"))
    async with SqliteStore(path) as store:
        await store.add(job, REQUEST)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET progress = '[NaN, Infinity, \"kept\"]'")
    async with SqliteStore(path) as store:
        assert (await store.get(job.id)).progress == Progress(0, 0, "kept")


async def test_a_status_document_is_json_whatever_a_view_reports(tmp_path: Path) -> None:
    """What a view has reported never makes a status document that is no JSON."""
    app = Quart("progress")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")

    @app.get("/report")
    @jobs.background
    async def report() -> list[str]:
        refused = []
        for current in (1, math.nan, math.inf, -math.inf, HUGE):
            try:
                current_job.progress(current)
            except ValueError as error:
                refused.append(str(error))
        return refused

    async with app.test_app() as running:
        client = running.test_client()
        submitted = await client.get("/report")
        answer = await client.get(submitted.headers["Location"], headers={"Prefer": "wait=20"})
        assert len(await answer.get_json()) == 4
        job_id = (await submitted.get_json())["TaskId"]
        body = await (await client.get(f"/jobs/{job_id}")).get_data()
    document = json.loads(body, parse_constant=pytest.fail)
    assert document["progress"] == {"current": 1, "total": None, "message": None}


# Arguments, results, names and owners.


def in_a_circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def too_deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


NO_JSON: list[tuple[Callable[[], Any], type[Exception]]] = [
    (lambda: math.nan, ValueError),
    (lambda: {"a": [math.inf]}, ValueError),
    (lambda: {-math.inf: 1}, ValueError),
    (lambda: 10**5000, ValueError),
    (in_a_circle, ValueError),
    (too_deep, ValueError),
    (lambda: Decimal(1), TypeError),
    (lambda: {(1, 2): 3}, TypeError),
    (lambda: b"", TypeError),
]


@pytest.mark.parametrize(("make", "error"), NO_JSON)
async def test_arguments_that_are_no_json_make_no_job(
    store: str, make: Callable[[], Any], error: type[Exception]
) -> None:
    """What JSON has no form for is refused by `submit`, and there is no job."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda x: None)
    async with jobs:
        with pytest.raises(error, match=r"^the argument 'x' of 'f' cannot be stored: "):
            await jobs.submit("f", make())
        with pytest.raises(error, match=r"^the argument 'x' of 'f' cannot be stored: "):
            await jobs.submit("f", x=make())
        assert await jobs.find(Query()) == []


@pytest.mark.parametrize("threaded", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(("make", "error"), NO_JSON)
async def test_a_result_that_is_no_json_is_a_failure(
    store: str, make: Callable[[], Any], error: type[Exception], threaded: bool
) -> None:
    """What JSON has no form for is no result: the job fails, and says why."""

    async def make_async() -> Any:
        return make()

    jobs = Jobs(store=store)
    jobs.function(name="f")(make if threaded else make_async)
    async with jobs:
        job = await jobs.submit("f")
        with pytest.raises(HandlerFailed, match=r"^the function's result is not JSON: "):
            await jobs.result(job.id, DEADLINE)


async def test_any_text_comes_through(store: str) -> None:
    """Text in arguments and results comes through as it is, with a lone surrogate as well."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda x: x)
    async with jobs:
        job = await jobs.submit("f", {LONE: f"\0{LONE}"})
        assert await jobs.result(job.id, DEADLINE) == {LONE: f"\0{LONE}"}


@pytest.mark.parametrize(("name", "says"), [(LONE, "lone surrogate"), (5, "must be a str, not 5")])
def test_a_name_that_cannot_be_stored(name: Any, says: str) -> None:
    """The name of a function is text that can be stored, or an error where it is registered."""
    with pytest.raises(ConfigurationError, match=says):
        Jobs().function(name=name)(lambda: None)


async def test_what_has_no_name() -> None:
    """What has no name of its own is an error that says how to give it one."""
    jobs = Jobs(store="memory:")
    for register in (jobs.function, jobs.function(timeout=1)):
        with pytest.raises(SetupError, match=r"has no name: register it as .*name=\.\.\."):
            register(partial(int, "1"))
    async with jobs:
        with pytest.raises(SetupError, match=r"^5 has no name"):
            await jobs.submit(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("owner", "error"), [(LONE, ValueError), (5, TypeError)])
async def test_an_owner_that_cannot_be_stored(
    store: str, owner: Any, error: type[Exception]
) -> None:
    """An owner is text that can be stored, or an error before there is a job."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: None)
    async with jobs:
        with pytest.raises(error, match=r"^the owner of a job "):
            await jobs.accept("f", Request("POST", "/f"), owner=owner)
        assert await jobs.find(Query()) == []


async def test_an_owner_may_be_any_text_of_utf_8(store: str) -> None:
    """Owners that differ behind a NUL are two."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: None)
    async with jobs:
        job, _ = await jobs.accept("f", Request("POST", "/f", body=b"{}"), owner="a\0b")
        assert (await jobs.get(job.id, owner="a\0b")).id == job.id
        assert await jobs.find(Query(owner="a\0c")) == []


@pytest.mark.parametrize("owner", [LONE, 5])
async def test_an_owner_of_an_app_that_cannot_be_stored(store: str, owner: Any) -> None:
    """An `owner=` of an app that gives no such text is the app's own 500, and makes no job."""
    app = Quart("owners")
    jobs = QuartJobs(app, store=store, owner=lambda: owner)

    @app.post("/f")
    @jobs.background
    async def f() -> list[int]:
        return []

    async with app.test_app() as running, app.app_context():
        assert (await running.test_client().post("/f")).status_code == 500
        assert (await running.test_client().get(f"/jobs/{'0' * 32}")).status_code == 500
        assert await jobs.jobs.find(Query()) == []


async def test_what_sqlite_cannot_take_takes_no_other_write_with_it(tmp_path: Path) -> None:
    """Of the writes of one turn, one that no row can hold fails alone, and the store is well."""
    good, late = a_job(), a_job(due=math.nan)
    late_done = transitions.fail(good, NOW, BROKEN)
    async with SqliteStore(tmp_path / "jobs.db") as store:
        good_added, late_added = await asyncio.gather(
            store.add(good, REQUEST), store.add(late, REQUEST), return_exceptions=True
        )
        assert good_added == good
        assert isinstance(late_added, Exception)
        store._file.commits._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        other = a_job()
        too_large = Request("POST", "/", body=bytes(200_000))
        added, refused, replaced = await asyncio.gather(
            store.add(other, REQUEST),
            store.add(a_job(), too_large),
            store.replace(good, late_done, RESPONSE),
            return_exceptions=True,
        )
        assert added == other
        assert isinstance(refused, sqlite3.DataError)
        assert replaced is None
        await store.health()


# Waiting, and looking.


@pytest.mark.parametrize(
    ("timeout", "error", "says"),
    [
        (math.nan, ValueError, "timeout must be a number"),
        (HUGE, ValueError, "no larger than a float can be"),
        ("1", TypeError, r"timeout must be an int or a float, not '1' \(str\)"),
        (True, TypeError, "not True"),
        (Decimal(1), TypeError, r"give float\(timeout\)"),
    ],
    ids=short,
)
async def test_a_timeout_that_is_no_time(
    store: str, timeout: Any, error: type[Exception], says: str
) -> None:
    """`wait` and `result` take no timeout that is no number, of a final job neither."""
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: 1)
    async with jobs:
        job = await jobs.submit("f")
        assert await jobs.result(job.id, DEADLINE) == 1
        for wait in (jobs.wait, jobs.result):
            with pytest.raises(error, match=says):
                await wait(job.id, timeout)


async def test_no_time_and_no_limit(store: str) -> None:
    """A timeout of 0 or less is now, and an infinite one is none."""
    jobs = Jobs(store=store)
    go_on = asyncio.Event()

    @jobs.function
    async def wait() -> str:
        await go_on.wait()
        return "done"

    async with jobs:
        job = await jobs.submit(wait)
        for timeout in (0, -1, -math.inf, -(10**300)):
            assert (await jobs.wait(job.id, timeout)).state is State.RUNNING
            with pytest.raises(TimeoutError):
                await jobs.result(job.id, timeout)
        waiting = [
            asyncio.create_task(jobs.result(job.id, limit)) for limit in (math.inf, 1e308, 10**300)
        ]
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(DEADLINE):
            assert await asyncio.gather(*waiting) == ["done"] * 3


@pytest.mark.parametrize("name", ["limit", "skip"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ValueError),
        (2**63, ValueError),
        (10**5000, ValueError),
        (1.0, TypeError),
        ("1", TypeError),
    ],
    ids=["-1", "2**63", "10**5000", "1.0", "str"],
)
def test_a_query_for_no_number_of_jobs(name: str, value: Any, error: type[Exception]) -> None:
    """How many jobs to find is a number that every store understands alike."""
    with pytest.raises(error, match=f"^{name} must be"):
        Query(**{name: value})


async def test_a_query_for_very_many_jobs(store: str) -> None:
    """The largest numbers that a query takes are no trouble to any store."""
    most = 2**63 - 1
    jobs = Jobs(store=store)
    jobs.function(name="f")(lambda: 1)
    async with jobs:
        job = await jobs.submit("f")
        routes = frozenset({"f", "g"})
        assert [found.id for found in await jobs.find(Query(limit=most))] == [job.id]
        assert await jobs.find(Query(limit=most, skip=most, routes=routes)) == []
        assert await jobs.check(most) == []
        with pytest.raises(ValueError, match=r"^limit must be"):
            await jobs.check(-1)


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (0, ValueError),
        (2**63, ValueError),
        (math.nan, TypeError),
        (math.inf, TypeError),
        ("1", TypeError),
    ],
    ids=short,
)
def test_a_limit_of_a_store_that_is_none(
    tmp_path: Path, limit: Any, error: type[Exception]
) -> None:
    """How large a store may grow is a number of bytes, or an error when it is made."""
    with pytest.raises(error, match=r"^the limit of a store must be"):
        SqliteStore(tmp_path / "jobs.db", limit=limit)


# No limit.


async def test_no_limit_to_anything(tmp_path: Path) -> None:
    """An infinite number of seconds is no limit, wherever seconds can be given."""
    never = math.inf
    app = Quart("patient")
    jobs = QuartJobs(
        app,
        store=f"sqlite:///{tmp_path}/jobs.db",
        timeout=never,
        ttl=never,
        body_timeout=never,
        max_wait=never,
        drain_time=never,
        gone_after=never,
    )
    go_on = asyncio.Event()

    @app.post("/upload")
    @jobs.background(timeout=never, ttl=never)
    async def upload() -> list[int]:
        await go_on.wait()
        return [len(await request.get_data())]

    async with app.test_app() as running, app.app_context():
        client = running.test_client()
        async with client.request("/upload", method="POST") as connection:
            await connection.send(b"slow")
            await asyncio.sleep(0)
            await connection.send(b"ly")
            await connection.send_complete()
        submitted = await connection.as_response()
        assert submitted.status_code == 202
        polling = asyncio.create_task(
            client.get(submitted.headers["Location"], headers={"Prefer": f"wait={'9' * 400}"})
        )
        await asyncio.sleep(0)
        go_on.set()
        answer = await polling
        assert await answer.get_json() == [6]
        assert answer.headers["Preference-Applied"] == "wait=2147483648"
        job: Job = await jobs.jobs.get((await submitted.get_json())["TaskId"])
        assert job.expires == never
        await asyncio.sleep(0)
    name, store = job.program, f"sqlite:///{tmp_path}/jobs.db"
    async with Jobs(store=store, name=name, gone_after=None) as after:
        assert (await after.get(job.id)).expires == never


@pytest.mark.parametrize(("max_wait", "applied"), [(0.02, "wait=1"), (0, "wait=0")])
async def test_a_preference_is_applied_in_whole_seconds(max_wait: float, applied: str) -> None:
    """`Preference-Applied` has whole seconds, as RFC 7240 has it."""
    app = Quart("hasty")
    jobs = QuartJobs(app, store="memory:", max_wait=max_wait)

    @app.get("/wait")
    @jobs.background
    async def wait() -> list[int]:
        await asyncio.sleep(DEADLINE)
        return []

    async with app.test_app() as running, app.app_context():
        client = running.test_client()
        poll = (await client.get("/wait")).headers["Location"]
        answer = await client.get(poll, headers={"Prefer": "wait=12345678"})
        assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, applied)
        assert (await client.delete(poll)).status_code == 200


@pytest.mark.parametrize(
    "length", ["9" * 400, "9" * 5000, "-1", "\N{ARABIC-INDIC DIGIT FIVE}", "nan"]
)
async def test_a_content_length_of_any_digits(length: str) -> None:
    """A Content-Length that is no number, or no number of bytes that come, is no 500."""
    app = Quart("lengths")
    jobs = QuartJobs(app, store="memory:")

    @app.post("/upload")
    @jobs.background
    async def upload() -> list[int]:
        return []

    async with app.test_app() as running:
        headers = {"Content-Length": length}
        answer = await running.test_client().post("/upload", data=b"x", headers=headers)
        assert answer.status_code in (202, 400, 413)
