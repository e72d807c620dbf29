"""Repeats of a submission, at real servers: several processes, kills, disks that take nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.signals import Signals
from asyncjobs import transitions
from asyncjobs.job import Job, State
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Owner
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.writing import flusher
from asyncjobs.testing import NOW, REQUEST, a_job
from conftest import Serve
from faults import failing
from mounts import mounting_an_image, remount
from server import DEADLINE, Server, count_jobs, result, submit, until

REPEATS = 100
KEY = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
UPLOAD = bytes(100_000)


@pytest.fixture(scope="module")
def two_workers(serve: Serve) -> Server:
    return serve("apps.processes:app", workers=2)


def runs(signals: Signals, job_id: str) -> int:
    """How often the handler of a job at /work was called."""
    ledger = signals.folder / "ledger"
    return ledger.read_text().split().count(job_id) if ledger.exists() else 0


async def test_many_repeats_at_once_are_one_job_of_two_processes(
    two_workers: Server, signals: Signals
) -> None:
    """A hundred requests with one key, each on a connection of its own, are answered by both
    workers: all with the same job, which was run once."""
    limits = httpx.Limits(max_connections=REPEATS)
    workers: set[str] = set()
    while len(workers) < 2:  # the system may give all connections to one of them
        before = count_jobs(two_workers.store)
        headers = {"Idempotency-Key": f"round-{before}"}
        async with httpx.AsyncClient(
            base_url=two_workers.url, timeout=DEADLINE, limits=limits, verify=False
        ) as client:
            answers = await asyncio.gather(
                *(client.post("/work", headers=headers) for _ in range(REPEATS))
            )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == REPEATS - 1
        assert count_jobs(two_workers.store) == before + 1
        with two_workers.client() as polling:
            poll = answers[0].headers["Location"]
            assert await asyncio.to_thread(result, polling, poll)
        assert runs(signals, answers[0].json()["TaskId"]) == 1
        workers = {answer.headers["X-Worker"] for answer in answers}


def test_one_process_waits_for_the_job_that_another_has_made(
    two_workers: Server, signals: Signals, name: str
) -> None:
    """A repeat that prefers to wait, and comes to another worker than the first request did, is
    answered with the result as soon as that is there."""
    with two_workers.client(**KEY) as first, ThreadPoolExecutor(8) as threads:
        poll = submit(first, "GET", f"/wait/{name}")
        signals.wait(f"{name}.started")

        def repeat(number: int) -> httpx.Response:
            headers = {**KEY, "Prefer": "wait=20", "X-Arrival": f"{name}.{number}"}
            with two_workers.client(**headers) as client:
                return client.get(f"/wait/{name}")

        repeats = [threads.submit(repeat, number) for number in range(8)]
        for number in range(8):
            signals.wait(f"{name}.{number}")
        signals.send(f"{name}.go")
        answers = [each.result() for each in repeats]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["Content-Location"] for answer in answers} == {poll}
    assert {answer.json()["waited"] for answer in answers} == {name}


def test_a_kill_in_the_middle(tmp_path: Path) -> None:
    """Both workers are killed while they are sent the same request by many, again and again: after
    the restart it is the job that anybody was told of before, and it was run once at most."""
    signals = Signals(tmp_path / "signals")
    config = {"SIGNALS": str(signals.folder)}
    server = Server("apps.processes:app", tmp_path, config=config, workers=2)
    for number in range(5):
        key, told = {"Idempotency-Key": f"kill-{number}"}, set[str]()
        with server:
            before = count_jobs(server.store)
            with repeated(server, key, told):
                until(partial(has_more, server.store, before), "the first job")
                server.kill()
        with server, server.client() as client:
            answer = client.post("/work", headers=key)
            assert answer.status_code == 202
            assert told <= {answer.json()["TaskId"]}
            assert count_jobs(server.store) == before + 1
            ended = result(client, answer.headers["Location"])
            assert ended.headers["Job-State"] in ("succeeded", "interrupted")
            assert runs(signals, answer.json()["TaskId"]) <= 1


def has_more(store: Path, before: int) -> bool:
    return count_jobs(store) > before


@contextmanager
def repeated(server: Server, headers: dict[str, str], told: set[str]) -> Iterator[None]:
    """Within this, several clients send a request again and again, and are told of these jobs."""
    over = threading.Event()

    def repeat() -> None:
        with server.client(**headers) as client:
            while not over.is_set():
                try:
                    answer = client.post("/work")
                except httpx.TransportError:
                    return
                assert answer.status_code == 202
                told.add(answer.json()["TaskId"])

    with ThreadPoolExecutor(8) as threads:
        repeats = [threads.submit(repeat) for _ in range(8)]
        try:
            yield
        finally:
            over.set()
        for each in repeats:
            each.result()


# While no new jobs are taken.


@pytest.fixture
def config(tmp_path: Path, signals: Signals) -> dict[str, Any]:
    folder = tmp_path / "disk"
    folder.mkdir()
    return {"QUART_JOBS_STORE": f"sqlite:///{folder}/jobs.db", "SIGNALS": str(signals.folder)}


def repeats_are_answered(client: httpx.Client, first: str, upload: bytes, why: str) -> None:
    """A new job is refused for this reason, and that which there is is answered: with its 202, or
    its result."""
    refused = client.post("/upload", content=upload, headers={"Idempotency-Key": "new"})
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    assert why in refused.json()["detail"]
    repeat = client.post("/upload", content=upload, headers=KEY)
    assert (repeat.status_code, repeat.headers["Location"]) == (202, first)
    waited = client.post("/upload", content=upload, headers={**KEY, "Prefer": "wait=5"})
    assert (waited.status_code, waited.content) == (200, upload)
    other = client.post("/upload", content=b"other", headers=KEY)
    assert other.status_code == 422


def test_a_store_that_is_full(tmp_path: Path, config: dict[str, Any]) -> None:
    """While the store takes no new jobs as there is no room, repeats are answered."""
    config = {**config, "LIMIT": 2_000_000, "STORE": f"{tmp_path}/disk/jobs.db"}
    with Server("apps.disk:app", tmp_path, config=config) as server, server.client() as client:
        first = submit(client, "POST", "/upload", content=UPLOAD, headers=KEY)
        assert result(client, first).content == UPLOAD
        while client.post("/upload", content=UPLOAD).status_code == 202:
            pass
        repeats_are_answered(client, first, UPLOAD, "full")


@pytest.mark.parametrize("error", ["EROFS", "EIO"])
def test_a_disk_that_takes_no_writes(tmp_path: Path, config: dict[str, Any], error: str) -> None:
    """While nothing can be written repeats are answered."""
    with Server("apps.disk:app", tmp_path, config=config) as server, server.client() as client:
        first = submit(client, "POST", "/upload", content=b"small", headers=KEY)
        assert result(client, first).content == b"small"
        with failing(worker(client), "pwrite64", error):
            repeats_are_answered(client, first, b"small", "cannot be written")


def test_a_file_system_that_is_read_only(tmp_path: Path, config: dict[str, Any]) -> None:
    """The same where the system has made it so."""
    folder = tmp_path / "disk"
    launcher = mounting_an_image(folder, tmp_path / "image", size=32_000_000)
    with (
        Server("apps.disk:app", tmp_path, config=config, launcher=launcher) as server,
        server.client() as client,
    ):
        first = submit(client, "POST", "/upload", content=b"small", headers=KEY)
        assert result(client, first).content == b"small"
        remount(worker(client), folder, "abort")
        repeats_are_answered(client, first, b"small", "cannot be written")


def worker(client: httpx.Client) -> int:
    return int(client.get("/health").headers["X-Worker"])


# What is answered is durable.


class HeldDisk:
    """Flushes that wait until they may go on."""

    def __init__(self, sync: Callable[[int], None]) -> None:
        self._sync = sync
        self.is_held = False
        self._asked = threading.Semaphore(0)
        self.goes_on = threading.Event()

    async def is_asked(self) -> None:
        """Wait for one more flush to be held."""
        assert await asyncio.to_thread(self._asked.acquire, True, DEADLINE)

    def was_asked(self) -> bool:
        """Whether there was one more already."""
        return self._asked.acquire(blocking=False)

    def sync(self, fd: int) -> None:
        if self.is_held:
            self._asked.release()
            assert self.goes_on.wait(DEADLINE)
        self._sync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> HeldDisk:
    disk = HeldDisk(flusher.sync_data)
    monkeypatch.setattr(flusher, "sync_data", disk.sync)
    return disk


@pytest.mark.parametrize("asks", ["the same", "another"])
@pytest.mark.parametrize("call", ["add", "keyed"])
async def test_nobody_is_told_of_a_job_that_is_not_on_the_disk(
    path: Path, disk: HeldDisk, asks: str, call: str
) -> None:
    """A repeat that comes while the first request is being stored waits until that is durable,
    whichever process stores it and whichever is asked."""
    key = Key(b"k" * 16, b"f" * 16)
    async with SqliteStore(path) as store, SqliteStore(path) as peer:
        disk.is_held = True
        first = asyncio.create_task(store.add(a_job(), REQUEST, key))
        await disk.is_asked()
        asked = store if asks == "the same" else peer
        repeat = asyncio.create_task(
            asked.keyed(key) if call == "keyed" else asked.add(a_job(), REQUEST, key)
        )
        if asks == "another":  # it does not take the word of the first one for it
            await disk.is_asked()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not (await asyncio.wait([first, repeat], timeout=0))[0]
        disk.goes_on.set()
        assert await repeat == await first


async def test_what_is_on_the_disk_is_not_waited_for_once_more(path: Path, disk: HeldDisk) -> None:
    """A process that knows a job to be durable tells of it while the disk takes nothing."""
    key = Key(b"k" * 16, b"f" * 16)
    async with SqliteStore(path) as store, SqliteStore(path) as peer:
        job = await store.add(a_job(), REQUEST, key)
        assert await peer.keyed(key) == job
        disk.is_held = True
        async with asyncio.timeout(DEADLINE):
            assert await store.keyed(key) == await peer.keyed(key) == job
        disk.goes_on.set()


async def test_one_flush_is_enough_however_much_others_write(path: Path, disk: HeldDisk) -> None:
    """A repeat waits for no more than what was committed when it came: a process that goes on
    writing meanwhile does not keep it waiting."""
    key = Key(b"k" * 16, b"f" * 16)
    async with SqliteStore(path) as store, SqliteStore(path) as peer:
        job = await peer.add(a_job(), REQUEST, key)
        disk.is_held = True
        repeat = asyncio.create_task(store.keyed(key))
        await disk.is_asked()
        later = asyncio.create_task(peer.add(a_job(), REQUEST))
        await disk.is_asked()
        disk.goes_on.set()
        assert await repeat == job
        assert not disk.was_asked()
        await later


@pytest.mark.parametrize("call", ["add", "keyed"])
async def test_a_job_that_is_forgotten_just_then_has_its_key_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A repeat that has found a job which another process purges before it is read is the first."""
    key = Key(b"k" * 16, b"f" * 16)
    async with SqliteStore(path) as store:
        first = await store.add(a_job(), REQUEST, key)
        reads = store._reads if call == "keyed" else store
        get = reads.get

        async def get_late(job_id: str, owner: Owner = ANYONE) -> Job:
            monkeypatch.undo()
            store._file.database.connection.execute("DELETE FROM jobs")
            return await get(job_id, owner)

        monkeypatch.setattr(reads, "get", get_late)
        if call == "keyed":
            assert await store.keyed(key) is None
        again = a_job()
        assert await store.add(again, REQUEST, key) == await store.keyed(key) == again != first


