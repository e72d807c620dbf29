"""See and steer the jobs of a store: runs nothing, and knows no handlers.

`open` is for guests, who look at a store from outside of the program that runs its jobs::

    async with asyncjobs.control.open("sqlite:///jobs.db") as jobs:
        for job in (await jobs.list(Listing(states=frozenset({State.FAILED})))).jobs:
            print(job.id, job.route, job.reason)
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress

from . import transitions
from .errors import Conflict, InvalidTransition, JobNotFound, StoreUnavailable
from .given import number
from .job import Job, Response, State
from .listing import Listing, Page
from .store import ANYONE, Liveness, Owner, Query, Store
from .stores import open_as_guest
from .verdict import cancelled
from .watch import Follower, Watch


@asynccontextmanager
async def open(url: str) -> AsyncIterator[Control]:  # noqa: A001 - as it is called by its module
    """The jobs of the store that `url` names, beside a living server or of a stopped one.

    To look reads only, makes nothing and holds up nobody. To `cancel` or to `retry` joins the store
    as a guest, as its owner alone may: the servers hear of that at once; where none runs, the next
    one goes on from there.

    Raises:
        ConfigurationError: no store has such a URL, or none that can be seen from outside.
        StoreError: it is not there or cannot be read; the message says what to do. Where it cannot
            be joined, `Control.cancel` and `Control.retry` raise that.
    """
    async with open_as_guest(url) as store, Watch(store) as watch:
        yield Control(store, watch)


#: The states that a job can be retried from.
RETRIABLE = frozenset(
    state for state, steps in transitions.TRANSITIONS.items() if transitions.Step.RETRY in steps
)


class Control:
    """The jobs of an open store, for whoever wants to see and steer them.

    What `Jobs` offers of this is the same, and there is one in each.

    Args:
        watch: of the same store.
    """

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    async def get(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """The job as it is now.

        Args:
            job_id: 32 hex digits, as in `Job.id`.
            owner: whose it has to be. None is nobody in particular, as jobs of `Jobs.submit` are;
                `ANYONE`, the default, takes any job.

        Raises:
            JobNotFound: there is none with this id, or it is not `owner`'s.
            StoreUnavailable
        """
        return await self._store.get(job_id, owner)

    async def wait(
        self, job_id: str, timeout: float | None = None, *, owner: Owner = ANYONE
    ) -> Job:
        """The job once it is final, or as it is after `timeout` seconds, or when we shut down.

        Args:
            timeout: in seconds. None or infinity for no limit; 0 or less for the job as it is now.
            owner: as in `get`.

        Raises:
            JobNotFound: as in `get`; also if it is forgotten meanwhile, at the end of its ``ttl``.
            TypeError, ValueError: the timeout is no number.
            StoreUnavailable
        """
        limit = math.inf if timeout is None else number("timeout", timeout, infinite=True)
        with self.follow(job_id) as follower:
            job = await self.get(job_id, owner=owner)
            if job.state.is_final or limit <= 0:
                return job
            return await self.until_final(follower, job, limit) or await follower.now(job)

    async def poll(self, job_id: str, *, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        """The job as it is now, and its response if it is final, else None.

        Of a job that has failed that is a problem document, as a client of the app would get it.

        Args:
            owner: as in `get`.

        Raises:
            JobNotFound: there is none with this id, or it is not `owner`'s.
            StoreUnavailable
        """
        return await self._store.result(job_id, owner)

    async def find(self, query: Query) -> list[Job]:
        """The jobs that `query` asks for, oldest due first: 100 at most unless it says otherwise.

        Raises:
            StoreUnavailable
        """
        return await self._store.find(query)

    async def cancel(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """Cancel the job: at once if nobody runs it, else as soon as its handler stops.

        Returns the job as it is then: ``cancelled``, or ``running`` and asked to stop, which a
        process that lives does within seconds.

        Args:
            owner: as in `get`.

        Raises:
            JobNotFound: as in `get`.
            StoreUnavailable: it runs, and it cannot be told whether its process lives.
            InvalidTransition: it is final already.
        """
        while True:
            job = await self._store.get(job_id, owner)
            if job.state.is_final:
                raise InvalidTransition(f"the job is {job.state} already and cannot be cancelled")
            runs = await self._runs(job)
            if job.cancel_requested and runs:
                return job
            new, response = cancelled(job, self._store.now(), runs=runs)
            with suppress(Conflict):
                await self._store.replace(job, new, response)
                return new

    async def retry(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """Queue a failed, interrupted or cancelled job once more; its counts begin anew.

        Its result is forgotten with that.

        Args:
            owner: as in `get`.

        Raises:
            JobNotFound: as in `get`.
            JobUnreadable: its request is damaged.
            InvalidTransition: it is not final, or it has succeeded, or its request is not kept.
            StoreUnavailable
        """
        while True:
            job = await self._store.get(job_id, owner)
            if job.state not in RETRIABLE:
                raise InvalidTransition(f"the job is {job.state} and cannot be retried")
            new = transitions.retry(job, self._store.now())
            await self._refuse_without_request(job, owner)
            with suppress(Conflict):
                await self._store.replace(job, new)
                return new

    def follow(self, job_id: str) -> AbstractContextManager[Follower]:
        """The job, to be read and then waited for: see `Watch.follow`, and `until_final`."""
        return self._watch.follow(job_id)

    async def until_final(self, follower: Follower, job: Job, limit: float) -> Job | None:
        """As `Follower.until_final`, of a job that is followed here."""
        return await follower.until_final(job, limit)

    async def _refuse_without_request(self, job: Job, owner: Owner) -> None:
        """Raises:
        JobNotFound, JobUnreadable, InvalidTransition: as `retry`.
        """
        try:
            await self._store.request(job.id)
        except JobNotFound:
            await self._store.get(job.id, owner)  # or it was forgotten just now, with its request
            raise InvalidTransition(
                f"the job is {job.state} and cannot be retried, as its request is not kept: have "
                "it submitted anew. The setting 'keep_requests' says which requests are kept"
            ) from None

    async def _runs(self, job: Job) -> bool:
        """Whether a living process runs the job.

        Raises:
            StoreUnavailable: that cannot be told.
        """
        if job.state is not State.RUNNING or job.worker is None:
            return False
        liveness = await self._store.liveness(job.worker)
        if liveness is Liveness.UNKNOWN:
            raise StoreUnavailable(
                "it cannot be told whether the process that runs the job lives, and would stop it: "
                "try again soon"
            )
        return liveness is Liveness.ALIVE

    # The last one: below it `list` is no type to a checker.
    async def list(self, listing: Listing | None = None) -> Page:
        """A page of the jobs, newest first; `Page.next` is where the next one begins.

        Args:
            listing: which jobs, and how many; unless given, the newest of all.

        Raises:
            StoreUnavailable
        """
        return await self._store.list(listing or Listing())
