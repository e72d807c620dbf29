"""A start that cannot be: nobody waits for ever, the error says what to do, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import waits
from asyncjobs import Jobs
from asyncjobs.errors import SetupError, StoreError, StoreLocked, StoreUnavailable
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import file, store
from asyncjobs.stores.sqlite.processes import holders
from asyncjobs.stores.sqlite.processes.locks import FileLock
from asyncjobs.stores.sqlite.writing import commits, moving
from asyncjobs.testing import REQUEST, a_job
from server import DEADLINE, Server, result, submit, until

HAS_PROC = Path("/proc/self/fd").is_dir()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store, file, moving):
        monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.1)


# Who has it locked.


_SHELL = """
import sqlite3, sys
from pathlib import Path
from asyncjobs.stores.sqlite.processes.locks import FileLock

path, *statements = sys.argv[1:]
if statements:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
else:
    assert FileLock(Path(path + "-lock")).try_acquire()
print("holds", flush=True)
sys.stdin.read()
"""

#: What a program runs that has the store locked; one of ours that stands still runs none.
HOLDERS = {
    "BEGIN IMMEDIATE": ["BEGIN IMMEDIATE"],
    "BEGIN EXCLUSIVE": ["BEGIN EXCLUSIVE"],
    "nobody may read": ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"],
    "a process of ours": [],
}


@contextmanager
def held(path: Path, statements: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Another program has the store locked."""
    with subprocess.Popen(
        [sys.executable, "-c", _SHELL, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(params=HOLDERS)
def holder(request: pytest.FixtureRequest) -> Sequence[str]:
    return HOLDERS[request.param]


@pytest.fixture(params=["old", "new"])
async def at(request: pytest.FixtureRequest, path: Path) -> Path:
    """Where a store is, or shall be."""
    if request.param == "old":
        async with SqliteStore(path) as store:
            await store.add(a_job(), REQUEST)
    return path


async def test_a_start_waits_for_who_has_locked_the_store(at: Path, holder: Sequence[str]) -> None:
    """A store that another program has locked is opened as soon as it lets go, and the event loop
    turns meanwhile."""
    jobs = Jobs(store=f"sqlite:///{at}")
    with held(at, holder):
        starting = asyncio.create_task(jobs.__aenter__())
        await asyncio.wait({starting}, timeout=0.1)
        assert not starting.done()
    async with asyncio.timeout(DEADLINE):
        await starting
    await jobs.__aexit__()


@pytest.mark.usefixtures("impatient")
async def test_a_start_does_not_wait_for_ever(at: Path, holder: Sequence[str]) -> None:
    """If the store stays locked, the error says by whom, and what it may be. The start leaves
    nothing behind: no lock, no descriptor, no thread; the next one succeeds."""
    before = open_here()
    with held(at, holder) as process:
        beside = open_here()
        who = rf"process {process.pid} \(python.*\) keeps {at}(-lock)? locked: see whether"
        with pytest.raises(StoreLocked, match=rf"^{who}.*sqlite3 shell.*backup"):
            await Jobs(store=f"sqlite:///{at}").__aenter__()
        await waits.until(lambda: open_here() <= beside)
    await waits.until(lambda: open_here() <= before)
    async with Jobs(store=f"sqlite:///{at}"):
        pass


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_cannot_tell_who_has_the_lock(
    at: Path, holder: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system does not tell who has a lock, or only that it is somebody who cannot be seen
    from here, as in a container, the error says how to find out."""
    listed = tmp_path / "locks"
    monkeypatch.setattr(holders, "LOCKS", listed)
    with held(at, holder):
        for content in (None, "", unseen_in(Path("/proc/locks"))):
            if content is not None:
                listed.write_text(content)
            with pytest.raises(StoreLocked, match=rf"^another program .*fuser -v {at}.*lsof {at}"):
                await Jobs(store=f"sqlite:///{at}").__aenter__()


def unseen_in(locks: Path) -> str:
    """The locks of the system as they are told where none of the processes can be seen."""
    if not locks.exists():
        return ""
    return re.sub(r"( (?:READ|WRITE) +)\d+", r"\g<1>0", locks.read_text())


def test_who_holds_a_lock(tmp_path: Path) -> None:
    """Of the locks that the system lists, those on other files do not matter, nor who waits for
    one, nor who reads beside who writes, nor a line that is none."""
    path, listed = tmp_path / "file", tmp_path / "locks"
    path.touch()
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    file, parent = f"{device}:{status.st_ino}", os.getppid()
    name = Path(f"/proc/{parent}/comm").read_text().strip() if HAS_PROC else ""
    reads = f"1: POSIX  ADVISORY  READ {parent} {file} 128 128"
    others = [
        f"2: FLOCK  ADVISORY  WRITE 1 {device}:{status.st_ino + 1} 0 EOF",
        f"3: -> FLOCK  ADVISORY  WRITE 1 {file} 0 EOF",
        f"4: OFDLCK ADVISORY  WRITE -1 {file} 0 EOF",
        f"5: POSIX  ADVISORY  WRITE {os.getpid()} {file} 0 EOF",
        "6: nonsense",
        "",
    ]
    listed.write_text("\n".join([*others, reads]))
    described = f"process {parent} ({name})" if HAS_PROC else f"process {parent}"
    assert holders.holders_of([str(path), f"{path}-missing"], listed) == [described]
    gone = f"7: FLOCK  ADVISORY  WRITE {2**22 + 1} {file} 0 EOF"
    listed.write_text("\n".join([*others, reads, gone]))
    assert holders.holders_of([str(path)], listed) == [f"process {2**22 + 1}"]


def test_a_holder_whose_name_is_cut_in_the_middle_of_a_character(tmp_path: Path) -> None:
    """The system cuts names at fifteen bytes: what is left of one keeps nobody from being named."""
    path = tmp_path / "file"
    path.touch()
    script = (
        "import fcntl, sys; from pathlib import Path\n"
        "file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "Path('/proc/self/comm').write_bytes(b'abcdefghijklmn\\xc3')\n"
        "print('holds', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "holds\n" or not holders.LOCKS.exists():
            pytest.skip("the system has no /proc/locks, or no names of processes")
        (described,) = holders.holders_of([str(path)])
        assert described.startswith(f"process {process.pid}")
        process.kill()


async def test_a_store_that_is_being_closed_takes_no_more(path: Path) -> None:
    """What comes while a stop waits for the lock is refused, and nothing goes on after the stop."""
    store = await SqliteStore(path).__aenter__()
    lock = FileLock(Path(f"{path}-lock"))
    while not lock.try_acquire():
        await asyncio.sleep(0.001)
    stopping = asyncio.create_task(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        while not stopping.done():
            with suppress(RuntimeError):  # it is closed
                with pytest.raises(StoreUnavailable, match="being closed"):
                    await store.add(a_job(), REQUEST)
                break
    lock.close()
    await stopping
    async with SqliteStore(path) as store:
        assert await store.find(Query()) == []


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_fails_keeps_no_other_from_the_store(path: Path) -> None:
    """While one start waits for a lock of SQLite, a process that has the store open can use its own
    lock, and takes jobs at once when SQLite's is free."""
    async with SqliteStore(path) as running:
        with held(path, ["BEGIN IMMEDIATE"]):
            with pytest.raises(StoreLocked):
                await SqliteStore(path).__aenter__()
            lock = FileLock(Path(f"{path}-lock"))
            assert lock.try_acquire()
            lock.close()
        await running.add(a_job(), REQUEST)


@pytest.mark.usefixtures("impatient")
async def test_a_stop_does_not_wait_for_ever(path: Path) -> None:
    """A store whose lock another process keeps is closed all the same, and what is in it is kept
    for the next to open it: the log stays, as nobody may checkpoint it without the lock."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST)
        store._file.checkpointer.start()
        lock = FileLock(Path(f"{path}-lock"))
        while not lock.try_acquire():
            await asyncio.sleep(0.001)
        store._file.checkpointer.start()
    assert Path(f"{path}-wal").exists()
    lock.close()
    async with SqliteStore(path) as store:
        assert await store.get(job.id) == job


async def test_a_stopped_process_that_holds_the_lock(path: Path) -> None:
    """A process that stands still with the lock of all holds up a start until it is continued or
    killed, which ends its lock."""
    with held(path, []) as process:
        process.send_signal(signal.SIGSTOP)
        starting = asyncio.create_task(SqliteStore(path).__aenter__())
        await asyncio.wait({starting}, timeout=0.1)
        assert not starting.done()
        process.kill()
        async with asyncio.timeout(DEADLINE):
            store = await starting
    await store.__aexit__(None, None, None)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stays", [True, False])
def test_a_sigterm_while_a_start_waits(tmp_path: Path, workers: int, stays: bool) -> None:
    """A server that waits at its start for a lock says after a second whom it waits for, and obeys
    a SIGTERM: it ends when it has the lock, or when it has waited long enough."""
    path = tmp_path / "jobs.db"
    asyncio.run(open_and_close(path))
    # It says so after a second; who is to get the lock must not have given up by then.
    config = signals_in(tmp_path) | ({"LOCK_TIMEOUT": 2.5} if stays else {})
    server = Server("apps.lifetimes:app", tmp_path, config=config, workers=workers)
    with held(path, []) as process:
        who = rf"process {process.pid} \(python.*\) keeps {path}-lock locked"
        server.start()
        try:
            seconds = "2.5" if stays else "5"
            until(lambda: re.search(f"the start waits up to {seconds} s, as {who}", server.log()))
            server.signal(signal.SIGTERM)
            if not stays:
                process.kill()
            server.wait()
        finally:
            server.kill()
    # Not in the last line: the end of one worker may cut off what another one was about to say.
    failed = [line for line in server.log().splitlines() if "LifespanFailureError: " in line]
    assert bool(failed) == stays, server.log()
    assert all(re.search(who, line) for line in failed)


@pytest.mark.parametrize(("workers", "changes"), [(0, {}), (2, {"LOCK_TIMEOUT": 1.5})])
def test_a_stop_while_somebody_has_the_lock(
    tmp_path: Path, workers: int, changes: dict[str, float]
) -> None:
    """A server that is told to stop while another process keeps the lock ends all the same: it has
    waited as long as a write waits, with an event loop that turns, and says who it was. What was
    acknowledged is there at the next start."""
    config = signals_in(tmp_path) | changes
    with Server("apps.contract:app", tmp_path, config=config, workers=workers) as server:
        with server.client() as client:
            poll = submit(client, "GET", "/foo")
            answer = result(client, poll)
        # One that is still starting would wait for the lock as well, and not come up.
        procs = Path(f"{server.store}-procs")
        until(lambda: len([*procs.glob("*.lock")]) >= workers or None, "all workers")
        with held(server.store, []) as process:
            assert server.stop() == 0
        who = rf"process {process.pid} \(python.*\) keeps {server.store}-lock locked"
        assert re.search(f"is closed as it is, .*: {who}", server.log())
        assert "Traceback" not in server.log()
        assert "blocked" not in server.log()
    with Server("apps.contract:app", tmp_path, config=config) as server, server.client() as client:
        assert client.get(poll).content == answer.content


async def test_a_lock_that_comes_free_while_the_store_is_closed(path: Path) -> None:
    """A stop that waits for the lock lets the event loop turn, also while the checkpoint of before
    waits, and goes on as soon as it has it: then the log is gone."""
    async with SqliteStore(path) as store:
        await store.add(a_job(), REQUEST)
        lock = FileLock(Path(f"{path}-lock"))
        while not lock.try_acquire():
            await asyncio.sleep(0.001)
        store._file.checkpointer.start()
        closing = asyncio.create_task(store.__aexit__(None, None, None))
        done, _ = await asyncio.wait({closing}, timeout=0.1)
        assert not done
        lock.close()
        async with asyncio.timeout(DEADLINE):
            await closing
        assert not Path(f"{path}-wal").exists()
        await store.__aenter__()


@pytest.mark.parametrize("holder", ["BEGIN IMMEDIATE", "a process of ours"])
async def test_a_write_that_waits_in_vain(
    path: Path, holder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When a store takes no more jobs because another process keeps it locked, the log says which;
    clients do not learn it."""
    monkeypatch.setattr(commits, "LOCK_TIMEOUT", 0.05)
    async with SqliteStore(path) as store:
        with held(path, HOLDERS[holder]) as process:
            with pytest.raises(StoreUnavailable) as raised:
                await store.add(a_job(), REQUEST)
            assert str(raised.value) == "another process keeps the job store locked"
            who = rf"process {process.pid} \(python.*\) keeps {path}(-lock)? locked"
            assert re.search(f"takes no new jobs until it can: .*{who}", caplog.text)


def signals_in(folder: Path) -> dict[str, Any]:
    return {"SIGNALS": str(folder / "signals"), "QUART_JOBS_STORE": f"sqlite:///{folder}/jobs.db"}


async def open_and_close(path: Path) -> None:
    async with SqliteStore(path):
        pass


# No thread.

_NO_THREADS = """
import asyncio, logging, os, resource, sys, threading
from asyncjobs import Jobs
from asyncjobs.errors import SetupError

def open_files():
    return len(os.listdir("/proc/self/fd"))

async def start(url):
    async with Jobs(store=url) as jobs:
        return (await jobs.health()).accepting

async def main(url, uid):
    os.setuid(uid)
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    before = open_files()
    for threads in (0, 1, 2):
        resource.setrlimit(resource.RLIMIT_NPROC, (1 + threads, hard))
        try:
            await start(url)
        except SetupError as error:
            print(type(error).__name__, error)
        for thread in set(threading.enumerate()) - {threading.main_thread()}:
            thread.join(10)
        print(open_files() - before, threading.active_count())
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    print(await start(url))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.skipif(
    not HAS_PROC or os.geteuid() != 0, reason="RLIMIT_NPROC binds nobody here, or not us"
)
def test_a_start_without_threads() -> None:
    """If the system gives us no thread at the start (a real ``RLIMIT_NPROC``), for the first, the
    second or the third that we need, the error names the limits. What was open is closed again,
    and once there are threads a start succeeds."""
    # A user of whom there is no other process, and a folder of its own: pytest's is closed to it.
    uid = 40_000 + os.getpid() % 20_000
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, uid, uid)
        told = subprocess.run(
            [sys.executable, "-c", _NO_THREADS, f"sqlite:///{folder}/jobs.db", str(uid)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    lines = told.stdout.splitlines()
    assert len(lines) == 7, told.stderr
    for error, counts in zip(lines[0:6:2], lines[1:6:2], strict=True):
        assert "ulimit -u" in error
        assert "TasksMax" in error
        assert counts == "0 1"
    assert [line.split()[0] for line in lines[0:6:2]] == ["SetupError", "StoreError", "StoreError"]
    assert [line.split()[3] for line in lines[0:6:2]] == [
        *("asyncjobs-watchdog", "asyncjobs-flusher", "asyncjobs-checkpoints")
    ]
    assert lines[6] == "True"


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_start_that_gets_no_thread(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever thread cannot be started, what the start has opened so far is closed again, and
    no timer of it goes on."""
    start = threading.Thread.start
    started = 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started > number:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = open_here()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SetupError, match="ulimit -u") as raised:
            await Jobs(store=f"sqlite:///{path}").__aenter__()
    assert isinstance(raised.value, StoreError) == (number > 0)
    await waits.until(lambda: open_here() <= before)
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert not [timer for timer in timers if not timer.cancelled() and "_turn" in repr(timer)]
    async with Jobs(store=f"sqlite:///{path}") as jobs:
        assert (await jobs.health()).accepting


def open_here() -> frozenset[tuple[object, str]]:
    """Which threads of ours there are in this process, and which descriptors of which files.

    Other tests may have left some that end at any time, so only those that are new are a leak.
    """
    threads = {(thread, thread.name) for thread in threading.enumerate()}
    ours = {(thread, name) for thread, name in threads if "asyncjobs" in name}
    return frozenset(ours | set(_descriptors()))


def _descriptors() -> Iterator[tuple[object, str]]:
    for number in os.listdir("/proc/self/fd") if HAS_PROC else ():
        # The one that lists the folder is closed by now.
        with suppress(FileNotFoundError):
            yield number, os.readlink(f"/proc/self/fd/{number}")
