"""Who lives, and what the processes of a store know of each other: "nobody could look" is no proof.

What a process cannot look at is neither dead nor alive, and all that it runs is left alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import Jobs, transitions
from asyncjobs.errors import JobInterrupted, StoreUnavailable
from asyncjobs.job import Job, Request, State
from asyncjobs.store import STRANGER, Liveness, Orphan, Presence, Query, this_process
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import identity
from asyncjobs.stores.sqlite.processes import peers
from asyncjobs.stores.sqlite.processes.peers import Peers
from asyncjobs.stores.sqlite.writing import trials
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job
from children import told_by_child
from server import DEADLINE

Pair = tuple[SqliteStore, SqliteStore]
THERE = Presence("app", frozenset({"report", "other"}))


@pytest.fixture
def folder(path: Path) -> Path:
    return Path(f"{path}-procs")


@pytest.fixture
async def pair(path: Path) -> AsyncIterator[Pair]:
    """Two open stores on one file, each as a process would have it."""
    async with SqliteStore(path) as one, SqliteStore(path) as two:
        yield one, two


def running(store: SqliteStore, **fields: Any) -> Job:
    return transitions.start(a_job(**fields), store.worker, NOW)


# Nobody could look.


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Within this, the process cannot open another file."""
    held: list[int] = []
    with suppress(OSError):
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        for fd in held:
            os.close(fd)


