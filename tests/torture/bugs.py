"""Planted bugs: a harness is worth something only if it finds them.

====================== ==================================================== =================
bug                    what it does                                         found by
====================== ==================================================== =================
synchronous-off        nothing is ever flushed                              power
ack-before-flush       a job is acknowledged before it is on the disk       power
ack-before-commit      a job is acknowledged before it is committed         power, kill
ack-once-begun         a change is acknowledged as soon as it has begun     stateful
effect-before-attempt  a handler begins before its attempt is committed     kill
no-version-check       a finish overwrites whatever is there                stateful, kill
stopped-is-dead        who merely stands still loses its jobs               all but power
told-before-stored     who waits for a result has it before it is committed kill
told-anothers-result   who waits for a result is told that of another job   kill, http
job-made-again-by-wait who waits for a result has made two jobs             kill, http
hang-up-cancels        who hangs up as he waits has the job cancelled       kill, http
loses-responses        a job that was started again ends without its body   stateful
finds-foreign-jobs     a list of one owner's jobs has everybody's           stateful
====================== ==================================================== =================

Those that need servers to show are in `server_bugs`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace as with_
from pathlib import Path
from typing import Any, Self

from asyncjobs.errors import Conflict, JobNotFound
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Orphan, Query, Store, StoreWrapper
from asyncjobs.stores.sqlite import SqliteStore, database, file
from asyncjobs.stores.sqlite.schema import connect
from asyncjobs.stores.sqlite.writing import flusher, moving

# --- power ---


class SynchronousOff(SqliteStore):
    """Nothing is ever flushed, neither by SQLite nor by the store."""

    async def __aenter__(self) -> Self:
        vars(file)["connect"] = vars(database)["connect"] = _connect_unsynchronised
        vars(flusher)["sync_data"] = vars(moving)["sync_data"] = lambda fd: None
        return await super().__aenter__()


def _connect_unsynchronised(path: Path, **options: Any) -> sqlite3.Connection:
    connection = connect(path, **options)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


class AckBeforeCommit(SqliteStore):
    """`add` answers while the job is still to be written."""

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        self._adding = asyncio.create_task(super().add(job, request, key))
        await asyncio.sleep(0)
        return job


class AckBeforeFlush(SqliteStore):
    """What was committed is acknowledged at once, and flushed a little later."""

    async def __aenter__(self) -> Self:
        vars(file)["Flusher"] = _LateFlusher
        return await super().__aenter__()


class _LateFlusher(flusher.Flusher):
    def flush(self, done: Callable[[OSError | None], None]) -> None:
        self._loop.call_soon(done, None)
        super().flush(lambda error: None)


POWER_BUGS: Mapping[str, type[SqliteStore]] = {
    "synchronous-off": SynchronousOff,
    "ack-before-commit": AckBeforeCommit,
    "ack-before-flush": AckBeforeFlush,
}


# --- stateful: wrappers around any store ---


class NoVersionCheckOnFinish(StoreWrapper):
    """A worker that has lost its job finishes it all the same."""

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if new.state.is_final:
            old = await self.inner.get(old.id)
        await self.inner.replace(old, new, response, erase=erase)


class AckOnceBegun(StoreWrapper):
    """A change is acknowledged as soon as it has begun."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._begun: set[asyncio.Task[None]] = set()

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        task = asyncio.create_task(self.inner.replace(old, new, response, erase=erase))
        self._begun.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is told


class LosesResponses(StoreWrapper):
    """A job that was started more than once ends with an empty response."""

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if response is not None and new.attempt > 1:
            response = Response(response.status)
        await self.inner.replace(old, new, response, erase=erase)


class NeverErases(StoreWrapper):
    """A request that is to be erased with the end of its job is kept."""

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        await self.inner.replace(old, new, response, erase=erase and not new.state.is_final)


class ErasesForNothing(StoreWrapper):
    """Where the request is erased of a job that another worker has changed meanwhile, it is gone,
    although the change is refused."""

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        try:
            await self.inner.replace(old, new, response, erase=erase)
        except Conflict:
            if erase:
                with suppress(JobNotFound):
                    stored, its = await self.inner.result(old.id)
                    await self.inner.replace(stored, stored, its, erase=True)
            raise


class FindsForeignJobs(StoreWrapper):
    """A list of one owner's jobs has everybody's."""

    async def find(self, query: Query) -> list[Job]:
        return await self.inner.find(with_(query, owner=ANYONE))


class StoppedIsDead(StoreWrapper):
    """Every other process is taken for dead: at once, as its heartbeat would have to be heard."""

    async def orphans(self) -> list[Orphan]:
        running = await self.inner.find(Query(states=frozenset({State.RUNNING})))
        return [Orphan(job, blamed=True) for job in running if job.worker != self.worker]
