"""What others have put where a store is, or could change there: it is refused before it is opened.

Each case is a file of a store, and what is planted in its place. What the message says to type is
typed, and then the store opens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from quart import Quart

from asyncjobs import QuartJobs, transitions
from asyncjobs.errors import StoreError, StoreExposed, StorePathError
from asyncjobs.job import Job, Request
from asyncjobs.store import STRANGER, Liveness, Orphan, Presence
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import database as opening
from asyncjobs.stores.sqlite.private import make_folder
from asyncjobs.stores.sqlite.writing.reserve import SIZE, SLICE, Reserve
from asyncjobs.testing import NOW, REQUEST, a_job
from conftest import Serve
from server import DEADLINE, Server
from users import MALLORY, OWNER, as_root, as_user

OURS = ["", "-lock", "-ballast"]
FILES = [*OURS, "-wal", "-shm", "-journal"]
PROCS = "-procs"

HAS_PROC = Path("/proc/self/fd").is_dir()


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A start that waits for the other end of a pipe fails."""

    def fail(number: int, frame: object) -> NoReturn:
        raise TimeoutError("this hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(int(DEADLINE))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / "the server's"
    folder.mkdir(mode=0o700)
    return folder / "jobs.db"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file of ours that has nothing to do with a store."""
    file = tmp_path / "victim"
    file.write_bytes(b"precious")
    file.chmod(0o600)
    return file


def file_of(path: Path, suffix: str) -> Path:
    return Path(f"{path}{suffix}")


async def open_and_close(path: Path) -> None:
    async with SqliteStore(path):
        pass


async def a_store(path: Path) -> Job:
    """Make a store with a job in it."""
    async with SqliteStore(path) as store:
        return await store.add(a_job(), REQUEST)


async def make_all(path: Path) -> None:
    """Make a store that has each of its files, as after a crash."""
    await a_store(path)
    for suffix in FILES:
        if not (file := file_of(path, suffix)).exists():
            file.touch(0o600)


def state_of(path: Path) -> dict[str, tuple[int, int, int]]:
    """All that there is, as far as a start could have changed it."""
    return {
        str(file): (status.st_mode, status.st_uid, status.st_size)
        for file in path.parent.rglob("*")
        for status in [file.lstat()]
    }


async def refusal(path: Path, error: type[StoreError]) -> str:
    """The one line that a start is refused with. It changes nothing."""
    before = state_of(path)
    with pytest.raises(error) as raised:
        await open_and_close(path)
    assert type(raised.value) is error
    assert state_of(path) == before
    said = str(raised.value)
    assert "\n" not in said
    return said


def do_as_told(
    said: str, command: str = r"[Tt]ype (?:\(as root\) )?(.*?)(?:; else|, then|$)"
) -> None:
    """Type the command that a message names."""
    found = re.search(command, said)
    assert found, said
    subprocess.run(["sh", "-c", found[1]], check=True)


# Of another user, or open to others.


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
@pytest.mark.parametrize("suffix", FILES)
async def test_a_file_of_another_user_is_refused(path: Path, suffix: str, mode: int) -> None:
    """Whatever its mode: who owns a file can change it at any time. The message names the file,
    its owner, and what to type if it is to be taken over all the same."""
    await make_all(path)
    file = file_of(path, suffix)
    os.chown(file, MALLORY, MALLORY)
    file.chmod(mode)
    said = await refusal(path, StoreExposed)
    assert f"{MALLORY} owns {file}" in said
    assert ("chmod" in said) == (mode != 0o600)
    do_as_told(said)
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    await open_and_close(path)


@as_root
async def test_all_files_of_another_user_are_named_at_once(path: Path) -> None:
    """A store that was made by another user is taken over by one command for its files."""
    await make_all(path)
    for suffix in FILES:
        os.chown(file_of(path, suffix), MALLORY, MALLORY)
    said = await refusal(path, StoreExposed)
    do_as_told(said)
    await open_and_close(path)


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o606, 0o620, 0o777])
@pytest.mark.parametrize("suffix", FILES)
async def test_a_file_that_others_can_write_is_refused(path: Path, suffix: str, mode: int) -> None:
    """Nobody can tell who has written it. The message names the file and what to type."""
    await make_all(path)
    file = file_of(path, suffix)
    file.chmod(mode)
    said = await refusal(path, StoreExposed)
    assert str(file) in said
    assert ("everybody can write" if mode & 0o002 else "its group can write") in said
    do_as_told(said)
    await open_and_close(path)
    assert not file.exists() or stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o730, 0o702])
async def test_a_folder_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    """Who can put files into the folder of the processes says who of them lives."""
    await a_store(path)
    folder = file_of(path, PROCS)
    folder.chmod(mode)
    said = await refusal(path, StoreExposed)
    assert str(folder) in said
    do_as_told(said)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await open_and_close(path)


@as_root
async def test_a_folder_of_another_user_is_refused(path: Path) -> None:
    """What it has in it can't be trusted either: it is to be made anew."""
    await a_store(path)
    os.chown(file_of(path, PROCS), MALLORY, MALLORY)
    said = await refusal(path, StoreExposed)
    assert f"{MALLORY} owns" in said
    do_as_told(said)
    await open_and_close(path)


@as_root
@pytest.mark.parametrize("name", ["0123456789abcdef.lock", "0123456789abcdef.sock", "x\nforged"])
async def test_what_others_have_left_in_the_folder_is_refused(path: Path, name: str) -> None:
    """While the folder was open to others they may have exchanged the proofs of life in it, and
    have put sockets there, which would be told of jobs. Its name forges no line of the log."""
    await a_store(path)
    planted = file_of(path, PROCS) / name
    planted.touch()
    os.chown(planted, MALLORY, MALLORY)
    said = await refusal(path, StoreExposed)
    assert repr(str(planted)) in said
    assert "Stop all of them" in said
    do_as_told(said)
    await open_and_close(path)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o640, 0o755])
