"""A store that is opened to steer: jobs are cancelled and retried by a guest, whom nobody notices.

Real files and real servers, whose own looks are put off: what a guest does has to be told to them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.signals import Signals
from asyncjobs import Jobs, transitions
from asyncjobs.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreExposed,
    StorePathError,
    StoreReadOnly,
    StoreTooNew,
    StoreTooOld,
)
from asyncjobs.events import Finished
from asyncjobs.job import Job, State
from asyncjobs.store import Liveness, Presence
from asyncjobs.stores import LookingStore, SqliteStore, SteeringStore, open_to_steer
from asyncjobs.stores.sqlite.schema import SCHEMA_VERSION
from asyncjobs.testing import CANCELLED, NOW, REQUEST, a_job
from conftest import Serve
from heard import heard
from keepers import Keeper, killed, leaves_no_trace, stopped
from schemas import SCHEMAS, make_store
from server import DEADLINE, result, submit, until
from users import MALLORY, OWNER, as_root, as_user, give_away, reachable


@pytest.fixture
def path() -> Iterator[Path]:
    with reachable() as path:
        yield path


async def steer(path: Path, job_id: str, change: Callable[[Job], Job]) -> None:
    """Come, change a job, and go."""
    async with SteeringStore(path) as store:
        job = await store.get(job_id)
        await store.replace(job, change(job))


async def refusal(path: Path, kind: type[StoreError]) -> str:
    """What is said, in one line, if a store cannot be steered; that changes nothing in the file."""
    before = path.read_bytes() if path.exists() else b""
    with pytest.raises(kind) as raised:
        async with SteeringStore(path):
            pass
    assert type(raised.value) is kind
    assert (path.read_bytes() if path.exists() else b"") == before
    said = str(raised.value)
    assert str(path) in said
    assert "\n" not in said
    return said


# Beside servers.


def test_a_server_hears_of_what_a_guest_does(serve: Serve, signals: Signals, name: str) -> None:
    """At once, as of any other process: a running job stops that is asked to, and a job starts that
    is queued again."""
    server = serve("apps.processes:app")
    with server.client() as client:
        poll = submit(client, "GET", f"/wait/{name}")
        job_id = poll.rpartition("/")[2]
        signals.wait(f"{name}.started")
        asyncio.run(steer(server.store, job_id, transitions.ask_to_cancel))
        signals.wait(f"{name}.cancelled")
        result(client, poll)
        signals.send(f"{name}.go")
        asyncio.run(steer(server.store, job_id, lambda job: transitions.retry(job, NOW)))
        assert result(client, poll).json()["waited"] == name


async def test_a_guest_hears_of_what_others_do(path: Path) -> None:
    """It may wait for the job that it has changed."""
    async with SqliteStore(path) as server, SteeringStore(path) as guest:
        job = await server.add(a_job(), REQUEST)
        changes = guest.changes()
        assert await guest.get(job.id) == job
        async with asyncio.timeout(DEADLINE):
            await server.replace(job, transitions.cancel(job, NOW, CANCELLED))
            assert await anext(changes) is not None


async def test_a_guest_is_no_program(path: Path) -> None:
    """Who asks for the others does not find it: nothing waits for it, or is shared with it."""
    async with SqliteStore(path) as server, SqliteStore(path) as other:
        presence = Presence("app", frozenset({"report"}))
        other.announce(presence)
        async with SteeringStore(path) as guest:
            assert await server.others() == [presence]
            assert await server.liveness(guest.worker) is Liveness.ALIVE
            assert presence in await guest.others()
            async with LookingStore(path) as onlooker:
                assert presence in await onlooker.others()
                assert len(await onlooker.others()) == 2
        assert await server.liveness(guest.worker) is Liveness.DEAD


async def test_jobs_without_a_handler_end_though_a_guest_is_there(path: Path) -> None:
    """A server knows that a guest can run none."""
    jobs = Jobs(store=SqliteStore(path), name="app", gone_after=0)

    @jobs.function(name="other")
    async def other() -> None: ...

    job = a_job(program="app")
    async with SqliteStore(path) as store:
        await store.add(job, REQUEST)
    with heard(jobs) as events:
        async with SteeringStore(path) as guest, jobs:
            await events.next(Finished, job.id)
            assert (await guest.get(job.id)).state is State.FAILED


_DIES_IN_A_TRANSACTION = """
import asyncio, sys, time
from asyncjobs.stores import SteeringStore
from asyncjobs import transitions
from asyncjobs.stores.sqlite.writing import commits
from asyncjobs.store import Query
from asyncjobs.testing import CANCELLED, NOW

def transact(connection, batch):
    connection.execute("BEGIN IMMEDIATE")
    for write in batch:
        write.operation(connection.execute)
    print("writing", flush=True)
    time.sleep(3600)

async def main(path):
    async with SteeringStore(path) as store:
        print(store.worker, flush=True)
        (job,) = await store.find(Query())
        sys.stdin.readline()
        commits.transact = transact
        await store.replace(job, transitions.cancel(job, NOW, CANCELLED))

