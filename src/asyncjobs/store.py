"""The one storage interface. A store knows jobs, requests and responses, but no transitions.

What every store promises (`testing.StoreContract` proves it):

* `add` and `replace` are durable when they return, and nobody in this process reads a change
  before it is durable;
* `replace` is the only write to an existing job, and conditional on the version that it was
  decided on: a worker that lost its job can change nothing;
* `changes` gives hints, of the writes of this process and of others, once they are durable;
* a job is an orphan only if it is known that its worker is dead; that nobody could look is no
  proof.
"""

from __future__ import annotations

import enum
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from .errors import JobNotFound, SetupError
from .given import whole
from .hints import Hint
from .job import Job, Request, Response, State
from .key import Key
from .listing import Listing, Page
from .owner import ANYONE as ANYONE
from .owner import Owner as Owner

#: A store deals its jobs into so many shares at most.
MAX_SHARES = 256
#: So many seconds a store is waited for when its program ends, in case that it never answers.
ANSWER_DEADLINE: Final = 10.0


def share_of(number: int, shares: int) -> int:
    """Which of so many shares the job is in that came as this one into its store.

    A hash (Knuth, The Art of Computer Programming 3, 6.4): dealt in turn, the jobs of a route that
    is every other one's would all be in every other share.
    """
    return (number * 40503 & 0xFFFF) * shares >> 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which jobs to find, oldest due first; or to count. A field left at None does not restrict.

    It is made for who takes jobs from the queue. For who looks there is `Listing`: the newest
    first, a page at a time, of however many.

    Attributes:
        states: jobs in one of these.
        routes: jobs of one of these: endpoints, or names of functions.
        not_routes: jobs of none of these.
        program: the jobs of this program, and those that belong to anybody.
        owner: the jobs of this owner; None is nobody in particular, `ANYONE` restricts nothing.
        worker: the jobs that this process runs.
        cancel_requested: whether a running job was asked to stop.
        ahead_of: queued jobs that a store has in front of this one, which is queued as well: those
            that are due earlier, and those that are due when it is and were added earlier.
        suspects: whether they may be the reason why their processes died; see `Job.is_suspect`.
        share: of as many shares as `shares` says, into which a store deals the jobs by chance, but
            always alike, so that processes which take different ones do not meet.
        limit: so many are found at most.
        limits: so many of each of these routes are found at most; the older ones, and before any
            are left out by `skip`.
        skip: so many of the oldest are left out.

    Raises:
        TypeError, ValueError: a limit, a share or skip is no such number.
    """

    states: frozenset[State] | None = None
    routes: frozenset[str] | None = None
    not_routes: frozenset[str] | None = None
    program: str | None = None
    suspects: bool | None = None
    owner: Owner = ANYONE
    worker: str | None = None
    cancel_requested: bool | None = None
    ahead_of: Job | None = None
    share: int = 0
    shares: int = 1
    limit: int = 100
    limits: Mapping[str, int] | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        whole("shares", self.shares, least=1, most=MAX_SHARES)
        whole("share", self.share, least=0, most=self.shares - 1)
        whole("limit", self.limit, least=0)
        whole("skip", self.skip, least=0)
        for route, limit in (self.limits or {}).items():
            whole(f"the limit of {route}", limit, least=0)

    def matches(self, job: Job) -> bool:
        """Whether `job` is one of those asked for; limits, `share`, `skip` and `ahead_of` aside."""
        return (
            (self.states is None or job.state in self.states)
            and (self.routes is None or job.route in self.routes)
            and (self.not_routes is None or job.route not in self.not_routes)
            and (self.program is None or job.program in (None, self.program))
            and (self.suspects is None or job.is_suspect == self.suspects)
            and (self.owner is ANYONE or job.owner == self.owner)
            and (self.worker is None or job.worker == self.worker)
            and (self.cancel_requested is None or job.cancel_requested == self.cancel_requested)
            and (self.ahead_of is None or job.state is State.QUEUED)
        )

    def cut(self, jobs: Iterable[Job]) -> list[Job]:
        """Those of the jobs, which are in order, that `limit`, `limits` and `skip` leave."""
        if self.limits is not None:
            jobs = _at_most(self.limits, jobs)
        return list(islice(islice(jobs, self.skip, None), self.limit))


def _at_most(limits: Mapping[str, int], jobs: Iterable[Job]) -> Iterator[Job]:
    left = dict(limits)
    for job in jobs:
        if job.route in left:
            if not left[job.route]:
                continue
            left[job.route] -= 1
        yield job


class Liveness(enum.Enum):
    """What is known of a worker: UNKNOWN if nobody could look, which proves nothing."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


