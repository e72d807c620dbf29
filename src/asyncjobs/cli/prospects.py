"""Who would run a job, of those who have its store open."""

from __future__ import annotations

from collections.abc import Sequence

from ..job import Job, State
from ..store import STRANGER, Liveness, Presence, Store


async def waits_for(store: Store, job: Job, others: Sequence[Presence] | None = None) -> str | None:
    """What a job that is not final waits for, if that is more than its turn or its handler.

    Args:
        others: as in `prospects`; the store is asked unless they are given.
    """
    if job.state is State.QUEUED:
        return prospects(job, await store.others() if others is None else others)
    if job.worker is None or await store.liveness(job.worker) is not Liveness.DEAD:
        return None
    return "its process is dead: a server on this store rescues it, or the next start does"


def prospects(job: Job, others: Sequence[Presence]) -> str | None:
    """Why a queued job waits for more than its turn; None if somebody can run it, or may.

    Args:
        others: what those say of themselves who have the store open.
    """
    if STRANGER in others:  # of whom nothing is known
        return None
    living = [
        other
        for other in others
        if not other.stopping and (job.program is None or other.program == job.program)
    ]
    if not living:
        whose = "no server" if job.program is None else f"no process of {job.program!r}"
        return f"{whose} has the store open: the next start runs it"
    if any(other.routes is None or job.route in other.routes for other in living):
        if job.is_suspect:
            return f"{job.crashes} processes died under it: it runs beside no other such job"
        return None
    return (
        f"no process that runs has a handler for {job.route!r}: start one that has it, or the job "
        "fails in the end"
    )
