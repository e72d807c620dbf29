"""A store that lives and dies with its process: for tests and throw-away use."""

from __future__ import annotations

import logging
import secrets
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import replace
from heapq import heappop, heappush, merge, nsmallest
from itertools import count, islice
from types import TracebackType
from typing import NamedTuple, Self

from ..errors import Conflict, JobNotFound, SetupError
from ..hints import Changed, Hint, Hints, hints_of
from ..job import Job, Request, Response, State
from ..key import Key
from ..listing import MAX_PAGE, Cursor, Listing, Page
from ..slices import in_a_slice
from ..store import ANYONE, Liveness, Orphan, Owner, Presence, Query, Store, share_of

logger = logging.getLogger("asyncjobs.store")

_QUEUED = Query(states=frozenset({State.QUEUED}))


class _Shelf(NamedTuple):
    """Where a job is found: the jobs of a shelf are in order, so that none has to be looked for."""

    state: State
    route: str
    program: str | None
    is_suspect: bool


class _Place(NamedTuple):
    """What the jobs of a shelf are ordered by: those that are due alike, as they came."""

    due: float
    number: int
    id: str


class _Deadline(NamedTuple):
    """When a job that has not ended is to be cancelled."""

    cancel_at: float
    number: int
    id: str


class _Arrival(NamedTuple):
    """What the jobs are listed by."""

    created: float
    number: int
    id: str


