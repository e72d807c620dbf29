"""What has expired is forgotten, and its space given back, a little at a time: nothing waits."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

import waits
from asyncjobs import Jobs, slices, transitions
from asyncjobs.events import Rescued
from asyncjobs.job import Job, State
from asyncjobs.listing import Listing
from asyncjobs.running import claims, sweeper
from asyncjobs.running.claims import Claims
from asyncjobs.slices import in_a_slice
from asyncjobs.store import StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.stores.sqlite.database import KEPT_PAGES, KEPT_SHARE
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, FakeClock, a_job, purge_all
from asyncjobs.torture.handles import STORES
from heard import heard
from server import Server, count_jobs, result, submit, until

DEADLINE = 60.0
PAGE = 4096
#: More than any server forgets before it has run its first job, as that would take 15 s at least.
MANY = 100_000


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "REST", 0.0)
    monkeypatch.setattr(sweeper, "SWEEP_INTERVAL", 0.05)


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        ((value,),) = connection.execute(f"PRAGMA {name}")
    return int(value)


def is_small(path: Path) -> bool:
    """Whether there are no more free pages than are kept, and the file is as large as needed."""
    pages = pragma(path, "page_count")
    return (
        pragma(path, "freelist_count") <= max(KEPT_PAGES, pages // KEPT_SHARE)
        and path.stat().st_size <= pages * PAGE
    )


def add_expired(path: Path, results: int) -> None:
    """Put results into a store that exists, which have expired long ago."""
    numbers = "WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < ?)"
    with closing(sqlite3.connect(path)) as connection:
        for insert in (
            "INSERT INTO jobs (seq, id, route, path, created, repeatable, state, version, attempt,"
            f" crashes, cancel_requested, due, expires) {numbers} SELECT seq, randomblob(16),"
            " 'old', '/old', 1e9, 0, 'succeeded', 3, 1, 0, 0, 1e9, 1e9 FROM n",
            f"INSERT INTO requests {numbers} SELECT seq, 'GET', '/old', x'', x'', x'', 'http', '',"
            " '1.1', NULL, NULL, x'' FROM n",
            f"INSERT INTO responses {numbers} SELECT seq, 200, x'', x'' FROM n",
        ):
            connection.execute(insert, (results,))
        connection.commit()


async def add_results(store: SqliteStore, results: int, size: int) -> list[Job]:
    large = replace(RESPONSE, body=random.Random(7).randbytes(size))
    jobs = [await store.add(a_job(), REQUEST) for _ in range(results)]
    for job in jobs:
        await store.replace(job, transitions.fail(job, NOW, BROKEN), large)
    return jobs


# A slice.


def test_a_slice_is_over_with_its_time() -> None:
    """A slice has what there is time for, and one thing at least; no further one is looked at."""
    for seconds, expected in ((0.0, 1), (slices.SLICE / 4, 4), (slices.SLICE * 2, 1)):
        ticks, things = count(), iter(range(100))
        done = list(in_a_slice(things, lambda: next(ticks) * seconds))  # noqa: B023
        assert done == list(range(expected if seconds else 100))
        assert next(things, 100) == len(done)
    assert list(in_a_slice([])) == []


@pytest.mark.parametrize("kind", STORES)
async def test_a_purge_takes_no_longer_than_a_slice(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have expired, a purge ends with its time: if there is none, with one job."""
    monkeypatch.setattr(slices, "SLICE", 0.0)
    async with STORES[kind].open(tmp_path) as store:
        jobs = [await store.add(a_job(), REQUEST) for _ in range(20)]
        for job in jobs:
            await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        assert [await store.purge(NOW + 61) for _ in range(21)] == [1] * 20 + [0]