@contextmanager
def folder_is_gone(folder: Path) -> Iterator[None]:
    """Within this, the folder of the processes is somewhere else."""
    away = folder.with_suffix(".away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


@contextmanager
def folder_is_another(folder: Path) -> Iterator[None]:
    """Within this, another folder is in its place, as a process makes it that is started then."""
    with folder_is_gone(folder):
        newcomer = Peers(folder)
        newcomer.join()
        try:
            yield
        finally:
            newcomer.leave()
            shutil.rmtree(folder)


@contextmanager
def opening_fails(number: int) -> Iterator[None]:
    """Within this, no lock file can be opened, though the folder can be listed."""

    def fail(path: Path, **options: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "FileLock", fail)
        yield


TROUBLES = ["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EIO", "ELOOP", "ENOLCK", "EINTR"]
NOBODY_CAN_LOOK = {
    "no descriptors": lambda folder: no_descriptors(),
    "the folder is gone": folder_is_gone,
    "another folder": folder_is_another,
    **{name: lambda folder, name=name: opening_fails(getattr(errno, name)) for name in TROUBLES},
}


@pytest.mark.parametrize("trouble", NOBODY_CAN_LOOK)
async def test_who_cannot_be_looked_at_is_not_dead(
    pair: Pair, folder: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While a process cannot look at a neighbour, living or dead, that is neither for it: none of
    their jobs is an orphan and nothing of theirs is removed. That is so until it can look again."""
    one, two = pair
    async with SqliteStore(one.path) as died:
        left = await died.add(running(died), REQUEST)
    await two.add(running(two), REQUEST)
    two.announce(THERE)
    nobody = "0" * 16
    files = set(folder.iterdir())
    with NOBODY_CAN_LOOK[trouble](folder):
        for _ in range(3):
            for name in (two.worker, died.worker):
                assert await one.liveness(name) is Liveness.UNKNOWN
            assert await one.liveness(one.worker) is Liveness.ALIVE
            assert await one.orphans() == []
            assert await one.others()
    assert set(folder.iterdir()) == files
    assert await one.liveness(two.worker) is Liveness.ALIVE
    assert await one.liveness(nobody) is Liveness.DEAD
    assert await one.orphans() == [Orphan(left, blamed=True)]
    said = [record for record in caplog.records if "cannot be told" in record.getMessage()]
    assert len(said) == (trouble != "another folder")


@pytest.mark.parametrize("trouble", [name for name in NOBODY_CAN_LOOK if name[0] != "E"])
async def test_who_may_be_there_is_counted_among_the_others(
    pair: Pair, folder: Path, trouble: str
) -> None:
    """While nobody can tell who is there, somebody may be, of whom nothing is known."""
    one, two = pair
    two.announce(THERE)
    with NOBODY_CAN_LOOK[trouble](folder):
        assert STRANGER in await one.others()
    assert await one.others() == [THERE]


async def test_probes_do_not_take_each_other_for_life(pair: Pair, folder: Path) -> None:
    """A dead process is dead for all who look at it at the same time."""
    one, _ = pair
    async with SqliteStore(one.path) as died:
        pass
    looking = peers.FileLock(folder / f"{died.worker}.lock", create=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking._lock, "release", lambda: None)
        assert looking.is_free()  # and holds the lock of its probe still
    assert await one.liveness(died.worker) is Liveness.DEAD
    looking.close()


async def test_a_look_makes_no_file(pair: Pair, folder: Path) -> None:
    """Who is looked for and is not there is not made by that."""
    one, _ = pair
    files = set(folder.iterdir())
    assert await one.liveness("0" * 16) is Liveness.DEAD
    assert set(folder.iterdir()) == files


async def test_a_burial_in_vain_keeps_nobody_from_being_rescued(
    pair: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the files of a dead process cannot be removed, the jobs of others are found all the same,
    and it is tried again."""
    one, _ = pair
    async with SqliteStore(one.path):
        pass
    async with SqliteStore(one.path) as died:
        left = await died.add(running(died), REQUEST)

    def fail(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        assert await one.orphans() == [Orphan(left, blamed=True)]
    await one.orphans()
    assert {file.stem for file in folder.glob("*.lock")} == {
        *(store.worker for store in pair),
        died.worker,
    }


_SHORT = """
import asyncio, logging, os, random, resource, sys, threading, time
from asyncjobs import Jobs
from asyncjobs.running import sweeper
from asyncjobs.running.runner import Runner
from asyncjobs.stores import SqliteStore

log = []
logging.basicConfig(stream=sys.stderr)
logging.getLogger("asyncjobs.store").addFilter(lambda record: log.append(record) or True)
sweeper.RESCUE_INTERVAL = 0.0005
looks = 0

class Looking(SqliteStore):
    async def orphans(self):
        global looks
        looks += 1
        return await super().orphans()

def eat():
    "Takes each descriptor that there is, but for one, for a moment now and then."
    held = []
    while True:
        try:
            held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            os.close(held.pop())
            time.sleep(random.uniform(0, 0.0005))

async def main(path):
    jobs = Jobs(store=Looking(path), drain_time=0)

    @jobs.function(name="again", idempotent=True)
    async def again():
        print("again", flush=True)

    @jobs.function(name="once")
    async def once():
        print("once", flush=True)

    async with jobs:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        threading.Thread(target=eat, daemon=True).start()
        while not (looks >= 1000 and log):
            await asyncio.sleep(0.01)
        print("looked", flush=True)
        os._exit(0)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_process_short_of_descriptors_leaves_its_neighbours_alone(path: Path) -> None:
    """A process that has no file descriptors left (``ulimit -n 64``) takes no living neighbour for
    dead: its job that must not run twice is not interrupted, the other one is not begun again, and
    the log of the process that cannot look says so, once."""
    jobs = Jobs(store=f"sqlite:///{path}")
    go_on = asyncio.Event()
    begun: list[str] = []

    @jobs.function(name="again", idempotent=True)
    async def again() -> str:
        begun.append("again")
        await go_on.wait()
        return "done again"

    @jobs.function(name="once")
    async def once() -> str:
        begun.append("once")
        await go_on.wait()
        return "done once"

    async with jobs:
        submitted = [await jobs.submit(name) for name in ("again", "once")]
        async with asyncio.timeout(DEADLINE):
            while len(begun) < 2:
                await asyncio.sleep(0.005)
        before = [await jobs.get(job.id) for job in submitted]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _SHORT, str(path)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, log = await asyncio.wait_for(process.communicate(), DEADLINE)
        assert said.decode() == "looked\n", log.decode()
        assert [await jobs.get(job.id) for job in submitted] == before
        go_on.set()
        results = [await jobs.result(job.id, DEADLINE) for job in submitted]
    assert results == ["done again", "done once"]
    assert sorted(begun) == ["again", "once"]
    assert log.decode().count("it cannot be told which other processes") == 1
    assert "ulimit -n" in log.decode()


async def test_files_that_cannot_be_looked_at_are_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the files of a store cannot be looked at, no job is accepted, as nobody knows where it
    would be. That is not the end of the store: when they can be, it takes jobs again."""
    monkeypatch.setattr(trials, "TRIAL_INTERVAL", 0.01)
    look = os.stat

    def fail(path: Any, **options: Any) -> os.stat_result:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)

    async with SqliteStore(path) as store:
        kept = await store.add(a_job(), REQUEST)
        monkeypatch.setattr(identity.os, "stat", fail)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="cannot be looked at"):
                await store.add(a_job(), REQUEST)
            with pytest.raises(StoreUnavailable, match="cannot be looked at"):
                await store.health()
        with pytest.raises(StoreUnavailable, match="cannot be looked at"):
            await store.replace(kept, transitions.fail(kept, NOW, BROKEN), RESPONSE)
        monkeypatch.setattr(identity.os, "stat", look)
        async with asyncio.timeout(DEADLINE):
            while True:
                with suppress(StoreUnavailable):
                    await store.health()
                    break
                await asyncio.sleep(0.005)
        await store.add(a_job(), REQUEST)
    said = [record.getMessage() for record in caplog.records]
    assert sum("cannot be looked at" in message for message in said) == 1
    assert sum("takes new jobs again" in message for message in said) == 1


# Rows that name nobody.


def without_the_folder(path: Path, copy: Path) -> None:
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")


def by_sqlite(path: Path, copy: Path) -> None:
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()


@pytest.mark.parametrize("copied", [without_the_folder, by_sqlite])
async def test_what_ran_when_a_store_was_copied_ends(
    path: Path, copied: Callable[[Path, Path], None]
) -> None:
    """In a store that was restored from a copy, or moved without its folder of processes, what ran
    then ends: it runs again, or is interrupted if it must not, and a cancelled one is cancelled."""
    copy = path.with_name("copy.db")
    async with SqliteStore(path) as store:
        once, again, cancelled = [
            await store.add(running(store, route="f", repeatable=repeatable), arguments())
            for repeatable in (False, True, False)
        ]
        asked = transitions.ask_to_cancel(cancelled)
        await store.replace(cancelled, asked)
        copied(path, copy)
    jobs = Jobs(store=f"sqlite:///{copy}")

    @jobs.function(name="f", idempotent=True)
    async def f() -> str:
        return "done"

    async with jobs:
        assert await jobs.result(again.id, DEADLINE) == "done"
        with pytest.raises(JobInterrupted):
            await jobs.result(once.id, DEADLINE)
        assert (await jobs.wait(asked.id, DEADLINE)).state is State.CANCELLED


async def test_a_row_that_names_nobody_at_all(pair: Pair, path: Path) -> None:
    """Rows that run without a worker, or with one whose name is none of ours, are orphans."""
    one, two = pair
    await two.add(running(two), REQUEST)
    jobs = [await one.add(running(one), REQUEST) for _ in range(3)]
    with sqlite3.connect(path) as connection:
        for job, worker in zip(jobs, (None, "worker-1", "ABCDEF0123456789"), strict=True):
            row = (worker, bytes.fromhex(job.id))
            connection.execute("UPDATE jobs SET worker = ? WHERE id = ?", row)
    connection.close()
    assert {orphan.job.id for orphan in await one.orphans()} == {job.id for job in jobs}
    assert not any(orphan.blamed for orphan in await one.orphans())


async def test_all_jobs_of_a_large_dead_process_are_found(pair: Pair) -> None:
    """However many jobs a dead process has left, all are found, and then it is buried."""
    one, _ = pair
    async with SqliteStore(one.path) as died:
        jobs = await asyncio.gather(*(died.add(running(died), REQUEST) for _ in range(250)))
    found: set[str] = set()
    while orphans := await one.orphans():
        for job, blamed in orphans:
            assert blamed
            found.add(job.id)
            await one.replace(job, transitions.release(job, "given back"))
    assert found == {job.id for job in jobs}
    assert await one.liveness(died.worker) is Liveness.DEAD
    assert not (one.path.with_name("jobs.db-procs") / f"{died.worker}.lock").exists()


async def test_a_look_for_orphans_reads_no_running_jobs(pair: Pair) -> None:
    """To look for orphans while everybody lives fetches a row for each worker, and no jobs."""
    one, two = pair
    await asyncio.gather(*(two.add(running(two), REQUEST) for _ in range(300)))
    fetched = 0
    read = one._file.database.read

    def counted(*args: Any) -> list[tuple[Any, ...]]:
        nonlocal fetched
        rows = read(*args)
        fetched += len(rows)
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one._file.database, "read", counted)
        assert await one.orphans() == []
    assert fetched == 1


