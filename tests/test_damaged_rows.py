"""Rows of the store that somebody or something has damaged: each holds up nobody, and says so."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quart import Quart

from asyncjobs import Jobs, QuartJobs, transitions
from asyncjobs.documents import status_of
from asyncjobs.errors import (
    Conflict,
    InvalidTransition,
    JobNotFound,
    JobUnreadable,
    StoreUnavailable,
)
from asyncjobs.job import Job, Progress, Request, Response, State
from asyncjobs.listing import Listing
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.rows import job_to_row
from asyncjobs.stores.sqlite.writing.transactions import Write, transact
from asyncjobs.testing import NOW, REQUEST, RESPONSE, a_job

DEADLINE = 30
DEAD = "0" * 16
MAX = 2**63 - 1
NOT_TEXT = "CAST(x'ff' AS TEXT)"

#: What makes a job unreadable, as SQL sets it.
DAMAGES = {
    **{f"{column} is not UTF-8": f"{column} = {NOT_TEXT}" for column in ("path", "owner")},
    "the state is not UTF-8": f"state = {NOT_TEXT}",
    "the state is unknown": "state = 'done'",
    "the state is empty": "state = ''",
    "the route is not UTF-8": f"route = {NOT_TEXT}",
    "the program is not UTF-8": f"program = {NOT_TEXT}",
    "the worker is not UTF-8": f"worker = {NOT_TEXT}",
    "the version is at its end": f"version = {MAX}",
    "the version is negative": "version = -1",
    "the attempts are at their end": f"attempt = {MAX}",
    "the attempts are negative": "attempt = -5",
    "the earlier attempts are too many": f"earlier_attempts = {MAX}",
    "the crashes are negative": "crashes = -1",
    "the crashes are too many": f"crashes = {MAX}",
    "the errors are too many": f"errors = {MAX}",
    "it was made after all time": "created = 1e300",
    "it was made before all time": "created = -1e300",
    "it was made at infinity": "created = 9e999",
    "it is never due": "due = 1e300",
    "it is due before all time": "due = -9e999",
    "it was started after all time": "started = 1e300",
    "it is kept for less than no time": "ttl = -1e300",
    "it is to be cancelled after all time": "cancel_at = 1e300",
    "it is never to be cancelled": "cancel_at = 9e999",
    "it is to be cancelled before all time": "cancel_at = -1e300",
}
#: What makes the result of a job unreadable.
RESPONSE_DAMAGES = {
    "there is none": "DELETE FROM responses",
    "a status that is too small": "UPDATE responses SET status = 42",
    "a status that is too large": "UPDATE responses SET status = 100000",
    "a status of the past": "UPDATE responses SET status = -1",
    "no headers": "UPDATE responses SET headers = x'00'",
    "a header without a colon": "UPDATE responses SET headers = CAST('x' || x'0d0a' AS BLOB)",
    "a header that is not UTF-8": "UPDATE responses SET headers = x'783a20ff0d0a'",
    "a header that cannot be sent": "UPDATE responses SET headers = x'783a20000d0a'",
    "a header whose name is none": "UPDATE responses SET headers = x'7820793a20300d0a'",
}
#: What makes the request of a job unreadable.
REQUEST_DAMAGES = {
    "there is none": "DELETE FROM requests WHERE seq = 1",
    **{
        f"{column} is not UTF-8": f"UPDATE requests SET {column} = {NOT_TEXT} WHERE seq = 1"
        for column in ("method", "path", "scheme", "root_path", "http_version", "client", "server")
    },
    "headers that are none": "UPDATE requests SET headers = x'ff' WHERE seq = 1",
    "a header without a colon": "UPDATE requests SET headers = x'780d0a' WHERE seq = 1",
    "a client without a port": "UPDATE requests SET client = 'x y' WHERE seq = 1",
}
#: What is no progress; the job goes on without.
PROGRESS_DAMAGES = [
    "'[1,'", "''", "'null'", "'{}'", "'[]'", "'[1]'", "'[1, 2, 3]'", "'[\"1\", 2, null]'",
    "'[1e999, null, null]'", "'[true, null, null]'", "'[1, \"2\", null]'", "'[null, null, null]'",
    "printf('[%s, null, null]', replace(hex(zeroblob(5000)), '0', '9'))",
    "replace(hex(zeroblob(50000)), '0', '[')", "printf('[1, 2, \"%s\"]', hex(zeroblob(500000)))",
    NOT_TEXT,
]  # fmt: skip


def damage(path: Path, sql: str, *values: Any) -> None:
    """What somebody or something does to the file."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE)) as connection:
        connection.execute(sql, values)


