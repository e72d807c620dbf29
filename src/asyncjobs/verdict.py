"""What becomes of a job, decided in plain functions: they take the facts and do nothing."""

from __future__ import annotations

import random

from .errors import JobFailure, JobInterrupted, JobWasCancelled
from .job import Job, Response
from .problem import problem

#: A job whose process died so often under it is taken to be the reason, and is not run again.
MAX_CRASHES = 3
#: The wait before the first rerun after a crash, in seconds; it doubles each time.
CRASH_BACKOFF = 1.0

#: The job as it shall be, and its response if that makes it final.
Verdict = tuple[Job, Response | None]


def concluded(job: Job, outcome: Response | JobFailure, at: float, ttl: float) -> Verdict:
    """A running job whose handler has come to `outcome`."""
    expires = at + ttl
    match outcome:
        case Response():
            return job.finish(outcome.status, at, expires), outcome
        case JobWasCancelled():
            return job.cancel(at, expires), problem(outcome)
        case JobInterrupted() if job.repeatable:
            return job.release(), None
        case JobInterrupted():
            return job.interrupt(at, expires), problem(outcome)
        case _:
            return job.fail(at, expires), problem(outcome)


def cancelled(job: Job, at: float, ttl: float) -> Verdict:
    """A job that somebody wants cancelled: one that is queued ends, a running one is asked to."""
    if job.worker is not None:
        return job.ask_to_cancel(), None
    outcome = JobWasCancelled("the job was cancelled before it started")
    return job.cancel(at, at + ttl), problem(outcome)


def orphaned(job: Job, at: float, ttl: float, random: random.Random) -> Verdict:
    """A running job whose worker has died.

    The waits before reruns have full jitter:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    crashes = job.crashes + 1
    if job.cancel_requested:
        cancelled = JobWasCancelled("the job was cancelled while it ran, and its process died")
        return job.cancel(at, at + ttl), problem(cancelled)
    if not job.repeatable:
        reason = JobInterrupted("the process that ran the job died; the job may have had effects")
    elif crashes >= MAX_CRASHES:
        reason = JobInterrupted(f"the process that ran the job died {crashes} times in a row")
    else:
        return job.rescue(at + random.uniform(0, CRASH_BACKOFF * 2**job.crashes)), None
    return job.interrupt(at, at + ttl), problem(reason)