@pytest.mark.parametrize("suffix", FILES)
async def test_a_file_that_others_can_read_is_closed_to_them(
    path: Path, suffix: str, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As a copy that was put back, under the usual umask. The log says so once, with the name."""
    await make_all(path)
    file = file_of(path, suffix)
    file.chmod(mode)
    async with SqliteStore(path):
        assert not file.exists() or stat.S_IMODE(file.stat().st_mode) == 0o600
    (said,) = caplog.messages
    assert str(file) in said
    caplog.clear()
    await open_and_close(path)
    assert caplog.messages == []


async def test_all_that_others_can_read_is_said_at_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line names all files that were closed to others, and the folder among them."""
    job = await a_store(path)
    readable = [file_of(path, suffix) for suffix in OURS]
    for file in readable:
        file.chmod(0o644)
    file_of(path, PROCS).chmod(0o755)
    async with SqliteStore(path) as store:
        assert await store.get(job.id) == job
        assert stat.S_IMODE(file_of(path, PROCS).stat().st_mode) == 0o700
    (said,) = caplog.messages
    for file in (*readable, file_of(path, PROCS)):
        assert str(file) in said


async def test_a_copy_that_sqlite_has_made_is_restored(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy of an sqlite3 shell, readable by all, is a store when it is put back."""
    job = await a_store(path)
    copy = path.with_name("copy.db")
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    copy.chmod(0o644)
    copy.replace(path)
    async with SqliteStore(path) as store:
        assert await store.get(job.id) == job
        for suffix in ("", "-wal", "-shm"):
            assert stat.S_IMODE(file_of(path, suffix).stat().st_mode) == 0o600
    assert len(caplog.messages) == 1


# No files at all.


def a_pipe(file: Path, elsewhere: Path) -> None:
    os.mkfifo(file, 0o600)


def a_socket(file: Path, elsewhere: Path) -> None:
    with socket.socket(socket.AF_UNIX) as planted, contextlib.chdir(file.parent):
        planted.bind(file.name)


def a_folder(file: Path, elsewhere: Path) -> None:
    file.mkdir(0o700)


def a_link(file: Path, elsewhere: Path) -> None:
    file.symlink_to(elsewhere)


def a_link_to_nothing(file: Path, elsewhere: Path) -> None:
    file.symlink_to(elsewhere.with_name("nothing"))


def a_link_to_a_folder(file: Path, elsewhere: Path) -> None:
    elsewhere.with_name("folder").mkdir(0o700)
    file.symlink_to(elsewhere.with_name("folder"))


def a_second_name(file: Path, elsewhere: Path) -> None:
    file.hardlink_to(elsewhere)


def a_file(file: Path, elsewhere: Path) -> None:
    file.touch(0o600)


Plant = Callable[[Path, Path], None]
NO_FILES: dict[str, Plant] = {
    "a named pipe": a_pipe,
    "a socket": a_socket,
    "a folder": a_folder,
    "a symbolic link": a_link,
    "a symbolic link, to nothing": a_link_to_nothing,
    "more than one name": a_second_name,
}
NO_FOLDERS: dict[str, Plant] = {
    "a named pipe": a_pipe,
    "a socket": a_socket,
    "a file": a_file,
    "a symbolic link": a_link_to_a_folder,
    "a symbolic link, to nothing": a_link_to_nothing,
}
CASES = [
    *((suffix, kind, plant) for suffix in FILES[1:] for kind, plant in NO_FILES.items()),
    *(("", kind, NO_FILES[kind]) for kind in NO_FILES if "link" not in kind),
    *((PROCS, kind, plant) for kind, plant in NO_FOLDERS.items()),
]


@pytest.mark.parametrize("when", ["before the first start", "while it was stopped"])
@pytest.mark.parametrize(
    ("suffix", "kind", "plant"), CASES, ids=[f"{suffix}: {kind}" for suffix, kind, _ in CASES]
)
async def test_what_is_no_file_is_refused(
    path: Path, elsewhere: Path, suffix: str, kind: str, plant: Plant, when: str
) -> None:
    """A start does not wait for it, nor write where it leads to, nor make anything: it says what
    is there."""
    file = file_of(path, suffix)
    if when == "while it was stopped":
        await make_all(path)
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    plant(file, elsewhere)
    said = await refusal(path, StorePathError)
    assert str(file) in said
    is_named = "a directory: name a file in it" if (suffix, kind) == ("", "a folder") else kind
    assert is_named.partition(",")[0] in said
    assert elsewhere.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["a named pipe", "a socket"])
async def test_a_link_to_no_file_is_refused(path: Path, elsewhere: Path, kind: str) -> None:
    """The database alone may be behind a symbolic link: what that leads to is looked at."""
    target = path.with_name("target.db")
    NO_FILES[kind](target, elsewhere)
    path.symlink_to(target)
    assert f"{target} is {kind}" in await refusal(path, StorePathError)


async def test_a_copy_of_its_own_for_a_file_with_two_names(path: Path) -> None:
    """A database that `cp -al` has given a second name opens once it is a file by itself."""
    job = await a_store(path)
    path.with_name("snapshot.db").hardlink_to(path)
    said = await refusal(path, StorePathError)
    do_as_told(said, r"here: (cp .*)$")
    async with SqliteStore(path) as store:
        assert await store.get(job.id) == job


# While a store is opened, and while it is open.


@pytest.mark.parametrize("suffix", [*OURS, "-wal", "-shm"])
async def test_what_is_exchanged_during_a_start_is_refused(
    path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done to the files after they were looked at is found before anything is run."""
    open_log = opening._open_log

    def plant(*args: Any) -> int:
        fd = open_log(*args)
        file_of(path, suffix).chmod(0o666)
        return fd

    # The folder of the processes is made after that, and the look at all files is the last thing.
    monkeypatch.setattr(opening, "_open_log", plant)
    if suffix == "-ballast":
        Path(f"{path}-ballast").touch(0o600)
    with pytest.raises(StoreExposed, match="everybody can write"):
        await open_and_close(path)


@contextlib.contextmanager
def exchanged(file: Path, plant: Callable[[Path], object]) -> Iterator[None]:
    """Within this, there is something else in the place of `file`."""
    away = file.with_suffix(".away")
    file.rename(away)
    plant(file)
    try:
        yield
    finally:
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
        away.rename(file)


def another_users(file: Path) -> None:
    file.touch(0o600)
    os.chown(file, MALLORY, MALLORY)


EXCHANGES = [
    pytest.param(another_users, marks=as_root),
    pytest.param(lambda file: file.symlink_to(os.devnull), id="link"),
    pytest.param(os.mkfifo, id="pipe"),
    pytest.param(os.mkdir, id="folder"),
]


@pytest.mark.parametrize("plant", EXCHANGES)
async def test_an_exchanged_lock_proves_nothing(
    path: Path, plant: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A lock file that is none of ours does not tell whether its process lives: it is not dead,
    nothing is rescued from it, and that is said once. It is when the true one is back."""
    async with SqliteStore(path) as one:
        async with SqliteStore(path) as other:
            left = await other.add(transitions.start(a_job(), other.worker, NOW), REQUEST)
            lock = file_of(path, PROCS) / f"{other.worker}.lock"
            with exchanged(lock, plant):
                for _ in range(3):
                    assert await one.liveness(other.worker) is Liveness.UNKNOWN
                    assert await one.orphans() == []
            assert await one.liveness(other.worker) is Liveness.ALIVE
        assert await one.orphans() == [Orphan(left, blamed=True)]
    (said,) = caplog.messages
    assert str(lock) in said


@pytest.mark.parametrize("plant", EXCHANGES)
async def test_an_exchanged_announcement_says_nothing(
    path: Path, plant: Callable[[Path], object]
) -> None:
    """What another user says in the name of a process is not believed, and to look at what is no
    file costs no descriptor."""
    async with SqliteStore(path) as one, SqliteStore(path) as other:
        other.announce(Presence("app", None))
        before = descriptors()
        with exchanged(file_of(path, PROCS) / f"{other.worker}.json", plant):
            for _ in range(10):
                assert await one.others() == [STRANGER]
        assert len(descriptors() - before) < 10
        assert await one.others() == [Presence("app", None)]


def descriptors() -> set[str]:
    """The descriptors of this process, where the system tells them."""
    return set(os.listdir("/proc/self/fd")) if HAS_PROC else set()


@pytest.mark.parametrize("plant", [a_link, a_link_to_nothing, a_pipe])
async def test_an_announcement_follows_no_link(path: Path, elsewhere: Path, plant: Plant) -> None:
    """What lies where a process writes down its announcement is removed, and not written to."""
    async with SqliteStore(path) as one, SqliteStore(path) as other:
        plant(file_of(path, PROCS) / f"{other.worker}.tmp", elsewhere)
        other.announce(Presence("app", None))
        assert await one.others() == [Presence("app", None)]
    assert elsewhere.read_bytes() == b"precious"
    assert not elsewhere.with_name("nothing").exists()


@pytest.mark.parametrize("size", [8, SIZE])
async def test_the_reserve_follows_no_link(path: Path, elsewhere: Path, size: int) -> None:
    """A ballast that becomes a symbolic link under a running store makes no file grow or shrink."""
    os.truncate(elsewhere, size)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        reserve = Reserve(path, connection, limit=SIZE)
        reserve.make()
        ballast = file_of(path, "-ballast")
        assert ballast.stat().st_size == SIZE
        with exchanged(ballast, lambda file: file.symlink_to(elsewhere)):
            assert not reserve.is_whole()
            assert not reserve.take_back()
            reserve.let_go()
            reserve.make()
            assert elsewhere.stat().st_size == size
        reserve.let_go()
        assert ballast.stat().st_size == SIZE - SLICE


# Other users, and other umasks.


@pytest.fixture
def servers_path() -> Iterator[Path]:
    """Where the user of a server keeps its store."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, OWNER, OWNER)
        yield Path(folder) / "jobs.db"


@as_root
def test_a_store_that_root_has_made_once(servers_path: Path) -> None:
    """Started as root by mistake, a server leaves files that its user cannot write. The next start
    names them all, and what to type."""
    asyncio.run(make_all(servers_path))
    said = as_user(OWNER, lambda: asyncio.run(open_and_close(servers_path)))
    assert said.startswith("StoreReadOnly: root owns ")
    for suffix in (*FILES, PROCS):
        assert str(file_of(servers_path, suffix)) in said
    do_as_told(said)
    assert as_user(OWNER, lambda: asyncio.run(open_and_close(servers_path))) == "None"


@as_root
def test_a_folder_that_root_has_made_once(servers_path: Path) -> None:
    """A server that is started as root makes the folder of its store for root alone. The next start
    names the owner and says what to type; what it says for a folder that is open to others, as
    those of the system are, gives nobody the whole folder."""
    path = servers_path.parent / "instance" / "jobs.db"
    make_folder(path.parent)
    asyncio.run(make_all(path))
    said = as_user(OWNER, lambda: asyncio.run(open_and_close(path)))
    assert said.startswith("StoreReadOnly: ")
    assert f"{path.parent} (of the user root)" in said
    do_as_told(said)
    assert as_user(OWNER, lambda: asyncio.run(open_and_close(path))) == "None"

    os.chown(path.parent, 0, 0)
    path.parent.chmod(0o711)
    said = as_user(OWNER, lambda: asyncio.run(open_and_close(path)))
    assert f"{path.parent} (of the user root)" in said
    assert "chown" not in said


@as_root
def test_root_does_not_take_the_store_of_a_user(servers_path: Path) -> None:
    """The files that root would make beside it, its own user could not open any more."""
    assert as_user(OWNER, lambda: asyncio.run(open_and_close(servers_path))) == "None"
    said = asyncio.run(refusal(servers_path, StoreExposed))
    assert f"{OWNER} owns {servers_path}" in said
    assert "have it run as the owner" in said
    assert as_user(OWNER, lambda: asyncio.run(open_and_close(servers_path))) == "None"


UMASKS = [0o000, 0o002, 0o022, 0o077, 0o277, 0o777]


def modes_under(umask: int, path: Path) -> set[tuple[str, str]]:
    """The modes of all that is made under a umask: by a store, by another process that opens it
    meanwhile and later, and by a backup."""
    app = Quart(__name__, instance_path=str(path.parent / "var" / "app" / "instance"))
    QuartJobs(app)

    async def work() -> None:
        async with app.test_app(), SqliteStore(path) as store, SqliteStore(path) as other:
            store.announce(Presence("app", None))
            await other.add(a_job(), REQUEST)
            await store.backup(path.with_name("copy.db"))
            for file in path.parent.rglob("*"):
                mode = stat.S_IMODE(file.stat().st_mode)
                found.add(("folder" if file.is_dir() else "file", f"{mode:o}"))
        await open_and_close(path)

    found: set[tuple[str, str]] = set()
    before = os.umask(umask)
    try:
        asyncio.run(work())
    finally:
        os.umask(before)
    return found


@pytest.mark.parametrize("umask", UMASKS, ids="{:03o}".format)
def test_all_that_is_made_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Nobody else can look into the files and folders, the parents of an instance folder and a
    backup among them; the umask takes nothing from their own user either."""
    assert modes_under(umask, tmp_path / "jobs.db") == {("file", "600"), ("folder", "700")}


@as_root
@pytest.mark.parametrize("umask", UMASKS, ids="{:03o}".format)
def test_a_umask_keeps_no_user_from_its_own_store(servers_path: Path, umask: int) -> None:
    """Root could open all files, whatever their modes; other users need what they are given."""
    said = as_user(OWNER, lambda: sorted(modes_under(umask, servers_path)))
    assert said == "[('file', '600'), ('folder', '700')]"


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """Only what is missing is made."""
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


# The folder that a store is in.


@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [
        (0o700, 0, ""),
        (0o755, 0, ""),
        (0o1777, 0, ""),  # as /tmp
        (0o777, 0, "can be written by everybody"),
        (0o775, 0, "can be written by its group"),
        (0o2770, 0, "can be written by its group"),
        pytest.param(0o755, MALLORY, f"belongs to the user {MALLORY}", marks=as_root),
        pytest.param(0o1777, MALLORY, f"belongs to the user {MALLORY}", marks=as_root),
    ],
)
async def test_a_folder_in_which_files_can_be_exchanged(
    path: Path, mode: int, owner: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error, as folders for deploys and volumes are like that; the log says so once, and
    what to type."""
    if owner:
        os.chown(path.parent, owner, owner)
    path.parent.chmod(mode)
    await open_and_close(path)
    assert len(caplog.messages) == bool(said)
    for message in caplog.messages:
        assert said in message
        assert str(path.parent) in message
        if owner:  # to root, its own start would tell to take the folder from its user
            assert "run it as that user" in message
        else:
            do_as_told(message, r": (ch(?:mod|own) .*), or have")
    caplog.clear()
    if not owner:
        await open_and_close(path)
        assert caplog.messages == []


async def test_a_system_without_owners(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows modes and owners mean nothing, and keep nobody from a store."""
    await make_all(path)
    for suffix in FILES:
        file_of(path, suffix).chmod(0o666)
    monkeypatch.delattr(os, "geteuid")
    await open_and_close(path)


# A server.


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server that is not started, and the store of another user in the place of its own. It has
    a job in it, that sends a signal when it is run."""
    signals = tmp_path / "signals"
    server = Server("apps.bad_input:app", tmp_path / "server", config={"SIGNALS": str(signals)})

    async def plant() -> None:
        async with SqliteStore(server.store) as store:
            job = a_job(route="visit", path="/visit/planted")
            await store.add(job, Request("GET", "/visit/planted"))

    asyncio.run(plant())
    try:
        yield server, signals / "planted.ran"
    finally:
        server.kill()


@as_root
def test_a_planted_store_is_not_served(planted: tuple[Server, Path]) -> None:
    """Another user has put a store where the server looks for its own, writable for all, with a
    job in it: the server does not start, says why, and has run nothing. Who knows the file types
    what the message says, and has it run."""
    server, ran = planted
    os.chown(server.store, MALLORY, MALLORY)
    server.store.chmod(0o666)
    shutil.rmtree(file_of(server.store, PROCS))
    server.start()
    server.wait()
    assert not ran.exists()
    said = next(line for line in server.log().splitlines() if "owns" in line)
    assert f"the user {MALLORY} owns {server.store}, " in said
    assert not file_of(server.store, PROCS).exists()
    do_as_told(said)
    with server:
        while not ran.exists():  # within the deadline
            signal.sigtimedwait([], 0.01)


def test_processes_that_start_together_on_a_restored_store(
    planted: tuple[Server, Path], serve: Serve
) -> None:
    """They do not get into each other's way when each closes the files to others."""
    server, ran = planted
    for suffix in OURS:
        file_of(server.store, suffix).chmod(0o644)
    config = {"QUART_JOBS_STORE": f"sqlite:///{server.store}", "SIGNALS": str(ran.parent)}
    serve("apps.bad_input:app", config=config, workers=3)
    while not ran.exists():  # within the deadline
        signal.sigtimedwait([], 0.01)
    for suffix in OURS:
        assert stat.S_IMODE(file_of(server.store, suffix).stat().st_mode) == 0o600
