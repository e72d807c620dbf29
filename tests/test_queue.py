"""What it costs to take jobs from the queue: in proportion to the jobs taken, not to what waits."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import Jobs, Query, State, transitions
from asyncjobs.engines.awaited import Awaited
from asyncjobs.engines.queue import START_CHUNK, Queue
from asyncjobs.engines.slots import Slots
from asyncjobs.hints import Queued
from asyncjobs.job import Job, Request, Response
from asyncjobs.program import ProgramStore
from asyncjobs.running.claims import Claims, unknown_to
from asyncjobs.running.threads import Threads
from asyncjobs.store import Store, StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.stores.sqlite.rows import (
    JOB_COLUMNS,
    REQUEST_COLUMNS,
    job_to_row,
    request_to_row,
)
from asyncjobs.testing import NOW, a_job
from work import Fetched, Work

DEADLINE = 60
CALL = Request("POST", "/work", body=b'{"args": [], "kwargs": {}}')
#: A program that starts looks once at each route, to tell the operator whose jobs wait.
AT_START = 300
ROUTES = [f"route {number:02}" for number in range(50)]
QUEUED = frozenset({State.QUEUED})


def add_all(path: Path, jobs: list[Job]) -> None:
    """Put jobs into a store that exists, all at once."""
    with closing(sqlite3.connect(path)) as connection:
        ((last,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM jobs")
        for table, columns, rows in (
            ("jobs", JOB_COLUMNS, map(job_to_row, jobs)),
            ("requests", REQUEST_COLUMNS, (request_to_row(CALL) for _ in jobs)),
        ):
            marks = ", ".join("?" for _ in ["seq", *columns.split(", ")])
            connection.executemany(
                f"INSERT INTO {table} (seq, {columns}) VALUES ({marks})",
                ((seq, *row) for seq, row in enumerate(rows, last + 1)),
            )
        connection.commit()


async def make_store(path: Path, jobs: list[Job]) -> Path:
    async with SqliteStore(path):
        pass
    add_all(path, jobs)
    return path


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Fetched:
    return Fetched(monkeypatch)


class Crowd:
    """Programs that run what is queued until so many jobs have started.

    Attributes:
        started: how often a job of each route was.
    """

    def __init__(self, path: Path, enough: int, *, processes: int = 1) -> None:
        self.started: Counter[str] = Counter()
        self.enough = asyncio.Event()
        self._path = path
        self._wanted = enough
        self._processes = processes

    async def run(
        self,
        *,
        concurrency: int,
        threads: int = 1,
        threaded: frozenset[str] = frozenset(),
        limits: dict[str, int] | None = None,
        stuck: frozenset[str] = frozenset(),
    ) -> None:
        """Run them.

        Args:
            threaded: the routes that run in threads.
            limits: the `concurrency` of routes that have their own.
            stuck: the routes whose jobs do not end.
        """
        async with AsyncExitStack() as running:
            for number in range(self._processes):
                # Not of the same name, which is for processes; the jobs are nobody's then.
                name = "ours" if self._processes == 1 else f"process {number}"
                jobs = Jobs(
                    store=f"sqlite:///{self._path}",
                    name=name,
                    concurrency=concurrency,
                    threads=threads,
                    drain_time=0,
                    gone_after=None,
                )
                for route in ROUTES:
                    work = self._handler(route, route in threaded, route in stuck)
                    jobs.function(name=route, concurrency=(limits or {}).get(route))(work)
                await running.enter_async_context(jobs)
            async with asyncio.timeout(DEADLINE):
                await self.enough.wait()

    def _handler(self, route: str, threaded: bool, stuck: bool) -> Callable[[], Any]:
        loop = asyncio.get_running_loop()

        def count() -> None:
            self.started[route] += 1
            if self.started.total() >= self._wanted:
                self.enough.set()

        async def work() -> None:
            count()
            if stuck:
                await asyncio.Event().wait()

        def work_in_thread() -> None:
            loop.call_soon_threadsafe(count)

        return work_in_thread if threaded else work


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 50 routes and 1,000 queued jobs of each, as old as each other."""
    path = tmp_path_factory.mktemp("full") / "jobs.db"
    jobs = [
        a_job(route=route, program="ours", created=NOW + number)
        for number in range(1000)
        for route in ROUTES
    ]
    asyncio.run(make_store(path, jobs))
    return path


