"""What the SQLite store promises beyond the contract: durability, company, and trouble."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from asyncjobs import transitions
from asyncjobs.errors import (
    Conflict,
    StoreCorrupt,
    StorePathError,
    StoreTooNew,
    StoreUnavailable,
)
from asyncjobs.hints import Changed, Queued
from asyncjobs.job import Request, State
from asyncjobs.store import Liveness, Orphan, Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.locks import FileLock
from asyncjobs.stores.sqlite.processes.peers import Peers
from asyncjobs.stores.sqlite.queries import select_heads, select_routes, select_workers
from asyncjobs.stores.sqlite.rows import headers_from_block, headers_to_block
from asyncjobs.stores.sqlite.writing.moving import TRUNCATE_ABOVE
from asyncjobs.testing import BROKEN, INTERRUPTED, NOW, REQUEST, RESPONSE, a_job
from schemas import JOB_ID, SCHEMAS, make_store


async def test_jobs_outlive_the_store(path: Path) -> None:
    """What was added to a store is there when its file is opened again."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST)
        final = transitions.fail(job, NOW, BROKEN)
        await store.replace(job, final, RESPONSE)
    async with SqliteStore(path) as store:
        assert await store.get(job.id) == final
        assert await store.request(job.id) == REQUEST
        assert await store.response(job.id) == RESPONSE


async def test_a_store_behind_a_symbolic_link(tmp_path: Path) -> None:
    """Whatever links lead to a store, it is one. While it is open it stays the one that it was,
    also when a deploy has a link lead elsewhere."""
    old, new, current = tmp_path / "old", tmp_path / "new", tmp_path / "current"
    old.mkdir()
    new.mkdir()
    current.symlink_to(old)
    (old / "linked.db").symlink_to("jobs.db")
    async with SqliteStore(current / "linked.db") as linked, SqliteStore(old / "jobs.db") as store:
        assert linked.path == store.path
        before = await linked.add(a_job(), REQUEST)
        current.unlink()
        current.symlink_to(new)
        after = await linked.add(a_job(), REQUEST)
        for job in (before, after):
            assert await store.get(job.id) == job
    async with SqliteStore(current / "jobs.db") as other:
        assert await other.find(Query()) == []