asyncio.run(main(sys.argv[1]))
"""


async def test_a_guest_that_is_killed_in_the_middle_of_a_write_disturbs_nobody(path: Path) -> None:
    """Its locks go with it, nothing of its write is seen, and what it was is buried by others."""
    async with SqliteStore(path) as server:
        job = await server.add(a_job(), REQUEST)
        with Keeper(path, _DIES_IN_A_TRANSACTION) as guest:
            assert await server.liveness(guest.worker) is Liveness.ALIVE
            guest.tell("write")
            assert guest.says() == "writing"
            guest.kill()
        await server.add(a_job(), REQUEST)
        assert await server.get(job.id) == job
        assert await server.liveness(guest.worker) is Liveness.DEAD
        assert await server.orphans() == []
        left = {file.name.partition(".")[0] for file in Path(f"{path}-procs").iterdir()}
        assert left == {server.worker}
    assert not Path(f"{path}-wal").exists()


# Without servers.


@pytest.mark.parametrize("end", [stopped, killed])
async def test_a_store_that_nobody_has_open_is_steered(
    path: Path, end: Callable[[Path], str]
) -> None:
    """The next start finds what was done. The log goes when the guest does, as at any stop."""
    job_id = end(path)
    await steer(path, job_id, lambda job: transitions.cancel(job, NOW, CANCELLED))
    assert not Path(f"{path}-wal").exists()
    async with SqliteStore(path) as server:
        assert (await server.get(job_id)).state is State.CANCELLED


async def test_a_guest_makes_no_reserve(path: Path) -> None:
    """It needs none, as it adds no jobs; it does not even miss it."""
    job_id = stopped(path)
    Path(f"{path}-ballast").unlink()
    async with SteeringStore(path) as guest:
        job = await guest.get(job_id)
        await guest.replace(job, transitions.cancel(job, NOW, CANCELLED))
        assert await guest.health() is None
        with pytest.raises(StoreReadOnly, match="was opened to steer"):
            await guest.add(a_job(), REQUEST)
    assert not Path(f"{path}-ballast").exists()


@pytest.mark.parametrize("left", ["damaged", "none"])
async def test_a_loss_is_left_to_the_server_to_find(
    path: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said but once, at the start that finds it: a guest is refused, and touches nothing."""
    with Keeper(path) as keeper:
        keeper.add()
        keeper.add()
    log = Path(f"{path}-wal")
    if left == "none":
        log.unlink()
    else:
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 0xFF
        log.write_bytes(content)
        Path(f"{path}-shm").unlink()
    names = set(path.parent.iterdir())
    assert "start the server" in await refusal(path, StoreCorrupt)
    assert caplog.messages == []
    assert not Path(f"{path}-wal-damaged").exists()
    assert set(path.parent.iterdir()) <= names | {log, Path(f"{path}-shm")}
    async with SqliteStore(path):
        assert any("has lost jobs or results" in said for said in caplog.messages)


async def test_a_missing_store_is_not_made_to_steer(path: Path) -> None:
    """Nor anything beside it."""
    assert "there is no store" in await refusal(path, StorePathError)
    with pytest.raises(StorePathError, match="there is no store"):
        async with SteeringStore(path.parent / "none" / "jobs.db"):
            pass
    assert list(path.parent.iterdir()) == []
    path.touch()
    assert "is empty" in await refusal(path, StoreError)


@pytest.mark.parametrize("version", SCHEMAS)
async def test_an_older_schema_is_not_migrated(path: Path, version: int) -> None:
    """It may be that of a server that runs: it is refused, with both versions and what to do."""
    make_store(path, version)
    path.chmod(0o600)
    said = await refusal(path, StoreTooOld)
    assert f"has schema {version}" in said
    assert f"writes {SCHEMA_VERSION} only" in said
    assert "start the server with this one" in said


async def test_a_newer_schema_is_not_steered(path: Path) -> None:
    """It is refused, with both versions."""
    stopped(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    said = await refusal(path, StoreTooNew)
    assert f"has schema {SCHEMA_VERSION + 1}" in said
    assert f"knows {SCHEMA_VERSION}" in said


async def test_memory_cannot_be_steered() -> None:
    """It is in another process; other URLs are those of `open_url`."""
    for url in ("memory:", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError, match="in the memory of its process"):
            open_to_steer(url)
    assert isinstance(open_to_steer("sqlite:///jobs.db"), SteeringStore)


# As other users.


@as_root
@pytest.mark.parametrize("user", [0, MALLORY])
@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_none_but_the_owner_steers(path: Path, user: int, mode: int) -> None:
    """Not even root, whose files would keep the server from its next start: the message has the
    owner, and the command. Nothing is left behind."""
    job_id = stopped(path)
    give_away(path)
    for file in (path.parent, *path.parent.rglob("*")):
        file.chmod(mode if file.is_dir() else mode & 0o666)
    unchanged = leaves_no_trace(path.parent)

    def run() -> None:
        asyncio.run(steer(path, job_id, lambda job: transitions.cancel(job, NOW, CANCELLED)))

    said = as_user(user, run)
    assert said.startswith("StoreExposed: ")
    assert f"belongs to the user {OWNER}" in said
    assert f"run it as {OWNER}: sudo -u '#{OWNER}'" in said
    unchanged()
    assert StoreExposed.__name__ in said


def test_a_guest_is_gone_for_a_server_that_stops(path: Path) -> None:
    """Whoever is the last takes the log away, be it the server or the guest."""

    async def run() -> None:
        async with SteeringStore(path) as guest:
            job = await guest.get(job_id)
            server.stop()
            await guest.replace(job, transitions.cancel(job, NOW, CANCELLED))
        until(lambda: not Path(f"{path}-wal").exists())

    with Keeper(path) as server:
        job_id = server.add()
        asyncio.run(run())