# Made anew by a process that imports this; a forked child has it from its parent, but not its id.
_ORIGIN = secrets.token_hex(8)


def this_process() -> str:
    """A token that all stores of this process have in common, and those of no other."""
    return f"{os.getpid()}-{_ORIGIN}"


@dataclass(frozen=True, slots=True)
class Presence:
    """What a process lets the others of its store know of itself. None stands for: not known.

    Attributes:
        program: its name.
        routes: what it has handlers for.
        stopping: whether it has been told to stop.
        process: a token that two stores have in common if they are open in one process.
    """

    program: str | None
    routes: frozenset[str] | None
    stopping: bool = False
    process: str = field(default_factory=this_process)


#: A process that does not say anything of itself, as those of earlier versions do not.
STRANGER: Final = Presence(None, None, process="")
#: A process that only sees and steers: it is no program, and runs nothing.
GUEST: Final = Presence(None, frozenset(), process="")


class Orphan(NamedTuple):
    """A job that is running, says the store, but whose worker is dead.

    Attributes:
        job: as it is stored.
        blamed: whether the job may be the reason for that: not if the worker had been told to stop,
            nor if it is not known to have died at all, as in a store that was restored.
    """

    job: Job
    blamed: bool


class Store(ABC):
    """Keeps jobs. Used as an async context manager: open within ``async with``, once.

    To be subclassed, and then given to the setting ``store``. `asyncjobs.testing.StoreContract` has
    what every store promises, as tests. `STRANGER` is in `asyncjobs.store`, and what hints are, and
    are made with, in `asyncjobs.hints`; `Key` is in `asyncjobs.key`.
    """

    #: This process's name in `Job.worker`; peers can tell whether its bearer still lives.
    worker: str

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            SetupError: it is open already.
            StoreError: it cannot be opened; the message says why and what to do.
        """
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is still to be written, and close."""
        return

    def abandon(self) -> None:
        """Close without waiting, as the event loop that the store was open in was closed.

        What was acknowledged is kept. What this process ran has no worker any more.
        """
        return

    def now(self) -> float:
        """The time, in seconds since the epoch, that all who use this store are to go by."""
        return time.time()

    @abstractmethod
    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        """Keep a new job and its request. Durable when it returns.

        Returns the job; or the one that has the key already, as it is now, and nothing is kept.

        If the caller is cancelled meanwhile, `get` tells afterwards what became of the job.

        Args:
            key: that no other job may have.

        Raises:
            KeyReused: another request has the key; nothing is kept.
            StoreUnavailable: it is not known whether the job is kept.
        """

    @abstractmethod
    async def keyed(self, key: Key) -> Job | None:
        """The job that `add` would return in the place of a new one with this key; None if it would
        keep that. It is durable when this returns, whoever has added it.

        Raises:
            KeyReused: another request has the key.
            StoreUnavailable
        """

    @abstractmethod
    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        """The job with this id, if it belongs to `owner`.

        Raises:
            JobNotFound: there is none, or it is somebody else's.
        """

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        """The versions of those of the jobs that are there: by one look at the store for all, if it
        can do that.

        One may be ahead of what `get` gives, by a change that is not durable yet.

        Raises:
            StoreUnavailable
        """
        versions = {}
        for job_id in job_ids:
            with suppress(JobNotFound):
                versions[job_id] = (await self.get(job_id)).version
        return versions

    async def ids(self, prefix: str, limit: int) -> list[str]:
        """The ids that begin with these hex digits, in their order, and no more than `limit`.

        By one step through an index, if the store has one: one that has none gives an id that is
        whole.

        Raises:
            StoreUnavailable
        """
        return list(await self.versions([prefix]))[:limit]

    @abstractmethod
    async def request(self, job_id: str) -> Request:
        """The request that the job was made from.

        Raises:
            JobNotFound: there is no such job, or its request was erased.
            JobUnreadable: it is damaged. Of a job or a response that is, a store makes one that has
                failed with this as its reason.
        """

    @abstractmethod
    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        """What a poll wants to know: the job, and its response if it is final.

        Raises:
            JobNotFound: there is none, or it is somebody else's.
        """

    async def response(self, job_id: str) -> Response:
        """The result of a final job.

        Raises:
            JobNotFound: there is no such job, or it has no response yet.
        """
        _, response = await self.result(job_id)
        if response is None:
            raise JobNotFound(f"no response of a job {job_id}")
        return response

    @abstractmethod
    async def find(self, query: Query) -> list[Job]:
        """The jobs that `query` asks for, oldest due first. Never reads bodies."""

    @abstractmethod
    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        """The jobs that have not ended, nor been asked to stop, and whose `Job.cancel_at` is before
        this time: those whose time came first are the first. Never reads bodies.

        It is asked several times a second, by each process.

        Args:
            program: the jobs of this program, and those that belong to anybody; None for all.
            limit: so many are told at most.

        Raises:
            StoreUnavailable
        """

    async def count(self, query: Query) -> int:
        """How many jobs `query` asks for, counted up to its limit.

        Of the queued jobs of a program it is asked whenever one more is to be queued, and of those
        that are ahead of one whenever somebody looks at that: it is not to read all of them.

        Raises:
            StoreUnavailable
        """
        return len(await self.find(query))

    @abstractmethod
    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        """Put `new` in the place of `old`, and keep its response if it is final now. Durable.

        A job that is not final any more loses the response that it had.

        Args:
            erase: whether the request is forgotten with that: `request` raises `JobNotFound` from
                then on, and what was in it is nowhere in the store, as far as that can be seen to.

        Raises:
            Conflict: the stored job is not the version of `old`; nothing was changed.
            StoreUnavailable: it is not known whether anything was changed.
        """

    @abstractmethod
    async def purge(self, before: float) -> int:
        """Forget some of the final jobs that expired before this time; how many, 0 if none is left.
        What was in them is nowhere in the store then, as far as that can be seen to.

        So many as a few milliseconds of the event loop are enough for, and at least one. Nobody who
        waits for other jobs is woken by that.
        """

    async def shrink(self) -> bool:
        """Give some of the space back that forgotten jobs have left; whether there is more of it.

        So much as a few milliseconds of the event loop are enough for. Some is kept for new jobs.
        """
        return False

    @abstractmethod
    def changes(self) -> AsyncIterator[Hint]:
        """Hints without end, from this call on: `Changed` of each write of this process, with
        `Queued` if it leaves the job queued, and `Overruled` if it asks a job to stop that runs
        here; each once the write is durable.

        Of the writes of other processes the same, but `Changed` only of jobs that somebody here
        follows; or `Something`, where that is all that is known. They may repeat and may be lost.
        """

    def follow(self, job: Job) -> None:
        """Somebody here waits for what becomes of this job, as it is now, and would like a hint.

        Called each time when somebody begins to wait, with the job as it was read, and again after
        each newer version as long as somebody does. To read a job asks for nothing.
        """
        return

    @abstractmethod
    async def programs(self) -> frozenset[str]:
        """The programs that have jobs here which are still to be done."""

    @abstractmethod
    async def liveness(self, worker: str) -> Liveness:
        """Whether the process that is called `worker` in this store lives."""

    @abstractmethod
    async def orphans(self) -> list[Orphan]:
        """Jobs that are running, says the store, but whose worker is dead or nobody at all.

        None of a worker of whom that is not known. Cheap enough to be asked several times a second;
        of many it may give some, and the others when it is asked again.
        """

    @abstractmethod
    def announce(self, presence: Presence) -> None:
        """Let the others on this store know this of us, in the place of what they were told before.

        If that cannot be done they know nothing of us, and the log says so.
        """

    @abstractmethod
    async def others(self) -> list[Presence]:
        """What the others say of themselves who have this store open: all but those that are dead,
        and but for each `GUEST`.

        One who says nothing, or whom nobody can look at, is a `STRANGER`.
        """

    async def backup(self, path: Path | str) -> None:
        """Copy the store, with all that was acknowledged so far, to a new file at `path`.

        The copy is a store of its own. It does not hold up the store, nor the event loop.

        Raises:
            SetupError: there can be no such file, or this store has none to copy.
            StoreUnavailable: it could not be read or written; no file is left.
        """
        raise SetupError(
            "this store has no file to copy, as its jobs end with the process: keep them in a "
            "file, as store='sqlite:///jobs.db' does, to have something to back up"
        )

    async def health(self) -> str | None:
        """Look whether a new job would be kept now. Writes nothing.

        Returns what is wrong although it would be, in words for clients; None if that is nothing.

        Raises:
            StoreUnavailable: it would not; the message says why, in words for clients.
        """
        return None

    # The last one of its class: in a class, `list` is this and no type in the lines below it.
    @abstractmethod
    async def list(self, listing: Listing) -> Page:
        """A page of the jobs that `listing` asks for, the newest first. Never reads bodies.

        It takes as long with millions of jobs as with few: a page may be short, or empty, with
        others behind it. A job that is there all the time is on one of the pages and not on two,
        whatever comes, changes and goes between them. One may be ahead of what `get` gives, by a
        change that is not durable yet.

        Raises:
            StoreUnavailable
        """


