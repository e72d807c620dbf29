"""Whoever looks sees the newest jobs first, a page at a time, whatever happens in between."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncjobs import (
    Cursor,
    Job,
    JobWasCancelled,
    Listing,
    MemoryStore,
    Page,
    Request,
    SqliteStore,
    State,
    Store,
    transitions,
)
from asyncjobs.job import FINAL
from asyncjobs.listing import MAX_PAGE
from asyncjobs.paging import Counted, pages
from asyncjobs.program import ProgramStore
from asyncjobs.store import StoreWrapper
from asyncjobs.stores import memory
from asyncjobs.stores.sqlite import listing as sqlite_listing
from asyncjobs.stores.sqlite.rows import JOB_COLUMNS, job_to_row, marks
from asyncjobs.testing import NOW, RESPONSE, a_job, purge_all
from schemas import JOB_ID, SCHEMAS, make_store
from work import Work

CALL = Request("POST", "/work")
DEADLINE = 60
CANCELLED = JobWasCancelled("somebody asked for it")
NOT_TEXT = "CAST(x'ff' AS TEXT)"


async def all_of(store: Store, listing: Listing) -> list[Job]:
    return [job async for page in pages(store, listing) for job in page.jobs]


# The values.


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_is_a_text_for_a_url(created: float, number: int) -> None:
    """Each cursor is written as 22 letters that a URL can have as they are, and read back as it
    was."""
    cursor = Cursor(created, number)
    text = str(cursor)
    assert len(text) == 22
    assert text.replace("-", "").replace("_", "").isalnum()
    assert text.isascii()
    assert Cursor.from_text(text) == cursor


GOOD = str(Cursor(NOW, 7))
JUNK = [
    "", " ", "x", GOOD[:-1], f"{GOOD}=", f"{GOOD}==", f" {GOOD}", f"{GOOD}\n", GOOD[:-1] + "-",
    GOOD + GOOD, GOOD.replace(GOOD[3], "+"), f"{GOOD[:5]}*{GOOD[5:]}", "\N{SNOWMAN}" * 22,
    "f_gAAAAAAAAAAAAAAAAAAA", "f_AAAAAAAAAAAAAAAAAAAA", "A" * 100_000, "\0", "None",
]  # fmt: skip


@pytest.mark.parametrize("text", JUNK, ids=range(len(JUNK)))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """A text that no cursor was written as, nan and infinity among them, is refused in words that
    say what to give instead."""
    with pytest.raises(ValueError, match=r"give the text of `Page\.next`"):
        Cursor.from_text(text)


@given(st.text(max_size=30))
def test_whatever_is_read_as_a_cursor_is_written_so(text: str) -> None:
    """No text stands for the cursor of another one."""
    try:
        cursor = Cursor.from_text(text)
    except ValueError:
        return
    assert str(cursor) == text


@pytest.mark.parametrize("text", [None, b"x" * 22, 5, Cursor(NOW, 1)])
def test_a_cursor_is_read_from_text_alone(text: Any) -> None:
    """What is no text is refused as that."""
    with pytest.raises(TypeError, match="a cursor must be a str"):
        Cursor.from_text(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "limit must be from 1 to 1000, not 0"),
        ({"limit": 1001}, "limit must be from 1 to 1000"),
        ({"limit": True}, "limit must be an int"),
        ({"limit": 1.0}, "limit must be an int"),
        ({"since": float("nan")}, "since must be finite"),
        ({"since": float("inf")}, "since must be finite"),
        ({"since": "yesterday"}, "since must be an int or a float"),
        ({"before": GOOD}, r"before must be a Cursor, .*Cursor\.from_text\(\)"),
        ({"before": 5}, "before must be a Cursor"),
        ({"owner": 5}, "owner must be a str"),
        ({"owner": "\ud800"}, "owner has a lone surrogate"),
        ({"program": 5}, "program must be a str"),
        ({"program": "\ud800"}, "program has a lone surrogate"),
        ({"states": "failed"}, "states must be a frozenset"),
        ({"states": State.FAILED}, "states must be a frozenset"),
        ({"states": frozenset({"done"})}, "'done' is not a valid State"),
        ({"routes": "report"}, "routes must be a frozenset"),
        ({"routes": {"report"}}, "routes must be a frozenset"),
        ({"routes": frozenset({5})}, "a route must be a str"),
        ({"routes": frozenset({"\ud800"})}, "a route has a lone surrogate"),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    """What no job can be asked for by is refused where the listing is made."""
    with pytest.raises((TypeError, ValueError), match=message):
        Listing(**fields)


# Whatever happens between two pages.

OWNERS = st.sampled_from([None, "ada", "bob"])
PROGRAMS = st.sampled_from([None, "ours", "theirs"])
ROUTES = st.sampled_from(["report", "other"])
#: Few times, so that many jobs are of the same one; the clock goes back as well.
TIMES = st.sampled_from([NOW, NOW + 1, NOW + 2])
adds = st.tuples(st.just("add"), TIMES, OWNERS, PROGRAMS, ROUTES)
changes = st.tuples(st.sampled_from(["start", "cancel", "forget"]), st.integers(0, 30))
listings = st.builds(
    Listing,
    owner=st.sampled_from([Listing().owner, None, "ada"]),
    program=PROGRAMS,
    states=st.none() | st.frozensets(st.sampled_from(State), max_size=3),
    routes=st.none() | st.frozensets(ROUTES, max_size=2),
    since=st.none() | TIMES,
    limit=st.sampled_from([1, 2, 3, 5, 1000]),
)


class Model:
    """The jobs that a store has, in the order in which they came."""

    def __init__(self, store: Store) -> None:
        self.jobs: dict[str, Job] = {}
        self._store = store

    def listed(self, listing: Listing) -> list[Job]:
        """All that such a listing has."""
        numbered = list(enumerate(self.jobs.values()))
        numbered.sort(key=lambda at: (at[1].created, at[0]), reverse=True)
        return [job for _, job in numbered if listing.matches(job)]

    async def do(self, step: tuple[Any, ...]) -> None:
        """Have something happen."""
        match step:
            case ("add", created, owner, program, route):
                job = a_job(created=created, owner=owner, program=program, route=route)
                self.jobs[job.id] = await self._store.add(job, CALL)
            case (what, number) if self.jobs:
                job = list(self.jobs.values())[number % len(self.jobs)]
                if what == "start" and job.state is State.QUEUED:
                    await self._change(job, transitions.start(job, self._store.worker, NOW))
                elif what != "start" and job.state not in FINAL:
                    await self._change(job, transitions.cancel(job, NOW, CANCELLED))
                if what == "forget":
                    await purge_all(self._store, NOW + 100)
                    for ended in [each for each in self.jobs.values() if each.state in FINAL]:
                        del self.jobs[ended.id]

    async def _change(self, old: Job, new: Job) -> None:
        await self._store.replace(old, new, RESPONSE if new.state in FINAL else None)
        self.jobs[old.id] = new


@pytest.fixture
def a_short_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a page, stores look at three jobs."""
    for module in (memory, sqlite_listing):
        monkeypatch.setattr(module, "MAX_PAGE", 3)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(adds | adds | changes, max_size=20),
    listings,
    st.lists(st.lists(adds | changes, max_size=4), max_size=12),
)
def test_no_job_is_repeated_or_left_out(
    a_short_reach: None,
    first: list[tuple[Any, ...]],
    listing: Listing,
    between: list[list[tuple[Any, ...]]],
) -> None:
    """Whatever is listed, and whatever comes, changes and goes between two pages: a page and those
    behind it have together what there was to list, each job once, and what does not change itself
    stays where it is. So in each store, as a plain model has it."""
    asyncio.run(_page_through(MemoryStore(), first, listing, between))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_page_through(SqliteStore(Path(folder) / "jobs.db"), first, listing, between))


