"""What a start finds of the write-ahead log, and of the database, that the last life has left.

SQLite takes a log that is not there, or not whole, for one that ended there: it says nothing. So
the store does, wherever it can be known. The lives here are processes of their own, and killed.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import httpx
import pytest

from apps.signals import Signals
from asyncjobs.errors import StoreCorrupt, StorePathError, StoreUnavailable
from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.writing import flusher, moving
from asyncjobs.stores.sqlite.writing.log_frames import MOST, damaged_frame
from asyncjobs.testing import REQUEST, RESPONSE, a_job
from schemas import make_store
from server import DEADLINE, Server, result, submit

FRAME = 24 + 4096
#: So many jobs have come to their end, each in three writes, in the database and in the log.
CHECKPOINTED, LOGGED = 10, 20

# Adds jobs to a store, and stays until it is killed; with a step, that kills it when it gets there:
# what it does, "before" or "after" that, "start" or "checkpoint", the how manieth time it does it.
LIFE = """
import asyncio, os, signal, sys
from contextlib import suppress
from asyncjobs.errors import StoreUnavailable
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import database
from asyncjobs.stores.sqlite.writing import generation, moving
from asyncjobs.testing import NOW, REQUEST, RESPONSE, a_job
from asyncjobs.transitions import finish, start

path, jobs, how, *step = sys.argv[1:]
# A checkpoint after each write that cuts the log back, or one that does not.
if how == "truncating":
    moving.TRUNCATE_ABOVE = 0
armed = False

def kill_at(holder, name, side, time):
    original = getattr(holder, name)
    times = 0
    def deadly(*args):
        nonlocal times
        times += armed
        if times == time and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        returned = original(*args)
        if times == time and side == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return returned
    setattr(holder, name, deadly)

if step:
    place, side, when, time = step
    kill_at(*{
        "begin": (generation.Generation, "begin"),
        "flush": (database if when == "start" else moving, "sync_data"),
        "move": (moving.Mover, "_checkpoint"),
        "mark": (generation.Mark, "write"),
    }[place], side, int(time))
    armed = when == "start"

async def main():
    global armed
    async with SqliteStore(path) as store:
        for number in range(int(jobs)):
            job = await store.add(a_job(), REQUEST)
            running = start(job, store.worker, NOW)
            await store.replace(job, running)
            await store.replace(running, finish(running, 200, NOW), RESPONSE)
        if step or how in ("passive", "truncating"):
            armed = True
            store._open.checkpointer.start()
            store._open.checkpointer.close()
        if how == "saving":
            os.unlink(path + "-wal")
            with suppress(StoreUnavailable):
                await store.health()
            store._open.checkpointer.close()
        print("added", flush=True)
        if how != "stop":
            await asyncio.Event().wait()
asyncio.run(main())
"""


def live(path: Path, jobs: int, how: str, *step: str) -> None:
    """A process adds jobs to the store, and is killed; if `how` is "stop", it stops instead."""
    command = [sys.executable, "-c", LIFE, str(path), str(jobs), how, *step]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        if how == "stop":
            assert process.wait(DEADLINE) == 0
        elif step:
            assert process.wait(DEADLINE) == -signal.SIGKILL
        else:
            process.kill()
        assert said == "added\n" or step


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store whose process was killed."""
    folder = tmp_path_factory.mktemp("killed")
    live(folder / "jobs.db", CHECKPOINTED, "stop")
    shutil.copy(folder / "jobs.db", folder / "older.db")
    live(folder / "jobs.db", LOGGED, "kill")
    return folder