# Who is to blame.


@pytest.mark.parametrize(
    ("announced", "blamed"),
    [
        ([], True),
        ([THERE], True),
        ([THERE, Presence("app", None, stopping=True)], False),
        ([Presence("app", None, stopping=True), THERE], True),
    ],
)
async def test_who_was_told_to_stop_blames_nobody(
    pair: Pair, announced: list[Presence], blamed: bool
) -> None:
    """The jobs of a dead process are to blame, unless it had last said that it was stopping."""
    one, _ = pair
    async with SqliteStore(one.path) as died:
        job = await died.add(running(died), REQUEST)
        for presence in announced:
            died.announce(presence)
    assert await one.orphans() == [Orphan(job, blamed)]


_STOPS = """
import asyncio, sys
from asyncjobs.store import Presence
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import NOW, REQUEST, a_job
from asyncjobs.transitions import start

async def main(path, stopping):
    async with SqliteStore(path) as store:
        job = await store.add(start(a_job(), store.worker, NOW), REQUEST)
        store.announce(Presence("app", frozenset({"report"}), stopping))
        print(job.id, flush=True)
        sys.stdin.read()

asyncio.run(main(sys.argv[1], sys.argv[2] == "stopping"))
"""


@pytest.mark.parametrize("doing", ["stopping", "working"])
async def test_a_killed_process(path: Path, doing: str) -> None:
    """A process that is killed while it stops blames none of its jobs; any other one does. While it
    lives, what it says of itself is known to the others."""
    async with SqliteStore(path) as store:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _STOPS, str(path), doing),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        job_id = (await process.stdout.readline()).decode().strip()
        assert await store.orphans() == []
        (said,) = await store.others()
        process.kill()
        await process.wait()
        assert (said.program, said.routes) == ("app", frozenset({"report"}))
        assert said.stopping == (doing == "stopping")
        assert said.process != this_process()
        (orphan,) = await store.orphans()
        assert (orphan.job.id, orphan.blamed) == (job_id, doing == "working")
        assert await store.others() == []


