"""When to ask again, in seconds: what `Retry-After` says (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from ...job import Job

#: For a job it is a tenth of its age, between these bounds.
SOONEST, LATEST = 1, 30


def retry_after(job: Job, now: float, chance: float) -> int:
    """When to ask again for a job that is not final: one that has run for long is not about to end.

    It may end right after the answer, and its result is gone `Job.ttl` later: who asks again when
    told to must still find it.

    Args:
        chance: as in `spread`.
    """
    seconds = max(SOONEST, int(min(LATEST, job.ttl / 2, (now - job.created) / 10)))
    return max(SOONEST, int(min(job.ttl / 2, spread(seconds, chance))))


def spread(seconds: int, chance: float) -> int:
    """So many seconds, or by chance up to a quarter more, so that those who were answered together
    do not all come back together.

    Args:
        chance: from 0 to 1, that excluded.
    """
    return seconds + int(chance * (seconds // 4 + 1))
