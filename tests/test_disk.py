"""Trouble with the disk under an open store: nothing is acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import transitions
from asyncjobs.errors import Conflict, JobUnreadable, StoreUnavailable
from asyncjobs.job import Job, Progress, Request, Response
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.locks import FileLock
from asyncjobs.stores.sqlite.writing import checkpoints, commits, moving, reserve, trials
from asyncjobs.stores.sqlite.writing.reserve import Reserve
from asyncjobs.testing import BROKEN, CANCELLED, NOW, REQUEST, RESPONSE, a_job, purge_all
from waits import until

DEADLINE = 30.0
#: A small store is full after a few of these.
LARGE = Request(method="POST", path="/", body=bytes(100_000))
SMALL_LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def frequent_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TRIAL_INTERVAL", 0.05)


@pytest.fixture
def ballast(path: Path) -> Path:
    return Path(f"{path}-ballast")


# No room.


async def test_a_full_store_takes_no_new_jobs_and_recovers(path: Path) -> None:
    """A store at its size limit refuses new jobs and tells why, finishes those that run, reads all
    that it has, and takes new jobs again by itself once old ones are forgotten."""
    async with SqliteStore(path, limit=SMALL_LIMIT) as store:
        running = [
            await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
            for _ in range(5)
        ]
        kept = await fill(store)

        with pytest.raises(StoreUnavailable, match="full"):
            await store.add(a_job(), REQUEST)
        with pytest.raises(StoreUnavailable, match="full"):
            await store.health()
        result = Response(200, (), bytes(300_000))
        finished = [transitions.finish(job, 200, NOW) for job in running]
        for job, final in zip(running, finished, strict=True):
            await store.replace(job, final, result)
        assert [await store.result(job.id) for job in running] == [
            (final, result) for final in finished
        ]
        assert [await store.get(job.id) for job in kept] == kept

        for job in kept:
            await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        for final in finished:
            final = await store.get(final.id)
            await store.replace(final, final._replace(version=final.version + 1, expires=NOW))
        assert await purge_all(store, NOW + 61) == len(kept) + len(running)
        await until_healthy(store)
        await store.add(a_job(), LARGE)


async def test_what_can_wait_leaves_the_reserve_alone(path: Path) -> None:
    """While there is no room, no queued job is started and no progress is stored, and so there is
    room to cancel jobs, to give them back and to finish them."""
    async with SqliteStore(path, limit=SMALL_LIMIT) as store:
        queued = await store.add(a_job(), REQUEST)
        running = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        await fill(store)

        with pytest.raises(StoreUnavailable, match="full"):
            await store.replace(queued, transitions.start(queued, store.worker, NOW))
        with pytest.raises(StoreUnavailable, match="full"):
            await store.replace(running, transitions.report(running, Progress(1)))
        asked = transitions.ask_to_cancel(running)
        await store.replace(running, asked)
        await store.replace(asked, transitions.cancel(asked, NOW, CANCELLED), RESPONSE)
        await store.replace(queued, transitions.cancel(queued, NOW, CANCELLED), RESPONSE)


async def test_a_job_that_does_not_fit_takes_no_other_down(path: Path) -> None:
    """Of writes that are made together, only the new jobs fail if there is no room for all."""
    async with SqliteStore(path, limit=SMALL_LIMIT) as store:
        running = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        final = transitions.finish(running, 200, NOW)
        too_large = Request(method="POST", path="/", body=bytes(2 * SMALL_LIMIT))
        refused, finished, conflict = await asyncio.gather(
            store.add(a_job(), too_large),
            store.replace(running, final, RESPONSE),
            store.replace(running, transitions.fail(running, NOW, BROKEN), RESPONSE),
            return_exceptions=True,
        )
        assert isinstance(refused, StoreUnavailable)
        assert finished is None
        assert isinstance(conflict, Conflict)
        assert await store.result(running.id) == (final, RESPONSE)


async def test_who_lets_the_reserve_go_stops_all(path: Path, ballast: Path) -> None:
    """When one process is out of room, all others on the store refuse new jobs at once, and all
    take them again when there is room."""
    async with (
        SqliteStore(path, limit=SMALL_LIMIT) as small,
        SqliteStore(path) as large,
        SqliteStore(path) as another,
    ):
        kept = await fill(small)
        assert ballast.stat().st_size < reserve.SIZE
        for store in (large, another):
            with pytest.raises(StoreUnavailable, match="full"):
                await store.add(a_job(), REQUEST)
            with pytest.raises(StoreUnavailable, match="full"):
                await store.health()

        for job in kept:
            await large.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        assert await purge_all(large, NOW + 61) == len(kept)
        for store in (small, large, another):
            await until_healthy(store)
            await store.add(a_job(), REQUEST)
        assert ballast.stat().st_size == reserve.SIZE


async def test_the_reserve_is_really_there(store: SqliteStore, ballast: Path) -> None:
    """The blocks of the ballast are set aside on the disk; it is no hole in a file."""
    status = ballast.stat()
    assert status.st_size == reserve.SIZE
    assert status.st_blocks * 512 >= reserve.SIZE


def test_the_reserve_is_let_go_in_slices(path: Path, ballast: Path) -> None:
    """Each need of room takes a slice, until there is none left; then all of it is taken back."""
    with closing(sqlite3.connect(path)) as connection:
        kept = Reserve(path, connection, limit=SMALL_LIMIT)
        kept.make()
        slices = 0
        while kept.let_go():
            slices += 1
            assert ballast.stat().st_size == reserve.SIZE - slices * reserve.SLICE
            assert not kept.is_whole()
        assert slices == reserve.SIZE // reserve.SLICE
        assert kept.take_back()
        assert kept.is_whole()
        assert kept.let_go()


async def test_a_ballast_that_was_deleted_is_made_again(store: SqliteStore, ballast: Path) -> None:
    """Without its ballast a store takes no new jobs; it makes it again by itself."""
    ballast.unlink()
    with pytest.raises(StoreUnavailable, match="full"):
        await store.add(a_job(), REQUEST)
    await until_healthy(store)
    assert ballast.stat().st_size == reserve.SIZE
    await store.add(a_job(), REQUEST)


# Locked.


async def test_a_locked_store_fails_in_the_end(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process keeps the lock writes wait, and fail after a while; then new jobs are
    refused at once, until the lock is free again."""
    monkeypatch.setattr(commits, "LOCK_TIMEOUT", 0.05)
    running = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    lock = FileLock(Path(f"{path}-lock"))
    assert lock.try_acquire()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.add(a_job(), REQUEST)
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.replace(running, transitions.fail(running, NOW, BROKEN), RESPONSE)
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.health()
    lock.close()
    await store.replace(running, transitions.fail(running, NOW, BROKEN), RESPONSE)
    await until_healthy(store)
    await store.add(a_job(), REQUEST)


