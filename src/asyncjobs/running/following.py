"""To wait for a job, for whoever may be a job himself."""

from __future__ import annotations

import asyncio

from ..control import Following
from ..job import Job
from .current import running_job


class JobFollowing:
    """As `Following`, for whoever may be a job himself, which gives its place back meanwhile."""

    def __init__(self, following: Following, loop: asyncio.AbstractEventLoop) -> None:
        self._following = following
        self._loop = loop

    async def until_final(self, job: Job, limit: float) -> Job:
        """As `Following.until_final`."""
        waits = running_job.get(None)
        if waits is None or waits.program.loop is not self._loop:
            return await self._following.until_final(job, limit)
        if job.state.is_final or limit <= 0:
            return job  # its place is given back only if there is something to wait for
        async with waits.waiting(job.id):
            return await self._following.until_final(job, limit)
