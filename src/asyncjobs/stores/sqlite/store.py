"""The SQLite store: jobs in one file, written on the event loop, durable before the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ...errors import (
    ConfigurationError,
    Conflict,
    JobNotFound,
    JobUnreadable,
    SetupError,
    StoreLocked,
    StoreUnavailable,
)
from ...given import is_storable, shown, whole
from ...hints import Hints
from ...job import Job, Request, Response, State
from ...listing import Listing, Page
from ...slices import in_a_slice
from ...store import (
    ANSWER_DEADLINE,
    ANYONE,
    Liveness,
    Orphan,
    Owner,
    Presence,
    Query,
    Store,
)
from .database import Database
from .file import OpenFile
from .listing import listed
from .mender import Mender
from .neighbours.neighbours import Neighbours
from .processes.locks import LOCK_TIMEOUT
from .queries import (
    select,
    select_heads,
    select_programs,
    select_programs_run_by,
    select_routes,
    select_versions,
    select_workers,
)
from .rows import (
    CHANGING_JOB_COLUMNS,
    JOB_COLUMNS,
    REQUEST_COLUMNS,
    RESPONSE_COLUMNS,
    NotText,
    job_changes_to_row,
    job_from_row,
    job_to_row,
    jobs_from_rows,
    marks,
    of_table,
    request_from_row,
    request_to_row,
    response_from_row,
    response_to_row,
)
from .writing.transactions import Operation

T = TypeVar("T")

logger = logging.getLogger("asyncjobs.store")

#: The store's file may grow to this many bytes unless told otherwise; writes fail beyond it.
DEFAULT_LIMIT = 64 * 1024**3
# So long a start waits without a word, in seconds: those of several workers meet for less.
_SILENT_WAIT = 1.0
#: At most so many expired jobs are deleted in one transaction, if there is time for them.
PURGE_CHUNK = 500
#: So many jobs of each dead worker are given at a time.
ORPHANS_CHUNK = 100
# `bytes.fromhex` alone would take capitals and blanks as well.
_ID = re.compile("[0-9a-f]{32}")
# What a write puts into the log besides bodies: the pages of a table and its indexes, about.
_LOG_BYTES_PER_WRITE = 5000


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
_DELETE_RESPONSE = f"DELETE FROM responses WHERE seq = {_SEQ}"
_SELECT_JOB = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
_SELECT_REQUEST = f"SELECT {REQUEST_COLUMNS} FROM requests WHERE seq = {_SEQ}"
_SELECT_RESULT = (
    f"SELECT {of_table('jobs', JOB_COLUMNS)}, {of_table('responses', RESPONSE_COLUMNS)}"
    " FROM jobs LEFT JOIN responses USING (seq) WHERE id = ?"
)
# In no order: to sort them, all that a worker has left would be read.
_RUN_BY = f"SELECT {JOB_COLUMNS}, seq FROM jobs WHERE state = 'running' AND worker IS ? LIMIT ?"
# A job that has not ended has no such time, unless its row is damaged.
_SELECT_EXPIRED = (
    "SELECT seq FROM jobs WHERE expires < ? AND state NOT IN ('queued', 'running') LIMIT ?"
)
_FORGET = [f"DELETE FROM {table} WHERE seq = ?" for table in ("jobs", "requests", "responses")]


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
        self.path = Path(os.path.realpath(_checked("the store", path)))
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
        self._mender = Mender(file.database.read, self._write, self._clock)
        self._neighbours = Neighbours(
            file.peers.folder, self.worker, self._hints, self._versions_of
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
        self._neighbours.abandon()
        file.close()

    async def add(self, job: Job, request: Request) -> Job:
        job_row, request_row = job_to_row(job), request_to_row(request)

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            try:
                execute(_INSERT_JOB, job_row)
            except sqlite3.IntegrityError:
                raise Conflict(f"there is a job {job.id} already") from None
            execute(_INSERT_REQUEST, request_row)

        await self._write(job.id, operation, len(request.body), can_wait=True)
        self._neighbours.wrote(None, job)
        return job

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        job = await self._read_job(_SELECT_JOB, job_id, owner, job_from_row)
        self._neighbours.read(job)  # here and not in `result`: whoever waits reads with `get`
        return job

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        return self._versions_of(job_ids)

    async def request(self, job_id: str) -> Request:
        row = self._database.read_one(_SELECT_REQUEST, (_key(job_id),))
        self._database.check_body()
        if row is None:
            raise JobNotFound(f"no request of a job {job_id}")
        return request_from_row(row)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        job, response = await self._read_job(_SELECT_RESULT, job_id, owner, _result_from_row)
        if response is not None:
            self._database.check_body()
        return job, response

    async def find(self, query: Query) -> list[Job]:
        while True:
            damaged: list[int] = []
            found = self._find(query, damaged)
            # They are in nobody's way any more: others are found in their place.
            if not damaged or not await self._mend(damaged):
                return found

    def _find(self, query: Query, damaged: list[int]) -> list[Job]:
        """What can be read of that; the numbers of the other rows are added to `damaged`."""
        states: list[State] | list[None] = [None]
        if query.states is not None or query.limits is not None:
            states = sorted(State if query.states is None else query.states)
        if len(states) == 1 and query.limits is None:
            # To skip within the index costs next to nothing, but it takes that all are in one.
            rows = self._oldest(query, states[0], query.limit, damaged, query.skip)
            return jobs_from_rows(rows, damaged)
        wanted = query.skip + query.limit
        while True:
            rows = [row for state in states for row in self._oldest(query, state, wanted, damaged)]
            rows.sort(key=lambda row: row[-2:])
            found = query.cut(jobs_from_rows(rows, damaged))
            if damaged or len(found) == query.limit or len(rows) < wanted:
                return found
            # A route's limit holds for each of its queues, and there was more than one.
            wanted *= 2

    async def replace(self, old: Job, new: Job, response: Response | None = None) -> None:
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

        await self._write(
            old.id,
            operation,
            0 if response is None else len(response.body),
            # To start a job, and to tell how far it is: what ends one needs the room more.
            can_wait=new.state is State.RUNNING and new.cancel_requested == old.cancel_requested,
        )
        self._neighbours.wrote(old, new)

    async def purge(self, before: float) -> int:
        if not self._database.read(_SELECT_EXPIRED, (before, 1)):
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

        await self._write(None, operation, 0)
        # Each is in a page of its own in the index of ids, as these are random.
        self._file.checkpointer.wrote(purged * _LOG_BYTES_PER_WRITE, tidying=True)
        return purged

    async def shrink(self) -> bool:
        surplus = self._database.surplus_pages()
        if surplus == 0:
            self._file.cut_back()
            return False
        given = 0

        def operation(execute: Callable[..., sqlite3.Cursor]) -> None:
            nonlocal given
            given = 0
            for _ in in_a_slice(range(surplus)):
                # One at a time, as the module sqlite3 takes but the first step of this statement.
                execute("PRAGMA incremental_vacuum(1)")
                given += 1

        await self._write(None, operation, 0)
        self._file.checkpointer.wrote(given * _LOG_BYTES_PER_WRITE, tidying=True)
        return True

    def changes(self) -> AsyncIterator[str]:
        return self._hints.listen()

    async def programs(self) -> frozenset[str]:
        read = self._database.read
        found: list[tuple[Any, ...]] = []
        for worker in (None, *(name for (name,) in read(select_workers()))):
            found += read(select_programs_run_by(), {"worker": worker})
        damaged: list[int] = []
        for route in self._routes(Query(), State.QUEUED, damaged):
            found += read(select_programs(), {"route": route})
        programs = {program for (program,) in found}
        for program in programs:
            # Nobody would ever look for the jobs of these.
            if isinstance(program, NotText):
                for state in (State.QUEUED, State.RUNNING):
                    damaged += self._mender.numbers(state, "program", program)
        if damaged:
            await self._mend(damaged)
        return frozenset(name for name in programs if isinstance(name, str))

    async def liveness(self, worker: str) -> Liveness:
        return self._file.peers.liveness(worker)

    async def orphans(self) -> list[Orphan]:
        peers = self._file.peers
        # Before anybody is looked for: who is named here has joined before that.
        names = {name for (name,) in self._database.read(select_workers())}
        with suppress(OSError):  # then at least these
            names.update(peers.known())
        damaged: list[int] = []
        orphans = [Orphan(job, blamed=False) for job in jobs_from_rows(self._run_by(None), damaged)]
        for name in names:
            if isinstance(name, NotText):  # nobody is called that
                damaged += self._mender.numbers(State.RUNNING, "worker", name)
            elif peers.liveness(name) is Liveness.DEAD:
                blamed = peers.died_at_work(name)
                left = self._run_by(name)
                if not left:
                    peers.bury(name)
                orphans += [Orphan(job, blamed) for job in jobs_from_rows(left, damaged)]
        if damaged:
            await self._mend(damaged)
        return orphans

    def announce(self, presence: Presence) -> None:
        self._file.peers.announce(presence)

    async def others(self) -> list[Presence]:
        return self._file.peers.others()

    async def backup(self, path: Path | str) -> None:
        await self._file.back_up(_checked("the copy", path))

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
    def _database(self) -> Database:
        return self._file.database

    async def _unlocked(self) -> OpenFile:
        """The open file, once nobody else keeps it locked; not after that took too long."""
        now = asyncio.get_running_loop().time
        began, said = now(), False
        while True:
            try:
                return OpenFile(
                    self.path, limit=self._limit, settled=self._settled, random=self._random
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

    def _run_by(self, worker: str | None) -> list[tuple[Any, ...]]:
        return self._database.read(_RUN_BY, (worker, ORPHANS_CHUNK))

    def _oldest(
        self, query: Query, state: State | None, limit: int, damaged: list[int], skip: int = 0
    ) -> list[tuple[Any, ...]]:
        """The rows of the oldest jobs in a state, or in any; limits are for each queue."""
        read = self._database.read
        in_order = state is State.QUEUED and query.program is not None  # in the index
        if state is None or not (in_order or query.limits is not None):
            return read(*select(query, state, limit, skip))
        limits = query.limits or {}
        routes = {
            route: limits.get(route, limit + skip) for route in self._routes(query, state, damaged)
        }
        rows = read(*select_heads(query, state, routes, limit, skip))
        return sorted(rows, key=lambda row: row[-2:])  # they are already, but SQL promises nothing

    def _routes(self, query: Query, state: State, damaged: list[int]) -> frozenset[str]:
        if query.routes is not None:
            return query.routes - (query.not_routes or frozenset())
        others = json.dumps(sorted(query.not_routes or ()))
        found = self._database.read(select_routes(state), {"others": others})
        for (route,) in found:
            if isinstance(route, NotText):
                damaged += self._mender.numbers(state, "route", route)
        return frozenset(route for (route,) in found if not isinstance(route, NotText))

    async def _mend(self, damaged: list[int]) -> bool:
        """Whether any of these rows is another now, and does not stand where it stood."""
        try:
            return await self._mender.mend(damaged)
        except StoreUnavailable:
            return False  # what can be read is found all the same

    async def _read_job(
        self, select: str, job_id: str, owner: Owner, made: Callable[[tuple[Any, ...]], T]
    ) -> T:
        row = await self._read_row(select, job_id, owner)
        try:
            return made(row)
        except JobUnreadable:
            await self._mender.mend(self._mender.number(_key(job_id)))
        return made(await self._read_row(select, job_id, owner))

    async def _read_row(self, select: str, job_id: str, owner: Owner) -> tuple[Any, ...]:
        if (write := self._file.commits.unsettled(job_id)) is not None:
            await write.settled()  # what is read shall be durable
        row = None
        if (key := _key(job_id)) is not None:
            if owner is ANYONE:
                row = self._database.read_one(select, (key,))
            elif owner is None or is_storable(owner):
                row = self._database.read_one(f"{select} AND owner IS ?", (key, owner))
        if row is None:
            raise JobNotFound(f"no job {job_id}")
        return row

    def _write(
        self, job_id: str | None, operation: Operation, body_size: int, *, can_wait: bool = False
    ) -> Awaitable[None]:
        file = self._file
        file.commits.admit(can_wait=can_wait)
        file.checkpointer.wrote(body_size + _LOG_BYTES_PER_WRITE)
        return file.commits.write(job_id, operation, can_wait=can_wait)

    def _settled(self, job_ids: list[str]) -> None:
        self._neighbours.changed(job_ids)

    def _versions_of(self, job_ids: Collection[str]) -> dict[str, int]:
        keys = b"".join(filter(None, map(_key, job_ids)))
        return {key.hex(): version for key, version in self._database.read(*select_versions(keys))}

    # The last one: see `Store.list`.
    async def list(self, listing: Listing) -> Page:
        while True:
            damaged: list[int] = []
            page = listed(self._database.read, listing, damaged)
            if not damaged or not await self._mend(damaged):
                return page


def _checked(what: str, path: os.PathLike[str] | str) -> Path:
    """The path, unless it means something else to SQLite, to the shell or to the system.

    Raises:
        ConfigurationError
    """
    written = os.fspath(path)
    wrong = None
    if written == ":memory:":
        wrong = "is no file: name one, or use MemoryStore(), or the URL 'memory:'"
    elif written.endswith(("/", os.sep)):
        wrong = "is a folder: name a file in it"
    elif written.startswith("file:"):
        wrong = "is a URI of SQLite, which is not taken here: name the file by its path"
    elif written.startswith("~"):
        wrong = "has a '~', which only a shell replaces: write the path in full"
    elif "\0" in written:
        wrong = "has a NUL, which no path can have"
    if wrong is not None:
        raise ConfigurationError(f"{what} {shown(written)} {wrong}")
    return Path(written)


def _key(job_id: str) -> bytes | None:
    """The id as it is stored, or None if it can be no job's."""
    return bytes.fromhex(job_id) if _ID.fullmatch(job_id) else None


def _result_from_row(row: tuple[Any, ...]) -> tuple[Job, Response | None]:
    job, response = job_from_row(row), row[len(Job._fields) :]
    return job, response_from_row(response) if job.state.is_final else None
