"""Queued jobs that running ones wait for: they go first.

Who waits gives its place to the next one in the queue, which is mostly one of its own kind, as what
they wait for was queued later. So all the parents would begin, each with a thread that is lent and
what else it holds, before the first child does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from ..errors import JobNotFound
from ..job import Job, State
from ..store import Store


class Awaited:
    """The jobs that are waited for, by their ids, and those of them that may still be queued.

    Args:
        added: called when there is one more, and a slot that it may have.
    """

    def __init__(self, store: Store, added: Callable[[], None]) -> None:
        self._store = store
        self._added = added
        self._waiters: Counter[str] = Counter()
        # In the order in which somebody began to wait for them; without those that have begun.
        self._queued: dict[str, None] = {}

    def add(self, job_id: str) -> None:
        """One more running job waits for this one."""
        self._waiters[job_id] += 1
        self._queued[job_id] = None
        self._added()

    def discard(self, job_id: str) -> None:
        """One waits for it no more."""
        self._waiters[job_id] -= 1
        if not self._waiters[job_id]:
            del self._waiters[job_id]
            self._queued.pop(job_id, None)

    async def find(self, limit: int) -> list[Job]:
        """So many queued ones at most, those first that are waited for the longest."""
        found: list[Job] = []
        for job_id in list(self._queued):
            if len(found) == limit:
                break
            with suppress(JobNotFound):  # it is another program's, or there is none
                job = await self._store.get(job_id)
                if job.state is State.QUEUED:
                    found.append(job)
                    continue
            self._queued.pop(job_id, None)
        return found
