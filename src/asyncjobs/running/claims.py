"""Which jobs this process may perform, and what becomes of those that nobody performs any more."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import Conflict, StoreUnavailable
from ..events import Action, Emit, Finished, Gone, Rescued
from ..handler import Handler
from ..job import Job, State
from ..store import Orphan, Query, Store
from ..tasks import all_to_the_end
from ..transitions import start
from ..verdict import gone, is_due, is_overdue, orphaned
from .apart import Apart
from .claim import Claim, ClaimContext
from .overdue import Overdue

#: So many jobs of dead workers are decided about at a time.
RESCUE_CHUNK = 100
#: At most so many jobs that nobody can run are ended at a time.
GONE_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Due:
    """Queued jobs that were looked for.

    Attributes:
        jobs: those that may be started now.
        wait: seconds until one of the others may; None if there is none.
    """

    jobs: list[Job]
    wait: float | None


class Claims:
    """Claims jobs of one store for this process, and decides about those that are nobody's.

    What engines and the sweeper are given. A job that may be stored as started here, although the
    write of that has failed, is left running in the name of a process that lives and never began
    with it, so that to nobody it is an orphan: it is in doubt until it is known what became of it.

    Args:
        handlers: what can be run here, by route; there may be more later.
        emit: is told what happens.
        random: for jitter, and for what is left to chance.
        max_starts: how often a job is started at most.

    Attributes:
        store, handlers, emit, random: as given: nobody who has the claims is given them as well.
    """

    def __init__(
        self,
        store: Store,
        handlers: Mapping[str, Handler],
        emit: Emit,
        random: random.Random,
        max_starts: int,
    ) -> None:
        self.store = store
        self.handlers = handlers
        self.emit = emit
        self.random = random
        self._context = ClaimContext(store, emit, random, max_starts)
        self._doubted: dict[str, Claim] = {}
        self._rescues = Apart(emit, Action.RESCUE)
        self._settlements = Apart(emit, Action.SETTLE)
        self._ends = Apart(emit, Action.END)
        self._overdue = Overdue(store, emit)

    def start(self, job: Job, at: float) -> Claim:
        """The claim on a job that is to be stored as started: whoever stores it says so by that, or
        that it is in `doubt`."""
        self._forget(job.id)  # this write will tell by itself how that went
        started = start(job, self.store.worker, at)
        return Claim(self._context, started, self.handlers[job.route])

    async def claim(self, job: Job) -> Claim | None:
        """Start a queued job for this process; None if somebody else was faster, or its time is
        over and it is cancelled instead.

        Raises:
            StoreUnavailable: it does not run here, whatever the store says of it.
        """
        if job.cancel_at is not None and is_overdue(job, self.store.now()):
            with suppress(Conflict):
                await self._overdue.cancel(job)
            return None
        claim = self.start(job, self.store.now())
        try:
            await self.store.replace(job, claim.job)
        except Conflict:
            return None
        except StoreUnavailable:
            self.doubt(claim)
            raise
        return claim

    def doubt(self, claim: Claim) -> None:
        """The write of this start has failed; the job will not be run, whatever the store says."""
        self._doubted[claim.job.id] = claim

    async def due(self, query: Query) -> Due:
        """The queued ones of the jobs that `query` asks for, as far as they may be started."""
        return self.due_of(await self.store.find(replace(query, states=frozenset({State.QUEUED}))))

    def due_of(self, queued: list[Job]) -> Due:
        """Those that may be started now."""
        now = self.store.now()
        due = [job for job in queued if is_due(job, now)]
        if len(due) == len(queued):
            return Due(due, None)
        return Due(due, min(job.due for job in queued if not is_due(job, now)) - now)

    async def find_overruled(self, limit: int) -> list[Job]:
        """Jobs that run here, and that somebody, somewhere, has asked to cancel."""
        return await self.store.find(
            Query(
                states=frozenset({State.RUNNING}),
                worker=self.store.worker,
                cancel_requested=True,
                limit=limit,
            )
        )

    async def rescue(self) -> None:
        """Decide about some of the jobs that dead workers have left.

        Raises:
            StoreUnavailable
        """
        # Together, so that all of it is one transaction, and a short one.
        orphans = islice(await self.store.orphans(), RESCUE_CHUNK)
        await all_to_the_end(
            self._rescues.done(orphan.job.id, self._rescue(orphan)) for orphan in orphans
        )

    async def cancel_overdue(self) -> bool:
        """Cancel some of the jobs whose Cancel-After is over, whoever runs them; whether there may
        be more.

        Raises:
            StoreUnavailable
        """
        return await self._overdue.cancel_some()

    async def settle(self) -> None:
        """Give back the jobs in doubt that were stored as started after all.

        Raises:
            StoreUnavailable: some are left for the next time.
        """
        for job_id, claim in list(self._doubted.items()):
            # What has changed just now is for the next time.
            settled = await self._settlements.done(job_id, claim.release())
            if settled and self._doubted.get(job_id) is claim:
                self._forget(job_id)

    async def find_gone(self) -> list[Job]:
        """Some of the queued jobs that no living process of this store can run, as far as they say
        what they can.

        Raises:
            StoreUnavailable
        """
        if not self.handlers or not await self.store.find(unknown_to(self.handlers, 1)):
            return []  # only who runs jobs can tell
        routes = set(self.handlers)
        for other in await self.store.others():
            if other.routes is None:
                return []
            routes |= other.routes
        return await self.store.find(unknown_to(routes, GONE_CHUNK))

    async def end(self, jobs: Iterable[Job]) -> None:
        """Fail these queued jobs, which nobody can run.

        Raises:
            StoreUnavailable
        """
        await all_to_the_end(self._ends.done(job.id, self._end(job)) for job in jobs)

    def _forget(self, job_id: str) -> None:
        if (claim := self._doubted.pop(job_id, None)) is not None:
            claim.is_over = True

    async def _rescue(self, orphan: Orphan) -> None:
        """Decide about a dead worker's job.

        Raises:
            Conflict: a peer was faster.
        """
        rescued, response = orphaned(
            orphan.job,
            self.store.now(),
            self.random,
            blamed=orphan.blamed,
            max_starts=self._context.max_starts,
        )
        await self.store.replace(orphan.job, rescued, response)
        self.emit(Rescued(rescued))
        if rescued.state.is_final:
            self.emit(Finished(rescued))

    async def _end(self, job: Job) -> None:
        ended, response = gone(job, self.store.now())
        await self.store.replace(job, ended, response)
        self.emit(Gone(ended))
        self.emit(Finished(ended))


def unknown_to(routes: Iterable[str], limit: int) -> Query:
    """The queued jobs of all other routes."""
    return Query(states=frozenset({State.QUEUED}), not_routes=frozenset(routes), limit=limit)
