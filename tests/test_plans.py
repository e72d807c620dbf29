"""How SQLite finds what a store asks it for: by its indexes, however many jobs there are."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asyncjobs import Jobs, Listing, Query, State, transitions
from asyncjobs.errors import JobNotFound
from asyncjobs.job import SUSPECT_CRASHES
from asyncjobs.key import Key
from asyncjobs.listing import MAX_PAGE
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import database, file
from asyncjobs.testing import NOW, REQUEST, a_job

DEADLINE = 60
ROUTES = [f"route {number:02}" for number in range(50)]
#: Who has left a job running.
DEAD = "d" * 16
INDEXES = (
    *("jobs_queued", "jobs_running", "jobs_suspect", "jobs_expiry"),
    *("jobs_created", "jobs_owner_created", "sqlite_autoindex_jobs_1"),
    *("jobs_owner_queued", "jobs_cancel_at", "keys_job"),
)
KEY = Key(b"k" * 16)
SORTS = "USE TEMP B-TREE FOR ORDER BY"
#: What looks like a burden: a part of the statement, and the step.
EXCEPTIONS = (
    # The newest jobs, in the order of their index, which is left at the end of the page.
    ("ORDER BY created DESC, seq DESC LIMIT", "SCAN jobs USING COVERING INDEX jobs_created"),
    # One page, which has no more than `MAX_PAGE` jobs.
    (") AS place LEFT JOIN jobs", SORTS),
    # Whether there is any: the first one tells.
    ("EXISTS (SELECT 1 FROM jobs INDEXED BY", "SCAN jobs USING INDEX jobs_suspect"),
    # Of the jobs that run in one process, those that somebody elsewhere has asked to cancel.
    ("AND (cancel_requested <> 0) = 1", SORTS),
    # For commands of operators alone, of all programs: what waits or runs, whatever was kept.
    ("WHERE TRUE AND state = 'queued' ORDER BY", SORTS),
    ("WHERE TRUE AND state = 'running' ORDER BY", SORTS),
)


class Asked(NamedTuple):
    """What SQLite has executed for the processes of a store.

    Attributes:
        path: of the store.
        statements: with their values.
    """

    path: Path
    statements: frozenset[str]

    def steps(self, path: Path) -> Iterator[tuple[str, str]]:
        """Each statement with each step of its plan in a database."""
        with closing(sqlite3.connect(path)) as connection:
            for sql in self.statements:
                for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}"):
                    yield sql, step

    def burdens(self, path: Path) -> list[tuple[str, str]]:
        """The same of those steps that take the longer the more rows there are."""
        burden = re.compile(r"SCAN (jobs|requests|responses|keys)\b|USE TEMP B-TREE")
        return [
            (sql, step)
            for sql, step in self.steps(path)
            if burden.search(step)
            and not any(part in sql and step == allowed for part, allowed in EXCEPTIONS)
        ]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """By two programs that run jobs of 50 routes, and by a process that looks on."""
    path = tmp_path_factory.mktemp("asked") / "jobs.db"
    statements: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        for module in (database, file):
            patch.setattr(module, "connect", traced(vars(module)["connect"], statements))
        asyncio.run(live(path))
    kinds = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
    return Asked(path, frozenset(sql for sql in statements if sql.lstrip().startswith(kinds)))


def traced(
    connect: Callable[[Path], sqlite3.Connection], statements: set[str]
) -> Callable[[Path], sqlite3.Connection]:
    def connect_traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(statements.add)
        return connection

    return connect_traced


async def live(path: Path) -> None:
    """What becomes of jobs: they run, wait, fail, are cancelled, retried, rescued and forgotten."""
    async with SqliteStore(path) as store:
        await store.add(transitions.start(a_job(route=ROUTES[0]), DEAD, NOW), REQUEST)
        for job in (
            a_job(route=ROUTES[1], crashes=SUSPECT_CRASHES),
            a_job(route="unknown"),
            *(a_job(route="unknown", owner="ann") for _ in range(5)),
        ):
            await store.add(job, REQUEST)
        await store.add(a_job(route="unknown"), REQUEST, KEY)
    let_go = asyncio.Event()
    async with (
        asyncio.timeout(DEADLINE),
        program("one", path, let_go) as one,
        program("two", path, let_go) as two,
        SqliteStore(path) as onlooker,
    ):
        held = [await one.submit("hold") for _ in range(3)]
        for jobs in (one, two):
            for job in [await jobs.submit(route) for route in ROUTES]:
                await jobs.wait(job.id)
                await jobs.poll(job.id, owner=None)
        await one.request(held[0].id)
        poor = await one.submit("poor")
        await one.wait(poor.id)
        await one.retry(poor.id)
        await one.wait(poor.id)
        endless = await one.submit("endless")
        while (running := await one.get(endless.id)).state is State.QUEUED:
            await asyncio.sleep(0.01)
        await onlooker.replace(running, transitions.ask_to_cancel(running))
        await one.wait(endless.id)
        await look_on(onlooker)
        let_go.set()
        for job in held:
            await forgotten(one, job.id)


def program(name: str, path: Path, let_go: asyncio.Event) -> Jobs:
    jobs = Jobs(store=f"sqlite:///{path}", name=name, concurrency=4, drain_time=0)

    async def work() -> None:
        pass

    for route in ROUTES:
        jobs.function(name=route, idempotent=True)(work)

    @jobs.function(name="hold", concurrency=1, ttl=0)
    async def hold() -> None:
        await let_go.wait()

    @jobs.function(name="endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    @jobs.function(name="poor")
    async def poor() -> None:
        raise RuntimeError("poor")

    return jobs


async def look_on(store: SqliteStore) -> None:
    """What commands and pages for operators ask, while much is queued and running."""
    first = await store.list(Listing(limit=3))
    for fields in (
        *({}, {"owner": "ann"}, {"owner": None}, {"since": NOW - 1}),
        {"states": frozenset({State.QUEUED}), "routes": frozenset(ROUTES), "program": "one"},
    ):
        listing: dict[str, Any] = fields
        page = await store.list(Listing(limit=1, **listing))
        await store.list(Listing(limit=1, before=page.next or first.next, **listing))
    job = first.jobs[0]
    await store.get(job.id, "ann" if job.owner == "ann" else None)
    await store.ids(job.id[:8], 2)
    await store.versions([job.id for job in first.jobs])
    await store.keyed(KEY)
    queued = Query(states=frozenset({State.QUEUED}), program="one", limit=10)
    for query in (
        *(queued, replace(queued, owner="ann"), replace(queued, routes=frozenset(ROUTES))),
        *(replace(queued, ahead_of=job), replace(queued, routes=frozenset(ROUTES), ahead_of=job)),
    ):
        await store.count(query)
    await store.overdue(NOW, program="one")
    await store.programs()
    await store.orphans()
    await store.shrink()
    for state in (State.QUEUED, State.RUNNING):
        await store.find(Query(states=frozenset({state}), limit=MAX_PAGE))
    await store.health()


async def forgotten(jobs: Jobs, job_id: str) -> None:
    with suppress(JobNotFound):
        while await jobs.get(job_id):
            await asyncio.sleep(0.01)


def test_no_statement_reads_a_table_or_sorts_it(asked: Asked) -> None:
    """Whatever a store asks while jobs are submitted, run, polled, waited for, cancelled, retried,
    rescued, forgotten, listed and counted, SQLite reads no table from end to end and sorts no rows,
    but for what is named here with its reason. How many rows are read by an index is counted where
    the queue and the pages are tested."""
    assert asked.burdens(asked.path) == []


def test_every_index_is_of_use(asked: Asked) -> None:
    """All that is looked up is among these statements: they take each index of the store."""
    steps = "\n".join(step for _, step in asked.steps(asked.path))
    assert [index for index in INDEXES if not re.search(rf"INDEX {index}\b", steps)] == []


def test_every_exception_is_one(asked: Asked) -> None:
    """What is excepted is still asked in that way."""
    steps = list(asked.steps(asked.path))
    for part, allowed in EXCEPTIONS:
        assert any(part in sql and step == allowed for sql, step in steps), part


@pytest.mark.parametrize(
    "missing",
    [
        *(["jobs_queued"], ["jobs_running"], ["jobs_expiry"]),
        *(["jobs_created"], ["jobs_owner_created"], ["jobs_cancel_at"], ["keys_job"]),
    ],
)
def test_a_missing_index_is_found_out(asked: Asked, tmp_path: Path, missing: list[str]) -> None:
    """Without any of the indexes, some statement reads a table or sorts rows."""
    path = tmp_path / "jobs.db"
    shutil.copy(asked.path, path)
    with closing(sqlite3.connect(path)) as connection:
        for index in missing:
            connection.execute(f"DROP INDEX {index}")
    assert asked.burdens(path) != []
