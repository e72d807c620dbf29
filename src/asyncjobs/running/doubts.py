"""Jobs that may be stored as started here, although the write that starts them failed.

A store that does not know whether it has applied a write says that it has not. Such a job would be
left running in the name of a process that lives and never began with it, so that to nobody it is an
orphan.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..apart import Apart
from ..errors import JobNotFound
from ..job import Job
from ..store import Store
from ..transitions import is_same_claim
from ..verdict import never_started

logger = logging.getLogger("asyncjobs")


class Doubts:
    """Remembers such jobs, each as it was to be stored, until it is known what became of it."""

    def __init__(self, store: Store, clock: Callable[[], float], max_starts: int) -> None:
        self._store = store
        self._clock = clock
        self._max_starts = max_starts
        self._jobs: dict[str, Job] = {}
        self._apart = Apart("cannot be given back")

    def add(self, job: Job) -> None:
        """The write of this started job failed; it will not be run, whatever the store says."""
        self._jobs[job.id] = job

    def clear(self, job_id: str) -> None:
        """The job is to be started by another write, which will tell by itself how that went."""
        self._jobs.pop(job_id, None)

    async def settle(self) -> None:
        """Give back the jobs that were stored after all.

        Raises:
            StoreUnavailable: some doubts are left for the next time.
        """
        for job in list(self._jobs.values()):
            # What has changed just now is for the next time.
            settled = await self._apart.done(job.id, self._settle(job))
            if settled and self._jobs.get(job.id) is job:
                self.clear(job.id)

    async def _settle(self, job: Job) -> None:
        try:
            stored = await self._store.get(job.id)
        except JobNotFound:
            return
        # During the read, another write may have begun to start it.
        if self._jobs.get(job.id) is job and is_same_claim(stored, job):
            given_back, response = never_started(stored, self._clock(), self._max_starts)
            await self._store.replace(stored, given_back, response)
            logger.warning("job %s was never started and is %s now", job.id, given_back.state)