async def test_a_key_of_a_damaged_job_is_that_of_one_that_has_failed(path: Path) -> None:
    """It is free for any request, if it is no one request's, whatever is in the row."""
    key, other = Key(b"k" * 16), Key(b"l" * 16, b"f" * 16)
    async with SqliteStore(path) as store:
        jobs = [await store.add(a_job(), REQUEST, each) for each in (key, other)]
        damage = "UPDATE jobs SET state = CAST(x'ff' AS TEXT)"
        store._file.database.connection.execute(damage)
        again = a_job()
        assert await store.add(again, REQUEST, key) == await store.keyed(key) == again
        damaged = await store.add(a_job(), REQUEST, other)
        assert (damaged.id, damaged.state) == (jobs[1].id, State.FAILED)


async def test_a_key_of_a_job_that_was_lost_is_free(path: Path) -> None:
    """A program of before, which knows no keys, may have forgotten a job, and given its number to
    another one."""
    key = Key(b"k" * 16, b"f" * 16)
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST, key)
        database = store._file.database.connection
        database.execute("DELETE FROM jobs")
        other = await store.add(transitions.start(a_job(), "w", NOW), REQUEST)
        assert await store.keyed(key) is None
        again = await store.add(a_job(), REQUEST, key)
        assert await store.keyed(key) == again
        assert {job.id, other.id, again.id} - {again.id} == {job.id, other.id}