class MemoryStore(Store):
    """Keeps jobs in dictionaries, which end with the process: what ``memory:`` stands for.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.worker = secrets.token_hex(8)
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._numbers: dict[str, int] = {}
        self._next_number = count()
        self._shelves: dict[_Shelf, list[_Place]] = {}
        self._deadlines: list[_Deadline] = []  # in order
        # How many queued jobs there are, by their owners and programs.
        self._queued: dict[tuple[Owner, str | None], int] = {}
        # In order, for each owner and for `ANYONE`.
        self._arrivals: dict[Owner, list[_Arrival]] = {}
        self._requests: dict[str, Request] = {}
        self._responses: dict[str, Response] = {}
        # The job of each key, with its fingerprint; and which key a job has, if it has one.
        self._holders: dict[bytes, tuple[str, bytes | None]] = {}
        self._digests: dict[str, bytes] = {}
        self._strays: set[str] = set()
        # When each final job expires, as a heap; with some that are not final any more.
        self._expiries: list[tuple[float, str]] = []
        self._hints = Hints()
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise SetupError("this store is open already: give each `Jobs` a store of its own")
        self._is_open = True
        logger.info("jobs are kept in memory, and end with this process")
        # What was left running when it was open before has nobody who runs it.
        self.worker = secrets.token_hex(8)
        self._strays = {job.id for job in self._jobs.values() if job.state is State.RUNNING}
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False

    def abandon(self) -> None:
        self._is_open = False
        self._hints = Hints()  # those who listen do so in the loop that was closed

    def now(self) -> float:
        return self._clock()

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        if key is not None and (holder := await self.keyed(key)) is not None:
            return holder
        if job.id in self._jobs:
            raise Conflict(f"there is a job {job.id} already")
        if key is not None:
            self._take_key(key, job.id)
        self._keep(job)
        self._requests[job.id] = request
        self._hint(None, job)
        return job

    async def keyed(self, key: Key) -> Job | None:
        if key.digest not in self._holders:
            return None
        job_id, fingerprint = self._holders[key.digest]
        job = self._jobs[job_id]
        return job if key.is_taken_by(job.state, fingerprint) else None

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        job = self._jobs.get(job_id)
        if job is None or (owner is not ANYONE and job.owner != owner):
            raise JobNotFound(f"no job {job_id}")
        return job

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        found = (self._jobs.get(job_id) for job_id in job_ids)
        return {job.id: job.version for job in found if job is not None}

    async def ids(self, prefix: str, limit: int) -> list[str]:
        return nsmallest(limit, (job_id for job_id in self._jobs if job_id.startswith(prefix)))

    async def request(self, job_id: str) -> Request:
        try:
            return self._requests[job_id]
        except KeyError:
            raise JobNotFound(f"no request of a job {job_id} is kept") from None

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self.get(job_id, owner), self._responses.get(job_id)

    async def find(self, query: Query) -> list[Job]:
        places = merge(*self._shelves_for(query))  # no more of it is looked at than is taken
        jobs = (
            self._jobs[at.id] for at in places if share_of(at.number, query.shares) == query.share
        )
        if query.ahead_of is not None:
            end = self._place_of(query.ahead_of)
            jobs = (job for job in jobs if self._place_of(job) < end)
        return query.cut(filter(query.matches, jobs))

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        places = self._deadlines[: bisect_left(self._deadlines, (before,))]
        jobs = (self._jobs[at.id] for at in places)
        return list(islice(filter(Query(program=program).matches, jobs), limit))

    async def count(self, query: Query) -> int:
        if replace(query, limits=None) == _as_of_shelves(query):
            number = self._count_on_shelves(query)
        elif query.program is not None and query == replace(
            _QUEUED, owner=query.owner, program=query.program, limit=query.limit
        ):
            programs = query.program, None
            number = sum(self._queued.get((query.owner, program), 0) for program in programs)
        else:
            number = len(await self.find(query))
        return min(number, query.limit)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        stored = self._jobs.get(old.id)
        if stored is None or stored.version != old.version:
            raise Conflict(f"job {old.id} is no longer at version {old.version}")
        self._keep(new)
        if response is not None:
            self._responses[old.id] = response
        elif not new.state.is_final:
            self._responses.pop(old.id, None)
        if erase:
            self._requests.pop(old.id, None)
        self._hint(old, new)

    async def purge(self, before: float) -> int:
        purged = 0
        for job in in_a_slice(self._expired(before)):
            self._take_from_shelf(self._jobs.pop(job.id))
            self._take_from_arrivals(job)
            del self._numbers[job.id]
            self._requests.pop(job.id, None)
            self._responses.pop(job.id, None)
            self._forget_key(job.id)
            purged += 1
        return purged

    def changes(self) -> AsyncIterator[Hint]:
        return self._hints.listen()

    async def programs(self) -> frozenset[str]:
        return frozenset(
            shelf.program
            for shelf in self._shelves
            if shelf.program is not None and not shelf.state.is_final
        )

    async def liveness(self, worker: str) -> Liveness:
        # Whoever else ran jobs of this store would have taken it along.
        return Liveness.ALIVE if worker == self.worker else Liveness.DEAD

    async def orphans(self) -> list[Orphan]:
        return [Orphan(self._jobs[job_id], blamed=False) for job_id in self._strays]

    def announce(self, presence: Presence) -> None:
        return  # there is nobody to tell

    async def others(self) -> list[Presence]:
        return []

    def _hint(self, old: Job | None, new: Job) -> None:
        self._hints.send([Changed(new.id), *hints_of(old, new, self.worker)])

    def _keep(self, job: Job) -> None:
        if job.id in self._jobs:
            self._take_from_shelf(self._jobs[job.id])
        else:
            self._numbers[job.id] = next(self._next_number)
            for owner in (ANYONE, job.owner):
                insort(self._arrivals.setdefault(owner, []), self._arrival_of(job))
        self._jobs[job.id] = job
        self._put_on_shelf(job)
        if job.state is State.RUNNING and job.worker != self.worker:
            self._strays.add(job.id)
        else:
            self._strays.discard(job.id)
        if job.state.is_final and job.expires is not None:
            heappush(self._expiries, (job.expires, job.id))

    def _take_key(self, key: Key, job_id: str) -> None:
        if key.digest in self._holders:
            del self._digests[self._holders[key.digest][0]]
        self._holders[key.digest] = job_id, key.fingerprint
        self._digests[job_id] = key.digest

    def _forget_key(self, job_id: str) -> None:
        if (digest := self._digests.pop(job_id, None)) is not None:
            del self._holders[digest]

    def _expired(self, before: float) -> Iterator[Job]:
        while self._expiries and self._expiries[0][0] < before:
            expires, job_id = heappop(self._expiries)
            job = self._jobs.get(job_id)
            if job is not None and job.expires == expires:
                yield job

    def _shelves_for(self, query: Query) -> list[list[_Place]]:
        asked = _as_of_shelves(query)
        return [shelf for shelf in self._shelves.values() if asked.matches(self._jobs[shelf[0].id])]

    def _count_on_shelves(self, query: Query) -> int:
        end = None if query.ahead_of is None else self._place_of(query.ahead_of)
        numbers: Counter[str] = Counter()
        for shelf in self._shelves_for(query):
            route = self._jobs[shelf[0].id].route
            numbers[route] += len(shelf) if end is None else bisect_left(shelf, end)
        limits = query.limits or {}
        return sum(min(number, limits.get(route, number)) for route, number in numbers.items())

    def _put_on_shelf(self, job: Job) -> None:
        insort(self._shelves.setdefault(_shelf_of(job), []), self._place_of(job))
        if (deadline := self._deadline_of(job)) is not None:
            insort(self._deadlines, deadline)
        self._count_queued(job, 1)

    def _take_from_shelf(self, job: Job) -> None:
        shelf = self._shelves[_shelf_of(job)]
        del shelf[bisect_left(shelf, self._place_of(job))]
        if not shelf:
            del self._shelves[_shelf_of(job)]
        if (deadline := self._deadline_of(job)) is not None:
            del self._deadlines[bisect_left(self._deadlines, deadline)]
        self._count_queued(job, -1)

    def _count_queued(self, job: Job, change: int) -> None:
        if job.state is State.QUEUED:
            whose = job.owner, job.program
            if number := self._queued.pop(whose, 0) + change:
                self._queued[whose] = number

    def _take_from_arrivals(self, job: Job) -> None:
        for owner in (ANYONE, job.owner):
            arrivals = self._arrivals[owner]
            del arrivals[bisect_left(arrivals, self._arrival_of(job))]
            if not arrivals:
                del self._arrivals[owner]

    def _place_of(self, job: Job) -> _Place:
        # A job that is not here, if others are to be ahead of it, is in front of its like.
        return _Place(job.due, self._numbers.get(job.id, -1), job.id)

    def _deadline_of(self, job: Job) -> _Deadline | None:
        if job.cancel_at is None or job.state.is_final or job.cancel_requested:
            return None
        return _Deadline(job.cancel_at, self._numbers[job.id], job.id)

    def _arrival_of(self, job: Job) -> _Arrival:
        return _Arrival(job.created, self._numbers[job.id], job.id)

    # The last one: see `Store.list`.
    async def list(self, listing: Listing) -> Page:
        arrivals = self._arrivals.get(listing.owner, [])
        first, end = 0, len(arrivals)
        if listing.since is not None:
            first = bisect_left(arrivals, (listing.since,))
        if listing.before is not None:
            end = bisect_left(arrivals, (listing.before.created, listing.before.number))
        jobs: list[Job] = []
        at = end
        while at > max(first, end - MAX_PAGE) and len(jobs) < listing.limit:
            at -= 1
            job = self._jobs[arrivals[at].id]
            if listing.matches(job):
                jobs.append(job)
        return Page(jobs, Cursor(*arrivals[at][:2]) if at > first else None)


def _as_of_shelves(query: Query) -> Query:
    """What all jobs of a shelf agree in, of what is asked."""
    return replace(
        query,
        owner=ANYONE,
        worker=None,
        cancel_requested=None,
        share=0,
        shares=1,
        limits=None,
        skip=0,
    )


def _shelf_of(job: Job) -> _Shelf:
    return _Shelf(job.state, job.route, job.program, job.is_suspect)
