"""To wait for a job, for whoever may be a job himself."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..control import Control
from ..job import Job
from ..store import Store
from ..watch import Follower, Watch
from .current import Program, running_job


class ProgramControl(Control):
    """The jobs of a program, for whoever is in it: its handlers as well.

    Args:
        program: that runs the jobs of this store.
    """

    def __init__(self, store: Store, watch: Watch, program: Program) -> None:
        super().__init__(store, watch)
        self._program = program

    def follow(self, job_id: str) -> AbstractContextManager[Follower]:
        """As `Control.follow`; a job of the program goes on waiting when that shuts down, until it
        is stopped."""
        waits = running_job.get(None)
        to_the_end = waits is not None and waits.program is self._program
        return self._watch.follow(job_id, to_the_end=to_the_end)

    async def until_final(self, follower: Follower, job: Job, limit: float) -> Job | None:
        """As `Control.until_final`; a job that waits in this loop gives its place back
        meanwhile."""
        waits = running_job.get(None)
        if waits is None or waits.program.loop is not self._program.loop:
            return await super().until_final(follower, job, limit)
        async with waits.waiting(job.id):
            return await super().until_final(follower, job, limit)
