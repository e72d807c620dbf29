"""A log that is cut short or overwritten between the look at it and the write: it is long enough
again before anybody can see how long it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from asyncjobs import transitions
from asyncjobs.errors import StoreUnavailable
from asyncjobs.job import Job, Response
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.writing import commits, flusher
from asyncjobs.stores.sqlite.writing.transactions import Write
from asyncjobs.testing import NOW, REQUEST, a_job

DEADLINE = 30.0
RESULT = Response(200, (), b"a result of several pages" * 1000)


def _keep(log: Path, size: int) -> None:
    os.truncate(log, size)


def _overwrite(log: Path, size: int, length: int | None = None) -> None:
    """Nobody opens the file in this process: to close it again would drop the store's locks."""
    script = (
        "import sys; path, at, length = sys.argv[1], *map(int, sys.argv[2:]);"
        "log = open(path, 'r+b'); log.seek(at); log.write(b'#' * length)"
    )
    length = log.stat().st_size - size if length is None else length
    command = [sys.executable, "-c", script, log, str(size), str(length)]
    subprocess.run(command, check=True)


#: What is left of the log: all but some of the last page, or half of it.
SHARES: dict[str, Callable[[bytes], int]] = {
    "in its last page": lambda log: len(log.rstrip(b"\0")) - 10,
    "in its middle": lambda log: len(log) // 2,
}
every_damage = pytest.mark.parametrize("damage", [_keep, _overwrite])
every_share = pytest.mark.parametrize("share", SHARES)


@every_share
@every_damage
async def test_between_an_acknowledgement_and_the_next_write(
    path: Path, damage: Callable[[Path, int], None], share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written meanwhile is looked at before more is written: if the log is cut short as
    soon as somebody was told of a write, the next one is refused, though it has waited for that
    alone, and what is left stays byte for byte as it is."""
    async with SqliteStore(path) as store:
        job = await ended(store)
        loop = asyncio.get_running_loop()
        sync_data = flusher.sync_data

        def beside_a_second(fd: int) -> None:
            asyncio.run_coroutine_threadsafe(begin_second(), loop).result(DEADLINE)
            sync_data(fd)

        async def begin_second() -> None:
            monkeypatch.setattr(flusher, "sync_data", sync_data)
            waits.append(asyncio.create_task(store.add(a_job(), REQUEST)))
            await asyncio.sleep(0)  # until it waits behind the first

        waits: list[asyncio.Task[Job]] = []
        monkeypatch.setattr(flusher, "sync_data", beside_a_second)
        await store.add(a_job(), REQUEST)
        plant(path, damage, share)
        left = contents(path)
        await is_refused(waits[0])
        await is_whole_or_refused(store, job)
        await is_refused(store.health(), r"jobs\.db-wal$")
    assert contents(path) == left


@every_share
@every_damage
async def test_between_the_look_and_the_write(
    path: Path, damage: Callable[[Path, int], None], share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the log is cut short when it was looked at already, the write that hides it is refused,
    no result is read out of the hole, also not by another process that had seen the log whole, and
    nothing is moved into the database: what was acknowledged is not replaced by zeros there."""
    async with AsyncExitStack() as stack:
        store, other = [await stack.enter_async_context(SqliteStore(path)) for _ in range(2)]
        job = await ended(store)
        await other.health()
        damaged_before_write(path, damage, share, monkeypatch)
        await is_refused(store.add(a_job(), REQUEST))
        left = contents(path)
        for each in (store, other):
            await is_refused(each.result(job.id))
            await is_refused(each.add(a_job(), REQUEST))
            await is_refused(each.health())
    assert contents(path) == left


@every_share
@every_damage
async def test_behind_what_another_process_has_written(
    path: Path, damage: Callable[[Path, int], None], share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same for who writes behind another process, of which it has seen nothing yet."""
    async with AsyncExitStack() as stack:
        store, other = [await stack.enter_async_context(SqliteStore(path)) for _ in range(2)]
        await store.add(a_job(), REQUEST)
        job = await ended(other)
        damaged_before_write(path, damage, share, monkeypatch)
        await is_refused(store.add(a_job(), REQUEST))
        left = contents(path)
        await is_whole_or_refused(store, job)
        await is_refused(store.health())
    assert contents(path)[""] == left[""]


@every_share
async def test_who_has_found_out_first(
    path: Path, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has seen how short the log was gives no result out of the hole either that
    another one makes of it, which had looked before."""
    async with AsyncExitStack() as stack:
        store, other = [await stack.enter_async_context(SqliteStore(path)) for _ in range(2)]
        job = await ended(store)
        await other.health()

        def cut_and_found(log: Path, size: int) -> None:
            _keep(log, size)
            assert not other._database.is_well()

        damaged_before_write(path, cut_and_found, share, monkeypatch)
        await is_refused(store.add(a_job(), REQUEST))
        await is_refused(other.result(job.id))


async def test_what_sqlite_makes_of_a_damaged_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails because SQLite has met rubbish in the log is not taken for one of a disk
    that is full: no more is written, and everybody is told of the log."""
    transact = commits.transact

    def full(connection: sqlite3.Connection, batch: list[Write]) -> None:
        _overwrite(Path(f"{path}-wal"), 50_000, length=10_000)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"  # as where a page's number is read from there
        raise error

    async with SqliteStore(path) as store:
        await ended(store)
        monkeypatch.setattr(commits, "transact", full)
        await is_refused(store.add(a_job(), REQUEST), r"overwritten: jobs\.db-wal$")
        monkeypatch.setattr(commits, "transact", transact)
        left = contents(path)
        await is_refused(store.health(), r"overwritten: jobs\.db-wal$")
        await is_refused(store.add(a_job(), REQUEST), r"overwritten: jobs\.db-wal$")
    assert contents(path) == left


async def ended(store: SqliteStore) -> Job:
    """A job whose result is the last that was written."""
    running = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
    done = transitions.finish(running, 200, NOW)
    await store.replace(running, done, RESULT)
    return done


async def is_refused(ask: Awaitable[object], told: str | None = None) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(StoreUnavailable, match=told):
            await ask


async def is_whole_or_refused(store: SqliteStore, job: Job) -> None:
    """What SQLite has in its memory it need not read."""
    with suppress(StoreUnavailable):
        assert await store.result(job.id) == (job, RESULT)


def damaged_before_write(
    path: Path,
    damage: Callable[[Path, int], None],
    share: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Have this happen to the log when the next write has begun: SQLite looks at no lengths."""
    transact = commits.transact

    def damage_first(connection: sqlite3.Connection, batch: list[Write]) -> None:
        monkeypatch.setattr(commits, "transact", transact)
        plant(path, damage, share)
        transact(connection, batch)

    monkeypatch.setattr(commits, "transact", damage_first)


def plant(path: Path, damage: Callable[[Path, int], None], share: str) -> None:
    log = Path(f"{path}-wal")
    damage(log, SHARES[share](contents(path)["-wal"]))


def contents(path: Path) -> dict[str, bytes]:
    """What is in the database and in its log: read by another process, for the locks' sake."""
    return {suffix: subprocess.check_output(["cat", f"{path}{suffix}"]) for suffix in ("", "-wal")}