@pytest.fixture(scope="module")
def young_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store whose first process was killed, with three jobs."""
    folder = tmp_path_factory.mktemp("young")
    live(folder / "jobs.db", 3, "kill")
    return folder


@pytest.fixture
def killed(killed_store: Path, path: Path) -> Path:
    """A store whose process was killed."""
    copy(killed_store, path)
    return path


@pytest.fixture
def young(young_store: Path, path: Path) -> Path:
    """A store whose first process was killed, with three jobs."""
    copy(young_store, path)
    return path


def copy(folder: Path, path: Path) -> None:
    shutil.copytree(folder, path.parent, dirs_exist_ok=True, ignore=without_sockets)


def without_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


def wal_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def delete(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()


def overwrite(file: Path, start: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(start, os.SEEK_SET if start >= 0 else os.SEEK_END)
        opened.write(content)


def flip(file: Path, place: int) -> None:
    (byte,) = file.read_bytes()[place:][:1]
    overwrite(file, place, bytes([byte ^ 1]))


def cut(file: Path, size: int) -> None:
    os.truncate(file, size)


def size(file: Path) -> int:
    return file.stat().st_size


def restore(path: Path, *deleted: str) -> None:
    delete(path, "", *deleted)
    path.with_name("older.db").rename(path)


class Damage(NamedTuple):
    """What happens to a killed store, what the next start says of it, and which jobs it has."""

    happens: Callable[[Path], object]
    said: str | None
    least: int
    most: int


ALL = CHECKPOINTED + LOGGED
GONE = "was deleted, emptied or damaged"
NOTHING = Damage(lambda path: None, None, ALL, ALL)
DAMAGES = {
    "nothing": NOTHING,
    "index-deleted": NOTHING._replace(happens=lambda path: delete(path, "-shm")),
    "mark-lost": NOTHING._replace(happens=lambda path: cut(Path(f"{path}-lock"), 0)),
    "log-deleted": Damage(lambda path: delete(path, "-wal"), GONE, CHECKPOINTED, CHECKPOINTED),
    "log-and-index-deleted": Damage(
        lambda path: delete(path, "-wal", "-shm"), GONE, CHECKPOINTED, CHECKPOINTED
    ),
    "log-emptied": Damage(lambda path: cut(wal_of(path), 0), GONE, CHECKPOINTED, CHECKPOINTED),
    "log-cut-to-its-header": Damage(
        lambda path: cut(wal_of(path), 32), GONE, CHECKPOINTED, CHECKPOINTED
    ),
    "header-zeroed": Damage(
        lambda path: overwrite(wal_of(path), 0, bytes(32)), GONE, CHECKPOINTED, CHECKPOINTED
    ),
    "log-zeroed": Damage(
        lambda path: overwrite(wal_of(path), 0, bytes(size(wal_of(path)))),
        GONE,
        CHECKPOINTED,
        CHECKPOINTED,
    ),
    "log-of-junk": Damage(
        lambda path: overwrite(wal_of(path), 0, os.urandom(size(wal_of(path)))),
        GONE,
        CHECKPOINTED,
        CHECKPOINTED,
    ),
    "first-frame": Damage(
        lambda path: flip(wal_of(path), 32 + 24 + 7), GONE, CHECKPOINTED, CHECKPOINTED
    ),
    "byte-in-the-middle": Damage(
        lambda path: flip(wal_of(path), 32 + 60 * FRAME + 2000),
        "damaged at frame 61,",
        CHECKPOINTED + 1,
        ALL - 2,
    ),
    "head-of-a-frame": Damage(
        lambda path: overwrite(wal_of(path), 32 + 60 * FRAME, bytes(24)),
        "damaged at frame 61,",
        CHECKPOINTED + 1,
        ALL - 2,
    ),
    "hole-in-the-middle": Damage(
        lambda path: overwrite(wal_of(path), 32 + 60 * FRAME + 100, bytes(10 * FRAME)),
        "damaged at frame 61,",
        CHECKPOINTED + 1,
        ALL - 2,
    ),
    "tail-cut": Damage(
        lambda path: cut(wal_of(path), size(wal_of(path)) - 100), None, ALL - 1, ALL
    ),
    "tail-torn": Damage(lambda path: overwrite(wal_of(path), -500, bytes(500)), None, ALL - 1, ALL),
    "all-deleted": Damage(
        lambda path: delete(path, "", "-wal", "-shm"), "deleted or emptied", 0, 0
    ),
    "restored-beside-the-old-mark": Damage(
        lambda path: restore(path, "-wal", "-shm"), GONE, CHECKPOINTED, CHECKPOINTED
    ),
    "restored": Damage(
        lambda path: restore(path, "-wal", "-shm", "-lock"), None, CHECKPOINTED, CHECKPOINTED
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_log_that_was_lost(
    killed: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that can know that a killed process had a log which is not there any more, or not
    whole, says so once, in the log of the program and in `health` as long as it lives. It takes
    jobs all the same, and has all that can still be read."""
    damage.happens(killed)
    async with SqliteStore(killed) as store:
        first = await store.health()
        assert (first is not None) == (damage.said is not None)
        if first is not None:
            assert "jobs.db-wal" in first
            assert str(killed.parent) not in first
        jobs = await store.find(Query(limit=1000))
        assert damage.least <= len(jobs) <= damage.most
        for job in jobs:
            assert await store.request(job.id) == REQUEST
            if job.state is State.SUCCEEDED:
                assert await store.response(job.id) == RESPONSE
        added = await store.add(a_job(), REQUEST)
        assert await store.health() == first
    said = errors(caplog)
    assert len(said) == (damage.said is not None)
    for words in said:
        assert str(damage.said) in words
        assert str(wal_of(killed)) in words
        assert ("-wal-damaged" in words) == Path(f"{killed}-wal-damaged").exists()

    async with SqliteStore(killed) as store:
        assert await store.health() is None
        assert len(await store.find(Query(limit=1000))) == len(jobs) + 1
        assert await store.get(added.id) == added
    assert errors(caplog) == said