async def _page_through(
    opened: Store,
    first: list[tuple[Any, ...]],
    listing: Listing,
    between: list[list[tuple[Any, ...]]],
) -> None:
    async with opened as store:
        model = Model(store)
        for step in first:
            await model.do(step)
        for steps in between:
            assert await all_of(store, replace(listing, before=None)) == model.listed(listing)
            page = await store.list(listing)
            assert len(page.jobs) <= listing.limit
            left = await all_of(store, listing)
            if page.next is None:
                assert left == page.jobs
                return
            behind = replace(listing, before=page.next)
            rest = await all_of(store, behind)
            # All that was left is either on this page or behind it.
            assert page.jobs + rest == left
            before = dict(model.jobs)
            for step in steps:
                await model.do(step)
            after = {job.id: job for job in await all_of(store, behind)}
            # What is behind it stays there, and what is not does not come there.
            for job in before.values():
                if model.jobs.get(job.id) == job:
                    assert (job in rest) == (job.id in after)
            listing = behind


# What a page costs.

LENGTHS = (2000, 20_000)


def many_jobs(length: int, *, alike: bool = False) -> list[Job]:
    """The jobs of ten owners and of nobody, one of 1,500 of which is queued."""
    return [
        a_job(
            created=NOW if alike else NOW + number,
            owner=None if number % 2 else f"user {number % 20}",
            program="ours",
            route=f"route {number % 10}",
            state=State.SUCCEEDED if number % 1500 else State.QUEUED,
            expires=NOW + 1e6,
        )
        for number in range(length)
    ]