# What they say of themselves.


async def test_the_others_are_known_by_what_they_say(pair: Pair, folder: Path) -> None:
    """What a process announces all others know, at once, until it announces something else or is
    gone; one that has said nothing is there all the same. Nobody but its user can read it."""
    one, two = pair
    assert (await one.others(), await two.others()) == ([STRANGER], [STRANGER])
    two.announce(THERE)
    assert (await one.others(), await two.others()) == ([THERE], [STRANGER])
    changed = Presence(None, None, stopping=True)
    two.announce(changed)
    one.announce(THERE)
    assert (await one.others(), await two.others()) == ([changed], [THERE])
    said = folder / f"{two.worker}.json"
    assert stat.S_IMODE(said.stat().st_mode) == 0o600
    async with SqliteStore(one.path) as third:
        third.announce(THERE)
        assert sorted(await one.others(), key=str) == sorted([changed, THERE], key=str)
    assert await one.others() == [changed]
    assert await one.orphans() == []
    assert {file.stem for file in folder.iterdir()} == {one.worker, two.worker}  # buried


@pytest.mark.parametrize(
    "damaged",
    [
        *(b"", b"{", b"\xff", b"null", b"[]", b"{}", b"[" * 100_000),
        b'{"program": 1, "routes": [], "stopping": false, "process": "x"}',
        b'{"program": "a", "routes": [1], "stopping": false, "process": "x"}',
        b'{"program": "a", "routes": {}, "stopping": false, "process": "x"}',
        b'{"program": "a", "routes": [], "stopping": 1, "process": "x"}',
        b'{"program": "a", "routes": [], "stopping": false, "process": null}',
        b'{"program": "a", "routes": [], "stopping": false}',
    ],
)
async def test_what_nobody_can_read_is_not_known(pair: Pair, folder: Path, damaged: bytes) -> None:
    """A process whose announcement is damaged is there, and nothing is known of it."""
    one, two = pair
    (folder / f"{two.worker}.json").write_bytes(damaged)
    assert await one.others() == [STRANGER]
    two.announce(THERE)
    assert await one.others() == [THERE]