@pytest.mark.parametrize("name", ["log-deleted", "byte-in-the-middle", "all-deleted"])
async def test_a_lost_log_is_said_once(
    killed: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The start after the one that has said it says nothing, also if that one was killed."""
    DAMAGES[name].happens(killed)
    live(killed, 1, "kill")
    async with SqliteStore(killed) as store:
        assert await store.health() is None
    assert errors(caplog) == []


@pytest.mark.parametrize("content", [None, b""], ids=["deleted", "emptied"])
@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_a_database_that_was_lost(
    path: Path, end: str, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """If the database is gone whole, after a clean stop as well, the start that makes a new one
    says that: what was there is gone. It speaks of no checkpoint."""
    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
    if end == "killed":
        live(path, 1, "kill")
    delete(path, *("", "-wal", "-shm") if end == "killed" else ("",))
    if content is not None:
        path.write_bytes(content)
    async with SqliteStore(path) as store:
        reason = str(await store.health())
    assert "jobs.db was deleted or emptied" in reason
    (said,) = errors(caplog)
    assert f"{path} was deleted or emptied" in said
    assert "this is a new, empty store" in said
    assert "checkpoint" not in said
    async with SqliteStore(path) as store:
        assert await store.health() is None


async def test_a_restore_that_left_the_lock(killed: Path) -> None:
    """Where a copy was put back and the lock was left, health says that this may be no loss."""
    restore(killed, "-wal", "-shm")
    async with SqliteStore(killed) as store:
        assert "restored a copy and left jobs.db-lock there" in str(await store.health())


@pytest.mark.parametrize("how", ["passive", "truncating"])
async def test_a_log_that_was_lost_after_a_checkpoint(path: Path, how: str) -> None:
    """The log that was begun after a checkpoint is missed as is the first one of a process."""
    live(path, 3, how)
    delete(path, "-wal")
    async with SqliteStore(path) as store:
        assert "jobs.db-wal" in str(await store.health())
        assert len(await store.find(Query())) == 3


@pytest.mark.parametrize("name", ["header-zeroed", "byte-in-the-middle"])
async def test_what_is_there_of_a_lost_log_is_kept(killed: Path, name: str) -> None:
    """A log that cannot be read, or not to its end, is copied before it is written over, for its
    owner alone to read."""
    DAMAGES[name].happens(killed)
    before = wal_of(killed).read_bytes()
    async with SqliteStore(killed):
        pass
    kept = Path(f"{killed}-wal-damaged")
    assert kept.read_bytes() == before
    assert kept.stat().st_mode & 0o777 == 0o600


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


# A log without its database.

MISSING: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: cut(path, 0),
    "missing": lambda path: delete(path, ""),
    "missing-with-its-index": lambda path: delete(path, "", "-shm"),
    "of-one-byte": lambda path: cut(path, 1),
}


@pytest.mark.parametrize("happens", MISSING.values(), ids=MISSING)
async def test_a_log_without_its_database_is_left_alone(
    killed: Path, happens: Callable[[Path], object]
) -> None:
    """A start that finds a log and no database is refused, with both names and the way out. It
    touches nothing: with the database back in its place, every job is there."""
    kept = killed.with_name("moved-away.db")
    shutil.copy(killed, kept)
    happens(killed)
    before = contents(killed.parent)
    with pytest.raises(StoreCorrupt) as refused:
        await SqliteStore(killed).__aenter__()
    words = str(refused.value)
    assert f"{killed} is " in words
    assert f"{killed}-wal" in words
    assert "Put the very jobs.db back" in words
    assert "move the log away" in words
    assert contents(killed.parent) == before

    kept.rename(killed)
    async with SqliteStore(killed) as store:
        assert len(await store.find(Query(limit=1000))) == ALL
        assert await store.health() is None


async def test_a_log_that_was_moved_away_is_no_obstacle(killed: Path) -> None:
    """The way out of that leads to a new store, which says what it does not have."""
    delete(killed, "")
    wal_of(killed).rename(killed.with_name("moved-away"))
    async with SqliteStore(killed) as store:
        assert await store.find(Query()) == []
        assert "lost" in str(await store.health())


@pytest.mark.parametrize("content", [b"x" * 100, bytes(511), bytes(4096), bytes(20_000)])
async def test_a_log_outlives_a_database_of_junk(killed: Path, content: bytes) -> None:
    """A log that does not have all pages is left alone, whatever the database has become."""
    killed.write_bytes(content)
    log = wal_of(killed).read_bytes()
    with pytest.raises(StoreCorrupt, match=r"jobs\.db.*if you have restored a copy"):
        await SqliteStore(killed).__aenter__()
    assert (killed.read_bytes(), wal_of(killed).read_bytes()) == (content, log)


@pytest.mark.parametrize("with_lock", [True, False])
async def test_an_older_log_takes_nothing_away(killed: Path, with_lock: bool) -> None:
    """A log that is left beside a newer database is not taken for that of it, as SQLite would."""
    older = wal_of(killed).read_bytes()
    async with SqliteStore(killed) as store:
        await store.add(a_job(), REQUEST)
    newer = killed.read_bytes()
    wal_of(killed).write_bytes(older)
    if not with_lock:
        delete(killed, "-lock")
    with pytest.raises(StoreCorrupt, match=r"jobs\.db-wal is older than .* Move the log away"):
        await SqliteStore(killed).__aenter__()
    assert (killed.read_bytes(), wal_of(killed).read_bytes()) == (newer, older)
    delete(killed, "-wal")
    async with SqliteStore(killed) as store:
        assert len(await store.find(Query(limit=1000))) == ALL + 1


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
async def test_a_copy_gets_no_log_of_another_database(path: Path, suffix: str) -> None:
    """A copy of a store is not put beside a log or a journal that SQLite would apply to it."""
    copy = path.with_name("copy.db")
    left = Path(f"{copy}{suffix}")
    left.write_bytes(b"precious")
    async with SqliteStore(path) as store:
        with pytest.raises(StorePathError, match=f"copy.db{suffix} of another database"):
            await store.backup(copy)
    assert not copy.exists()
    assert left.read_bytes() == b"precious"


async def test_no_flush_fails_for_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells each descriptor once that a flush has failed: those who flush do not share
    one, or a job would be acknowledged that only the checkpoint knows not to be on the disk."""
    flushed: dict[ModuleType, set[int]] = {flusher: set(), moving: set()}
    for module, descriptors in flushed.items():
        monkeypatch.setattr(module, "sync_data", descriptors.add)
    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
        store._file.checkpointer.start()
    assert flushed[flusher]
    assert flushed[moving]
    assert not flushed[flusher] & flushed[moving]


# No false alarms.

#: What is done how often at a start, and in a checkpoint. How the checkpoints are does not matter
#: to who is killed at the start.
STEPS = {
    ("passive", "start"): {"begin": 1, "flush": 1, "mark": 1},
    ("passive", "checkpoint"): {"begin": 2, "flush": 4, "move": 2, "mark": 2},
    ("truncating", "checkpoint"): {"begin": 2, "flush": 4, "move": 3, "mark": 2},
}
#: A part of the log has been moved, or is about to be.
IN_THE_MIDST = {("move", "1"), ("flush", "2"), ("flush", "3"), ("move", "2")}
KILLS = [
    (how, place, side, when, str(time))
    for (how, when), places in STEPS.items()
    for place, times in places.items()
    for time in range(1, times + 1)
    for side in ("before", "after")
]


@pytest.mark.parametrize(("how", "place", "side", "when", "time"), KILLS)
async def test_a_kill_at_any_step_is_no_alarm(
    young: Path,
    how: str,
    place: str,
    side: str,
    when: str,
    time: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Between whatever steps of a start or a checkpoint a process is killed, the next start finds
    every job and has nothing to say."""
    live(young, 2, how, place, side, when, time)
    expected = 3 if when == "start" else 5
    for _ in range(2):
        async with SqliteStore(young) as store:
            assert await store.health() is None
            assert len(await store.find(Query())) == expected
    assert errors(caplog) == []


@pytest.mark.parametrize(("how", "place", "side", "when", "time"), KILLS)
async def test_a_log_that_was_lost_after_a_kill_at_any_step(
    young: Path, how: str, place: str, side: str, when: str, time: str
) -> None:
    """Between whatever steps of a start or a checkpoint a process is killed: of a log that is lost
    then, the next start says so, if any job was lost with it; or there is no start, as a database
    without the log that was being moved into it need not be one; or who reads first finds that it
    is damaged, and no job is taken."""
    live(young, 2, how, place, side, when, time)
    delete(young, "-wal")
    try:
        async with SqliteStore(young) as store:
            found, said = len(await store.find(Query())), str(await store.health())
    except (StoreCorrupt, StoreUnavailable):
        assert (place, time) in IN_THE_MIDST
    else:
        assert found == (3 if when == "start" else 5) or "jobs.db-wal" in said


def shell(path: Path) -> None:
    """An operator looks at the store: the last one to close it checkpoints, and deletes the log."""
    assert count_with_sqlite(path) >= 0
    assert not wal_of(path).exists()


def older_release(path: Path) -> None:
    """A program of before writes beside us, and begins a log without what we begin ours with."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(3):
            connection.execute("UPDATE jobs SET progress = NULL")
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("UPDATE jobs SET progress = NULL")


ENDS: dict[str, Callable[[Path], object]] = {
    "stopped": lambda path: live(path, 5, "stop"),
    "killed": lambda path: live(path, 5, "kill"),
    "killed-after-a-checkpoint": lambda path: live(path, 5, "passive"),
    "killed-after-a-log-was-cut-back": lambda path: live(path, 5, "truncating"),
    "killed-with-its-log-deleted-and-saved": lambda path: live(path, 5, "saving"),
    "killed-twice": lambda path: [live(path, 3, "kill"), live(path, 2, "kill")],
    "killed-and-opened-by-hand": lambda path: [live(path, 5, "kill"), shell(path)],
    "moved": lambda path: [live(path, 5, "kill"), move(path)],
}


def move(path: Path) -> None:
    """Without `-lock`, `-shm` and `-procs`."""
    delete(path, "-lock", "-shm")
    shutil.rmtree(f"{path}-procs")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_no_other_end_is_an_alarm(
    path: Path, end: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """However a process ends or is ended, and whoever looks at its store in between: the next start
    finds every job, and has nothing to say."""
    for number in (1, 2):
        end(path)
        async with SqliteStore(path) as store:
            assert await store.health() is None
            assert len(await store.find(Query(limit=1000))) == number * 5
    assert errors(caplog) == []


async def test_older_programs_are_no_alarm(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor are the programs of before: with their store taken over, and with one that goes on beside
    ours, checkpoints, and outlives it."""
    make_store(path, 2)
    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
        assert await store.health() is None
    live(path, 3, "kill")
    older_release(path)
    live(path, 3, "kill")
    with closing(sqlite3.connect(path)) as old:  # is there all the time
        old.execute("SELECT count(*) FROM jobs").fetchone()
        live(path, 3, "kill")
        await asyncio.to_thread(older_release, path)
        async with SqliteStore(path) as store:
            assert len(await store.find(Query(limit=100))) == 11
            assert await store.health() is None
    assert errors(caplog) == []


async def test_a_process_killed_beside_a_living_one(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that starts, or is killed, beside one that lives is no alarm to anybody."""
    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
        for _ in range(2):
            await asyncio.to_thread(live, path, 3, "truncating")
        await store.add(a_job(), REQUEST)
        async with SqliteStore(path) as another:
            assert await another.health() is None
        assert await store.health() is None
    assert errors(caplog) == []


@pytest.mark.parametrize(
    "content", [b"", b"1", b"junk\n", b"\xff" * 30, b"-00000000000000001\n", b"9" * 1_000_000]
)
async def test_junk_in_the_lock_file_is_no_mark(
    killed: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A mark that is none is none, as in a store of before, and is made anew."""
    Path(f"{killed}-lock").write_bytes(content)
    async with SqliteStore(killed) as store:
        assert len(await store.find(Query(limit=1000))) == ALL
        assert await store.health() is None
    assert errors(caplog) == []
    live(killed, 1, "kill")
    delete(killed, "-wal")
    async with SqliteStore(killed) as store:
        assert "jobs.db-wal" in str(await store.health())


async def test_the_highest_mark_is_not_the_end(killed: Path) -> None:
    """A mark that nobody has ever come to is said to be wrong, once."""
    Path(f"{killed}-lock").write_bytes(b"9" * 18 + b"\n")
    told = []
    for _ in range(3):
        async with SqliteStore(killed) as store:
            told.append(await store.health() is not None)
    assert told == [True, False, False]


async def test_a_full_disk_is_no_reason_not_to_start(
    killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the log cannot grow, it goes without the number that it should begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size(wal_of(killed)), hard))
    try:
        async with SqliteStore(killed) as store:
            assert len(await store.find(Query(limit=1000))) == ALL
            assert await store.health() is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    async with SqliteStore(killed) as store:
        assert await store.health() is None
    assert errors(caplog) == []


# The frames of a log by themselves.


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes a log with three transactions."""
    file = tmp_path / "frames.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (x BLOB)")
        for _ in range(3):
            insert(connection, 1)
        yield connection


def insert(connection: sqlite3.Connection, pages: int) -> None:
    connection.execute("INSERT INTO t VALUES (?)", (os.urandom(4096 * pages),))


def log_of(connection: sqlite3.Connection) -> bytes:
    ((_, _, file),) = connection.execute("PRAGMA database_list").fetchall()
    return Path(f"{file}-wal").read_bytes()


def test_the_rest_of_a_rolled_back_transaction_is_no_damage(database: sqlite3.Connection) -> None:
    """What a large transaction has written before it was rolled back stays behind the next ones."""
    database.execute("PRAGMA cache_size = 2")
    database.execute("BEGIN")
    for _ in range(50):
        insert(database, 2)
    database.execute("ROLLBACK")
    spilled = len(log_of(database))
    insert(database, 1)
    insert(database, 1)
    log = log_of(database)
    assert len(log) == spilled
    assert damaged_frame(BytesIO(log), 0) is None


def test_the_rest_of_a_commit_that_nobody_saw_is_no_damage(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    """A process that is killed within its commit may leave all of it in the log, and nobody knows;
    the next one to commit writes over its beginning."""
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"frames.db{suffix}", f"{copy}{suffix}")
    insert(database, 10)
    unseen = log_of(database)
    with closing(sqlite3.connect(copy, isolation_level=None)) as another:
        another.execute("PRAGMA wal_autocheckpoint = 0")
        insert(another, 1)
        insert(another, 1)
        log = log_of(another)
    assert len(log) < len(unseen)
    assert log[:32] == unseen[:32]
    assert damaged_frame(BytesIO(log + unseen[len(log) :]), 0) is None


def test_the_rest_of_an_earlier_log_is_no_damage(database: sqlite3.Connection) -> None:
    """A log that was begun anew has the frames of the last one behind its own."""
    for _ in range(10):
        insert(database, 3)
    before = len(log_of(database))
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    insert(database, 1)
    insert(database, 1)
    log = log_of(database)
    assert len(log) == before
    assert damaged_frame(BytesIO(log), 0) is None


def test_every_damage_before_the_last_two_commits_is_found(database: sqlite3.Connection) -> None:
    """A bit anywhere in a frame is enough, as long as two transactions stand behind it."""
    until_here = (len(log_of(database)) - 32) // FRAME
    insert(database, 1)
    insert(database, 1)
    log = log_of(database)
    assert damaged_frame(BytesIO(log), 0) is None
    for number in range(1, until_here + 1):
        for place in (0, 7, 8, 15, 16, 23, 24, FRAME - 1):
            flipped = bytearray(log)
            flipped[32 + (number - 1) * FRAME + place] ^= 0x80
            found = damaged_frame(BytesIO(flipped), 0)
            assert found == number, (number, place)


@pytest.mark.parametrize("log", [b"", b"x", bytes(31), bytes(100_000), b"\xff" * 100_000])
def test_what_is_no_log_has_no_damaged_frame(log: bytes) -> None:
    """Anything may lie there."""
    assert damaged_frame(BytesIO(log), 0) is None


def test_so_much_of_a_log_is_read(database: sqlite3.Connection) -> None:
    """A start does not read logs of any size."""
    log = BytesIO(log_of(database) + bytes(2 * MOST))
    assert damaged_frame(log, 0) is None
    assert log.tell() <= MOST + FRAME


# What the clients and the operator of a server see.


def test_a_server_says_what_it_has_lost(tmp_path: Path, signals: Signals) -> None:
    """A server whose log is gone at its start is ready, and its health names the file; its log has
    one error, and polls for what was lost are answered with 404. Its next start is well again."""
    config = {"SIGNALS": str(signals.folder)}
    server = Server("apps.disk:app", tmp_path, config=config)
    with server, server.client() as client:
        poll = submit(client, "GET", "/fine")
        assert result(client, poll).status_code == 200
        assert health(client) == (200, True, None)
    delete(server.store, "-wal")
    with server, server.client() as client:
        status, accepting, reason = health(client)
        assert (status, accepting) == (200, True)
        assert "jobs.db-wal" in str(reason)
        assert str(tmp_path) not in str(reason)
        assert client.get(poll).status_code == 404
        assert result(client, submit(client, "GET", "/fine")).status_code == 200
        server.stop()
    assert server.log().count(f"the store {server.store} has lost jobs or results") == 1
    with server, server.client() as client:
        assert health(client) == (200, True, None)
    assert server.log().count("has lost jobs or results") == 1


def health(client: httpx.Client) -> tuple[int, bool, str | None]:
    answer = client.get("/health")
    return answer.status_code, answer.json()["accepting"], answer.json()["reason"]


def count_with_sqlite(path: Path) -> int:
    """How many jobs there are, for somebody who opens the store by hand."""
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(count)


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.iterdir() if file.is_file()]
    return {file.name: file.read_bytes() for file in files}


async def test_a_checkpoint_by_a_tool_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes checkpoints beside the servers, as tools for backups do, knows no lock of ours:
    that the log begins anew while a server looks at its frames is not taken for damage."""
    read, path = os.pread, tmp_path / "jobs.db"

    def read_and_meet(fd: int, size: int, at: int) -> bytes:
        if size % FRAME == 0:
            monkeypatch.setattr(os, "pread", read)
            with closing(sqlite3.connect(path)) as tool:
                assert tool.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        return read(fd, size, at)

    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
        monkeypatch.setattr(os, "pread", read_and_meet)
        assert store._file.database.lengths.are_frames_right()
        assert os.pread is read
        await store.add(a_job(), REQUEST)
        assert await store.health() is None
