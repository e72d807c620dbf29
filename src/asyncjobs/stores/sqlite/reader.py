"""Reads jobs around damage: a row that no job can be made of holds up nobody who reads others."""

from __future__ import annotations

import builtins
import re
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from ...errors import JobNotFound, JobUnreadable, StoreUnavailable
from ...given import is_storable
from ...job import Job, Request, Response, State
from ...key import Key
from ...listing import Listing, Page
from ...store import ANYONE, Owner, Query
from .keys import holder_of
from .listing import listed
from .mender import SELECT_WHOLE, Mender
from .queries import (
    names_in_json,
    select,
    select_count,
    select_heads,
    select_ids,
    select_overdue,
    select_programs,
    select_programs_run_by,
    select_routes,
    select_versions,
    select_workers,
)
from .rows import (
    JOB_COLUMNS,
    NOT_ERASED,
    REQUEST_COLUMNS,
    RESPONSE_COLUMNS,
    NotText,
    job_from_row,
    of_table,
    request_from_row,
    response_from_row,
)
from .salvage import mended
from .writing.transactions import Write

_Found = tuple[Job, Response | None]

#: So many jobs of each worker are given at a time.
RUN_BY_CHUNK = 100

# `bytes.fromhex` alone would take capitals and blanks as well.
_ID = re.compile("[0-9a-f]{32}")
_BEGINNING = re.compile("[0-9a-f]{0,32}")
_JOB_FIELDS = len(Job._fields)

_SELECT_JOB = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
_SELECT_REQUEST = (
    f"SELECT {REQUEST_COLUMNS} FROM requests"
    f" WHERE seq = (SELECT seq FROM jobs WHERE id = ?) AND {NOT_ERASED}"
)
_SELECT_RESULT = (
    f"SELECT {of_table('jobs', JOB_COLUMNS)}, {of_table('responses', RESPONSE_COLUMNS)}"
    " FROM jobs LEFT JOIN responses USING (seq) WHERE id = ?"
)
# In no order: to sort them, all that a worker has left would be read.
_RUN_BY = f"SELECT {JOB_COLUMNS}, seq FROM jobs WHERE state = 'running' AND worker IS ? LIMIT ?"