async def test_space_is_given_back_in_slices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of the space is given back as there is time for: if there is none, a page."""
    async with SqliteStore(path) as store:
        await add_results(store, 20, 100_000)
        await purge_all(store, NOW + 61)
        monkeypatch.setattr(slices, "SLICE", 0.0)
        free = pragma(path, "freelist_count")
        for given in range(1, 5):
            assert await store.shrink()
            assert pragma(path, "freelist_count") == free - given


# Beside all else.


class Purges(StoreWrapper):
    """Counts what it is asked to purge, and may never answer."""

    asked = 0
    answers = True

    async def purge(self, before: float) -> int:
        self.asked += 1
        while not self.answers:
            await asyncio.sleep(DEADLINE)
        return await super().purge(before)


@pytest.mark.parametrize("kind", STORES)
async def test_nothing_is_purged_before_jobs_run(tmp_path: Path, kind: str) -> None:
    """A start does not wait for a purge, and nor does anything else: jobs run, are cancelled and
    rescued while one goes on for ever."""
    store = Purges(STORES[kind].open(tmp_path))
    store.answers = False
    jobs = Jobs(store=store)
    jobs.function(asyncio.sleep, name="sleep")
    async with jobs:
        assert store.asked == 0
        await waits.until(lambda: store.asked > 0)
        orphan = transitions.start(a_job(route="sleep"), "0" * 16, NOW)
        await store.add(orphan, REQUEST)
        assert (await jobs.wait(orphan.id, DEADLINE)).state is State.INTERRUPTED
        assert await jobs.result((await jobs.submit("sleep", 0)).id, DEADLINE) is None
        long = await jobs.submit("sleep", 3600)
        await jobs.cancel(long.id)
        assert (await jobs.wait(long.id, DEADLINE)).state is State.CANCELLED


@pytest.mark.parametrize("kind", STORES)
async def test_as_many_are_forgotten_as_end(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little a slice comes to, and however rarely there is one, as on a busy event loop:
    what expires does not pile up."""
    monkeypatch.setattr(slices, "SLICE", 0.0)  # a job in each
    monkeypatch.setattr(sweeper, "REST", 0.5)  # so that a job in each would take minutes
    jobs = Jobs(store=STORES[kind].open(tmp_path))
    jobs.function(asyncio.sleep, name="sleep", ttl=0)
    async with jobs:
        for _ in range(10):
            await asyncio.gather(*(jobs.submit("sleep", 0) for _ in range(40)))
        async with asyncio.timeout(DEADLINE):
            while (await jobs.list(Listing(limit=1))).jobs:
                await asyncio.sleep(0.05)


class Slices(StoreWrapper):
    """A store in which so many have expired, and a slice has so many of them.

    Attributes:
        slices: how many there were.
    """

    def __init__(self, expired: int, in_slice: int) -> None:
        super().__init__(MemoryStore())
        self.expired, self.in_slice, self.slices = expired, in_slice, 0

    async def purge(self, before: float) -> int:
        done = min(self.expired, self.in_slice)
        self.expired -= done
        self.slices += 1
        return done


@pytest.mark.parametrize(
    ("ended", "expired", "in_slice", "slices"),
    [
        *((0, 1000, 1, 1), (80, 1000, 80, 1), (81, 1000, 80, 2), (800, 10**6, 80, 10)),
        *((10**6, 10**6, 1, 32), (10**6, 160, 80, 3), (10**6, 0, 80, 1)),
    ],
)
async def test_as_many_slices_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, ended: int, expired: int, in_slice: int, slices: int
) -> None:
    """So many slices without a rest that no fewer are forgotten than have ended, and one at least;
    but no more than a few, and none behind one that has found nothing: what ends may have days."""
    monkeypatch.setattr(sweeper, "REST", 0.0)
    async with Slices(expired, in_slice) as store:
        claims = Claims(store, {}, lambda event: None, random.Random(7), max_starts=9)
        purging = sweeper.Sweeper(claims, gone_after=None, ended=lambda: ended)
        await purging._purge(NOW)
        assert store.slices == slices


class Alone(StoreWrapper):
    """A store that notes whether all else on the loop comes between two purges.

    Attributes:
        purges: how many there were.
        met: whether there were two without anything between them.
    """

    purges, met, _is_last = 0, False, False

    async def purge(self, before: float) -> int:
        self.purges += 1
        self.met = self.met or self._is_last
        self._is_last = True
        asyncio.get_running_loop().call_soon(setattr, self, "_is_last", False)
        return await super().purge(before)


