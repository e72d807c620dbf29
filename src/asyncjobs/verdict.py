"""What becomes of a job, decided in plain functions: they take the facts and do nothing."""

from __future__ import annotations

import random

from . import transitions
from .errors import HandlerGone, JobInterrupted, JobWasCancelled
from .job import Job, Response
from .outcome import Outcome, Raised, Stopped, Unusable
from .problem import problem

#: A job whose process died so often under it is taken to be the reason, and is not run again. From
#: `job.SUSPECT_CRASHES` on a process runs it beside no other suspect, so that the innocent ones
#: which ran beside the culprit are not convicted with it.
MAX_CRASHES = 5
#: The most seconds before the first rerun after a crash; they double each time. A job is found
#: within a third of a second, so that nearly all are running again a second after the crash.
CRASH_BACKOFF = 0.5
#: The most seconds before the first rerun after an exception; they double each time.
ERROR_BACKOFF = 1.0
#: No rerun is further off than this, in seconds.
MAX_BACKOFF = 60.0

#: The job as it shall be, and its response if that makes it final.
Verdict = tuple[Job, Response | None]


def concluded(
    job: Job,
    outcome: Outcome,
    at: float,
    random: random.Random,
    *,
    retries: int,
    max_starts: int,
) -> Verdict:
    """A running job whose attempt has come to `outcome`.

    Args:
        retries: how often its handler is tried again after an exception.
        max_starts: how often a job is started at most.
    """
    match outcome:
        case Response():
            return transitions.finish(job, outcome.status, at), outcome
        case Stopped(JobWasCancelled() as why):
            return transitions.cancel(job, at, why), problem(why)
        case Stopped(JobInterrupted()) | Raised() if job.cancel_requested or is_overdue(job, at):
            return _cancelled(job, "while it ran", at)
        case Stopped(JobInterrupted() as why) if job.repeatable:
            return _released(job, at, str(why), max_starts)
        case Stopped(JobInterrupted() as why):
            return transitions.interrupt(job, at, why), problem(why)
        case Raised(_, reason) if is_tried_again(job, retries, max_starts):
            due = at + backoff(ERROR_BACKOFF, job.errors, random)
            return transitions.postpone(job, due, reason), None
        case Raised(answer, reason):
            return transitions.finish(job, answer.status, at, reason), answer
        case Stopped(why) | Unusable(why):
            return transitions.fail(job, at, why), problem(why)


def is_tried_again(job: Job, retries: int, max_starts: int) -> bool:
    """Whether a running job is tried again if this attempt raises an exception."""
    return job.errors < retries and job.starts < max_starts


def cancelled(job: Job, at: float, *, runs: bool) -> Verdict:
    """A job that somebody wants cancelled, or that is overdue: it ends, or is asked to.

    Args:
        runs: whether a living process runs it.
    """
    if runs:
        return transitions.ask_to_cancel(job), None
    if job.worker is not None:
        return _cancelled(job, "while it ran, and its process died", at)
    return _cancelled(job, "before it started", at)


def never_started(job: Job, at: float, max_starts: int) -> Verdict:
    """A job that is stored as running, and whose worker knows that it never began with it."""
    if job.cancel_requested or is_overdue(job, at):
        return _cancelled(job, "before it started", at)
    return _released(job, at, "it is not known whether its start was stored", max_starts)


def orphaned(
    job: Job, at: float, random: random.Random, *, blamed: bool, max_starts: int
) -> Verdict:
    """A running job whose worker has died.

    Args:
        blamed: whether the job may be the reason for that: it is not where the worker had been told
            to stop before.
    """
    if job.cancel_requested or is_overdue(job, at):
        return _cancelled(job, "while it ran, and its process died", at)
    if not job.repeatable:
        why = JobInterrupted("the process that ran the job died; the job may have had effects")
        end = transitions.give_up if blamed else transitions.interrupt
        return end(job, at, why), problem(why)
    if not blamed:
        return _released(job, at, "its process ended before it did", max_starts)
    if job.crashes + 1 >= MAX_CRASHES:
        why = JobInterrupted(
            f"the process that ran the job died {job.crashes + 1} times under it; the job is taken "
            "to be the reason, and is not started again"
        )
        return transitions.give_up(job, at, why), problem(why)
    if job.starts >= max_starts:
        why = _too_many_starts(job)
        return transitions.give_up(job, at, why), problem(why)
    due = at + backoff(CRASH_BACKOFF, job.crashes, random)
    return transitions.rescue(job, due, "its process died"), None


def gone(job: Job, at: float) -> Verdict:
    """A queued job that nobody can run any more."""
    why = HandlerGone(f"the program has no handler {job.route!r} any more")
    return transitions.fail(job, at, why), problem(why)


def is_due(job: Job, now: float) -> bool:
    """Whether a queued job may be started.

    None waits for longer than it was told to after its last failure, and not at all without one:
    if its time is further off than that, the clock has been set back since.
    """
    return not 0 < job.due - now <= _longest_wait(job)


def is_overdue(job: Job, now: float) -> bool:
    """Whether the time is over that its Cancel-After has given the job."""
    return job.cancel_at is not None and job.cancel_at <= now


def why_cancelled(job: Job, when: str, at: float) -> JobWasCancelled:
    """Why the job is cancelled: somebody has asked for it, or it is overdue."""
    if is_overdue(job, at):
        return JobWasCancelled(f"the job was cancelled {when}: its Cancel-After was over")
    return JobWasCancelled(f"the job was cancelled {when}")


def backoff(base: float, times: int, random: random.Random) -> float:
    """Seconds to wait after the last of `times` + 1 failures: doubled each time, with full jitter.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, _most(base, times))


def _most(base: float, times: int) -> float:
    return min(MAX_BACKOFF, base * 2.0 ** min(times, 32))


def _longest_wait(job: Job) -> float:
    """The most seconds that the job may have been told to wait when it last failed."""
    after_crash = _most(CRASH_BACKOFF, job.crashes - 1) if job.crashes else 0.0
    after_error = _most(ERROR_BACKOFF, job.errors - 1) if job.errors else 0.0
    return max(after_crash, after_error)


def _cancelled(job: Job, when: str, at: float) -> Verdict:
    why = why_cancelled(job, when, at)
    return transitions.cancel(job, at, why), problem(why)


def _released(job: Job, at: float, reason: str, max_starts: int) -> Verdict:
    """A job that was not finished, and may be run again."""
    if job.starts < max_starts:
        return transitions.release(job, reason), None
    why = _too_many_starts(job)
    return transitions.interrupt(job, at, why), problem(why)


def _too_many_starts(job: Job) -> JobInterrupted:
    return JobInterrupted(
        f"the job was started {job.starts} times and never came to its end, which is as often as "
        "the setting 'max_starts' allows"
    )