@pytest.fixture
def path(full: Path, tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    shutil.copy(full, path)
    return path


FIRST_HALF = frozenset(ROUTES[:25])


@pytest.mark.parametrize(
    ("concurrency", "enough", "options"),
    [
        (1, 100, {}),
        (100, 1000, {}),
        (100, 1000, {"limits": dict.fromkeys(ROUTES, 1)}),
        (100, 1000, {"limits": dict.fromkeys(ROUTES[::2], 3)}),
        (100, 1000, {"limits": dict.fromkeys(FIRST_HALF, 1), "stuck": FIRST_HALF}),
        (100, 500, {"threaded": FIRST_HALF}),
        (100, 100, {"threaded": frozenset(ROUTES)}),
    ],
    ids=["one slot", "many slots", "limited", "some limited", "at limit", "threads", "one thread"],
)
@pytest.mark.parametrize("oldest", ["of all routes", "of the first routes"])
async def test_no_more_is_read_of_a_queue_than_can_start(
    path: Path,
    fetched: Fetched,
    concurrency: int,
    enough: int,
    options: dict[str, Any],
    oldest: str,
) -> None:
    """At most three rows are read for each job that is started, its request included, whatever
    limits there are and whose backlog is the oldest."""
    if oldest == "of the first routes":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE jobs SET due = due - 10000 WHERE route < 'route 25'")
            connection.commit()
    crowd = Crowd(path, enough)
    await crowd.run(concurrency=concurrency, **options)
    assert fetched.rows <= 3 * crowd.started.total() + AT_START


@pytest.mark.parametrize(("concurrency", "enough"), [(1, 100), (100, 500)])
async def test_no_more_is_read_of_suspects_than_can_start(
    path: Path, fetched: Fetched, concurrency: int, enough: int
) -> None:
    """That holds as well where every second job is a suspect, of which one runs at a time."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE jobs SET crashes = 2 WHERE seq / 50 % 2 = 0")
        connection.commit()
    crowd = Crowd(path, enough)
    await crowd.run(concurrency=concurrency)
    assert fetched.rows <= 3 * crowd.started.total() + AT_START


@pytest.mark.parametrize("limits", [{}, dict.fromkeys(ROUTES, 1)], ids=["unlimited", "limited"])
async def test_processes_read_no_more_of_a_queue_than_they_can_start(
    path: Path, fetched: Fetched, limits: dict[str, int]
) -> None:
    """That holds as well for several that take their jobs from the same queue."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE jobs SET program = NULL")
        connection.commit()
    crowd = Crowd(path, 1000, processes=4)
    await crowd.run(concurrency=20, limits=limits)
    assert fetched.rows <= 3 * crowd.started.total() + AT_START


Ask = Callable[[Store], Awaitable[Any]]


def asking(query: Query) -> Ask:
    return lambda store: store.find(query)


DUE = Query(states=QUEUED, routes=frozenset(ROUTES[:3]), suspects=False, limit=10)
ASKS: dict[str, Ask] = {
    "due": asking(DUE),
    "due, limited": asking(replace(DUE, limits=dict.fromkeys(ROUTES[:3], 2))),
    "a share of the due": asking(replace(DUE, shares=3, share=1)),
    "suspects": asking(replace(DUE, suspects=True, skip=7, limit=1)),
    "all that is queued": asking(Query(states=QUEUED, limit=10)),
    "of other routes": asking(unknown_to(ROUTES[:1], 10)),
    "of no other route": asking(unknown_to(ROUTES[:3], 10)),
    "cancelled": asking(
        Query(states=frozenset({State.RUNNING}), worker="0" * 16, cancel_requested=True)
    ),
    "orphans": lambda store: store.orphans(),
    "programs": lambda store: store.programs(),
    "expired": lambda store: store.purge(NOW),
}


