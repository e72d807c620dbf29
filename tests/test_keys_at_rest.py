"""The keys of submissions in the file: they go with their jobs, whoever forgets those."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from asyncjobs import slices, transitions
from asyncjobs.errors import KeyReused, StoreCorrupt
from asyncjobs.job import State
from asyncjobs.key import Key
from asyncjobs.stores import LookingStore, SqliteStore, SteeringStore, open_as_guest
from asyncjobs.stores.sqlite import keys
from asyncjobs.testing import BROKEN, NOW, REQUEST, RESPONSE, a_job, purge_all
from schemas import SCHEMAS, make_store

KEY = Key(b"k" * 16)
STRICT = Key(b"s" * 16, b"f" * 16)


def change(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql, values)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("key", [KEY, STRICT], ids=["any request", "one request"])
@pytest.mark.parametrize("state", State)
async def test_a_key_is_found_in_every_state(store: SqliteStore, state: State, key: Key) -> None:
    """Whatever has become of its job, a key is that job's; one that any request may have is free
    if that has ended without success."""
    job = await store.add(a_job(state=state), REQUEST, key)
    in_vain = state in (State.FAILED, State.CANCELLED, State.INTERRUPTED)
    is_free = in_vain and key.fingerprint is None
    assert await store.keyed(key) == (None if is_free else job)
    other = a_job()
    assert await store.add(other, REQUEST, key) == (other if is_free else job)


async def test_a_key_is_forgotten_with_its_job(path: Path, store: SqliteStore) -> None:
    """A purge forgets the keys of the jobs that it forgets, and no others."""
    jobs = [await store.add(a_job(), REQUEST, Key(bytes([n]) * 16)) for n in range(20)]
    for job in jobs[:15]:
        await store.replace(job, transitions.fail(job, NOW, BROKEN), RESPONSE)
    assert await purge_all(store, NOW + 61) == 15
    assert {row[0].hex() for row in rows(path, "SELECT job FROM keys")} == {
        job.id for job in jobs[15:]
    }
    again = a_job()
    assert await store.add(again, REQUEST, Key(bytes(16))) == again


async def test_a_key_whose_job_an_older_program_has_forgotten_is_free(
    path: Path, store: SqliteStore
) -> None:
    """A program of before forgets jobs without their keys: those are free, also where the number of
    the job is given again."""
    job = await store.add(a_job(), REQUEST, STRICT)
    for table in ("jobs", "requests", "responses"):
        change(path, f"DELETE FROM {table} WHERE seq = 1")
    await store.add(a_job(), REQUEST)
    assert rows(path, "SELECT seq FROM jobs") == [(1,)]
    assert await store.keyed(Key(STRICT.digest, b"g" * 16)) is None
    another = a_job()
    assert await store.add(another, REQUEST, Key(STRICT.digest, b"g" * 16)) == another
    assert another.id != job.id


async def test_keys_of_forgotten_jobs_are_forgotten_one_day(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program of before has left of keys, as it forgot their jobs, a process that opens the
    store deletes, a few at a time, when it has nothing else to forget; keys of jobs stay."""
    monkeypatch.setattr(keys, "STRAYS_CHUNK", 3)
    named = [Key(bytes([n]) * 16) for n in range(10)]
    jobs = [await store.add(a_job(), REQUEST, key) for key in named]
    kept = {job.id for job in jobs[::4]}
    for job in jobs:
        if job.id not in kept:
            change(path, "DELETE FROM jobs WHERE id = ?", bytes.fromhex(job.id))
    seen = []
    for _ in range(5):
        assert await store.purge(NOW) == 0
        seen.append(len(rows(path, "SELECT job FROM keys")))
    assert seen == [8, 6, 4, 3, 3]
    assert {job.hex() for (job,) in rows(path, "SELECT job FROM keys")} == kept
    assert [await store.keyed(key) for key in named[::4]] == jobs[::4]


