"""Files of a store that are cut short in place: what is left of them is never made worse."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apps.signals import Signals
from asyncjobs import transitions
from asyncjobs.errors import StoreCorrupt, StoreUnavailable
from asyncjobs.job import Job, Request, Response
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.writing import checkpoints, flusher, moving
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job, purge_all
from server import Server, result, submit, until

DEADLINE = 30.0
LARGE = Request(method="POST", path="/", body=bytes(100_000))

FILES = ["", "-wal"]
#: Nobody opens the file in this process: to close it again would drop the store's locks.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: os.truncate(file, 0),
    "junk": lambda file: subprocess.run(["sh", "-c", 'echo junk > "$1"', "sh", file], check=True),
    "halved": lambda file: os.truncate(file, file.stat().st_size // 2),
}
#: How much of the log is in the database when it happens.
MOVED = ["nothing moved", "something moved", "everything moved"]

every_cut = pytest.mark.parametrize(
    ("suffix", "damage"), list(itertools.product(FILES, DAMAGES)), ids=lambda value: value or "db"
)
every_log = pytest.mark.parametrize("moved", MOVED)


@every_log
@every_cut
async def test_nothing_is_accepted_any_more(
    path: Path, suffix: str, damage: str, moved: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If a file of an open store is cut short, no write is acknowledged any more, no copy is made,
    and everybody is told which file it was; the log says once what to do. What is left stays byte
    for byte as it is, also when the store is closed."""
    async with SqliteStore(path) as store:
        kept = await filled(store, path, moved)
        cut(path, suffix, damage)
        left = contents(path)
        told = f"cut short: jobs.db{suffix}$"
        for ask in (
            lambda: store.add(a_job(), REQUEST),
            lambda: store.replace(kept, transitions.fail(kept, NOW, BROKEN), RESPONSE),
            lambda: store.backup(path.with_name("copy.db")),
            store.health,
            lambda: store.add(a_job(), REQUEST),
        ):
            await is_refused(ask, told)
    assert contents(path) == left
    assert not path.with_name("copy.db").exists()
    (said,) = criticals(caplog)
    assert f"{path}{suffix} (" in said
    assert "Stop the server" in said


@every_log
@every_cut
async def test_a_probe_sees_it(path: Path, suffix: str, damage: str, moved: str) -> None:
    """A store that nobody writes to says that a file was cut short when it is asked how it does."""
    async with SqliteStore(path) as store:
        await filled(store, path, moved)
        await store.health()
        cut(path, suffix, damage)
        left = contents(path)
        await is_refused(store.health, f"cut short: jobs.db{suffix}$")
    assert contents(path) == left