@pytest.mark.parametrize("ask", ASKS)
async def test_what_is_looked_for_all_the_time_takes_the_same_in_a_long_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """What a program asks its store again and again costs no more if much is queued: of its own, of
    other programs, of nobody, and of suspects, which are in front here."""
    work = Work(monkeypatch)
    taken = []
    for length in (30, 600):
        jobs = [
            a_job(route=route, program=program, crashes=crashes, created=NOW - crashes)
            for route in ROUTES[:3]
            for program in ("ours", "theirs", None)
            for crashes in (0, 2)
            for _ in range(length)
        ]
        path = await make_store(tmp_path / f"{length}.db", jobs)
        async with ProgramStore(SqliteStore(path), "ours") as store:
            await ASKS[ask](store)  # once, so that all is prepared
            before = work.steps
            found = await ASKS[ask](store)
            taken.append((found, (work.steps - before) // 10))
    (few, in_short), (many, in_long) = taken
    if isinstance(few, list):
        assert [job.route for job in few] == [job.route for job in many]
    assert in_long <= in_short + max(in_short // 10, 5)


def looks_at_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that are compared with what is asked for, from now on."""
    looks: list[Job] = []
    matches = Query.matches

    def noted(query: Query, job: Job) -> bool:
        looks.append(job)
        return matches(query, job)

    monkeypatch.setattr(Query, "matches", noted)
    return looks


async def test_a_memory_store_looks_at_no_more_of_a_queue_than_it_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To find some jobs of a long queue, a memory store looks at few others."""
    store = MemoryStore()
    for route in ROUTES:
        for program in ("ours", "theirs", None):
            for _ in range(100):
                await store.add(a_job(route=route, program=program), CALL)
    looks = looks_at_jobs(monkeypatch)
    query = Query(states=QUEUED, program="ours", routes=frozenset(ROUTES), limit=10)
    assert len(await store.find(query)) == 10
    assert len(looks) <= 3 * len(ROUTES) + 10  # one of each queue, and those that are given


async def test_each_suspect_is_as_likely_to_be_next_as_any_other(tmp_path: Path) -> None:
    """The next suspect to run is left to chance, whether there are few or many, and those that are
    not due yet have none."""
    for length in (1, 3, 7):
        jobs = [a_job(route=ROUTES[n % 2], program="ours", crashes=2) for n in range(length)]
        later = a_job(route=ROUTES[0], program="ours", crashes=2)._replace(due=NOW + 1)
        path = await make_store(tmp_path / f"{length}.db", [*jobs, later])
        first: Counter[str] = Counter()
        async with ProgramStore(SqliteStore(path), "ours", lambda: NOW) as store:
            queue = a_queue(store, random.Random(length))
            for _ in range(200 * length):
                (job,) = await queue._find_suspect(frozenset(ROUTES))
                first[job.id] += 1
        assert first.keys() == {job.id for job in jobs}
        assert all(150 <= times <= 250 for times in first.values())


async def test_the_oldest_of_all_routes_go_first(tmp_path: Path) -> None:
    """Jobs are started in the order in which they are due, of whatever routes they are."""
    jobs = [
        a_job(route=route, program=program, created=NOW - (number * 7919 % 1000))
        for number, (route, program) in enumerate(
            (route, program) for route in ROUTES for program in ("ours", None)
        )
    ]
    path = await make_store(tmp_path / "jobs.db", jobs)
    ran: list[str] = []
    ours = Jobs(store=f"sqlite:///{path}", name="ours", concurrency=1)
    done = asyncio.Event()

    async def work(route: str) -> None:
        ran.append(route)
        if len(ran) == len(jobs):
            done.set()

    for route in ROUTES:

        async def run(route: str = route) -> None:
            await work(route)

        ours.function(name=route)(run)
    async with ours, asyncio.timeout(DEADLINE):
        await done.wait()
    assert ran == [job.route for job in sorted(jobs, key=lambda job: job.due)]


def a_queue(store: Store, chance: random.Random) -> Queue:
    """What an engine looks for jobs with."""
    claims = Claims(store, {}, lambda event: None, chance, max_starts=25)
    awaited = Awaited(store, lambda: None)
    return Queue(claims, Slots(1, Threads(1), awaited), awaited)


@pytest.mark.parametrize("ask", ["orphans", "programs"])
@pytest.mark.parametrize("program", ["ours", "theirs", None])
async def test_what_is_looked_for_takes_the_same_where_much_was_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str, program: str | None
) -> None:
    """Nor does it cost more if a dead process has left very much: some of it is read, of whomever
    it is, and the programs are those of all."""
    work = Work(monkeypatch)
    taken = []
    for length in (200, 4000):
        left = [
            transitions.start(a_job(program=program, created=NOW - number), "0" * 16, NOW)
            for number in range(length)
        ]
        path = await make_store(tmp_path / f"{length}.db", left)
        async with SqliteStore(path) as store:
            await ASKS[ask](store)  # once, so that all is prepared
            before = work.steps
            found = await ASKS[ask](store)
            taken.append((len(found), (work.steps - before) // 10))
    (few, of_few), (many, of_many) = taken
    assert few == many == (100 if ask == "orphans" else program is not None)
    assert of_many <= of_few + max(of_few // 10, 5)


class Counting(StoreWrapper):
    """Counts the jobs that are being claimed.

    Attributes:
        most: how many there were at a time.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.claims = self.most = 0

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        claim = old.state is State.QUEUED and new.state is State.RUNNING
        self.claims += claim
        self.most = max(self.most, self.claims)
        try:
            await super().replace(old, new, response, erase=erase)
        finally:
            self.claims -= claim


@pytest.mark.parametrize("in_memory", [True, False])
async def test_no_more_than_some_are_claimed_at_a_time(tmp_path: Path, in_memory: bool) -> None:
    """However many jobs are queued and may run, they are claimed some at a time, so that nothing
    waits for all of them; and all of them run at once in the end."""
    store = Counting(MemoryStore() if in_memory else SqliteStore(tmp_path / "jobs.db"))
    jobs = Jobs(store=store, name="ours", concurrency=10_000)
    running, all_run = 0, asyncio.Event()

    @jobs.function(name="work")
    async def work() -> None:
        nonlocal running
        running += 1
        if running == 3 * START_CHUNK + 1:
            all_run.set()
        await all_run.wait()

    await jobs.open()
    queued = [a_job(route="work", program="ours") for _ in range(3 * START_CHUNK + 1)]
    await asyncio.gather(*(store.add(job, CALL) for job in queued))
    await jobs.begin()
    async with asyncio.timeout(DEADLINE):
        await all_run.wait()
    await jobs.__aexit__()
    assert store.most <= START_CHUNK


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_look_in_case_a_hint_was_lost_sends_no_new_job_into_the_queue(
    tmp_path: Path, in_memory: bool
) -> None:
    """Now and then a process looks whether anything is queued that it has not heard of. As long as
    it does not know of any, what is submitted meanwhile starts at once: once in the queue, jobs
    that come faster than the queue is claimed would all have to go through it."""
    store = Counting(MemoryStore() if in_memory else SqliteStore(tmp_path / "jobs.db"))
    jobs = Jobs(store=store, name="ours", concurrency=10_000)
    done = asyncio.Event()

    @jobs.function(name="work")
    async def work() -> None:
        await done.wait()

    async with jobs:
        submitting = asyncio.gather(*(jobs.submit("work") for _ in range(START_CHUNK + 1)))
        jobs._here("test").heard(Queued())  # before they begin, in a turn in which nobody looks yet
        states = {job.state for job in await submitting}
        done.set()
    assert states == {State.RUNNING}
    assert store.most == 0


async def test_a_submission_takes_the_same_however_many_jobs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside 10 running jobs or 3,000, it takes as many calls of Python and as many steps of
    SQLite until its handler has begun."""
    work = Work(monkeypatch)
    jobs = Jobs(store=f"sqlite:///{tmp_path}/jobs.db", concurrency=10_000, drain_time=0)
    begun = asyncio.Semaphore(0)

    @jobs.function(name="sleep")
    async def sleep() -> None:
        begun.release()
        await asyncio.sleep(3600)

    async def taken() -> tuple[int, int]:
        calls, before = 0, work.steps

        def count(frame: object, event: str, what: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            await jobs.submit("sleep")
            await begun.acquire()
        finally:
            sys.setprofile(None)
        return calls, work.steps - before

    async with jobs:
        least = []
        for running in (10, 3000):
            await asyncio.gather(*(jobs.submit("sleep") for _ in range(running)))
            for _ in range(running):
                await begun.acquire()
            measured = [await taken() for _ in range(30)]
            # Now and then something else runs meanwhile.
            least.append([min(of_each) for of_each in zip(*measured, strict=True)])
    few, many = least
    assert many == few