async def test_as_many_stray_keys_are_deleted_as_there_is_time_for(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a slice of them at a time, and one at least; the others are not passed over."""
    for number in range(5):
        await store.add(a_job(), REQUEST, Key(bytes([number]) * 16))
    change(path, "DELETE FROM jobs")
    monkeypatch.setattr(slices, "SLICE", 0.0)
    left = []
    for _ in range(5):
        assert await store.purge(NOW) == 0
        left.append(len(rows(path, "SELECT job FROM keys")))
    assert left == [4, 3, 2, 1, 0]


async def test_a_stray_key_that_is_taken_meanwhile_stays(path: Path, store: SqliteStore) -> None:
    """A job that takes such a key while it is on its way to be deleted has it."""
    gone = await store.add(a_job(), REQUEST, STRICT)
    change(path, "DELETE FROM jobs WHERE id = ?", bytes.fromhex(gone.id))
    job = a_job()
    added, purged = await asyncio.gather(store.add(job, REQUEST, STRICT), store.purge(NOW))
    assert (added, purged) == (job, 0)
    assert await store.keyed(STRICT) == job


async def test_who_is_refused_takes_nobody_with_him(store: SqliteStore) -> None:
    """Of writes that go to the disk together, one with a key that another request has is refused,
    and the others come through."""
    await store.add(a_job(), REQUEST, STRICT)
    jobs = [a_job() for _ in range(4)]
    reused = Key(STRICT.digest, b"g" * 16)
    outcomes = await asyncio.gather(
        store.add(jobs[0], REQUEST),
        store.add(jobs[1], REQUEST, reused),
        store.add(jobs[2], REQUEST, KEY),
        store.add(jobs[3], REQUEST, KEY),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], KeyReused)
    assert [outcomes[0], outcomes[2], outcomes[3]] == [jobs[0], jobs[2], jobs[2]]


async def test_a_damaged_job_keeps_its_key(path: Path, store: SqliteStore) -> None:
    """A job that was damaged has failed: its key is that job's if it is one request's, and else
    free."""
    for key in (KEY, STRICT):
        job = await store.add(a_job(), REQUEST, key)
        change(path, "UPDATE jobs SET state = 'lost' WHERE id = ?", bytes.fromhex(job.id))
        if key is KEY:
            assert await store.keyed(key) is None
        else:
            assert await store.keyed(key) == await store.get(job.id)
        assert (await store.get(job.id)).state is State.FAILED


async def test_a_job_that_has_lost_its_id_has_lost_its_key(path: Path, store: SqliteStore) -> None:
    """Nobody could ask for it."""
    job = await store.add(a_job(), REQUEST, STRICT)
    change(path, "UPDATE jobs SET id = x'01' WHERE id = ?", bytes.fromhex(job.id))
    assert await store.keyed(STRICT) is None
    other = a_job()
    assert await store.add(other, REQUEST, STRICT) == other


async def test_a_copy_has_the_keys(store: SqliteStore, tmp_path: Path) -> None:
    """A backup knows a repeated submission as the store does."""
    job = await store.add(a_job(), REQUEST, STRICT)
    await store.backup(tmp_path / "copy.db")
    async with SqliteStore(tmp_path / "copy.db") as copy:
        assert await copy.keyed(STRICT) == job
        assert await copy.add(a_job(), REQUEST, STRICT) == job


async def test_keys_outlive_the_store(path: Path) -> None:
    """A key is its job's also when the file is opened again."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST, STRICT)
    async with SqliteStore(path) as store:
        assert await store.keyed(STRICT) == job
        with pytest.raises(KeyReused):
            await store.keyed(Key(STRICT.digest, b"g" * 16))


async def test_a_guest_knows_the_keys(path: Path, store: SqliteStore) -> None:
    """To look whose a key is, is to read."""
    job = await store.add(a_job(), REQUEST, STRICT)
    for guest in (LookingStore(path), SteeringStore(path), open_as_guest(path)):
        async with guest:
            assert await guest.keyed(STRICT) == job
            assert await guest.keyed(KEY) is None
            with pytest.raises(KeyReused):
                await guest.keyed(Key(STRICT.digest, b"g" * 16))


@pytest.mark.parametrize("version", SCHEMAS)
async def test_a_store_of_before_has_no_keys(path: Path, version: int) -> None:
    """Whoever looks at it sees that; and once it is brought up to date it can have some."""
    make_store(path, version)
    async with LookingStore(path) as guest:
        assert await guest.keyed(KEY) is None
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST, KEY)
        assert await store.keyed(KEY) == job


@pytest.mark.parametrize(
    ("change_sql", "said"),
    [
        ("DROP TABLE keys", "the table 'keys' is missing"),
        ("DROP INDEX keys_job", "the index 'keys_job' is missing (CREATE INDEX keys_job"),
        ("CREATE UNIQUE INDEX one ON keys (job)", "the index 'one' does not belong there"),
        (
            "CREATE TRIGGER free AFTER INSERT ON keys BEGIN DELETE FROM keys; END",
            "the trigger 'free' does not belong there",
        ),
    ],
)
async def test_keys_that_somebody_has_changed(path: Path, change_sql: str, said: str) -> None:
    """A store whose keys are not as they were made is not opened, and the error says what it is."""
    async with SqliteStore(path):
        pass
    change(path, change_sql)
    with pytest.raises(StoreCorrupt) as refused:
        async with SqliteStore(path):
            pass
    assert said in str(refused.value)
