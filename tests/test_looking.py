"""A store that is opened to look: whatever its processes do, it is read, and stays as it was.

Real files, real processes that have them open, and other users.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import transitions
from asyncjobs.errors import (
    AsyncJobsError,
    ConfigurationError,
    JobNotFound,
    JobUnreadable,
    StoreCorrupt,
    StoreError,
    StorePathError,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from asyncjobs.hints import Something
from asyncjobs.job import Job, State
from asyncjobs.listing import Listing, Page
from asyncjobs.store import ANYONE, GUEST, Liveness, Orphan, Presence, Query
from asyncjobs.stores import LookingStore, SqliteStore, open_to_look
from asyncjobs.stores.sqlite.guests import looking
from asyncjobs.stores.sqlite.guests.lookout import Look, Lookout
from asyncjobs.stores.sqlite.schema import SCHEMA_VERSION
from asyncjobs.testing import CANCELLED, NOW, REQUEST, RESPONSE, a_job
from conftest import Serve
from keepers import Keeper, footprint, killed, leaves_no_trace, stopped
from schemas import JOB_ID, SCHEMAS, make_store
from server import DEADLINE, result, submit
from users import MALLORY, OWNER, as_root, as_user, give_away, reachable

NOT_TEXT = "CAST(x'ff' AS TEXT)"


@pytest.fixture
def path() -> Iterator[Path]:
    with reachable() as path:
        yield path


def looks(path: Path, job_id: str) -> str:
    """One look at a store; the state of the job."""

    async def look() -> str:
        async with LookingStore(path) as store:
            return str((await store.get(job_id)).state)

    return asyncio.run(look())


async def refusal(path: Path, kind: type[StoreError]) -> str:
    """What is said, in one line, if a store cannot be looked at; that leaves no trace either."""
    unchanged = leaves_no_trace(path.parent)
    with pytest.raises(kind) as raised:
        async with LookingStore(path):
            pass
    assert type(raised.value) is kind
    unchanged()
    said = str(raised.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays as it is need not be waited for."""
    monkeypatch.setattr(looking, "PATIENCE", 0.05)


def change(path: Path, sql: str, *values: Any) -> None:
    """What somebody does to the file; its log is moved into it."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE)) as connection:
        connection.execute(sql, values)


# Beside servers, and without.


def test_acknowledged_jobs_of_a_living_server_are_seen(serve: Serve, name: str) -> None:
    """Though they are in the log alone; and what becomes of them, and the result."""
    server = serve("apps.processes:app")

    async def look(poll: str) -> tuple[State, int]:
        async with LookingStore(server.store) as store:
            job, response = await store.result(poll.rpartition("/")[2])
            return job.state, 0 if response is None else response.status

    with server.client() as client:
        for _ in range(20):
            poll = submit(client, "POST", "/work")
            asyncio.run(look(poll))
            result(client, poll)
            assert asyncio.run(look(poll)) == (State.SUCCEEDED, 200)


async def test_a_look_at_a_living_store_leaves_no_trace(path: Path) -> None:
    """Beside a process that has it open: no file is made or touched, not even its shared memory."""
    with Keeper(path) as keeper:
        job_id = keeper.add()
        unchanged = leaves_no_trace(path.parent)
        async with LookingStore(path) as store:
            assert (await store.get(job_id)).state is State.QUEUED
            unchanged()
        unchanged()


async def test_a_stopped_store_is_read_without_a_trace(path: Path) -> None:
    """It has no log any more, and none is made."""
    job_id = stopped(path)
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path) as store:
        assert (await store.get(job_id)).state is State.QUEUED
        assert await store.request(job_id) == REQUEST
        assert [job.id for job in await store.find(Query())] == [job_id]
        assert await store.versions([job_id, "0" * 32]) == {job_id: 1}
    unchanged()


@pytest.mark.parametrize("left", ["as it was", "empty", "junk"])
async def test_the_store_of_a_killed_server_is_read_without_a_trace(path: Path, left: str) -> None:
    """With all of its log, whatever is left of the index of that: no recovery, and no trace."""
    job_id = killed(path)
    index = Path(f"{path}-shm")
    if left != "as it was":
        index.write_bytes(b"" if left == "empty" else os.urandom(32_768))
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path) as store:
        assert (await store.get(job_id)).state is State.QUEUED
    unchanged()


async def test_a_log_without_its_index_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read it would make one. The message names the files, and a start puts it right."""
    impatient(monkeypatch)
    job_id = killed(path)
    Path(f"{path}-shm").unlink()
    said = await refusal(path, StoreError)
    assert f"{path}-wal" in said
    assert f"{path}-shm is not there" in said
    assert "Start its server" in said
    with Keeper(path):
        async with LookingStore(path) as store:
            assert (await store.get(job_id)).id == job_id