def damage_job(path: Path, job: Job, change: str, *values: Any) -> None:
    damage(path, f"UPDATE jobs SET {change} WHERE id = ?", *values, bytes.fromhex(job.id))


def a_call(number: int, **fields: Any) -> tuple[Job, Request]:
    """A job of `Program`, in the order of their numbers."""
    job = a_job(program="app", route="work", path="/work", created=NOW + number, **fields)
    body = json.dumps({"args": [number], "kwargs": {}}).encode()
    return job, Request("POST", "/work", body=body)


class Program:
    """One that runs one job at a time, and remembers which."""

    def __init__(self, path: Path) -> None:
        self.jobs = Jobs(store=SqliteStore(path), name="app", concurrency=1)
        self.ran: list[int] = []
        self.jobs.function(self.work, name="work", idempotent=True)
        self.jobs.function(self.work, name="other", idempotent=True)

    async def work(self, number: int) -> int:
        self.ran.append(number)
        return number

    async def does(self, *numbers_and_jobs: tuple[int, Job]) -> None:
        """These jobs come to their ends."""
        for number, job in numbers_and_jobs:
            assert await self.jobs.result(job.id, DEADLINE) == number


async def add(path: Path, *calls: tuple[Job, Request]) -> list[Job]:
    async with SqliteStore(path) as store:
        return [await store.add(*call) for call in calls]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has said of damage; it never shows the program's own inside."""
    assert [record for record in caplog.records if record.exc_info] == []
    return [record.message for record in caplog.records if "damaged" in record.message]