class Source(Protocol):
    """What rows are read from."""

    def read(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """All rows, with `NotText` for text that is not UTF-8."""

    def check_body(self) -> None:
        """Make sure that a body that was just read is what was written.

        Raises:
            StoreUnavailable
        """


class Reader:
    """Reads the jobs of a database.

    Args:
        source: raises `StoreUnavailable` where it cannot be read.
        mender: puts damaged rows right; None to write nothing, and give what it would make of them.
        unsettled: the write to a job that is not durable yet, which is waited for; if there is one.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        source: Source,
        *,
        mender: Mender | None = None,
        unsettled: Callable[[str], Write | None] = lambda job_id: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._mender = mender
        self._unsettled = unsettled
        self._clock = clock

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        """As `Store.get`."""
        job, _ = await self._read_job(_SELECT_JOB, job_id, owner, _job_from_row)
        return job

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        """As `Store.result`."""
        job, response = await self._read_job(_SELECT_RESULT, job_id, owner, _result_from_row)
        if response is not None:
            self._source.check_body()
        return job, response

    def request(self, job_id: str) -> Request:
        """As `Store.request`."""
        rows = self._source.read(_SELECT_REQUEST, (_key(job_id),))
        self._source.check_body()
        if not rows:
            raise JobNotFound(f"no request of a job {job_id} is kept")
        return request_from_row(rows[0])

    def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        """As `Store.versions`."""
        keys = b"".join(filter(None, map(_key, job_ids)))
        return {key.hex(): version for key, version in self._source.read(*select_versions(keys))}

    def ids(self, prefix: str, limit: int) -> list[str]:
        """As `Store.ids`."""
        if not _BEGINNING.fullmatch(prefix):
            return []
        return [key.hex() for (key,) in self._source.read(*select_ids(prefix, limit))]

    async def find(self, query: Query) -> list[Job]:
        """As `Store.find`."""

        def find(limit: int, damaged: list[int]) -> list[Job]:
            return self._find(replace(query, limit=limit), damaged)

        return await self._around_damaged(find, query.limit)

    async def overdue(self, before: float, program: str | None, limit: int) -> list[Job]:
        """As `Store.overdue`."""

        def find(limit: int, damaged: list[int]) -> list[Job]:
            rows = self._source.read(*select_overdue(before, program, limit))
            rows.sort(key=lambda row: row[-2:])
            return self.jobs(rows, damaged, lambda job: not job.state.is_final)

        return await self._around_damaged(find, limit)

    async def count(self, query: Query) -> int:
        """As `Store.count`."""
        if (select_number := select_count(query)) is None:
            return len(await self.find(query))
        ((number,),) = self._source.read(*select_number)
        return int(number)

    async def keyed(self, key: Key) -> Job | None:
        """As `Store.keyed`."""
        if (holder := holder_of(self._source.read, key)) is not None:
            with suppress(JobNotFound):  # it was forgotten just now, and has the key no more
                return await self.get(holder)
        return None

    async def programs(self) -> frozenset[str]:
        """As `Store.programs`."""
        found: list[tuple[Any, ...]] = []
        for worker in (None, *(name for (name,) in self._source.read(select_workers()))):
            found += self._source.read(select_programs_run_by(), {"worker": worker})
        damaged: list[int] = []
        for route in self._routes(Query(), State.QUEUED, damaged):
            found += self._source.read(select_programs(), {"route": route})
        programs = {program for (program,) in found}
        for program in programs:
            # Nobody would ever look for the jobs of these.
            if isinstance(program, NotText):
                for state in (State.QUEUED, State.RUNNING):
                    damaged += self._numbers(state, "program", program)
        await self.mend(damaged)
        return frozenset(name for name in programs if isinstance(name, str))

    def workers(self, damaged: list[int]) -> set[str]:
        """All who have running jobs; what is nobody's name goes into `damaged`, by numbers."""
        names = {name for (name,) in self._source.read(select_workers())}
        for name in names:
            if isinstance(name, NotText):  # nobody is called that
                damaged += self._numbers(State.RUNNING, "worker", name)
        return {name for name in names if isinstance(name, str)}

    def run_by(self, worker: str | None) -> list[tuple[Any, ...]]:
        """The rows of some jobs that are running at this worker, or at nobody."""
        return self._source.read(_RUN_BY, (worker, RUN_BY_CHUNK))

    def jobs(
        self,
        rows: Iterable[tuple[Any, ...]],
        damaged: list[int],
        wanted: Callable[[Job], bool] = lambda job: True,
    ) -> list[Job]:
        """The jobs of these rows, each of which ends with its number.

        Args:
            damaged: the numbers of those that there is no job of are added to it.
            wanted: whether that is what the rows were read for, of what a damaged one would become.
        """
        jobs = []
        for row in rows:
            try:
                jobs.append(job_from_row(row))
            except JobUnreadable:
                as_mended = self._as_mended(row[-1]) if self._mender is None else None
                if as_mended is not None and wanted(as_mended[0]):
                    jobs.append(as_mended[0])
                else:
                    damaged.append(row[-1])
        return jobs

    async def mend(self, damaged: list[int]) -> bool:
        """Whether any of these rows is another now, and does not stand where it stood."""
        if self._mender is None or not damaged:
            return False
        try:
            return await self._mender.mend(damaged)
        except StoreUnavailable:
            return False  # what can be read is found all the same

    async def _around_damaged(
        self, find: Callable[[int, list[int]], list[Job]], limit: int
    ) -> list[Job]:
        """What `find` finds of so many rows, whatever of them is damaged."""
        left = 0
        while True:
            damaged: list[int] = []
            found = find(limit + left, damaged)
            if self._mender is None and len(damaged) > left:
                # They stay where they are: others are found behind them.
                left = len(damaged)
            # They are in nobody's way any more: others are found in their place.
            elif self._mender is None or not damaged or not await self.mend(damaged):
                return found[:limit]

    def _find(self, query: Query, damaged: list[int]) -> list[Job]:
        """What can be read of that; the numbers of the other rows are added to `damaged`."""
        states: list[State] | list[None] = [None]
        if query.states is not None or query.limits is not None:
            states = sorted(State if query.states is None else query.states)
        if len(states) == 1 and query.limits is None:
            # To skip within the index costs next to nothing, but it takes that all are in one.
            rows = self._oldest(query, states[0], query.limit, damaged, query.skip)
            return self.jobs(rows, damaged, query.matches)
        wanted = query.skip + query.limit
        while True:
            rows = [row for state in states for row in self._oldest(query, state, wanted, damaged)]
            rows.sort(key=lambda row: row[-2:])
            found = query.cut(self.jobs(rows, damaged, query.matches))
            if damaged or len(found) == query.limit or len(rows) < wanted:
                return found
            # A route's limit holds for each of its queues, and there was more than one.
            wanted *= 2

    def _oldest(
        self, query: Query, state: State | None, limit: int, damaged: list[int], skip: int = 0
    ) -> list[tuple[Any, ...]]:
        """The rows of the oldest jobs in a state, or in any; limits are for each queue."""
        in_order = state is State.QUEUED and query.program is not None  # in the index
        if state is None or not (in_order or query.limits is not None):
            return self._source.read(*select(query, state, limit, skip))
        limits = query.limits or {}
        routes = {
            route: limits.get(route, limit + skip) for route in self._routes(query, state, damaged)
        }
        rows = self._source.read(*select_heads(query, state, routes, limit, skip))
        return sorted(rows, key=lambda row: row[-2:])  # they are already, but SQL promises nothing

    def _routes(self, query: Query, state: State, damaged: list[int]) -> frozenset[str]:
        if query.routes is not None:
            return query.routes - (query.not_routes or frozenset())
        others = names_in_json(query.not_routes or ())
        found = self._source.read(select_routes(state), {"others": others})
        for (route,) in found:
            if isinstance(route, NotText):
                damaged += self._numbers(state, "route", route)
        return frozenset(route for (route,) in found if not isinstance(route, NotText))

    def _numbers(self, state: State, column: str, value: NotText) -> list[int]:
        return [] if self._mender is None else self._mender.numbers(state, column, value)

    async def _read_job(
        self, select: str, job_id: str, owner: Owner, made: Callable[[tuple[Any, ...]], _Found]
    ) -> _Found:
        row = await self._read_row(select, job_id, owner)
        try:
            return made(row)
        except JobUnreadable:
            found = self._source.read("SELECT seq FROM jobs WHERE id = ?", (_key(job_id),))
            numbers = [number for (number,) in found]
            if self._mender is None:
                for as_mended in filter(None, map(self._as_mended, numbers)):
                    return as_mended
                raise
            await self._mender.mend(numbers)
        return made(await self._read_row(select, job_id, owner))

    async def _read_row(self, select: str, job_id: str, owner: Owner) -> tuple[Any, ...]:
        if (write := self._unsettled(job_id)) is not None:
            await write.settled()  # what is read shall be durable
        rows: list[tuple[Any, ...]] = []
        if (key := _key(job_id)) is not None:
            if owner is ANYONE:
                rows = self._source.read(select, (key,))
            elif owner is None or is_storable(owner):
                rows = self._source.read(f"{select} AND owner IS ?", (key, owner))
        if not rows:
            raise JobNotFound(f"no job {job_id}")
        return rows[0]

    def _as_mended(self, number: int) -> _Found | None:
        """What the row of this number would become; None if nobody could ask for it by its id."""
        for row in self._source.read(SELECT_WHOLE, (number,)):
            job_row, response_row = row[:_JOB_FIELDS], row[_JOB_FIELDS:]
            repair = mended(job_row, response_row, self._clock())
            if repair is None:
                return _result_from_row(row)
            if bytes.fromhex(repair.job.id) == job_row[0]:
                response = repair.response or response_from_row(response_row)
                return repair.job, response
        return None

    # The last one: see `Store.list`.
    async def list(self, listing: Listing) -> Page:
        """As `Store.list`."""
        while True:
            damaged: builtins.list[int] = []
            jobs_of = partial(self.jobs, damaged=damaged, wanted=listing.matches)
            page = listed(self._source.read, jobs_of, listing)
            if not await self.mend(damaged):
                return page


def _key(job_id: str) -> bytes | None:
    """The id as it is stored, or None if it can be no job's."""
    return bytes.fromhex(job_id) if _ID.fullmatch(job_id) else None


def _job_from_row(row: tuple[Any, ...]) -> _Found:
    return job_from_row(row), None


def _result_from_row(row: tuple[Any, ...]) -> _Found:
    job, response = job_from_row(row), row[_JOB_FIELDS:]
    return job, response_from_row(response) if job.state.is_final else None
