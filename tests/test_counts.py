"""To count the queue, and to look for what is to be cancelled, takes the same in a long queue."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asyncjobs.job import Job, State
from asyncjobs.program import ProgramStore
from asyncjobs.store import Query, Store
from asyncjobs.stores import LookingStore, MemoryStore, SqliteStore
from asyncjobs.stores.sqlite.queries import select_count
from asyncjobs.testing import NOW, REQUEST, a_job
from schemas import JOB_ID, SCHEMAS
from schemas import make_store as make_old_store
from test_queue import looks_at_jobs, make_store
from work import Work

ROUTES = [f"route {number}" for number in range(3)]
QUEUED = Query(states=frozenset({State.QUEUED}), limit=25)
LENGTHS = 30, 600


def a_queue(length: int) -> list[Job]:
    """So many jobs of each route and owner, of two programs and of nobody, suspects as well. Those
    of one program are to be cancelled, which is only in a while; those of the other should have
    been."""
    return [
        a_job(
            route=route,
            program=program,
            owner=owner,
            crashes=crashes,
            created=NOW + number,
            cancel_at={"ours": NOW + 100, "theirs": NOW - 100, None: None}[program],
        )
        for number in range(length)
        for route in ROUTES
        for program in ("ours", "theirs", None)
        for owner in ("ada", None)
        for crashes in (0, 2)
    ]


def last_of(jobs: list[Job]) -> Job:
    return [job for job in jobs if job.program == "ours"][-1]


Ask = Callable[[Store, list[Job]], Awaitable[Any]]
ASKS: dict[str, Ask] = {
    "queued": lambda store, jobs: store.count(QUEUED),
    "queued, of two routes": lambda store, jobs: store.count(
        replace(QUEUED, routes=frozenset(ROUTES[:2]))
    ),
    "queued, of an owner": lambda store, jobs: store.count(replace(QUEUED, owner="ada")),
    "ahead of the last": lambda store, jobs: store.count(
        replace(QUEUED, routes=frozenset(ROUTES), ahead_of=last_of(jobs))
    ),
    "ahead of the first": lambda store, jobs: store.count(replace(QUEUED, ahead_of=jobs[0])),
    "to be cancelled, none": lambda store, jobs: store.overdue(NOW),
    "to be cancelled, some": lambda store, jobs: store.overdue(NOW + 1000, limit=7),
}


@pytest.mark.parametrize("ask", ASKS)
async def test_the_length_of_the_queue_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """However many jobs are queued, of the program and of others, of one owner, or due at the same
    time, as many steps are taken; and nothing but the number is fetched of those that are
    counted."""
    work = Work(monkeypatch)
    taken = []
    for length in LENGTHS:
        jobs = a_queue(length)
        path = await make_store(tmp_path / f"{length}.db", jobs)
        async with ProgramStore(SqliteStore(path), "ours") as store:
            await ASKS[ask](store, jobs)  # once, so that all is prepared
            before = work.steps, work.rows
            found = await ASKS[ask](store, jobs)
            number = len(found) if isinstance(found, list) else found
            taken.append((number, work.steps - before[0]))
            assert work.rows - before[1] <= (number if isinstance(found, list) else 1)
    (few, in_short), (many, in_long) = taken
    assert (
        few
        == many
        == {"ahead of the first": 0, "to be cancelled, none": 0}.get(
            ask, 7 if "cancelled" in ask else QUEUED.limit
        )
    )
    assert in_long <= in_short + in_short // 10 + 5


async def test_those_that_are_due_at_the_same_time_are_not_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at those behind a job that are due when it is, however many there are."""
    work = Work(monkeypatch)
    taken = []
    for length in LENGTHS:
        jobs = [a_job(program="ours") for _ in range(length)]
        path = await make_store(tmp_path / f"{length}.db", jobs)
        async with ProgramStore(SqliteStore(path), "ours") as store:
            query = replace(QUEUED, ahead_of=jobs[3])
            assert await store.count(query) == 3
            before = work.steps
            assert await store.count(query) == 3
            taken.append(work.steps - before)
    assert taken[1] <= taken[0] + 5


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"routes": frozenset({"route 1"})},
        {"owner": "ada"},
        {"ahead_of": a_job()},
    ],
    ids=["all", "of a route", "of an owner", "ahead"],
)
async def test_no_row_is_read_to_be_counted(path: Path, fields: dict[str, Any]) -> None:
    """The entries of an index are all that is looked at: no column is read from the table."""
    await make_store(path, a_queue(3))
    asked = select_count(replace(QUEUED, program="ours", **fields))
    assert asked is not None
    sql, values = asked
    with closing(sqlite3.connect(path)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'")
        program = connection.execute(f"EXPLAIN {sql}", values).fetchall()
    opcodes = defaultdict(set)
    for _, opcode, cursor, *_ in program:
        opcodes[cursor].add(opcode)
    of_table = {at for _, opcode, at, page, *_ in program if (opcode, page) == ("OpenRead", root)}
    # It is opened, and may be told where it would have to look; but it never does.
    assert {"Column", "FinishSeek", "SeekRowid", "NotExists"}.isdisjoint(
        set().union(*(opcodes[cursor] for cursor in of_table))
    )


async def test_a_memory_store_counts_without_a_look_at_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is in memory is counted by whole queues, and by owners; and of what is to be cancelled
    nothing is looked at before its time."""
    jobs = a_queue(50)
    store = MemoryStore()
    for job in jobs:
        await store.add(job, REQUEST)
    looks = looks_at_jobs(monkeypatch)
    ours = replace(QUEUED, program="ours", limit=10_000)
    queues = len(ROUTES) * 3 * 2
    for query, expected in (
        (ours, 50 * 3 * 2 * 2 * 2),
        (replace(ours, owner="ada"), 50 * 3 * 2 * 2),
        (replace(ours, ahead_of=last_of(jobs)), 49 * 3 * 2 * 2 * 2 + 3 * 2 * 2 * 2 - 1),
    ):
        looks.clear()
        number = await store.count(query)
        assert len(looks) <= queues
        assert abs(number - expected) <= 8
    looks.clear()
    assert await store.overdue(NOW - 200) == []
    assert len(await store.overdue(NOW, limit=5)) == 5
    assert len(looks) <= 5


# Of guests.


async def test_a_guest_counts_as_well(path: Path) -> None:
    """Who looks from outside counts the queue, and finds what is to be cancelled."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(owner="ada", program="ours", cancel_at=NOW), REQUEST)
        last = await store.add(a_job(owner="ada", program="ours"), REQUEST)
        async with LookingStore(path) as guest:
            for query in (
                QUEUED,
                replace(QUEUED, program="ours"),
                replace(QUEUED, program="ours", owner="ada"),
            ):
                assert await guest.count(query) == 2
            assert await guest.count(replace(QUEUED, program="ours", ahead_of=last)) == 1
            assert await guest.overdue(NOW + 1) == [job]


@pytest.mark.parametrize("version", SCHEMAS)
async def test_a_guest_counts_in_a_store_of_before(path: Path, version: int) -> None:
    """Also in a store that an older program has left, which knows of no such times."""
    make_old_store(path, version)
    async with LookingStore(path) as guest:
        job = await guest.get(JOB_ID)
        for query in (QUEUED, replace(QUEUED, program="ours")):
            assert await guest.count(query) == 1
            assert await guest.count(replace(query, ahead_of=job)) == 0
        assert await guest.count(replace(QUEUED, program="ours", owner="ada")) == 0
        assert await guest.overdue(NOW, program="ours") == []