@pytest.mark.parametrize("left", ["", "-shm"])
async def test_what_is_left_of_no_log_is_not_in_the_way(path: Path, left: str) -> None:
    """An empty log without an index, and an index without a log, are those of a store that nobody
    has open."""
    job_id = stopped(path)
    Path(f"{path}{left or '-wal'}").touch()
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path) as store:
        assert (await store.get(job_id)).id == job_id
    unchanged()


async def test_servers_come_and_go_while_somebody_looks(path: Path) -> None:
    """A store that stays open for looking follows starts, kills and stops, and sees at once what is
    acknowledged; and is never the reason why a log stays behind a stop."""
    seen = [stopped(path)]
    async with LookingStore(path) as store:
        for _ in range(3):
            with Keeper(path) as keeper:
                seen.append(keeper.add())
                assert {job.id for job in await store.find(Query())} == set(seen)
            assert {job.id for job in await store.find(Query())} == set(seen)
            with Keeper(path) as keeper:
                assert {job.id for job in await store.find(Query())} == set(seen)
                seen.append(keeper.add())
                keeper.stop()
            assert not Path(f"{path}-wal").exists()
            assert {job.id for job in await store.find(Query())} == set(seen)


async def test_a_look_that_a_server_comes_into_is_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped store is read without locks: if a server starts, writes and stops meanwhile,
    nothing of that look is believed, be it found or not found."""
    stopped(path)
    read, first, second = Look.read, a_job(), a_job()
    to_come = [first]

    def read_and_meet(self: Look, *args: Any) -> Any:
        rows = read(self, *args)
        if to_come:
            with ThreadPoolExecutor(1) as other:
                other.submit(asyncio.run, add(path, to_come.pop())).result(DEADLINE)
        return rows

    async with LookingStore(path) as store:
        monkeypatch.setattr(Look, "read", read_and_meet)
        assert await store.get(first.id) == first
        to_come.append(second)
        assert second in await store.find(Query())


async def test_whoever_looks_keeps_no_lock(path: Path) -> None:
    """An open store to look has the database open while it reads only: others may replace it."""
    stopped(path)
    async with LookingStore(path) as store:
        await store.find(Query())
        opened = [os.path.realpath(f"/dev/fd/{fd}") for fd in os.listdir("/dev/fd")]
        assert not [file for file in opened if file.startswith(str(path))]
        path.unlink()
        with pytest.raises(StoreUnavailable, match="there is no store"):
            await store.find(Query())
        other = stopped(path)
        assert [job.id for job in await store.find(Query())] == [other]


async def test_a_look_within_the_servers_own_process(path: Path) -> None:
    """It drops none of the locks that the server has on its files: another process that ends does
    not take the log away."""
    async with SqliteStore(path) as server:
        job = await server.add(a_job(), REQUEST)
        async with LookingStore(path) as store:
            assert await store.get(job.id) == job
        with Keeper(path) as keeper:
            keeper.stop()
        assert Path(f"{path}-wal").exists()
        await server.add(a_job(), REQUEST)


async def test_a_look_in_another_thread_of_the_servers_process(path: Path) -> None:
    """The index of the log is one for all of a process: a server that starts there while somebody
    looks can write it all the same, once the look is over."""
    began = threading.Event()

    def look() -> None:
        with Lookout(path).look():
            began.set()
            time.sleep(0.3)

    with Keeper(path), ThreadPoolExecutor(1) as other:
        looked = other.submit(look)
        assert began.wait(DEADLINE)
        async with SqliteStore(path) as server:
            await server.add(a_job(), REQUEST)
        looked.result()


_READS_FOR_EVER = """
import asyncio, sys, time
from asyncjobs.stores import LookingStore
from asyncjobs.stores.sqlite.reader import Reader

async def main(path):
    async with LookingStore(path) as store:
        async def hang(reader):
            reader.workers([])
            print("reading", flush=True)
            time.sleep(3600)
        await store._look(hang)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_guest_that_is_killed_in_the_middle_of_a_look_disturbs_nobody(path: Path) -> None:
    """The server beside it writes on, and its stop leaves nothing behind."""
    with Keeper(path) as server:
        seen = {server.add()}
        before = set(footprint(path.parent))
        with Keeper(path, _READS_FOR_EVER) as guest:
            seen.add(server.add())
            guest.kill()
        seen.add(server.add())
        assert set(footprint(path.parent)) == before
        server.stop()
    assert not Path(f"{path}-wal").exists()
    async with SqliteStore(path) as store:
        assert {job.id for job in await store.find(Query())} == seen


