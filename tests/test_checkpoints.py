"""A checkpoint of the SQLite store: who writes does not wait for it, and nothing is lost so."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from asyncjobs.errors import StoreUnavailable
from asyncjobs.job import Request
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.locks import FileLock
from asyncjobs.stores.sqlite.writing import moving
from asyncjobs.stores.sqlite.writing.checkpoints import (
    CHECKPOINT_AT,
    TIDYING_CHECKPOINT_AT,
    is_due,
)
from asyncjobs.testing import REQUEST, a_job

DEADLINE = 30.0
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="descriptors do not show here what they are of"
)
#: Some hundred pages of the log.
LARGE = Request(method="POST", path="/", body=bytes(1_000_000))

# Adds a job to a store that others have open.
ADDER = """
import asyncio, sys
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import REQUEST, a_job

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        await store.add(a_job(), REQUEST)
        print("added", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


class SlowDisk:
    """A disk that is told when it may have the database, which it is asked to sync by checkpoints.

    Attributes:
        is_asked: set while it does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sync = moving.sync_data
        self._may = threading.Event()
        self.is_asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def sync(self, fd: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{fd}")) == self._path:
            self._loop.call_soon_threadsafe(self.is_asked.set)
            assert self._may.wait(DEADLINE)
        self._sync(fd)

    def go_on(self) -> None:
        self._may.set()


@pytest.fixture
async def disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowDisk]:
    disk = SlowDisk(path)
    monkeypatch.setattr(moving, "sync_data", disk.sync)
    yield disk
    disk.go_on()


class Moves:
    """The checkpoints that SQLite makes for a store.

    Attributes:
        locked: how many frames there were to be moved in each during which nobody could write.
        beside: the same for each beside the writers.
    """

    def __init__(self, store: SqliteStore) -> None:
        self.locked: list[int] = []
        self.beside: list[int] = []
        self._mover = store._file.checkpointer._mover
        self._lock = FileLock(Path(f"{store.path}-lock"))
        self._mover._connection.set_trace_callback(self._trace)

    def _trace(self, sql: str) -> None:
        if not sql.startswith("PRAGMA wal_checkpoint(PASSIVE)"):
            return
        left = self._mover._lengths.frames_to_move()
        if self._lock.try_acquire():
            self._lock.release()
            self.beside.append(left)
        else:
            self.locked.append(left)


async def ended(store: SqliteStore) -> None:
    """Return when the checkpoint that is going on has ended; there is none after it."""
    checkpointer = store._file.checkpointer
    checkpointer.end()
    async with asyncio.timeout(DEADLINE):
        while checkpointer.runs():
            await asyncio.sleep(0.002)


async def test_nobody_waits_for_the_disk_of_a_checkpoint(
    path: Path, store: SqliteStore, disk: SlowDisk
) -> None:
    """While a slow disk takes what a checkpoint has moved into the database, jobs are added by the
    process that makes it and by another one."""
    await store.add(a_job(), LARGE)
    store._file.checkpointer.start()
    async with asyncio.timeout(DEADLINE):
        await disk.is_asked.wait()
        await store.add(a_job(), REQUEST)
        adder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ADDER, str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert adder.stdout is not None
        assert await adder.stdout.readline() == b"added\n"
        await adder.communicate(b"")
    assert not disk._may.is_set()
    disk.go_on()
    await ended(store)
    assert len(await store.find(Query())) == 3


async def test_writers_wait_for_the_last_frames_only(store: SqliteStore, disk: SlowDisk) -> None:
    """Of what a checkpoint moves, only what was written during the last round of it is moved while
    nobody can write."""
    for _ in range(3):  # with one more it would begin by itself
        await store.add(a_job(), LARGE)
    moves = Moves(store)
    store._file.checkpointer.start()
    async with asyncio.timeout(DEADLINE):
        await disk.is_asked.wait()
    await store.add(a_job(), REQUEST)
    disk.go_on()
    await ended(store)
    assert moves.beside[0] > 700
    assert max(moves.locked) < 50
    assert store._file.database.lengths.frames_to_move() == 1, "but the log was begun anew"


async def test_no_commit_begins_the_log_anew_beside_a_checkpoint(
    path: Path, store: SqliteStore, disk: SlowDisk
) -> None:
    """As long as a checkpoint moves without the lock of all writers, no commit writes over the
    beginning of the log, even if all of it is in the database: before 3.51.3 SQLite loses
    transactions by that. After it the log begins anew, with its number."""
    await store.add(a_job(), LARGE)
    store._file.checkpointer.start()
    async with asyncio.timeout(DEADLINE):
        await disk.is_asked.wait()
    assert store._file.database.lengths.frames_to_move() == 1, "but for its next number"
    before = head_of_log(path)
    for _ in range(3):
        await store.add(a_job(), REQUEST)
    assert head_of_log(path) == before
    number = generation(store)
    disk.go_on()
    await ended(store)
    assert head_of_log(path) != before
    assert generation(store) == number + 1
    assert int(Path(f"{path}-lock").read_bytes()) == number + 1


async def test_one_process_checkpoints_at_a_time(
    path: Path, store: SqliteStore, disk: SlowDisk
) -> None:
    """While one checkpoints, another leaves it alone; and it does when the first one is done."""
    await store.add(a_job(), LARGE)
    async with SqliteStore(path) as other:
        moves = Moves(other)
        store._file.checkpointer.start()
        async with asyncio.timeout(DEADLINE):
            await disk.is_asked.wait()
        other._file.checkpointer.start()
        await ended(other)
        assert not moves.beside + moves.locked
        disk.go_on()
    await ended(store)
    async with SqliteStore(path) as other:
        moves = Moves(other)
        other._file.checkpointer.start()
        await ended(other)
        assert moves.locked


async def test_who_has_the_turn_and_stands_still_is_told_of(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where another process has begun a checkpoint, and much is to be moved by now, the program's
    log has it; and when that process has gone, the log of the store is moved."""
    monkeypatch.setattr(moving, "MUCH", CHECKPOINT_AT)
    with closing(FileLock(Path(f"{store.path}-wal"))) as turn:
        assert turn.try_acquire()
        for _ in range(20):
            await store.add(a_job(), LARGE)
        async with asyncio.timeout(DEADLINE):
            while "another process is at it" not in caplog.text:
                await asyncio.sleep(0.002)
    for _ in range(10):
        await store.add(a_job(), LARGE)
    await few_to_move(store)


async def test_checkpoints_do_not_queue_up(store: SqliteStore, disk: SlowDisk) -> None:
    """However often one was due while one was going on, one more follows."""
    await store.add(a_job(), LARGE)
    moves = Moves(store)
    store._file.checkpointer.start()
    async with asyncio.timeout(DEADLINE):
        await disk.is_asked.wait()
    for _ in range(20):
        store._file.checkpointer.start()
    disk.go_on()
    await ended(store)
    assert len(moves.locked) == 2


@pytest.mark.parametrize(
    ("frames", "left", "tidying", "due"),
    [
        (CHECKPOINT_AT, 0, False, False),
        (CHECKPOINT_AT + 1, 0, False, True),
        (CHECKPOINT_AT + 1, 1, False, False),
        (3 * CHECKPOINT_AT, 2 * CHECKPOINT_AT - 1, False, True),
        (TIDYING_CHECKPOINT_AT, 0, True, False),
        (TIDYING_CHECKPOINT_AT + 1, 0, True, True),
    ],
)
def test_when_a_checkpoint_is_due(frames: int, left: int, tidying: bool, due: bool) -> None:
    """A checkpoint is due when so much more is to be moved than the last one could not move, and
    earlier after what could be written later."""
    assert is_due(frames, left, tidying=tidying) is due


async def test_writes_have_the_log_moved(store: SqliteStore) -> None:
    """However much is written, and however many write, little more is in the log than what makes a
    checkpoint due."""
    async with SqliteStore(store.path) as other:
        for _ in range(30):
            await asyncio.gather(store.add(a_job(), LARGE), other.add(a_job(), LARGE))
        await few_to_move(store)


async def test_a_reader_holds_the_log_for_as_long_as_it_reads(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads what was there before, a checkpoint is not tried again at each write;
    when that has ended, the log is moved."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchall()
        for _ in range(10):
            await store.add(a_job(), LARGE)
        moves = Moves(store)
        for _ in range(50):
            await store.add(a_job(), REQUEST)
        assert len(moves.locked) <= 2
        assert store._file.database.lengths.frames_to_move() > CHECKPOINT_AT
    for _ in range(10):
        await store.add(a_job(), LARGE)
    await few_to_move(store)


async def few_to_move(store: SqliteStore) -> None:
    async with asyncio.timeout(DEADLINE):
        while store._file.database.lengths.frames_to_move() > CHECKPOINT_AT + 300:
            await asyncio.sleep(0.002)


async def test_a_database_that_the_disk_did_not_take(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the disk fails to take what a checkpoint has moved, no job is taken any more, and the
    log, which has it all, is not begun anew, nor deleted at the stop: the next start finds it."""
    sync = moving.sync_data

    def failing(fd: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{fd}")) == path:
            raise OSError(5, "Input/output error")
        sync(fd)

    async with SqliteStore(path) as store:
        jobs = [await store.add(a_job(), LARGE) for _ in range(2)]
        before = head_of_log(path)
        monkeypatch.setattr(moving, "sync_data", failing)
        store._file.checkpointer.start()
        await ended(store)
        monkeypatch.undo()
        for ask in (store.health(), store.add(a_job(), REQUEST)):
            with pytest.raises(StoreUnavailable, match="Input/output error"):
                await ask
        assert "the disk failed to keep what was written" in caplog.text
        assert await store.request(jobs[0].id) == LARGE
    assert head_of_log(path) == before
    async with SqliteStore(path) as store:
        assert [await store.get(job.id) for job in jobs] == jobs


def generation(store: SqliteStore) -> int:
    """The number of the log's generation, as it is in the database with its log."""
    return store._file.checkpointer._mover._generation._stored()


def head_of_log(path: Path) -> bytes:
    """What is another one whenever the log is begun anew."""
    with open(f"{path}-wal", "rb") as log:
        return log.read(32)
