"""The SQLite store: jobs in one file, written on the event loop, durable before the answer."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import (
    Conflict,
    JobNotFound,
    SetupError,
    StoreLocked,
)
from ...given import whole
from ...hints import Hint, Hints, Something, hints_of
from ...job import Job, Request, Response, State
from ...key import Key
from ...listing import Listing, Page
from ...slices import in_a_slice
from ...store import (
    ANSWER_DEADLINE,
    ANYONE,
    GUEST,
    Liveness,
    Orphan,
    Owner,
    Presence,
    Query,
    Store,
)
from .database import Database
from .file import OpenFile
from .keys import FORGET_KEY, Strays, holder_of, take
from .mender import Mender
from .neighbours.neighbours import Neighbours
from .paths import checked
from .processes.locks import LOCK_TIMEOUT
from .reader import Reader
from .rows import (
    CHANGING_JOB_COLUMNS,
    ERASED,
    JOB_COLUMNS,
    REQUEST_COLUMNS,
    RESPONSE_COLUMNS,
    job_changes_to_row,
    job_to_row,
    marks,
    request_to_row,
    response_to_row,
)
from .writing.transactions import Operation

logger = logging.getLogger("asyncjobs.store")

#: The store's file may grow to this many bytes unless told otherwise; writes fail beyond it.
DEFAULT_LIMIT = 64 * 1024**3
# So long a start waits without a word, in seconds: those of several workers meet for less.
_SILENT_WAIT = 1.0
#: At most so many expired jobs are deleted in one transaction, if there is time for them.
PURGE_CHUNK = 500


_INSERT_JOB = f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES ({marks(JOB_COLUMNS)})"
# In the place of what is there: a number is given again, and rows that somebody has left behind
# under it must keep no job from being stored.
_INSERT_REQUEST = (
    f"INSERT OR REPLACE INTO requests (seq, {REQUEST_COLUMNS})"
    f" VALUES (last_insert_rowid(), {marks(REQUEST_COLUMNS)})"
)
# Not the id: to write it again, though the same, would rewrite its index.
_UPDATE_JOB = (
    f"UPDATE jobs SET ({CHANGING_JOB_COLUMNS}) = ({marks(CHANGING_JOB_COLUMNS)})"
    " WHERE id = ? AND version = ?"
)
_SEQ = "(SELECT seq FROM jobs WHERE id = ?)"
_INSERT_RESPONSE = (
    f"INSERT OR REPLACE INTO responses (seq, {RESPONSE_COLUMNS})"
    f" VALUES ({_SEQ}, {marks(RESPONSE_COLUMNS)})"
)
# Its row stays as long as the job, with nothing in it: where the last row of a table is deleted as
# often as one is added, SQLite may take a page out of the tree and put it in again each time, which
# is six more to be written.
_ERASE_REQUEST = f"UPDATE requests SET {ERASED} WHERE seq = {_SEQ}"
_DELETE_RESPONSE = f"DELETE FROM responses WHERE seq = {_SEQ}"
# A job that has not ended has no such time, unless its row is damaged.
_SELECT_EXPIRED = (
    "SELECT seq FROM jobs WHERE expires < ? AND state NOT IN ('queued', 'running') LIMIT ?"
)
# The key first, which is found by the job.
_FORGET = [
    FORGET_KEY,
    *(f"DELETE FROM {table} WHERE seq = ?" for table in ("jobs", "requests", "responses")),
]


class SqliteStore(Store):
    """Jobs in the SQLite file at `path`, which all processes of one machine may share.

    The file is made with access for its owner alone. Beside it are SQLite's own ``-wal`` and
    ``-shm``, the lock file ``-lock`` and the folder ``-procs``, in which each living process has a
    lock file, a socket and what it says of itself. ``sqlite:///jobs.db`` stands for
    ``SqliteStore("jobs.db")``.

    Args:
        path: the file; its folder must exist.
        limit: how large it may grow, in bytes.
        clock: seconds since the epoch.
        random: for the jitter between processes.

    Raises:
        ConfigurationError: the path can be no file's, or means something else elsewhere.
        TypeError, ValueError: the limit is no such number.
    """

    # Whether it is opened by a process that serves nothing, and so makes nothing either.
    _is_guest = False

    def __init__(
        self,
        path: os.PathLike[str] | str,
        *,
        limit: int = DEFAULT_LIMIT,
        clock: Callable[[], float] = time.time,
        random: random.Random = random.Random(),  # noqa: B008 - one source for all is meant
    ) -> None:
        self._limit = whole("the limit of a store", limit, least=1)
        # As SQLite does with its own files: one store, whatever names lead to it, and the same one
        # while it is open, also if a deploy has a symbolic link lead elsewhere.
        self.path = Path(os.path.realpath(checked("the store", path)))
        self._clock = clock
        self._random = random
        self._hints = Hints()
        self._is_entered = False
        self._open: OpenFile | None = None

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise SetupError(
                f"the store {self.path} is open already: give each `Jobs` a store of its own"
            )
        self._is_entered = True
        try:
            file = self._open = await self._unlocked()
        except BaseException:
            self._is_entered = False
            raise
        logger.info("jobs are kept in %s", self.path)
        self.worker = file.peers.name
        self._reads = Reader(
            file.database,
            mender=Mender(file.database.read, self._write, self._clock),
            unsettled=file.commits.unsettled,
        )
        self._strays = Strays()
        # The version that the database had, by what others commit, before a flush of this process.
        self._flushed: int | None = None
        self._neighbours = Neighbours(
            file.peers.folder, self.worker, self._hints, self._reads.versions
        )
        self._watching = asyncio.create_task(self._neighbours.watch(file.database.data_version))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        file = self._file
        self._watching.cancel()
        close: Callable[[], None] = file.leave
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                await file.commits.drain()
            close = file.close
            file.stop_writing()
            await file.about_to_close()
            close = partial(file.close, waited=True)
        except TimeoutError:
            logger.error(
                "the disk of the store %s does not answer: it is not waited for", self.path
            )
        finally:
            file.stop_writing()
            self._neighbours.close()
            self._open = None
            self._is_entered = False
            close()

    def abandon(self) -> None:
        file = self._file
        self._open = None
        self._is_entered = False
        self._hints = Hints()  # those who listen do so in the loop that was closed
        if not self._watching.get_loop().is_closed():  # as where only this process is to be gone
            self._watching.cancel()
        self._neighbours.abandon()
        file.close()

    def now(self) -> float:
        return self._clock()

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        job_row, request_row = job_to_row(job), request_to_row(request)
        holder = None

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            nonlocal holder
            if key is not None and (holder := holder_of(execute, key)) is not None:
                return
            try:
                execute(_INSERT_JOB, job_row)
            except sqlite3.IntegrityError:
                raise Conflict(f"there is a job {job.id} already") from None
            execute(_INSERT_REQUEST, request_row)
            if key is not None:
                take(execute, key, job.id)

        while True:
            version = None if key is None else self._database.data_version()
            await self._write_job(None, job, operation, can_wait=True)
            if key is not None:
                self._flushed = version
            if holder is None:
                return job
            with suppress(JobNotFound):  # it was forgotten just now, and has the key no more
                return await self.get(holder)

    async def keyed(self, key: Key) -> Job | None:
        flushed = None
        while (job := await self._reader.keyed(key)) is not None:
            version = self._database.data_version()
            # Once is enough: others, who write all the while, would have us flush without end.
            if version == self._flushed or job.id == flushed:
                break
            await self._write(None, _nothing)  # another process may have committed it just now
            self._flushed, flushed = version, job.id
        return job

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        return await self._reader.get(job_id, owner)

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        return self._reader.versions(job_ids)

    async def ids(self, prefix: str, limit: int) -> list[str]:
        return self._reader.ids(prefix, limit)

    async def request(self, job_id: str) -> Request:
        return self._reader.request(job_id)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self._reader.result(job_id, owner)

    async def find(self, query: Query) -> list[Job]:
        return await self._reader.find(query)

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        return await self._reader.overdue(before, program, limit)

    async def count(self, query: Query) -> int:
        return await self._reader.count(query)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        key = bytes.fromhex(old.id)
        changes = job_changes_to_row(new)
        response_row = None if response is None else response_to_row(response)

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            if execute(_UPDATE_JOB, (*changes, key, old.version)).rowcount == 0:
                raise Conflict(f"job {old.id} is no longer at version {old.version}")
            if old.state.is_final:
                execute(_DELETE_RESPONSE, (key,))
            if response_row is not None:
                execute(_INSERT_RESPONSE, (key, *response_row))
            if erase:
                execute(_ERASE_REQUEST, (key,))

        await self._write_job(
            old,
            new,
            operation,
            # To start a job, and to tell how far it is: what ends one needs the room more.
            can_wait=new.state is State.RUNNING and new.cancel_requested == old.cancel_requested,
        )

    async def purge(self, before: float) -> int:
        if not self._database.read(_SELECT_EXPIRED, (before, 1)):
            if strays := self._strays.among_the_next(self._database.read):
                await self._write(None, partial(self._strays.forget, digests=strays))
            return 0
        purged = 0

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            nonlocal purged
            purged = 0
            # Looked for in the transaction: what was retried meanwhile is not final any more.
            for expired in in_a_slice(execute(_SELECT_EXPIRED, (before, PURGE_CHUNK)).fetchall()):
                for statement in _FORGET:
                    execute(statement, expired)
                purged += 1

        await self._write(None, operation)
        self._file.checkpointer.wrote(tidying=True)
        return purged

    async def shrink(self) -> bool:
        surplus = self._database.surplus_pages()
        if surplus == 0:
            self._file.cut_back()
            return False

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            for _ in in_a_slice(range(surplus)):
                # One at a time, as the module sqlite3 takes but the first step of this statement.
                execute("PRAGMA incremental_vacuum(1)")

        await self._write(None, operation)
        self._file.checkpointer.wrote(tidying=True)
        return True

    def changes(self) -> AsyncIterator[Hint]:
        return self._hints.listen()

    def follow(self, job: Job) -> None:
        self._neighbours.follow(job)

    async def programs(self) -> frozenset[str]:
        return await self._reader.programs()

    async def liveness(self, worker: str) -> Liveness:
        return self._file.peers.liveness(worker)

    async def orphans(self) -> list[Orphan]:
        peers, reader = self._file.peers, self._reader
        damaged: list[int] = []
        # Before anybody is looked for: who is named here has joined before that.
        names = reader.workers(damaged)
        with suppress(OSError):  # then at least these
            names.update(peers.known())
        orphans = [Orphan(job, blamed=False) for job in reader.jobs(reader.run_by(None), damaged)]
        for name in names:
            if peers.liveness(name) is Liveness.DEAD:
                blamed = peers.died_at_work(name)
                left = reader.run_by(name)
                if not left:
                    peers.bury(name)
                orphans += [Orphan(job, blamed) for job in reader.jobs(left, damaged)]
        await reader.mend(damaged)
        return orphans

    def announce(self, presence: Presence) -> None:
        self._file.peers.announce(presence)

    async def others(self) -> list[Presence]:
        return [other for other in self._file.peers.others() if other != GUEST]

    async def backup(self, path: Path | str) -> None:
        await self._file.back_up(checked("the copy", path))

    async def health(self) -> str | None:
        self._file.inspector.check()
        loss = self._database.loss
        return None if loss is None else loss.reason

    @property
    def _file(self) -> OpenFile:
        if self._open is None:
            raise RuntimeError("the store is not open: use it within 'async with'")
        return self._open

    @property
    def _reader(self) -> Reader:
        _ = self._file  # must be open
        return self._reads

    @property
    def _database(self) -> Database:
        return self._file.database

    async def _unlocked(self) -> OpenFile:
        """The open file, once nobody else keeps it locked; not after that took too long."""
        now = asyncio.get_running_loop().time
        began, said = now(), False
        while True:
            try:
                return OpenFile(
                    self.path,
                    limit=self._limit,
                    settled=self._settled,
                    random=self._random,
                    guest=self._is_guest,
                )
            except StoreLocked as error:
                if now() - began > LOCK_TIMEOUT:
                    raise
                if now() - began > _SILENT_WAIT and not said:
                    said = True
                    logger.warning("the start waits up to %g s, as %s", LOCK_TIMEOUT, error)
            # The jitter keeps processes that start together from meeting again and again. Who has
            # waited for long may wait a little longer: each try looks at all files.
            await asyncio.sleep(self._random.uniform(0.005, 0.02) + (now() - began) / 20)

    async def _write_job(
        self, old: Job | None, new: Job, operation: Operation, *, can_wait: bool
    ) -> None:
        try:
            await self._write(new.id, operation, can_wait=can_wait)
        except asyncio.CancelledError:
            # The write goes on: whoever it concerns is to hear of it, and a hint more does no harm.
            if (write := self._file.commits.unsettled(new.id)) is not None:
                write.settled().add_done_callback(lambda _: self._wrote(old, new))
            else:
                self._wrote(old, new)
            raise
        self._wrote(old, new)

    def _wrote(self, old: Job | None, new: Job) -> None:
        self._hints.send(hints_of(old, new, self.worker))
        self._neighbours.wrote(old, new)

    def _write(
        self, job_id: str | None, operation: Operation, *, can_wait: bool = False
    ) -> Awaitable[None]:
        commits = self._file.commits
        commits.admit(can_wait=can_wait)
        return commits.write(job_id, operation, can_wait=can_wait)

    def _settled(self, job_ids: list[str]) -> None:
        if job_ids:
            self._file.checkpointer.wrote()
            self._neighbours.changed(job_ids)
        else:
            self._hints.send([Something()])

    # The last one: see `Store.list`.
    async def list(self, listing: Listing) -> Page:
        return await self._reader.list(listing)


def _nothing(execute: Callable[..., sqlite3.Cursor]) -> None:
    """What is written to have all flushed that is committed."""