# Of other users.


def let_read(path: Path) -> None:
    """Everybody may read that, and nobody else may write it."""
    for file in (path.parent, *path.parent.rglob("*")):
        file.chmod(0o755 if file.is_dir() else 0o644)


@as_root
@pytest.mark.parametrize("end", [stopped, killed])
def test_root_looks_at_the_store_of_a_user(path: Path, end: Callable[[Path], str]) -> None:
    """It may read it, and leaves nothing of its own there, which would keep the user from it."""
    job_id = end(path)
    give_away(path)
    unchanged = leaves_no_trace(path.parent)
    assert looks(path, job_id) == "queued"
    unchanged()


@as_root
async def test_root_looks_at_a_living_store_of_a_user(path: Path) -> None:
    """And sees who lives there, by files that are not root's own."""
    with Keeper(path) as keeper:
        job_id = keeper.add()
        give_away(path)
        unchanged = leaves_no_trace(path.parent)
        async with LookingStore(path) as store:
            assert (await store.get(job_id)).state is State.QUEUED
            assert await store.liveness(keeper.worker) is Liveness.ALIVE
            assert len(await store.others()) == 1
        unchanged()
        keeper.kill()
        async with LookingStore(path) as store:
            assert await store.liveness(keeper.worker) is Liveness.DEAD
            assert await store.others() == []


@as_root
@pytest.mark.parametrize("end", [stopped, killed])
def test_who_can_read_the_files_can_look(path: Path, end: Callable[[Path], str]) -> None:
    """Though they are another user's, and neither they nor their folder can be written."""
    job_id = end(path)
    give_away(path)
    let_read(path)
    unchanged = leaves_no_trace(path.parent)
    assert as_user(MALLORY, lambda: looks(path, job_id)) == "queued"
    unchanged()


@as_root
@pytest.mark.parametrize("closed", ["jobs.db", "jobs.db-wal", "jobs.db-shm", "."])
def test_who_may_not_read_the_files_is_told_as_whom_to_ask(path: Path, closed: str) -> None:
    """The message has what may not be read, the user whose it is, and the command."""
    job_id = killed(path)
    give_away(path)
    let_read(path)
    (path.parent / closed).chmod(0o700 if closed == "." else 0o600)
    unchanged = leaves_no_trace(path.parent)
    said = as_user(MALLORY, lambda: looks(path, job_id))
    unchanged()
    assert said.startswith("StoreError: ")
    assert str(path.parent / closed) in said
    assert f"the user {MALLORY} may not read" in said
    assert f"run it as {OWNER}: sudo -u '#{OWNER}'" in said


# What else may be there.