@every_log
@every_cut
async def test_an_idle_store_is_closed(
    path: Path, suffix: str, damage: str, moved: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is closed looks at its files first: nothing is moved into what is left."""
    async with SqliteStore(path) as store:
        await filled(store, path, moved)
        cut(path, suffix, damage)
        left = contents(path)
    assert contents(path) == left
    assert len(criticals(caplog)) == 1


@every_cut
async def test_a_fresh_start_that_wrote_nothing(path: Path, suffix: str, damage: str) -> None:
    """It is the same for a store that was opened and not written to."""
    async with SqliteStore(path) as store:
        await filled(store, path, "nothing moved")
    async with SqliteStore(path) as store:
        cut(path, suffix, damage)
        left = contents(path)
        await is_refused(store.health, f"cut short: jobs.db{suffix}$")
    assert contents(path) == left


@every_cut
async def test_what_is_on_its_way_is_not_acknowledged(
    path: Path, suffix: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that was committed when the file was cut short is refused."""
    sync_data = flusher.sync_data

    def cut_first(fd: int) -> None:
        cut(path, suffix, damage)
        sync_data(fd)

    async with SqliteStore(path) as store:
        await filled(store, path, "something moved")
        monkeypatch.setattr(flusher, "sync_data", cut_first)
        await is_refused(lambda: store.add(a_job(), REQUEST), f"cut short: jobs.db{suffix}$")
        left = contents(path)
    assert contents(path) == left


@pytest.mark.parametrize("closes_first", ["who knows less", "who knows more"])
@every_cut
async def test_each_process_finds_out(
    path: Path, suffix: str, damage: str, closes_first: str
) -> None:
    """Also who has not written what was cut off neither acknowledges nor moves anything."""
    async with AsyncExitStack() as stack:
        stores = [SqliteStore(path), SqliteStore(path)]
        if closes_first == "who knows less":
            stores.reverse()
        one, other = [await stack.enter_async_context(store) for store in stores]
        await other.add(a_job(), REQUEST)
        for _ in range(20):
            await one.add(a_job(), REQUEST)
        cut(path, suffix, damage)
        left = contents(path)
        for store in (other, one):
            await is_refused(partial(store.add, a_job(), REQUEST), "cut short")
    assert contents(path) == left


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_process_that_comes_later(path: Path, damage: str) -> None:
    """While a process has the store open, no other one opens it once the log was cut short."""
    async with SqliteStore(path) as store:
        for _ in range(20):
            await store.add(a_job(), REQUEST)
        cut(path, "-wal", damage)
        left = contents(path)
        with pytest.raises(StoreCorrupt, match=r"(cut short|damaged).*nothing .* was touched"):
            async with SqliteStore(path):
                pass
        assert contents(path) == left
        await is_refused(store.health, "cut short")
    assert contents(path) == left


async def test_a_result_is_never_filled_up(path: Path) -> None:
    """A result of which the end was in the database that was cut short is not given to anybody:
    SQLite takes what is missing for zeros."""
    response = Response(200, (), b"x" * 100_000)
    async with SqliteStore(path) as store:
        running = await store.add(transitions.start(a_job(), store.worker, NOW), REQUEST)
        await store.replace(running, transitions.finish(running, 200, NOW), response)
    async with SqliteStore(path) as store:
        os.truncate(path, path.stat().st_size - 4096)
        with pytest.raises(StoreUnavailable, match=r"cut short: jobs\.db"):
            await store.result(running.id)


async def test_a_lock_that_is_emptied(path: Path) -> None:
    """Nothing is in the file of the lock: it may be cut short."""
    async with SqliteStore(path) as store:
        cut(path, "-lock", "emptied")
        await store.add(a_job(), REQUEST)
        await store.health()


# Under a running server.


@pytest.fixture
def config(tmp_path: Path, signals: Signals) -> dict[str, Any]:
    return {"QUART_JOBS_STORE": f"sqlite:///{tmp_path}/jobs.db", "SIGNALS": str(signals.folder)}


@pytest.mark.parametrize(
    ("suffix", "damage", "meanwhile", "workers"),
    [
        ("", "emptied", "writes", 1),
        ("-wal", "junk", "writes", 1),
        ("", "halved", "nothing", 2),
        ("-wal", "emptied", "nothing", 2),
    ],
    ids=lambda value: str(value) or "db",
)
def test_a_running_server(
    tmp_path: Path,
    config: dict[str, Any],
    path: Path,
    suffix: str,
    damage: str,
    meanwhile: str,
    workers: int,
) -> None:
    """A server answers 503 to submissions and probes from then on, and says which file it was; in
    the log of each of its processes it is said once. When it is stopped, nothing that is left was
    touched, also if nobody has asked it anything."""
    told = f"cut short: jobs.db{suffix}"
    with (
        Server("apps.disk:app", tmp_path, config=config, workers=workers) as server,
        server.client() as client,
    ):
        until(lambda: server.log().count("Running on") == workers, "all workers")
        for _ in range(3):  # not so many that a checkpoint is due just then
            polls = [submit(client, "POST", "/upload", content=bytes(50_000)) for _ in range(4)]
            for poll in polls:
                assert result(client, poll).status_code == 200
        cut(path, suffix, damage)
        left = contents(path)
        if meanwhile == "writes":
            for _ in range(10):
                answer = client.get("/fine")
                assert answer.status_code == 503
                assert answer.json()["type"] == "urn:asyncjobs:problem:store-unavailable"
                assert told in answer.json()["detail"]
            answer = client.get("/health")
            assert answer.status_code == 503
            assert told in answer.json()["reason"]
        assert client.get(polls[-1]).status_code in (200, 503)
        assert server.stop() == 0
        assert contents(path) == left
        said = server.log().count("cut short under the running server")
        assert said == workers


def test_a_server_that_is_writing(tmp_path: Path, config: dict[str, Any], path: Path) -> None:
    """While clients submit jobs all the time, those that were accepted before the log was emptied
    are the last ones."""
    config["QUART_JOBS_DRAIN_TIME"] = 0.1  # the results of those that ran wait in vain
    with Server("apps.disk:app", tmp_path, config=config) as server, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(4))
        emptied = threading.Event()
        accepted = threading.Semaphore(0)

        def keep_submitting() -> list[int]:
            """The statuses of what was asked for after the cut."""
            after: list[int] = []
            with server.client() as client:
                while len(after) < 20:
                    was_emptied = emptied.is_set()
                    status = client.get("/fine").status_code
                    if was_emptied:
                        after.append(status)
                    elif status == 202:
                        accepted.release()
            return after

        submitting = [pool.submit(keep_submitting) for _ in range(4)]
        for _ in range(40):
            assert accepted.acquire(timeout=DEADLINE)
        cut(path, "-wal", "emptied")
        emptied.set()
        for each in submitting:
            assert set(each.result(DEADLINE)) == {503}
        left = contents(path)
        assert server.stop() == 0
        assert contents(path) == left