def add_all(path: Path, jobs: list[Job]) -> None:
    """Put jobs into a store that exists, all at once."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES ({marks(JOB_COLUMNS)})", map(job_to_row, jobs)
        )


@pytest.fixture(scope="module", params=[False, True], ids=["in turn", "all at one time"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    """Stores of both lengths."""
    paths = {}
    for length in LENGTHS:
        paths[length] = tmp_path_factory.mktemp("full") / "jobs.db"
        asyncio.run(make_full(paths[length], many_jobs(length, alike=request.param)))
    return paths


async def make_full(path: Path, jobs: list[Job]) -> None:
    async with SqliteStore(path):
        pass
    add_all(path, jobs)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


QUEUED = frozenset({State.QUEUED})
LISTINGS = {
    "all": Listing(),
    "one": Listing(limit=1),
    "most": Listing(limit=MAX_PAGE),
    "an owner's": Listing(owner="user 2", limit=20),
    "nobody's": Listing(owner=None),
    "rare ones": Listing(states=QUEUED),
    "what there is none of": Listing(states=frozenset({State.RUNNING})),
    "common ones": Listing(states=frozenset({State.SUCCEEDED})),
    "of a route": Listing(routes=frozenset({"route 3", "route 5"})),
    "of a program": Listing(program="ours"),
    "rare ones of an owner": Listing(owner="user 0", states=QUEUED),
}


@pytest.mark.parametrize("place", ["first page", "in the middle", "near the end"])
@pytest.mark.parametrize("name", LISTINGS)
async def test_a_page_takes_the_same_of_many_jobs(
    full: dict[int, Path], work: Work, name: str, place: str
) -> None:
    """A page is read in as many steps in a store with ten times as many jobs, be it the first one
    or one in the middle, be they all of one owner, of a rare state, or made at the same time."""
    taken = {}
    for length, path in full.items():
        number = {"in the middle": length // 2 + 2, "near the end": 100}.get(place)
        before = None
        if number is not None:
            with closing(sqlite3.connect(path)) as connection:
                sql = "SELECT created, seq FROM jobs WHERE seq = ?"
                before = Cursor(*connection.execute(sql, (number,)).fetchone())
        async with SqliteStore(path) as store:
            listing = replace(LISTINGS[name], before=before)
            await store.list(listing)  # once, so that all is prepared
            begun = work.steps, work.rows
            page = await store.list(listing)
            taken[length] = work.steps - begun[0], len(page.jobs)
            most = listing.limit if name in ("all", "one", "most", "an owner's") else MAX_PAGE
            assert work.rows - begun[1] <= most + 1
    (in_few, _), (in_many, found) = taken.values()
    assert found or "rare" in name or "none" in name or place == "near the end"
    # Of an owner there are fewer behind the middle of few.
    if "owner" not in name:
        assert abs(in_many - in_few) <= in_few // 10 + 5
    assert in_many <= 100 * (MAX_PAGE + 1)


@pytest.mark.parametrize("since", [NOW - 1, NOW + 1500])
async def test_what_is_too_old_is_not_looked_at(
    full: dict[int, Path], work: Work, since: float
) -> None:
    """A listing since some time costs no more for what is older."""
    async with SqliteStore(full[20_000]) as store:
        begun = work.steps
        await store.list(Listing(since=since, owner="user 2"))
        assert work.steps - begun <= 30_000


async def test_a_memory_store_looks_at_no_more_jobs_than_a_page_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of however many jobs, a memory store looks at a thousand for a page at most, and at those of
    the owner alone."""
    looks = 0
    matches = Listing.matches

    def counted(listing: Listing, job: Job) -> bool:
        nonlocal looks
        looks += 1
        return matches(listing, job)

    monkeypatch.setattr(Listing, "matches", counted)
    async with MemoryStore() as store:
        for job in many_jobs(5000):
            await store.add(job, CALL)
        for listing, most in (
            (Listing(), 100),
            (Listing(states=QUEUED), MAX_PAGE),
            (Listing(owner="user 2", states=frozenset({State.FAILED})), 250),
        ):
            looks = 0
            assert isinstance(await store.list(listing), Page)
            assert looks <= most


