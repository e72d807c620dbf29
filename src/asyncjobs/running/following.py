"""To wait for a job, for whoever may be a job himself."""

from __future__ import annotations

import asyncio

from ..job import Job
from ..watch import Follower
from .current import running_job


async def until_final(
    follower: Follower, job: Job, limit: float, loop: asyncio.AbstractEventLoop
) -> Job | None:
    """As `Follower.until_final`; a job that waits in this loop gives its place back meanwhile."""
    waits = running_job.get(None)
    if waits is None or waits.program.loop is not loop:
        return await follower.until_final(job, limit)
    async with waits.waiting(job.id):
        return await follower.until_final(job, limit)
