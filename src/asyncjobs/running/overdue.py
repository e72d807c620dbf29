"""Cancels jobs whose Cancel-After is over, in the stead of whoever has set it."""

from __future__ import annotations

from ..events import Action, Emit, Finished
from ..job import Job, State
from ..store import Store
from ..tasks import all_to_the_end
from ..verdict import cancelled
from .apart import Apart

#: So many are cancelled at a time.
OVERDUE_CHUNK = 100


class Overdue:
    """The jobs of a store whose time is over, whoever runs them.

    Args:
        emit: is told what happens.
    """

    def __init__(self, store: Store, emit: Emit) -> None:
        self._store = store
        self._emit = emit
        self._cancellations = Apart(emit, Action.CANCEL)

    async def cancel_some(self) -> bool:
        """Cancel some of those whose time is over; whether there may be more.

        Raises:
            StoreUnavailable
        """
        overdue = await self._store.overdue(self._store.now(), limit=OVERDUE_CHUNK)
        # Together, so that all of it is one transaction.
        done = await all_to_the_end(
            self._cancellations.done(job.id, self.cancel(job)) for job in overdue
        )
        # Where nothing could be done there would be the same to do again.
        return len(overdue) == OVERDUE_CHUNK and any(done)

    async def cancel(self, job: Job) -> None:
        """End the job, or have it stopped where it runs: if its process has died, that is seen to
        by those who rescue it.

        Raises:
            Conflict: it has changed just now.
            StoreUnavailable
        """
        runs = job.state is State.RUNNING
        new, response = cancelled(job, self._store.now(), runs=runs)
        await self._store.replace(job, new, response)
        if new.state.is_final:
            self._emit(Finished(new))
