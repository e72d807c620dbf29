"""What becomes of a job, decided in plain functions: they take the facts and do nothing."""

from __future__ import annotations

import random

from .errors import HandlerGone, JobFailure, JobInterrupted, JobWasCancelled
from .handler import Handler, HandlerRaised
from .job import Job, Response
from .problem import problem

#: A job whose process died so often under it is taken to be the reason, and is not run again.
MAX_CRASHES = 3
#: The most seconds before the first rerun after a crash; they double each time. A job is found
#: within a third of a second, so that nearly all are running again a second after the crash.
CRASH_BACKOFF = 0.5
#: The most seconds before the first rerun after an exception; they double each time.
ERROR_BACKOFF = 1.0
#: No rerun is further off than this, in seconds.
MAX_BACKOFF = 60.0

#: Seconds that a result is kept for whose handler, which would tell, is not known.
ORPHAN_TTL = 86400.0

#: The job as it shall be, and its response if that makes it final.
Verdict = tuple[Job, Response | None]


def concluded(
    job: Job, outcome: Response | JobFailure, handler: Handler, at: float, random: random.Random
) -> Verdict:
    """A running job whose handler has come to `outcome`."""
    expires = at + handler.ttl
    match outcome:
        case Response():
            return job.finish(outcome.status, at, expires), outcome
        case JobWasCancelled():
            return job.cancel(at, expires), problem(outcome)
        case JobInterrupted() | HandlerRaised() if job.cancel_requested:
            return _cancelled(job, "while it ran", at, handler.ttl)
        case JobInterrupted() if job.repeatable:
            return job.release(), None
        case JobInterrupted():
            return job.interrupt(at, expires), problem(outcome)
        case HandlerRaised() if job.errors < handler.retries:
            return job.postpone(at + backoff(ERROR_BACKOFF, job.errors, random)), None
        case HandlerRaised(answer=Response() as answer):
            return job.finish(answer.status, at, expires), answer
        case _:
            return job.fail(at, expires), problem(outcome)


def cancelled(job: Job, at: float, ttl: float) -> Verdict:
    """A job that somebody wants cancelled: one that is queued ends, a running one is asked to."""
    if job.worker is not None:
        return job.ask_to_cancel(), None
    return _cancelled(job, "before it started", at, ttl)


def never_started(job: Job, at: float, ttl: float) -> Verdict:
    """A job that is stored as running, and whose worker knows that it never began with it."""
    if job.cancel_requested:
        return _cancelled(job, "before it started", at, ttl)
    return job.release(), None


def orphaned(job: Job, at: float, ttl: float, random: random.Random) -> Verdict:
    """A running job whose worker has died."""
    crashes = job.crashes + 1
    if job.cancel_requested:
        return _cancelled(job, "while it ran, and its process died", at, ttl)
    if not job.repeatable:
        reason = JobInterrupted("the process that ran the job died; the job may have had effects")
    elif crashes >= MAX_CRASHES:
        reason = JobInterrupted(f"the process that ran the job died {crashes} times")
    else:
        return job.rescue(at + backoff(CRASH_BACKOFF, job.crashes, random)), None
    return job.give_up(at, at + ttl), problem(reason)


def gone(job: Job, at: float) -> Verdict:
    """A queued job that nobody can run any more."""
    outcome = HandlerGone(f"the program has no handler {job.route!r} any more")
    return job.fail(at, at + ORPHAN_TTL), problem(outcome)


def is_due(job: Job, now: float) -> bool:
    """Whether a queued job may be started.

    One that is due later than any wait is long was stored before the clock was set back.
    """
    return not now < job.due <= now + MAX_BACKOFF


def backoff(base: float, times: int, random: random.Random) -> float:
    """Seconds to wait after the last of `times` + 1 failures: doubled each time, with full jitter.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(MAX_BACKOFF, base * 2 ** min(times, 32)))


def _cancelled(job: Job, when: str, at: float, ttl: float) -> Verdict:
    return job.cancel(at, at + ttl), problem(JobWasCancelled(f"the job was cancelled {when}"))