async def test_the_disk_has_a_job_before_its_adder_is_told(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is flushed after the commit and before `add` returns: until then nobody is told."""
    flushing, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    flush = os.fdatasync

    def held_flush(fd: int) -> None:
        assert Path(os.readlink(f"/proc/self/fd/{fd}")) == Path(f"{path}-wal")
        loop.call_soon_threadsafe(flushing.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", held_flush)
    hints = store.changes()
    job = a_job()
    adding = asyncio.create_task(store.add(job, REQUEST))
    await flushing.wait()
    assert committed_ids(path) == {job.id}
    getting = asyncio.create_task(store.get(job.id))
    hearing = asyncio.ensure_future(anext(hints))
    done, _ = await asyncio.wait({adding, getting, hearing}, timeout=0.05)
    assert not done
    go_on.set()
    assert await adding == await getting == job
    assert await hearing == Changed(job.id)


async def test_a_failed_flush_is_no_ack(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the disk has failed to flush once, no write is acknowledged any more; reads go on."""
    kept = await store.add(a_job(), REQUEST)

    def failing_flush(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", failing_flush)
    with pytest.raises(StoreUnavailable):
        await store.add(a_job(), REQUEST)
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable):
        await store.add(a_job(), REQUEST)
    assert await store.get(kept.id) == kept


async def test_writes_of_one_tick_are_one_transaction(path: Path, store: SqliteStore) -> None:
    """However many write in one tick of the loop, there is one commit and one flush for all."""
    flushes = 0
    flush = os.fdatasync

    def counted_flush(fd: int) -> None:
        nonlocal flushes
        flushes += 1
        flush(fd)

    os.fdatasync = counted_flush
    try:
        await asyncio.gather(*(store.add(a_job(), REQUEST) for _ in range(100)))
    finally:
        os.fdatasync = flush
    assert flushes == 1
    assert len(committed_ids(path)) == 100


async def test_a_write_that_breaks_off_takes_no_other_with_it(store: SqliteStore) -> None:
    """A write that fails half way leaves nothing behind, and those beside it succeed."""
    jobs = [a_job() for _ in range(3)]
    unstorable = Request(method="GET", path="/\ud800")  # no UTF-8 for a lone surrogate
    outcomes = await asyncio.gather(
        store.add(jobs[0], REQUEST),
        store.add(jobs[1], unstorable),
        store.add(jobs[2], REQUEST),
        store.add(jobs[0], REQUEST),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == [
        *("Job", "UnicodeEncodeError", "Job", "Conflict")
    ]
    assert {job.id for job in await store.find(Query())} == {jobs[0].id, jobs[2].id}


async def test_a_lock_of_sqlite_itself_is_waited_for(store: SqliteStore, path: Path) -> None:
    """A write waits for somebody who works on the file with another program."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(store.add(a_job(), REQUEST))
    await asyncio.wait({adding}, timeout=0.05)
    assert not adding.done()
    other.execute("COMMIT")
    await adding
    other.close()


async def test_processes_share_a_file(path: Path, store: SqliteStore) -> None:
    """What one store writes another on the same file reads, and hears of."""
    async with SqliteStore(path) as other:
        hints = other.changes()
        job = await store.add(a_job(), REQUEST)
        async with asyncio.timeout(10):
            assert await anext(hints) == Queued()
        assert await other.get(job.id) == job
        running = transitions.start(job, other.worker, NOW)
        await other.replace(job, running)
        with pytest.raises(Conflict):
            await store.replace(job, transitions.start(job, store.worker, NOW))
        assert await store.get(job.id) == running


async def test_many_writers_of_one_file_lose_nothing(path: Path, store: SqliteStore) -> None:
    """Stores that write at the same time get all their jobs in."""
    async with SqliteStore(path) as other:
        added = await asyncio.gather(
            *(each.add(a_job(), REQUEST) for _ in range(200) for each in (store, other))
        )
    assert {job.id for job in await store.find(Query(limit=1000))} == {job.id for job in added}


async def test_a_dead_workers_jobs_are_orphans(path: Path, store: SqliteStore) -> None:
    """When a store's process is gone its running jobs are orphans, and nobody else's are."""
    await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    async with SqliteStore(path) as other:
        orphan = await other.add(transitions.start(a_job(), other.worker, NOW), REQUEST)
        await other.add(a_job(), REQUEST)
        assert await store.orphans() == []
    assert await store.orphans() == [Orphan(orphan, blamed=True)]
    await store.replace(orphan, transitions.interrupt(orphan, NOW, INTERRUPTED), RESPONSE)
    assert await store.orphans() == []
    assert {left.stem for left in Path(f"{path}-procs").iterdir()} == {store.worker}  # buried


def test_a_peer_is_dead_once_its_lock_is_free(tmp_path: Path) -> None:
    """A peer lives from `join` to `leave`, in the eyes of all; who never joined is dead."""
    one, two = Peers(tmp_path / "procs"), Peers(tmp_path / "procs")
    one.join()
    assert (one.liveness(one.name), one.liveness(two.name)) == (Liveness.ALIVE, Liveness.DEAD)
    two.join()
    assert (one.liveness(two.name), two.liveness(one.name)) == (Liveness.ALIVE, Liveness.ALIVE)
    two.leave()
    assert (one.liveness(two.name), one.known()) == (Liveness.DEAD, [two.name])
    one.bury(two.name)
    assert (one.liveness(two.name), one.known()) == (Liveness.DEAD, [])
    one.leave()


def test_a_forked_child_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    """A parent that dies is dead for its peers, even if a forked child lives on."""
    parent, peer = Peers(tmp_path / "procs"), Peers(tmp_path / "procs")
    parent.join()
    read, write = os.pipe()
    lives, says_so = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.write(says_so, b".")
        os.read(read, 1)  # lives until the test closes the pipe
        os._exit(0)
    os.close(read)
    os.read(lives, 1)
    os.close(lives)
    os.close(says_so)
    assert peer.liveness(parent.name) is Liveness.ALIVE
    parent.leave()
    try:
        assert peer.liveness(parent.name) is Liveness.DEAD
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_a_forked_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    """What a parent had locked is free when it dies, even if a forked child lives on; the child has
    not locked it, and cannot."""
    parent, peer = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert parent.try_acquire()
    read, write = os.pipe()
    tells, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.write(told, b"yes" if parent.try_acquire() else b"no")
        os.read(read, 1)  # lives until the test closes the pipe
        os._exit(0)
    os.close(read)
    assert os.read(tells, 3) == b"no"
    os.close(tells)
    os.close(told)
    assert not peer.try_acquire()
    parent.close()
    try:
        assert peer.try_acquire()
    finally:
        os.close(write)
        os.waitpid(child, 0)
        peer.close()


async def test_nobody_else_can_read_the_files(path: Path, store: SqliteStore) -> None:
    """All files of the store belong to its user alone."""
    await store.add(a_job(), REQUEST)
    files = [file for file in path.parent.rglob("*") if not file.is_dir()]
    assert {file.name for file in files} >= {"jobs.db", "jobs.db-wal", "jobs.db-lock"}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(Path(f"{path}-procs").stat().st_mode) == 0o700


async def test_the_log_is_checkpointed(path: Path, store: SqliteStore) -> None:
    """The write-ahead log does not grow with what is written."""
    request = Request(method="POST", path="/", body=b"x" * 1_000_000)
    for _ in range(40):
        await store.add(a_job(), request)
    wal = Path(f"{path}-wal")
    async with asyncio.timeout(20):
        while wal.stat().st_size > TRUNCATE_ABOVE:
            await store.add(a_job(), request)
    assert path.stat().st_size > 5_000_000


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    """To name a directory is an error that says what to name."""
    with pytest.raises(StorePathError, match="is a directory: name a file in it"):
        asyncio.run(open_and_close(tmp_path))


def test_a_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is an error that says to make it."""
    with pytest.raises(StorePathError, match="make it first"):
        asyncio.run(open_and_close(tmp_path / "missing" / "jobs.db"))


def test_junk_is_left_alone(path: Path) -> None:
    """A file that is no database is an error, and stays as it is."""
    path.write_bytes(b"junk" * 5000)
    with pytest.raises(StoreCorrupt, match="not an SQLite database"):
        asyncio.run(open_and_close(path))
    assert path.read_bytes() == b"junk" * 5000


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A database that another program made is an error, and nothing is added to it."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    with pytest.raises(StoreCorrupt, match="database of another program"):
        asyncio.run(open_and_close(path))
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    """A store of a newer version is an error that says to upgrade."""
    asyncio.run(open_and_close(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreTooNew, match=r"has schema 99.*upgrade"):
        asyncio.run(open_and_close(path))


@pytest.mark.parametrize("version", SCHEMAS)
async def test_an_older_schema_is_brought_up_to_date(path: Path, version: int) -> None:
    """A store of an earlier version is opened with all that is in it, and has what a new one has,
    and an index that only programs of before look at. A job of before belongs to any program, and
    is kept for as long as it is by default."""
    make_store(path, version)
    async with SqliteStore(path) as store:
        job = await store.get(JOB_ID)
        assert job == a_job(id=JOB_ID, created=1e9, repeatable=True, program=None, ttl=86400.0)
        assert await store.request(job.id) == Request("GET", "/report", body=b"body")
        await store.replace(job, running := transitions.start(job, store.worker, NOW))
        await store.replace(running, transitions.finish(running, 200, NOW), RESPONSE)
        await store.add(a_job(), REQUEST)
    fresh = path.with_name("fresh.db")
    await open_and_close(fresh)
    assert names_in(path) == names_in(fresh) | {("index", "jobs_to_do")}


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    """To use a store outside of its context is an error that says what to do."""
    with pytest.raises(RuntimeError, match="async with"):
        await SqliteStore(path).get("0" * 32)


async def test_a_queue_is_found_by_its_index(path: Path, store: SqliteStore) -> None:
    """To find the oldest queued jobs of routes reads no others, however many there are: the index
    has each next one, and none is looked for among those that are due alike."""
    await store.add(a_job(), REQUEST)
    query = Query(states=frozenset({State.QUEUED}), program="app", suspects=False)
    sql, values = select_heads(query, State.QUEUED, {"report": 1}, 1, 0)
    connection = sqlite3.connect(path)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    connection.close()
    queue = "SEARCH jobs USING INDEX jobs_queued (state=? AND route=? AND program=? AND <expr>=?"
    assert [row[3] for row in plan if "SEARCH jobs" in row[3]] == [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        f"{queue})",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        f"{queue} AND due=? AND rowid>?)",
        f"{queue} AND due>?)",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
    ]
    assert not [row[3] for row in plan if "ORDER BY" in row[3]]
    assert [job.state for job in await store.find(Query())] == [State.QUEUED]


async def test_routes_are_found_by_the_index(path: Path, store: SqliteStore) -> None:
    """To find the queued jobs that no handler is there for takes a step a route, not a job."""
    for route in ("report", "other", "report"):
        await store.add(a_job(route=route), REQUEST)
    connection = sqlite3.connect(path)
    plan = connection.execute(
        f"EXPLAIN QUERY PLAN {select_routes(State.QUEUED)}", {"others": "[]"}
    ).fetchall()
    found = connection.execute(select_routes(State.QUEUED), {"others": "[]"}).fetchall()
    connection.close()
    assert found == [("other",), ("report",)]
    reads = [row[3] for row in plan if "jobs" in row[3]]
    assert reads
    assert all(
        re.fullmatch(r"SEARCH jobs USING COVERING INDEX \w+ \(state=\?.*", read) for read in reads
    )


async def test_workers_are_found_by_the_index(path: Path, store: SqliteStore) -> None:
    """To find who has running jobs takes a step for each worker, not for each of its jobs, and to
    find those of one reads no others."""
    for worker in ("b" * 16, "a" * 16, "b" * 16):
        await store.add(transitions.start(a_job(), worker, NOW), REQUEST)
    await store.add(a_job(), REQUEST)
    connection = sqlite3.connect(path)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {select_workers()}").fetchall()
    found = connection.execute(select_workers()).fetchall()
    (of_one,) = connection.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = 'running' AND worker IS ?", ("a",)
    )
    connection.close()
    assert found == [("a" * 16,), ("b" * 16,)]
    reads = [row[3] for row in plan if "jobs" in row[3]]
    assert reads
    assert all("SEARCH jobs USING COVERING INDEX jobs_running (state=?" in read for read in reads)
    assert of_one[3] == "SEARCH jobs USING INDEX jobs_running (state=? AND worker=?)"


def test_headers_that_would_break_their_line_are_refused() -> None:
    """What would be read back as other headers is not written."""
    for pair in [(b"a", b"b\r\nc: d"), (b"a", b"\r"), (b"a\n", b"b"), (b"a:b", b"c")]:
        with pytest.raises(ValueError, match=r"breaks its line|colon in its name"):
            headers_to_block((pair,))
    assert headers_from_block(headers_to_block(REQUEST.headers)) == REQUEST.headers


async def open_and_close(path: Path) -> None:
    async with SqliteStore(path):
        pass


def committed_ids(path: Path) -> set[str]:
    """The ids of the jobs that another connection sees."""
    connection = sqlite3.connect(path)
    try:
        return {row[0].hex() for row in connection.execute("SELECT id FROM jobs")}
    finally:
        connection.close()


def names_in(path: Path) -> set[tuple[str, ...]]:
    """The tables, columns and indexes of a database."""
    with closing(sqlite3.connect(path)) as connection:
        things = connection.execute("SELECT type, name FROM sqlite_schema").fetchall()
        columns = connection.execute("SELECT name, type FROM pragma_table_info('jobs')").fetchall()
    return {*things, *columns}