async def test_what_a_busy_loop_has_kept_waiting_is_not_taken_for_locked(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long another process has kept the lock counts from the first try to take it, and not from
    the time at which a write was asked for, which the event loop may have come to late."""
    loop = asyncio.get_running_loop()
    lock = FileLock(Path(f"{path}-lock"))
    assert lock.try_acquire()
    adding = asyncio.create_task(store.add(a_job(), REQUEST))
    await asyncio.sleep(0)  # it is asked for, and is tried in the next turn
    late = loop.time() + 2 * commits.LOCK_TIMEOUT
    monkeypatch.setattr(loop, "time", lambda: late)
    await asyncio.sleep(0)
    monkeypatch.undo()
    lock.close()
    await adding


# Deleted, moved, replaced.


def delete(file: Path) -> None:
    file.unlink()


def move_away(file: Path) -> None:
    file.rename(f"{file}.old")


def replace(file: Path) -> None:
    new = Path(f"{file}.new")
    new.write_bytes(b"another file")
    new.rename(file)


def replace_by_a_copy(file: Path) -> None:
    new = Path(f"{file}.new")
    shutil.copy(file, new)
    new.rename(file)


FILES = ["", "-wal", "-shm", "-lock", "-procs"]


@pytest.mark.parametrize("happens", [delete, move_away, replace, replace_by_a_copy])
@pytest.mark.parametrize("suffix", FILES)
async def test_a_lost_file_is_noticed_before_the_next_ack(
    path: Path, suffix: str, happens: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """If a file of an open store is deleted, moved or replaced, no write is acknowledged any more,
    and the log says which file it was, once. Reads go on, and what lies there is not touched."""
    async with SqliteStore(path) as store:
        kept = await store.add(a_job(), REQUEST)
        lost = file_of(path, suffix)
        happens(lost)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                await store.add(a_job(), REQUEST)
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                await store.replace(kept, transitions.fail(kept, NOW, BROKEN), RESPONSE)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await store.health()
        assert await store.request(kept.id) == REQUEST
        if happens is move_away:
            Path(f"{lost}.old").rename(lost)
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                await store.add(a_job(), REQUEST)
    said = [record for record in caplog.records if str(lost) in record.getMessage()]
    assert len(said) == 1
    if happens is delete:
        assert not lost.exists()
    if happens is replace:
        assert lost.read_bytes() == b"another file"


@pytest.mark.parametrize("suffix", FILES)
async def test_a_lost_file_is_noticed_without_a_write(path: Path, suffix: str) -> None:
    """An idle store says that a file of its own is gone as soon as it is asked how it does."""
    async with SqliteStore(path) as store:
        await store.health()
        file_of(path, suffix).unlink()
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await store.health()


async def test_what_was_acknowledged_is_saved_from_a_deleted_log(path: Path) -> None:
    """If the write-ahead log alone is deleted, what is in it is moved into the database at once, so
    that not even a crash loses a job that was acknowledged."""
    async with SqliteStore(path) as store:
        jobs = [await store.add(a_job(), REQUEST) for _ in range(10)]
        Path(f"{path}-wal").unlink()
        with pytest.raises(StoreUnavailable):
            await store.add(a_job(), REQUEST)
        copy = path.with_name("copy.db")
        # Read by another process: to open and close the file here would drop the store's locks.
        await until(lambda: count_in_copy(path, copy) >= len(jobs))
    async with SqliteStore(path) as store:
        assert {job.id for job in jobs} <= {job.id for job in await store.find(Query())}


COME_AND_GO = """
import asyncio, sys
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import REQUEST, a_job
async def main():
    for _ in range(10):
        async with SqliteStore(sys.argv[1]) as store:
            await store.add(a_job(), REQUEST)
asyncio.run(main())
"""


async def test_others_that_come_and_go_are_no_alarm(path: Path, store: SqliteStore) -> None:
    """A store that is open takes jobs all the time while processes open and close its file."""
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", COME_AND_GO, str(path))
        for _ in range(3)
    ]
    ended = asyncio.gather(*(other.wait() for other in others))
    added = 0
    while not ended.done():
        await store.add(a_job(), REQUEST)
        await store.health()
        added += 1
        await asyncio.sleep(0.001)
    assert await ended == [0, 0, 0]
    assert len(await store.find(Query(limit=100_000))) == added + 30


async def test_a_checkpoint_is_no_alarm(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store takes jobs all the time while its log is cut back to nothing."""
    monkeypatch.setattr(moving, "TRUNCATE_ABOVE", 0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_AT", len(LARGE.body) // 4096)
    cut_back = 0
    async with asyncio.timeout(DEADLINE):
        while cut_back < 10:
            before = Path(f"{path}-wal").stat().st_size
            await store.add(a_job(), LARGE)
            cut_back += Path(f"{path}-wal").stat().st_size <= before
    await store.health()


# Damage.


async def test_damage_is_noticed_and_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a damaged page was read, no job is taken any more; the files stay byte for byte what
    they were, even when the store is closed, and what is not damaged is read."""
    async with SqliteStore(path) as store:
        jobs = [await store.add(a_job(), LARGE) for _ in range(20)]
    damage(path)
    before = path.read_bytes()

    async with SqliteStore(path) as store:
        outcomes = [await outcome_of(store.request(job.id)) for job in jobs]
        damaged = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
        assert damaged
        assert LARGE in outcomes
        assert all("cannot be read" in str(error) for error in damaged)
        for ask in (store.health(), store.add(a_job(), REQUEST)):
            with pytest.raises(StoreUnavailable, match="is damaged"):
                await ask
    assert path.read_bytes() == before
    said = [record for record in caplog.records if "is damaged" in record.getMessage()]
    assert len(said) == 1
    assert "nothing in it was touched" in said[0].getMessage()


async def test_damage_under_an_open_store(path: Path) -> None:
    """Damage that is done while the store is open is noticed by the first that reads it, and
    neither the database nor its log is touched from then on."""
    async with SqliteStore(path) as store:
        added = [await store.add(a_job(), LARGE) for _ in range(300)]  # more than is kept in memory
        await until(lambda: path.stat().st_size > 20 * len(LARGE.body))
        for job in added[-3:]:
            await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
        damage(path)
        before = contents(path)
        assert before[1], "there must be a log that a checkpoint would write into the database"
        outcomes = [await outcome_of(store.request(job.id)) for job in added]
        assert any(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        with pytest.raises(StoreUnavailable, match="is damaged"):
            await store.add(a_job(), REQUEST)
        with pytest.raises(StoreUnavailable, match="is damaged"):
            await store.replace(added[0], transitions.fail(added[0], NOW, BROKEN), RESPONSE)
    assert contents(path) == before


async def fill(store: SqliteStore) -> list[Job]:
    """Add jobs until the store is full; those that were added."""
    added = []
    while isinstance(outcome := await outcome_of(store.add(a_job(), LARGE)), Job):
        added.append(outcome)
    assert "full" in str(outcome)
    return added


async def until_healthy(store: SqliteStore) -> None:
    async with asyncio.timeout(DEADLINE):
        while isinstance(await outcome_of(store.health()), StoreUnavailable):
            await asyncio.sleep(0.01)


async def outcome_of(doing: Awaitable[Any]) -> Any:
    try:
        return await doing
    except (StoreUnavailable, JobUnreadable) as error:  # a row may end where damage begins
        return error


def file_of(path: Path, suffix: str) -> Path:
    """A file of the store; of `-procs`, the one that says that its process lives."""
    file = Path(f"{path}{suffix}")
    return next(file.glob("*.lock")) if suffix == "-procs" else file


def count_in_copy(path: Path, copy: Path) -> int:
    """How many jobs there are in the database file alone, without its log."""
    subprocess.run(["cp", str(path), str(copy)], check=True)
    with closing(sqlite3.connect(copy)) as connection:
        try:
            (count,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        except sqlite3.DatabaseError:  # copied in the middle of a checkpoint, or before the first
            return 0
    for suffix in ("", "-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    return int(count)


DAMAGE = """
import os, sys
size = os.path.getsize(sys.argv[1])
with open(sys.argv[1], "r+b") as file:
    file.seek(size // 3 // 4096 * 4096)
    file.write(b"\\xff" * (size // 3))
"""


def damage(path: Path) -> None:
    """Overwrite the middle third of a database: in another process, for the sake of its locks."""
    subprocess.run([sys.executable, "-c", DAMAGE, str(path)], check=True)


def contents(path: Path) -> list[bytes]:
    """What is in the database and in its log: read by another process, for the same reason."""
    return [
        subprocess.check_output(["cat", f"{path}{suffix}"], stderr=subprocess.DEVNULL)
        for suffix in ("", "-wal")
        if os.path.exists(f"{path}{suffix}")
    ]