class StoreWrapper(Store):
    """Passes every call on to `inner`, which it opens and closes: to be overridden in parts."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    # Some stores are given their name only when they are opened.
    @property
    def worker(self) -> str:  # type: ignore[override]
        return self.inner.worker

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc, traceback)

    def abandon(self) -> None:
        self.inner.abandon()

    def now(self) -> float:
        return self.inner.now()

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        return await self.inner.add(job, request, key)

    async def keyed(self, key: Key) -> Job | None:
        return await self.inner.keyed(key)

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        return await self.inner.get(job_id, owner)

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        return await self.inner.versions(job_ids)

    async def ids(self, prefix: str, limit: int) -> list[str]:
        return await self.inner.ids(prefix, limit)

    async def request(self, job_id: str) -> Request:
        return await self.inner.request(job_id)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self.inner.result(job_id, owner)

    async def find(self, query: Query) -> list[Job]:
        return await self.inner.find(query)

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        return await self.inner.overdue(before, program=program, limit=limit)

    async def count(self, query: Query) -> int:
        return await self.inner.count(query)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        await self.inner.replace(old, new, response, erase=erase)

    async def purge(self, before: float) -> int:
        return await self.inner.purge(before)

    async def shrink(self) -> bool:
        return await self.inner.shrink()

    def changes(self) -> AsyncIterator[Hint]:
        return self.inner.changes()

    def follow(self, job: Job) -> None:
        self.inner.follow(job)

    async def programs(self) -> frozenset[str]:
        return await self.inner.programs()

    async def liveness(self, worker: str) -> Liveness:
        return await self.inner.liveness(worker)

    async def orphans(self) -> list[Orphan]:
        return await self.inner.orphans()

    def announce(self, presence: Presence) -> None:
        self.inner.announce(presence)

    async def others(self) -> list[Presence]:
        return await self.inner.others()

    async def backup(self, path: Path | str) -> None:
        await self.inner.backup(path)

    async def health(self) -> str | None:
        return await self.inner.health()

    async def list(self, listing: Listing) -> Page:
        return await self.inner.list(listing)
