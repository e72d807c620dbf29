"""Queued jobs that running ones wait for: they go first.

Who waits gives its place to the next one in the queue, which is mostly one of its own kind, as what
they wait for was queued later. So all the parents would begin, each with a thread that is lent and
what else it holds, before the first child does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..errors import JobNotFound
from ..job import Job, State
from ..store import Store


class Awaited:
    """The ids of those jobs that may still be queued.

    Args:
        added: called when there is one more, and a slot that it may have.
    """

    def __init__(self, store: Store, added: Callable[[], None]) -> None:
        self._store = store
        self._added = added
        self._waiting: Counter[str] = Counter()

    def add(self, job_id: str) -> None:
        """One more running job waits for this one."""
        self._waiting[job_id] += 1
        self._added()

    def discard(self, job_id: str) -> None:
        """One waits for it no more."""
        if self._waiting[job_id] > 1:
            self._waiting[job_id] -= 1
        else:
            del self._waiting[job_id]

    async def find(self, limit: int) -> list[Job]:
        """So many queued ones at most, those first that are waited for the longest."""
        found: list[Job] = []
        for job_id in list(self._waiting):
            if len(found) == limit:
                break
            try:
                job = await self._store.get(job_id)
            except JobNotFound:  # it is another program's, or there is none
                del self._waiting[job_id]
                continue
            if job.state is State.QUEUED:
                found.append(job)
            else:
                del self._waiting[job_id]  # it has begun
        return found