# Jobs.


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_job_holds_up_nobody(
    path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The jobs behind a damaged one are run, in its route and in others. It has failed itself, for
    a reason that whoever waits for it is told, and the log has once."""
    other = a_call(3)
    bad, first, second, third = await add(
        path, a_call(0), a_call(1), a_call(2), (other[0]._replace(route="other"), other[1])
    )
    damage_job(path, bad, change)
    program = Program(path)
    async with program.jobs as jobs:
        await program.does((1, first), (2, second), (3, third))
        with pytest.raises(JobUnreadable):
            await jobs.result(bad.id, DEADLINE)
        job = await jobs.wait(bad.id, DEADLINE)
        assert job.state is State.FAILED
        assert job.expires is not None
        with pytest.raises(InvalidTransition):
            await jobs.cancel(bad.id)
        assert len(await jobs.find(Query())) == 4
        await program.does((4, await jobs.submit("work", 4)))
    assert program.ran == [1, 2, 3, 4]
    assert len(complaints(caplog)) == 1


async def test_a_job_whose_id_is_damaged(path: Path) -> None:
    """It holds up nobody either, has failed, and is forgotten one day."""
    for key in (b"", b"short", bytes(17)):
        bad, good = await add(path, a_call(0), a_call(1))
        damage_job(path, bad, "id = ?", key)
        program = Program(path)
        async with program.jobs as jobs:
            await program.does((1, good))
            (failed,) = await jobs.find(Query(states=frozenset({State.FAILED})))
            assert failed.expires is not None
        damage(path, "DELETE FROM jobs")


@pytest.mark.parametrize(
    "query",
    [
        Query(limit=2),
        Query(states=frozenset({State.QUEUED}), limit=2),
        Query(states=frozenset({State.QUEUED}), program="app", limit=2),
        Query(states=frozenset({State.QUEUED}), not_routes=frozenset({"x"}), limit=2),
        Query(states=frozenset({State.QUEUED}), program="app", limits={"work": 2}, limit=2),
        Query(program="app", limits={"work": 2}, limit=2),
    ],
)
@pytest.mark.parametrize(
    "change", [f"path = {NOT_TEXT}", f"version = {MAX}", f"route = {NOT_TEXT}"]
)
async def test_damaged_jobs_are_not_counted(
    store: SqliteStore, path: Path, query: Query, change: str
) -> None:
    """However many damaged jobs are first in a queue, what is asked for is found behind them."""
    numbers = [*range(250), *range(1000, 1003)]
    added = await asyncio.gather(*(store.add(*a_call(number)) for number in numbers))
    good = [job.id for job in added[250:]]
    damage(path, f"UPDATE jobs SET {change} WHERE created < {NOW + 1000}")
    if query.states is None:  # those that have failed are found as well
        found = await store.find(Query(limit=1000))
        assert [job.id for job in found if job.state is State.QUEUED] == good
        found = await store.find(query)
        assert [job.state for job in found] == [State.FAILED] * 2
    else:
        assert [job.id for job in await store.find(query)] == good[:2]


async def test_damaged_jobs_while_nothing_can_be_written(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is in trouble, what is not damaged is found all the same, and who asks for
    what is damaged is told to come back."""
    bad = await store.add(*a_call(0))
    good = await store.add(*a_call(1))
    damage_job(path, bad, f"version = {MAX}")

    def refuse(*args: Any, **options: Any) -> None:
        raise StoreUnavailable("no room")

    with monkeypatch.context() as trouble:
        trouble.setattr(store._file.commits, "write", refuse)
        assert await store.find(Query()) == [good]
        with pytest.raises(StoreUnavailable):
            await store.get(bad.id)
    assert (await store.get(bad.id)).state is State.FAILED


async def test_what_cannot_be_put_right(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that cannot be put right is said once, holds up nobody, and who asks for it is told."""
    bad = await store.add(*a_call(0))
    good = await store.add(*a_call(1))
    damage_job(path, bad, f"version = {MAX}")
    damage(
        path,
        "CREATE TRIGGER no BEFORE UPDATE ON jobs BEGIN SELECT raise(ABORT, 'no'); END",
    )
    for _ in range(3):
        assert await store.find(Query()) == [good]
        with pytest.raises(JobUnreadable):
            await store.get(bad.id)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    await store.health()


async def test_a_job_that_is_put_right_meanwhile_is_left_alone(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody writes between the look at a damaged job and the write of its end is kept."""
    bad = await store.add(*a_call(0))
    damage_job(path, bad, f"version = {MAX}")
    write = store._file.commits.write

    def write_later(*args: Any, **options: Any) -> Any:
        damage_job(path, bad, "version = 7")
        return write(*args, **options)

    monkeypatch.setattr(store._file.commits, "write", write_later)
    assert await store.get(bad.id) == bad._replace(version=7)


async def test_whoever_waits_for_a_job_hears_of_its_damage(path: Path) -> None:
    """A job that is damaged while somebody waits for it has failed, and the wait is over."""
    program = Program(path)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        begun.set()
        await go_on.wait()

    program.jobs.function(hold, name="hold")
    async with program.jobs as jobs:
        job = await jobs.submit("hold")
        await begun.wait()
        waiting = asyncio.create_task(jobs.result(job.id, DEADLINE))
        damage_job(path, job, f"path = {NOT_TEXT}")
        with pytest.raises(JobUnreadable):
            await waiting
        go_on.set()
        await program.does((1, await jobs.submit("work", 1)))


# Progress.


@pytest.mark.parametrize("written", PROGRESS_DAMAGES)
async def test_damaged_progress_is_none(path: Path, written: str) -> None:
    """What is no progress is read as none, and is no reason not to run its job or to hide it."""
    queued, ended = await add(path, a_call(0), a_call(1))
    async with SqliteStore(path) as store:
        running = transitions.report(transitions.start(ended, DEAD, NOW), Progress(1))
        await store.replace(ended, running)
        done = transitions.finish(running, 418, NOW)._replace(expires=1e12)
        await store.replace(running, done, RESPONSE)
        damage(path, f"UPDATE jobs SET progress = {written}")
        assert (await store.get(queued.id)) == queued
        assert await store.result(ended.id) == (done._replace(progress=None), RESPONSE)
    program = Program(path)
    async with program.jobs:
        await program.does((0, queued))


# Results.


async def an_ended_job(store: SqliteStore, *, ttl: float = 1e9) -> Job:
    job = await store.add(*a_call(0, ttl=ttl))
    done = transitions.finish(transitions.start(job, DEAD, NOW), 418, NOW)
    await store.replace(job, done, RESPONSE)
    return done


@pytest.mark.parametrize("sql", RESPONSE_DAMAGES.values(), ids=RESPONSE_DAMAGES)
async def test_a_damaged_result(
    store: SqliteStore, path: Path, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A result that cannot be sent is that of a failed job, which says why; the log has it once."""
    done = await an_ended_job(store)
    damage(path, sql)
    assert await store.get(done.id) == done
    for _ in range(2):
        job, response = await store.result(done.id)
        assert (job.state, job.version) == (State.FAILED, done.version + 1)
        assert response is not None
        assert (response.status, b"job-unreadable" in response.body) == (500, True)
        assert await store.get(done.id) == job
    assert len(complaints(caplog)) == 1


@pytest.mark.parametrize(
    "column", ["version", "attempt", "crashes", "errors", "created", "due", "cancel_at"]
)
async def test_an_ended_job_keeps_its_result(store: SqliteStore, path: Path, column: str) -> None:
    """If only numbers of an ended job are damaged, its result is still given."""
    done = await an_ended_job(store)
    damage_job(path, done, f"{column} = {MAX if column != 'created' else 1e300}")
    job, response = await store.result(done.id)
    assert (job.state, response) == (State.SUCCEEDED, RESPONSE)
    assert (await store.find(Query())) == [job]


@pytest.mark.parametrize("time", ["1e300", "9e999", "-1e300", "-9e999", "2.6e11", "-6.3e10"])
@pytest.mark.parametrize(
    "column", ["created", "ttl", "due", "started", "finished", "expires", "cancel_at"]
)
async def test_whatever_time_a_job_has_it_has_a_status_document(
    store: SqliteStore, path: Path, column: str, time: str
) -> None:
    """Of each job that is read or listed it can be told how it does, in dates, whatever its times
    were set to; and so of all that are on the same page."""
    begun, queued = await store.add(*a_call(1)), await store.add(*a_call(2))
    await store.replace(begun, transitions.start(begun, store.worker, NOW))
    jobs = [await an_ended_job(store), begun, queued]
    damage(path, f"UPDATE jobs SET {column} = {time}")
    listed = (await store.list(Listing())).jobs
    assert sorted(job.id for job in listed) == sorted(job.id for job in jobs)
    for job in (*listed, *[await store.get(job.id) for job in jobs]):
        assert status_of(job)["id"] == job.id


@pytest.mark.parametrize("column", ["owner", "route", "path", "program"])
async def test_a_result_that_is_nobodys(store: SqliteStore, path: Path, column: str) -> None:
    """If it is not known any more whose a result is, or where it may be read, nobody gets it."""
    done = await an_ended_job(store)
    damage_job(path, done, f"{column} = {NOT_TEXT}")
    with pytest.raises(JobNotFound):
        await store.result(done.id, "eve")
    job, response = await store.result(done.id)
    assert job.state is State.FAILED
    assert response is not None
    assert b"job-unreadable" in response.body
    if column == "owner":
        for owner in (None, "", "eve"):
            with pytest.raises(JobNotFound):
                await store.result(done.id, owner)


async def test_what_was_damaged_is_purged(store: SqliteStore, path: Path) -> None:
    """What is left of a damaged job is forgotten as any other that has failed."""
    bad = await store.add(*a_call(0))
    damage_job(path, bad, "state = 'done', ttl = -1")
    job = await store.get(bad.id)
    assert job.expires is not None
    assert await store.purge(job.expires + 1) == 1
    with pytest.raises(JobNotFound):
        await store.get(bad.id)


# Requests.


@pytest.mark.parametrize("sql", REQUEST_DAMAGES.values(), ids=REQUEST_DAMAGES)
async def test_a_damaged_request(path: Path, sql: str, caplog: pytest.LogCaptureFixture) -> None:
    """A job without a request that can be read has failed, and its handler is not called; those
    behind it are run."""
    bad, good = await add(path, a_call(0), a_call(1))
    damage(path, sql)
    program = Program(path)
    async with program.jobs as jobs:
        await program.does((1, good))
        with pytest.raises(JobUnreadable):
            await jobs.result(bad.id, DEADLINE)
        assert (await jobs.get(bad.id)).attempt == 1
    assert program.ran == [1]
    assert len([line for line in caplog.messages if bad.id in line]) == 1
    assert [record for record in caplog.records if record.exc_info] == []


# Rows that are left behind.


@contextmanager
def without_types(path: Path, table: str) -> Iterator[None]:
    """Within this, somebody has taken the types of its columns from a table."""
    change_schema(path, "replace(sql, ') STRICT', ')')", table)
    yield
    change_schema(path, "sql || ' STRICT'", table)


def change_schema(path: Path, sql: str, table: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE sqlite_schema SET sql = {sql} WHERE name = ?", (table,))
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE jobs SET repeatable = 'x' WHERE seq = 1",
        "UPDATE jobs SET cancel_requested = 'x' WHERE seq = 1",
        "UPDATE jobs SET expires = 'abc' WHERE seq = 1",
        "UPDATE jobs SET attempt = 'x' WHERE seq = 1",
        "UPDATE jobs SET ttl = 'x' WHERE seq = 1",
        "UPDATE jobs SET worker = x'00' WHERE seq = 1",
        "UPDATE requests SET query = 'text' WHERE seq = 1",
        "UPDATE requests SET body = 'text' WHERE seq = 1",
        "UPDATE requests SET headers = 7 WHERE seq = 1",
    ],
)
async def test_values_of_other_types(path: Path, sql: str) -> None:
    """Also what no column takes by itself, as tables have types, holds up nobody if it is there."""
    async with SqliteStore(path) as store:
        for number in (1, 2):
            await store.add(*a_call(number))
    with without_types(path, sql.split()[1]):
        damage(path, sql)
    program = Program(path)
    async with program.jobs as jobs:
        async with asyncio.timeout(DEADLINE):
            while [job for job in await jobs.find(Query()) if not job.state.is_final]:
                await asyncio.sleep(0.01)
        states = [job.state for job in await jobs.find(Query())]
        assert sorted(states) == [State.FAILED, State.SUCCEEDED]
    assert program.ran == [2]


async def test_a_job_that_shall_expire_before_it_has_ended(path: Path) -> None:
    """Nothing is purged that has not ended, whatever its row says."""
    async with SqliteStore(path) as store:
        job = await store.add(*a_call(1))
        damage_job(path, job, "expires = 1.0")
        assert await store.purge(NOW + 100) == 0
        assert (await store.get(job.id)).state is State.QUEUED


@pytest.mark.parametrize(
    "response",
    [
        Response(200, ((b"x-name", b"caf\xe9"),)),
        Response(200, ((b"x name", b"value"),)),
        Response(101),
        Response(600),
    ],
)
async def test_a_response_that_no_server_could_send(store: SqliteStore, response: Response) -> None:
    """What would be read back as damaged is refused when it is written, and nothing is lost."""
    job = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    with pytest.raises(ValueError, match="no server could send"):
        await store.replace(job, transitions.finish(job, 200, NOW), response)
    assert await store.get(job.id) == job


async def test_rows_that_were_left_behind(path: Path) -> None:
    """Requests and responses of jobs that are not there any more keep no new job from being stored,
    nor from its end; it has its own."""
    await add(path, a_call(0), a_call(1))
    damage(path, "INSERT INTO responses SELECT seq, 200, x'', x'6f6c64' FROM requests")
    damage(path, "DELETE FROM jobs")
    program = Program(path)
    async with program.jobs as jobs:
        for number in (5, 6):
            await program.does((number, await jobs.submit("work", number)))


# Orphans.


@pytest.mark.parametrize(
    "change",
    [
        f"path = {NOT_TEXT}",
        f"version = {MAX}",
        f"worker = {NOT_TEXT}",
        f"worker = NULL, attempt = {MAX}",
        f"worker = '../x', crashes = {MAX}",
    ],
)
async def test_damaged_orphans(path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    """The jobs of dead processes are rescued, whatever else they have left."""
    calls = [a_call(number, repeatable=True) for number in range(300)]
    running = [(transitions.start(job, DEAD, NOW), request) for job, request in calls]
    jobs = await add(path, *running)
    damage(path, f"UPDATE jobs SET {change} WHERE created < {NOW + 298}")
    program = Program(path)
    async with program.jobs:
        await program.does((298, jobs[298]), (299, jobs[299]))
        async with asyncio.timeout(DEADLINE):
            while await program.jobs.find(Query(states=frozenset({State.RUNNING}))):
                await asyncio.sleep(0.01)
    assert len(complaints(caplog)) == 298


@pytest.mark.parametrize("worker", ["", "../x", "a\0b", "\N{SNOWMAN}", "w" * 5000])
async def test_a_worker_that_is_no_name(store: SqliteStore, path: Path, worker: str) -> None:
    """A job that is run by nobody who could be called so can be read, and is an orphan. To nobody
    outside of the store anything is said."""
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    job = await store.add(*a_call(0))
    running = transitions.start(job, DEAD, NOW)
    await store.replace(job, running)
    damage_job(path, job, "worker = ?", worker)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.bind(f"{path.parent}/x.sock")
        stranger.setblocking(False)
        assert await store.get(job.id) == running._replace(worker=worker)
        await asyncio.sleep(0)  # what is said to its worker is sent
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    assert [orphan.job.id for orphan in await store.orphans()] == [job.id]
    assert trouble == []


async def test_a_queued_job_with_a_worker(path: Path) -> None:
    """A job that waits is run, and can be cancelled, whoever is named in it."""
    job, request = a_call(0)
    first, second = await add(path, (job._replace(route="hold"), request), a_call(1, due=2e11))
    program, go_on = Program(path), asyncio.Event()

    @program.jobs.function(name="hold", idempotent=True)
    async def hold(number: int) -> int:
        await go_on.wait()
        return number

    async with program.jobs as jobs:
        damage_job(path, second, "worker = ?", jobs._opened.store.worker)
        assert (await jobs.cancel(second.id)).state is State.CANCELLED
        go_on.set()
        await program.does((0, first))


async def test_programs_that_are_no_names(store: SqliteStore, path: Path) -> None:
    """The programs that have work to do are found, whatever else is in that column."""
    bad = [await store.add(*a_call(number)) for number in range(3)]
    await store.add(*a_call(3))
    damage_job(path, bad[0], f"program = {NOT_TEXT}")
    damage_job(path, bad[1], f"program = {NOT_TEXT}, state = 'running'")
    damage_job(path, bad[2], f"route = {NOT_TEXT}")
    assert await store.programs() == {"app"}
    assert [(await store.get(job.id)).state for job in bad] == [State.FAILED] * 3


# Over HTTP.


@pytest.mark.parametrize(
    "change", [change for change in DAMAGES.values() if not change.startswith("owner")]
)
async def test_what_clients_are_told(path: Path, change: str) -> None:
    """Whoever the job belongs to has a problem document as its result, at the poll URL that it was
    given, and a status document. To all others there is no such job."""
    app = Quart(__name__)
    user = "ada"
    extension = QuartJobs(app, store=f"sqlite:///{path}", owner=lambda: user, drain_time=0.1)

    @app.get("/wait")
    @extension.background
    async def wait() -> str:
        await asyncio.Event().wait()
        return ""

    async with app.test_app() as test_app:
        client = test_app.test_client()
        accepted = await client.get("/wait")
        poll, status = accepted.headers["Location"], _status_link(accepted.headers["Link"])
        job_id = poll.rpartition("/")[2]
        damage(path, f"UPDATE jobs SET {change} WHERE id = ?", bytes.fromhex(job_id))
        user = "eve"
        assert [(await client.get(url)).status_code for url in (poll, status)] == [404, 404]
        user = "ada"
        assert (await client.get("/jobs")).status_code == 200
        for _ in range(2):
            answer = await client.get(poll, headers={"Prefer": "wait=1"})
            assert answer.status_code == 500
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:job-unreadable"
            assert answer.headers["Job-State"] == "failed"
        document = await (await client.get(status)).get_json()
        assert (document["id"], document["state"]) == (job_id, "failed")
        assert (await client.delete(poll)).status_code == 409
        user = "eve"
        assert (await client.get(poll)).status_code == 404


def _status_link(link: str) -> str:
    return link[1 : link.index(">")]


# Anything.


_VALUES = st.one_of(
    st.binary(max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.integers(-(2**63), MAX),
    st.floats(allow_nan=False),
    st.none(),
    st.sampled_from([0, 1, 2, MAX, MAX - 1, 1e300, 1e12, *State]),
)
_COLUMNS = [
    *(("jobs", column) for column in Job._fields),
    *(("requests", column) for column in ("method", "path", "headers", "body", "client", "scheme")),
    *(("responses", column) for column in ("status", "headers", "body")),
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.sampled_from(_COLUMNS), _VALUES, st.booleans()), min_size=1, max_size=4),
    st.sampled_from([State.QUEUED, State.RUNNING, State.SUCCEEDED]),
)
def test_whatever_is_in_a_row_it_holds_up_nobody(
    changes: list[tuple[tuple[str, str], Any, bool]],
    state: State,
) -> None:
    """Whatever stands in the row of a job, the others come to their ends, and the store says of
    this one that it is there, or that it is not."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_with_any_damage(Path(folder) / "jobs.db", changes, state))


async def _with_any_damage(
    path: Path, changes: list[tuple[tuple[str, str], Any, bool]], state: State
) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    job, request = a_call(0, repeatable=True, ttl=1e9)
    bad, *good = await add(path, (job, request), a_call(1), a_call(2))
    async with SqliteStore(path) as store:
        if state is not State.QUEUED:
            await store.replace(bad, running := transitions.start(bad, DEAD, NOW))
        if state is State.SUCCEEDED:
            await store.replace(
                running, transitions.finish(running, 200, NOW), Response(200, (), b"0")
            )
    for (table, column), value, as_text in changes:
        what = "CAST(? AS TEXT)" if as_text and isinstance(value, bytes) else "?"
        with suppress(sqlite3.IntegrityError):  # STRICT keeps other types out
            damage(path, f"UPDATE {table} SET {column} = {what} WHERE seq = 1", value)
    program = Program(path)
    logging.getLogger("asyncjobs").addHandler(handler)
    try:
        async with program.jobs as jobs:
            await program.does((1, good[0]), (2, good[1]))
            with suppress(JobNotFound):
                await jobs.wait(bad.id, 0)
            found = await jobs.find(Query())
            assert {job.id for job in good} <= {job.id for job in found}
            for job in found:
                job_to_row(job)
                status_of(job)
            await program.does((3, await jobs.submit("work", 3)))
            assert (await jobs.health()).accepting
    finally:
        logging.getLogger("asyncjobs").removeHandler(handler)
    inside = [record for record in records if record.exc_info and record.name != "asyncjobs"]
    assert inside == []


# Values that the store refuses.


def limit_size(store: SqliteStore, size: int) -> None:
    """As SQLite's own limit, 10**9 bytes, but smaller."""
    store._file.database.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)


async def test_a_request_that_sqlite_refuses(store: SqliteStore) -> None:
    """A request too large for SQLite is its own submitter's trouble: what is accepted beside it is,
    and the store is well."""
    limit_size(store, 100_000)
    job, good = a_job(), a_job()
    refused, kept = await asyncio.gather(
        store.add(job, Request("POST", "/", body=bytes(200_000))),
        store.add(good, REQUEST),
        return_exceptions=True,
    )
    assert isinstance(refused, sqlite3.DataError)
    assert kept == good
    with pytest.raises(JobNotFound):
        await store.get(job.id)
    await store.health()


async def test_a_result_that_sqlite_refuses(path: Path) -> None:
    """A job whose result is too large for SQLite has failed; those beside it come to their ends,
    new ones are accepted, and the store is well all the time."""
    store = SqliteStore(path)
    jobs = Jobs(store=store, name="app")

    @jobs.function(name="large")
    async def large() -> str:
        return "x" * 200_000

    @jobs.function(name="small")
    async def small() -> int:
        return 1

    async with jobs:
        limit_size(store, 100_000)
        submitted = await asyncio.gather(
            *(jobs.submit(name) for name in ("small", "large", "small"))
        )
        ended = [await jobs.wait(job.id, DEADLINE) for job in submitted]
        assert [job.state for job in ended] == [State.SUCCEEDED, State.FAILED, State.SUCCEEDED]
        _, response = await jobs.poll(ended[1].id)
        assert response is not None
        assert response.status == 500
        assert (await jobs.health()).accepting
        assert await jobs.result((await jobs.submit("small")).id, DEADLINE) == 1


@pytest.mark.parametrize(
    "value",
    [bytes(200_000), "x" * 200_000, 2**63, "\ud800", object(), [1]],
    ids=["blob", "text", "integer", "surrogate", "object", "list"],
)
async def test_values_that_no_column_can_have(store: SqliteStore, value: Any) -> None:
    """Whatever is wrong with a value, it is that of its own write, and of no other beside it."""
    limit_size(store, 100_000)
    good = a_job()
    refused, kept = await asyncio.gather(
        store.add(a_job(), Request("POST", "/", body=value if isinstance(value, bytes) else b"",
                                   scheme=value)),
        store.add(good, REQUEST),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(refused, Exception)
    assert not isinstance(refused, StoreUnavailable | Conflict)
    assert kept == good
    await store.health()


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
async def test_no_memory_for_a_transaction(path: Path, statement: str) -> None:
    """If there is no memory for a transaction, that is an error of the store, as any other that
    passes, and nothing is left half done."""

    class Short:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == statement:
                raise MemoryError
            return self._connection.execute(sql, *values)

    def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
        execute("CREATE TABLE t (x)")

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        write = Write("", operation, can_wait=True)
        with pytest.raises(sqlite3.OperationalError, match="memory"):
            transact(Short(connection), [write])  # type: ignore[arg-type]
        assert not connection.in_transaction
        assert connection.execute("SELECT * FROM sqlite_schema").fetchall() == []


async def test_no_memory_for_a_write(path: Path) -> None:
    """A write that there was no memory for, whereupon SQLite has ended the transaction, takes no
    other with it."""

    def greedy(execute: Callable[..., sqlite3.Cursor]) -> None:
        execute("ROLLBACK")
        raise MemoryError

    def modest(execute: Callable[..., sqlite3.Cursor]) -> None:
        execute("CREATE TABLE t (x)")

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        writes = [Write("", operation, can_wait=True) for operation in (greedy, modest)]
        transact(connection, writes)
        assert isinstance(writes[0].error, MemoryError)
        assert writes[1].error is None
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
