"""The end of a harness: every job comes to its own, and what is known is put together."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore

from .app import STORE
from .clients import Clients
from .facts import Facts, Stored
from .ledger import read_records

#: Seconds that all jobs have to end once nobody is killed any more.
SETTLE_TIME = 40.0


async def settled(folder: Path, clients: Clients, crowd: asyncio.Task[None]) -> Facts:
    """The facts, once every job is final: those that do not end have broken a promise.

    Args:
        folder: of the store and the ledgers.
        crowd: runs `clients`.
    """
    clients.enough()
    unfinished = Query(states=frozenset({State.QUEUED, State.RUNNING}), limit=1)
    async with SqliteStore(folder / STORE) as store:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIME):
                await asyncio.wait([crowd])
                while await store.find(unfinished):
                    await asyncio.sleep(0.05)
        crowd.cancel()
        await asyncio.wait([crowd])
        stored = {
            job.id: Stored(job, await store.response(job.id) if job.state.is_final else None)
            for job in await store.find(Query(limit=sys.maxsize))
        }
        submissions = {job_id: (await store.request(job_id)).query.decode() for job_id in stored}
        with closing(sqlite3.connect(folder / STORE)) as connection:
            integrity = "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
    return Facts(read_records(folder), stored, integrity, submissions)
