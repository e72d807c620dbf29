"""Copies of a store that is in use: whole, of one moment, and in nobody's way."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from asyncjobs import Jobs, transitions
from asyncjobs.errors import SetupError, StorePathError, StoreUnavailable
from asyncjobs.job import Job, Request
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import backups
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job
from server import DEADLINE

LARGE = Request(method="POST", path="/", body=bytes(200_000))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where the copy shall be, in a folder in which there is nothing else."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


async def test_a_copy_is_a_store_by_itself(store: SqliteStore, copy: Path) -> None:
    """A copy has all jobs that were acknowledged, with their requests and results, in one file that
    its user alone can read; it opens as any store, and the store that it is of goes on."""
    queued = await store.add(a_job(), REQUEST)
    job = await store.add(a_job(), REQUEST)
    final = transitions.fail(job, NOW, BROKEN)
    await store.replace(job, final, RESPONSE)
    await store.backup(copy)
    later = await store.add(a_job(), REQUEST)
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    async with SqliteStore(copy) as restored:
        assert {found.id for found in await restored.find(Query())} == {queued.id, job.id}
        assert await restored.result(job.id) == (final, RESPONSE)
        assert await restored.request(queued.id) == REQUEST
        await restored.add(a_job(), REQUEST)
        await restored.health()
    assert await store.get(later.id) == later
    await store.health()


async def test_a_copy_holds_nobody_up(
    store: SqliteStore, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a copy is made, jobs are accepted and read, here and in other processes, and other
    processes come and go; the copy has what was there at its beginning."""
    begun, go_on = threading.Event(), threading.Event()
    fill = backups._fill

    def held_fill(path: Path, part: str) -> None:
        fill(path, part)
        begun.set()
        assert go_on.wait(DEADLINE)

    monkeypatch.setattr(backups, "_fill", held_fill)
    before = await store.add(a_job(), REQUEST)
    making = asyncio.create_task(store.backup(copy))
    await asyncio.to_thread(begun.wait, DEADLINE)
    async with SqliteStore(store.path) as other:
        after = await other.add(a_job(), REQUEST)
        assert await store.get(after.id) == after
    assert not copy.exists()
    go_on.set()
    await making
    async with SqliteStore(copy) as restored:
        assert [job.id for job in await restored.find(Query())] == [before.id]


async def test_copies_of_a_busy_store(store: SqliteStore, tmp_path: Path) -> None:
    """However much is written meanwhile, each copy comes to an end, has each job that was
    acknowledged before it was begun, and none but whole ones."""
    added: list[Job] = []
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            added.append(await store.add(a_job(), LARGE))

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(write())
        for number in range(5):
            known = len(added)
            await store.backup(tmp_path / f"{number}.db")
            async with SqliteStore(tmp_path / f"{number}.db") as restored:
                found = {job.id for job in await restored.find(Query(limit=100_000))}
                assert {job.id for job in added[:known]} <= found
                for job_id in found:
                    assert await restored.request(job_id) == LARGE
        done.set()
    await store.health()


async def test_a_copy_over_something(store: SqliteStore, copy: Path) -> None:
    """A copy replaces no file, not even the store itself; that is an error that says so, as is a
    folder that is not there."""
    copy.write_text("precious")
    link = copy.with_name("link")
    link.symlink_to("nowhere")
    for taken in (copy, link, store.path, copy.parent):
        with pytest.raises(StorePathError, match="already, and a backup replaces none"):
            await store.backup(taken)
    with pytest.raises(StorePathError, match="make it first"):
        await store.backup(copy.parent / "missing" / "copy.db")
    assert copy.read_text() == "precious"
    await store.health()


async def test_a_copy_that_fails_leaves_nothing(
    store: SqliteStore, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a copy cannot be written no part of it is left, and the store is as well as before."""
    await store.add(a_job(), REQUEST)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(backups.os, "fsync", full)
        with pytest.raises(StoreUnavailable, match=f"{copy} cannot be written: No space left"):
            await store.backup(copy)
    assert list(copy.parent.iterdir()) == []
    await store.health()
    await store.backup(copy)


async def test_no_copy_of_what_is_not_all_there(store: SqliteStore, copy: Path) -> None:
    """When the log has been deleted, in which the newest jobs were, there is no copy without them:
    it is refused."""
    await store.add(a_job(), REQUEST)
    Path(f"{store.path}-wal").unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.backup(copy)
    assert list(copy.parent.iterdir()) == []


async def test_no_copy_without_a_thread(
    store: SqliteStore, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no thread to be had, that is said; nothing is begun that would go on later."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StoreUnavailable, match="ulimit -u"):
            await store.backup(copy)
    assert list(copy.parent.iterdir()) == []


async def test_memory_has_nothing_to_copy(copy: Path) -> None:
    """Jobs in memory are in no file: to copy them is an error that says what to do instead."""
    async with Jobs(store="memory:") as jobs:
        with pytest.raises(SetupError, match=r"no file to copy.*store='sqlite:///jobs\.db'"):
            await jobs.backup(copy)
    assert not copy.exists()


async def test_jobs_are_copied_while_they_run(path: Path, copy: Path) -> None:
    """`Jobs.backup` takes what runs along: in the copy it is decided about as after a crash."""
    jobs = Jobs(store=f"sqlite:///{path}")
    started, go_on = asyncio.Event(), asyncio.Event()

    @jobs.function(name="wait", idempotent=True)
    async def wait() -> str:
        started.set()
        await go_on.wait()
        return "done"

    async with jobs:
        job = await jobs.submit(wait)
        async with asyncio.timeout(DEADLINE):
            await started.wait()
        await jobs.backup(str(copy))
        go_on.set()
        assert await jobs.result(job.id, DEADLINE) == "done"

    again = Jobs(store=f"sqlite:///{copy}")

    @again.function(name="wait", idempotent=True)
    async def wait_again() -> str:
        return "done again"

    async with again:
        assert await again.result(job.id, DEADLINE) == "done again"


# Copies in another way.

_COME_AND_GO = """
import asyncio, sys
from asyncjobs.stores import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]):
        pass

asyncio.run(main())
"""


async def test_a_copy_past_sqlite_is_named_as_the_cause(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the program itself has opened and closed the database, another process that ends deletes
    the log. The log then says what the cause may be, and how to make copies; no job is lost."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST)
        path.read_bytes()
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", _COME_AND_GO, str(path))
        assert await other.wait() == 0
        assert not Path(f"{path}-wal").exists()
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await store.health()
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert f"has opened and closed {path} past SQLite" in said
    assert "Jobs.backup(path)" in said
    async with SqliteStore(path) as again:
        assert await again.get(job.id) == job


async def test_a_lost_database_has_other_causes(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If it is the database itself that is gone, no such cause is named."""
    path.rename(path.with_name("moved.db"))
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.health()
    assert "deleted, moved or replaced under the running server" in caplog.text
    assert "past SQLite" not in caplog.text