# What is no alarm.

SHELL = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print(connection.execute(sys.argv[2]).fetchall())
"""


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA incremental_vacuum",
        "VACUUM",
    ],
)
async def test_another_program_tidies_up(path: Path, statement: str) -> None:
    """What another program has SQLite cut back is no alarm, whatever comes after it."""
    async with SqliteStore(path) as store, SqliteStore(path) as idle:
        for _ in range(3):
            added = [await store.add(a_job(), LARGE) for _ in range(20)]
            sql(path, "DELETE FROM requests WHERE seq > (SELECT max(seq) - 19 FROM requests)")
            sql(path, statement)
            await idle.health()
            sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
            await idle.health()
            await store.health()
            await store.add(a_job(), LARGE)
            assert await store.request(added[0].id) == LARGE


async def test_growing_and_shrinking_is_no_alarm(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is filled and purged again and again, with checkpoints all the time, takes jobs
    all the time, and so does another process that has it open."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_AT", 3 * len(LARGE.body) // 4096)
    monkeypatch.setattr(moving, "TRUNCATE_ABOVE", 10 * len(LARGE.body))
    sizes = []
    async with SqliteStore(path) as store, SqliteStore(path) as idle:
        for _ in range(10):
            added = [await store.add(a_job(), LARGE) for _ in range(20)]
            await idle.health()
            sizes.append(path.stat().st_size)
            for job in added:
                await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
            assert await purge_all(store, NOW + 61) == len(added)
            while await store.shrink():
                pass
            await idle.health()
            sizes.append(path.stat().st_size)
        await idle.add(a_job(), REQUEST)
    assert any(after < before for before, after in itertools.pairwise(sizes)), "nothing shrank"


async def filled(store: SqliteStore, path: Path, moved: str) -> Job:
    """Have jobs in the log, in the database, or in both; the last one."""
    for _ in range(5):
        job = await store.add(a_job(), LARGE)
    if moved != "nothing moved":
        sql(path, "PRAGMA wal_checkpoint(PASSIVE)")
    if moved == "something moved":
        for _ in range(5):
            job = await store.add(a_job(), LARGE)
    return job


async def is_refused(ask: Callable[[], Awaitable[object]], told: str) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(StoreUnavailable, match=told):
            await ask()


def cut(path: Path, suffix: str, damage: str) -> None:
    DAMAGES[damage](Path(f"{path}{suffix}"))


def sql(path: Path, statement: str) -> None:
    subprocess.run(
        [sys.executable, "-c", SHELL, str(path), statement], check=True, stdout=subprocess.DEVNULL
    )


def contents(path: Path) -> dict[str, bytes]:
    """What is in the database and in its log: read by another process, for the locks' sake."""
    return {suffix: subprocess.check_output(["cat", f"{path}{suffix}"]) for suffix in ("", "-wal")}


def criticals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