@pytest.mark.parametrize("kind", STORES)
async def test_the_loop_is_held_up_for_one_slice_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs end, no two slices of what has expired are one piece of work: all else that
    is ready comes between them."""
    monkeypatch.setattr(slices, "SLICE", 0.0)  # a job in each
    store = Alone(STORES[kind].open(tmp_path))
    jobs = Jobs(store=store)
    jobs.function(asyncio.sleep, name="sleep", ttl=0)
    async with jobs:
        await asyncio.gather(*(jobs.submit("sleep", 0) for _ in range(100)))
        async with asyncio.timeout(DEADLINE):
            while (await jobs.list(Listing(limit=1))).jobs:
                await asyncio.sleep(0.05)
    assert store.purges >= 100
    assert not store.met


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_answers_while_much_has_expired(tmp_path: Path, workers: int) -> None:
    """A server with very many expired results answers before it has forgotten them, runs jobs
    meanwhile, and stops in the middle when it is told to."""
    path = tmp_path / "jobs.db"
    asyncio.run(open_and_close(path))
    add_expired(path, MANY)
    config = {"SIGNALS": str(tmp_path / "signals")}
    with Server("apps.contract:app", tmp_path, config=config, workers=workers) as server:
        with server.client() as client:
            assert result(client, submit(client, "GET", "/foo")).status_code == 200
            assert count_jobs(path) > 1
            until(lambda: count_jobs(path) < MANY, "the first slice")
        assert server.stop() == 0
    assert 0 < count_jobs(path) < MANY


async def test_all_that_has_expired_is_forgotten_in_the_end(path: Path, no_rest: None) -> None:
    """A program forgets all that has expired, however many slices that takes; what expires while it
    runs is among it."""
    await open_and_close(path)
    add_expired(path, 10_000)
    clock = FakeClock()
    jobs = Jobs(store=f"sqlite:///{path}", clock=clock, ttl=60)
    jobs.function(asyncio.sleep, name="sleep")
    async with jobs:
        job = await jobs.submit("sleep", 0)
        await jobs.wait(job.id, DEADLINE)
        await waits.until(lambda: count_jobs(path) == 1)
        clock.advance(61)
        await waits.until(lambda: count_jobs(path) == 0)


async def test_only_some_jobs_of_the_dead_are_rescued_before_others_run(path: Path) -> None:
    """A start does not wait for the rescue of very many; all are rescued in the end."""
    await open_and_close(path)
    left: list[Job] = []
    for _ in range(3):
        async with SqliteStore(path) as died:
            its = [transitions.start(a_job(route="work"), died.worker, NOW) for _ in range(90)]
            left += await asyncio.gather(*(died.add(job, REQUEST) for job in its))

    def rescued() -> int:
        with closing(sqlite3.connect(path)) as connection:
            select = "SELECT count(*) FROM jobs WHERE state = 'interrupted'"
            ((number,),) = connection.execute(select)
        return int(number)

    jobs = Jobs(store=f"sqlite:///{path}", name="report")
    with heard(jobs) as events:
        async with jobs:
            assert rescued() == claims.RESCUE_CHUNK
            for job in left:
                await events.next(Rescued, job.id)
            assert rescued() == len(left)


# The space.


async def test_the_file_of_an_idle_server_gets_small(path: Path, no_rest: None) -> None:
    """When large results have expired, the file is cut back to what is needed, and a little that is
    kept for new ones, although nobody does anything; what is left can be read."""
    clock = FakeClock()
    async with SqliteStore(path) as store:
        await add_results(store, 40, 500_000)
        kept = await store.add(a_job(), REQUEST)
        await store.replace(
            kept, transitions.fail(kept, NOW, BROKEN)._replace(expires=NOW + 1e6), RESPONSE
        )
    large = path.stat().st_size
    assert large > 20_000_000
    clock.advance(61)
    async with Jobs(store=f"sqlite:///{path}", clock=clock) as jobs:
        await waits.until(lambda: count_jobs(path) == 1 and is_small(path))
        assert path.stat().st_size < large / 10
        assert await jobs.response(kept.id) == RESPONSE
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_space_that_others_have_left_is_given_back(path: Path, no_rest: None) -> None:
    """It does not matter who has forgotten the results, nor when: free pages are given back at any
    time, and a file that is larger than needed is cut back."""
    async with SqliteStore(path) as store:
        await add_results(store, 20, 500_000)
        await purge_all(store, NOW + 61)
    assert pragma(path, "freelist_count") > 2000
    async with Jobs(store=f"sqlite:///{path}"):
        await waits.until(lambda: is_small(path))


async def test_the_file_is_cut_back_once_nobody_reads_in_it(path: Path, no_rest: None) -> None:
    """A reader that keeps the file as it was, as a backup does, only puts that off."""
    async with SqliteStore(path) as store:
        await add_results(store, 20, 500_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchall()
        async with Jobs(store=f"sqlite:///{path}", clock=FakeClock(NOW + 61)):
            await waits.until(lambda: count_jobs(path) == 0)
            await waits.until(lambda: pragma(path, "freelist_count") <= KEPT_PAGES)
            assert path.stat().st_size > pragma(path, "page_count") * PAGE
            reader.execute("COMMIT")
            await waits.until(lambda: is_small(path))


async def test_a_store_that_cannot_give_space_back_is_left_as_it_is(path: Path) -> None:
    """A file that a tool has made without a map of its pages is used like any other: what expires
    is forgotten, and nothing is written in vain."""
    await open_and_close(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")
    async with SqliteStore(path) as store:
        await add_results(store, 20, 100_000)
        assert await purge_all(store, NOW + 61) == 20
        free = pragma(path, "freelist_count")
        assert free > KEPT_PAGES
        with closing(sqlite3.connect(path)) as connection:
            ((before,),) = connection.execute("PRAGMA data_version")
            assert not await store.shrink()
            assert connection.execute("PRAGMA data_version").fetchall() == [(before,)]
        assert pragma(path, "freelist_count") == free


async def open_and_close(path: Path) -> None:
    async with SqliteStore(path):
        pass