async def test_what_a_later_version_says_besides_is_left_out(pair: Pair, folder: Path) -> None:
    """An announcement may say more than is known here."""
    one, two = pair
    said = b'{"program": "a", "routes": ["b"], "stopping": false, "process": "x", "new": 1}'
    (folder / f"{two.worker}.json").write_bytes(said)
    assert await one.others() == [Presence("a", frozenset({"b"}), process="x")]


async def test_an_announcement_in_vain(
    pair: Pair, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If a process cannot announce how it is now, the log says so, nobody goes on believing what
    was true before, and its work goes on."""
    one, two = pair
    two.announce(THERE)
    with no_descriptors():
        two.announce(Presence("app", frozenset({"new"})))
    assert "cannot be told of us" in caplog.text
    assert await one.others() == [STRANGER]
    await two.add(a_job(), REQUEST)
    assert len(await one.find(Query())) == 1


async def test_a_process_is_known_by_its_token(pair: Pair) -> None:
    """Two stores that are open in one process know that they are; a forked child is another."""
    one, two = pair
    two.announce(Presence("app", None))
    assert [said.process for said in await one.others()] == [this_process()]
    of_child = await asyncio.to_thread(told_by_child, this_process)
    assert of_child
    assert of_child != this_process()


def arguments() -> Request:
    return Request("POST", "/f", body=b'{"args": [], "kwargs": {}}')


@pytest.mark.parametrize("planted", ["fifo", "huge"])
async def test_a_planted_presence_holds_up_nobody(path: Path, planted: str) -> None:
    """Whatever lies in the place of a presence is read for a moment at most, and says nothing."""
    async with SqliteStore(path) as store, SqliteStore(path) as other:
        presence = path.with_name(f"{path.name}-procs") / f"{other.worker}.json"
        if planted == "fifo":
            os.mkfifo(presence)
        else:
            presence.touch()
            os.truncate(presence, 20 * 1024**3)
        assert await store.others() == [STRANGER]


# What is no lock, and what cannot be removed.


async def test_a_folder_that_is_called_as_a_lock(pair: Pair, folder: Path) -> None:
    """What is no file in the folder of the processes is nobody, and stops no rescue."""
    one, two = pair
    (folder / f"{'a' * 16}.lock").mkdir()
    left = await two.add(running(two), REQUEST)
    await two.__aexit__(None, None, None)
    assert await one.orphans() == [Orphan(left, blamed=True)]
    assert await one.others() == []
    await two.__aenter__()


async def test_what_a_dead_process_has_left_and_nobody_can_remove(
    pair: Pair, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and all else of that process is removed."""
    one, two = pair
    name = two.worker
    await two.__aexit__(None, None, None)
    (folder / f"{name}.sock").unlink(missing_ok=True)
    (folder / f"{name}.sock").mkdir()
    for _ in range(3):
        assert await one.orphans() == []
    assert not list(folder.glob(f"{name}.*[!sock]"))
    assert [message for message in caplog.messages if f"{name}.sock" in message] == [
        f"{folder}/{name}.sock, which a dead process has left, stays: [Errno 21] Is a directory: "
        f"'{folder}/{name}.sock'"
    ]
    await two.__aenter__()