async def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    """It is an error, in a folder that is there and in one that is not."""
    assert "there is no store" in await refusal(tmp_path / "jobs.db", StorePathError)
    with pytest.raises(StorePathError, match="there is no store"):
        async with LookingStore(tmp_path / "none" / "jobs.db"):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_store_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Junk, the database of another program, an empty file, a folder and a pipe, as at a start."""
    impatient(monkeypatch)
    path.write_bytes(b"junk" * 1024)
    assert "is not an SQLite database" in await refusal(path, StoreCorrupt)
    path.unlink()
    change(path, "CREATE TABLE notes (body TEXT)")
    assert "is the database of another program" in await refusal(path, StoreCorrupt)
    path.unlink()
    path.touch()
    assert "nothing in" in await refusal(path, StoreError)
    path.unlink()
    path.mkdir()
    assert "is a folder" in await refusal(path, StorePathError)
    path.rmdir()
    os.mkfifo(path)
    assert "is a named pipe" in await refusal(path, StorePathError)


async def test_a_store_that_was_changed_is_refused(path: Path) -> None:
    """Also one that is changed while it is open: a view could show what it likes."""
    stopped(path)
    async with LookingStore(path) as store:
        change(path, "CREATE VIEW report AS SELECT id FROM jobs")
        with pytest.raises(StoreUnavailable, match="the view 'report' does not belong there"):
            await store.find(Query())
    assert "the view 'report' does not belong there" in await refusal(path, StoreCorrupt)


async def test_a_newer_schema_is_refused(path: Path) -> None:
    """By the versions of both."""
    stopped(path)
    change(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    said = await refusal(path, StoreTooNew)
    assert f"has schema {SCHEMA_VERSION + 1}" in said
    assert f"knows {SCHEMA_VERSION}" in said


@pytest.mark.parametrize("version", SCHEMAS)
async def test_an_older_schema_is_read_as_it_is(path: Path, version: int) -> None:
    """What it has no columns for is as a migration would have it; and there is none."""
    make_store(path, version)
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path) as store:
        seen, request = await store.get(JOB_ID), await store.request(JOB_ID)
        assert await store.result(JOB_ID) == (seen, None)
        assert await store.find(Query()) == [seen]
        assert await store.list(Listing(limit=1)) == Page([seen], None)
        assert await store.list(Listing(owner="eve")) == Page([], None)
        assert await store.find(Query(states=frozenset({State.QUEUED}), program="a")) == [seen]
        assert await store.programs() == frozenset()
    unchanged()
    async with SqliteStore(path) as migrated:
        assert (await migrated.get(JOB_ID), await migrated.request(JOB_ID)) == (seen, request)


async def test_memory_cannot_be_looked_at() -> None:
    """It is in another process; other URLs are those of `open_url`."""
    for url in ("memory:", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError, match="in the memory of its process"):
            open_to_look(url)
    with pytest.raises(ConfigurationError, match="there is no store 'postgres://x'"):
        open_to_look("postgres://x")
    assert isinstance(open_to_look("sqlite:///jobs.db"), LookingStore)


# Damage.


@asynccontextmanager
async def damaged(path: Path, job: Job, change_of_row: str) -> AsyncIterator[LookingStore]:
    """The store with a damaged row, which is not changed by a look."""
    change(path, f"UPDATE jobs SET {change_of_row} WHERE id = ?", bytes.fromhex(job.id))
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path, clock=lambda: NOW) as store:
        yield store
    unchanged()


async def add(path: Path, *jobs: Job) -> None:
    async with SqliteStore(path) as store:
        for job in jobs:
            await store.add(job, REQUEST)


@pytest.mark.parametrize("column", ["route", "owner", "program", "attempt"])
async def test_a_damaged_job_is_given_as_it_will_be_mended(path: Path, column: str) -> None:
    """It has failed, and its result says why: the next server that meets it stores just that."""
    sick, well = a_job(), a_job(created=NOW + 1)
    await add(path, sick, well)
    to = NOT_TEXT if column != "attempt" else "-1"
    async with damaged(path, sick, f"{column} = {to}") as store:
        seen, response = await store.result(sick.id)
        assert seen == (await store.get(sick.id))._replace(owner=seen.owner)
        assert (seen.state, seen.version) == (State.FAILED, sick.version + 1)
        assert response is not None
        assert b"job-unreadable" in response.body
        # It is not queued any more, and hides nobody who is.
        queued = Query(states=frozenset({State.QUEUED}), limit=1)
        assert await store.find(queued) == [well]
        assert {job.id for job in await store.find(Query())} == {sick.id, well.id}
        assert (await store.list(Listing(states=frozenset({State.QUEUED})))).jobs == [well]
        assert [job.id for job in (await store.list(Listing())).jobs] == [well.id, sick.id]
        assert await store.programs() == frozenset()
    async with SqliteStore(path) as server:
        stored, answer = await server.result(sick.id)
        assert answer == response
        times = {"finished": NOW, "expires": seen.expires, "owner": seen.owner}
        assert stored._replace(**times) == seen


async def test_a_damaged_count_of_an_ended_job_costs_no_result(path: Path) -> None:
    """What can be saved is given, as by a server."""
    job = a_job()
    async with SqliteStore(path) as server:
        await server.add(job, REQUEST)
        done = transitions.finish(transitions.start(job, "0" * 16, NOW), 200, NOW)
        await server.replace(job, done, RESPONSE)
    async with damaged(path, done, "crashes = -1") as store:
        seen, response = await store.result(job.id)
        assert (seen.state, response) == (State.SUCCEEDED, RESPONSE)


async def test_a_job_that_nobody_could_ask_for_is_left_out(path: Path) -> None:
    """Its id is damaged, so that there is nothing to show it by; and a request that is damaged says
    so."""
    sick, well = a_job(), a_job(created=NOW + 1)
    await add(path, sick, well)
    change(path, "UPDATE requests SET headers = x'ff'")
    async with damaged(path, sick, "id = x'00'") as store:
        assert await store.find(Query()) == [well]
        assert await store.find(Query(limit=1)) == [well]
        with pytest.raises(JobNotFound):
            await store.get(sick.id)
        with pytest.raises(JobUnreadable):
            await store.request(well.id)


# All that a store can.


async def test_nothing_is_written(path: Path) -> None:
    """Whatever is asked for that would, is refused with what to do."""
    job_id = stopped(path)
    unchanged = leaves_no_trace(path.parent)
    async with LookingStore(path) as store:
        job = await store.get(job_id)
        for write in (
            lambda: store.add(a_job(), REQUEST),
            lambda: store.replace(job, transitions.cancel(job, NOW, CANCELLED)),
            lambda: store.purge(NOW),
            lambda: store.shrink(),
            lambda: store.backup(path.parent / "copy.db"),
        ):
            with pytest.raises(StoreReadOnly, match="was opened to look"):
                await write()
        with pytest.raises(StoreReadOnly, match="was opened to look"):
            store.announce(GUEST)
        assert await store.health() is None
        with pytest.raises(AsyncJobsError, match="is open already"):
            await store.__aenter__()
    unchanged()
    with pytest.raises(RuntimeError, match="not open"):
        await store.get(job_id)


async def test_whoever_listens_hears_of_each_write(path: Path) -> None:
    """That something has changed, whoever has written, and though servers come and go; nobody
    writes anything for that."""
    stopped(path)
    async with LookingStore(path) as store:
        changes = store.changes()
        for _ in range(2):
            with Keeper(path) as keeper:
                for _ in range(3):
                    keeper.add()
                    async with asyncio.timeout(DEADLINE):
                        assert await anext(changes) == Something()
                keeper.stop()


async def test_a_change_right_behind_another_is_not_missed(path: Path) -> None:
    """A file system may give both the same time: behind each hint there is another."""
    async with SqliteStore(path) as server, LookingStore(path) as store:
        changes = store.changes()
        await server.add(a_job(), REQUEST)
        async with asyncio.timeout(DEADLINE):
            assert await anext(changes) == Something()
            assert await anext(changes) == Something()


async def test_who_lives_is_told_without_taking_part(path: Path) -> None:
    """By a look at the lock of each; what cannot be looked at proves nothing."""
    with Keeper(path) as keeper, Keeper(path) as other:
        other.kill()
        async with LookingStore(path) as store:
            unchanged = leaves_no_trace(path.parent)
            assert await store.liveness(keeper.worker) is Liveness.ALIVE
            assert await store.liveness(other.worker) is Liveness.DEAD
            assert await store.liveness("nobody") is Liveness.DEAD
            assert await store.liveness("0" * 16) is Liveness.UNKNOWN
            unchanged()
            lock = Path(f"{path}-procs") / f"{keeper.worker}.lock"
            lock.rename(lock.with_suffix(".away"))
            lock.symlink_to(lock.with_suffix(".away"))
            assert await store.liveness(keeper.worker) is Liveness.UNKNOWN


async def test_the_others_are_those_who_serve(path: Path) -> None:
    """With what they say of themselves; guests apart, and who looks is none of them."""
    presence = Presence("app", frozenset({"report"}))
    async with SqliteStore(path) as server, LookingStore(path) as store:
        server.announce(presence)
        assert await store.others() == [presence]
        assert await server.others() == []
        server.announce(GUEST)
        assert await store.others() == []


async def test_orphans_are_seen(path: Path) -> None:
    """Running jobs of those who are known to be dead, and of nobody; none is rescued by that."""
    with Keeper(path) as dead, Keeper(path) as living:
        async with SqliteStore(path) as server:
            for worker in (dead.worker, living.worker, None):
                job = await server.add(a_job(created=NOW), REQUEST)
                running = transitions.start(job, worker or "x", NOW)._replace(worker=worker)
                await server.replace(job, running)
        dead.kill()
        async with LookingStore(path) as store:
            unchanged = leaves_no_trace(path.parent)
            orphans = await store.orphans()
            assert {orphan.job.worker for orphan in orphans} == {dead.worker, None}
            assert all(orphan == Orphan(orphan.job, blamed=False) for orphan in orphans)
            unchanged()
            assert (await store.get(orphans[0].job.id, ANYONE)).state is State.RUNNING


async def test_a_look_waits_for_who_opens_or_closes(path: Path) -> None:
    """Servers that start and stop all the time: every look succeeds, and none sees less than the
    one before."""
    seen = [stopped(path)]

    def come_and_go() -> None:
        for _ in range(4):
            stopped(path)
            killed(path)

    async with LookingStore(path) as store:
        busy = asyncio.create_task(asyncio.to_thread(come_and_go))
        while not busy.done():
            found = [job.id for job in await store.find(Query())]
            assert set(seen) <= set(found)
            seen = found
            await asyncio.sleep(0)
        await busy
        assert len(await store.find(Query())) == 9