async def test_a_page_that_is_empty_need_not_be_the_last(full: dict[int, Path]) -> None:
    """Where a thousand jobs are left out there is an empty page, and the listing goes on behind
    it to what it is for."""
    async with SqliteStore(full[20_000]) as store:
        found = [page async for page in pages(store, Listing(states=QUEUED))]
        assert [len(page.jobs) for page in found].count(0) >= 5
        assert sum(len(page.jobs) for page in found) == 14
        assert [page.next is None for page in found] == [False] * 19 + [True]


# Rows that are damaged or old.

DAMAGES = {
    "state": "state = 'done'",
    "version": "version = -1",
    "path": f"path = {NOT_TEXT}",
    "route": f"route = {NOT_TEXT}",
    "owner": f"owner = {NOT_TEXT}",
    "due": "due = 1e300",
    "made late": "created = 1e300",
    "made early": "created = -1e300",
    "made at infinity": "created = 9e999",
    "made before all": "created = -9e999",
}
#: Has every change of a job fail.
NO_REPAIR = "CREATE TRIGGER no BEFORE UPDATE ON jobs BEGIN SELECT raise(ABORT, 'no'); END"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with 20 jobs, each a second older than the next."""
    path = tmp_path / "jobs.db"
    await make_full(path, [a_job(created=NOW + number, owner="ada") for number in range(20)])
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, timeout=DEADLINE)) as connection, connection:
        connection.execute(statement)


@pytest.fixture(params=[1, 2, 1000])
def limit(request: pytest.FixtureRequest) -> int:
    limit: int = request.param
    return limit


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_row_is_put_right_when_it_is_listed(
    path: Path, limit: int, damage: str
) -> None:
    """A listing of all comes past damaged rows and has all others in their order; a later one has
    them too, as jobs that have failed."""
    change(path, f"UPDATE jobs SET {DAMAGES[damage]} WHERE seq IN (1, 2, 3, 10, 19, 20)")
    async with SqliteStore(path) as store:
        listed = await all_of(store, Listing(limit=limit))
        whole = [job for job in listed if job.state is State.QUEUED]
        assert [job.created for job in whole] == [
            NOW + number for number in reversed(range(20)) if number not in (0, 1, 2, 9, 18, 19)
        ]
        failed = await all_of(store, Listing(states=frozenset({State.FAILED}), limit=limit))
        assert len(failed) == 6


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_row_that_stays_is_passed(path: Path, limit: int, damage: str) -> None:
    """So also where nothing can be put right: the listing has the others, and comes to an end."""
    change(path, f"UPDATE jobs SET {DAMAGES[damage]} WHERE seq IN (1, 2, 3, 10, 19, 20)")
    async with SqliteStore(path) as store:
        change(path, NO_REPAIR)
        for listing in (Listing(limit=limit), Listing(limit=limit, owner="ada")):
            async with asyncio.timeout(DEADLINE):
                listed = await all_of(store, listing)
            assert [job.created for job in listed] == [
                NOW + number for number in reversed(range(20)) if number not in (0, 1, 2, 9, 18, 19)
            ]


@pytest.mark.parametrize("damage", ["state", "made late", "made early", "made at infinity"])
async def test_a_store_of_damaged_rows_alone(path: Path, limit: int, damage: str) -> None:
    """Where no row at all can be read or put right, there is nothing to list, and an end to it."""
    change(path, f"UPDATE jobs SET {DAMAGES[damage]}")
    async with SqliteStore(path) as store, asyncio.timeout(DEADLINE):
        change(path, NO_REPAIR)
        assert await all_of(store, Listing(limit=limit)) == []


@pytest.mark.parametrize("version", SCHEMAS)
async def test_jobs_of_earlier_versions_are_listed(tmp_path: Path, version: int) -> None:
    """What an earlier version has left is listed among what came later."""
    path = tmp_path / "jobs.db"
    make_store(path, version)
    async with SqliteStore(path) as store:
        old = await store.get(JOB_ID)
        new = await store.add(a_job(), CALL)
        older = await store.add(a_job(created=old.created - 1), CALL)
        assert await all_of(store, Listing(limit=1)) == [new, old, older]
        assert await all_of(store, Listing(limit=1, owner=None)) == [new, old, older]


# Whose jobs.


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.db")
    async with made as store:
        yield store


@pytest.mark.parametrize("sign", [1, -1])
async def test_times_that_are_large_ints(store: Store, sign: int) -> None:
    """A time may be any int that a float can hold."""
    job = await store.add(a_job(), CALL)
    found = await store.list(Listing(since=sign * 10**300))
    assert found.jobs == ([] if sign > 0 else [job])
    found = await store.list(Listing(before=Cursor(sign * 10**300, 0)))
    assert found.jobs == ([job] if sign > 0 else [])


async def test_a_program_lists_its_own(store: Store) -> None:
    """A program lists its own jobs and those of anybody, whatever program it asks for; one that
    passes everything on lists all."""
    ours, theirs, anybodys = [
        await store.add(a_job(program=program, created=NOW + number), CALL)
        for number, program in enumerate(["ours", "theirs", None])
    ]
    view = ProgramStore(store, "ours")
    for listing in (Listing(), Listing(program="theirs")):
        assert await view.list(listing) == Page([anybodys, ours], None)
    assert await StoreWrapper(store).list(Listing()) == Page([anybodys, theirs, ours], None)


async def test_the_jobs_of_another_process_are_listed(tmp_path: Path) -> None:
    """A page has what any process has added, and goes on where that of another one ended."""
    async with AsyncExitStack() as opened:
        one, other = [
            await opened.enter_async_context(SqliteStore(tmp_path / "jobs.db")) for _ in range(2)
        ]
        jobs = [await store.add(a_job(), CALL) for store in (one, other, one)]
        page = await other.list(Listing(limit=1))
        assert page.jobs == jobs[2:]
        assert page.next is not None
        text = str(page.next)
        behind = Listing(before=Cursor.from_text(text))
        assert await one.list(behind) == Page([jobs[1], jobs[0]], None)


# Many pages.


async def counts(store: Store, listing: Listing) -> Counter[tuple[State, str]]:
    counted = Counted()
    async for page in pages(store, listing):
        counted.add(page)
    return counted.counts


async def test_counts(store: Store) -> None:
    """All jobs that are asked for are counted, by state and route, on however many pages."""
    for number in range(25):
        await store.add(a_job(route=f"route {number % 2}", owner="ada" if number else None), CALL)
    (first,) = (await store.list(Listing(limit=1))).jobs
    await store.replace(first, transitions.start(first, store.worker, NOW))
    for limit in (1, 7, 100):
        assert await counts(store, Listing(limit=limit)) == Counter(
            {
                (State.QUEUED, "route 0"): 12,
                (State.QUEUED, "route 1"): 12,
                (State.RUNNING, "route 0"): 1,
            }
        )
        assert (await counts(store, Listing(limit=limit, owner="ada"))).total() == 24
    assert await counts(store, Listing(owner="eve")) == Counter()


async def test_others_get_their_turn_while_pages_are_read(store: Store) -> None:
    """Whatever else is to run on the loop does so at least once for each page."""
    for _ in range(20):
        await store.add(a_job(), CALL)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await counts(store, Listing(limit=1))
    running.cancel()
    assert turns >= 19
