"""All that can become of a job: a table of steps, and a function for each, which makes a new `Job`.

This module is pure: it does no I/O and reads no clock. Each step tells why it was taken
(`Job.reason`), but for those that only begin or go on: there the reason of before still says why
the job was queued again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .errors import InvalidTransition, JobFailure, JobInterrupted, JobWasCancelled
from .given import storable
from .job import Job, Progress, State

#: A reason takes no more than so many bytes of UTF-8.
MAX_REASON = 1024


class Step(enum.StrEnum):
    START = "start"
    RELEASE = "release"
    PROGRESS = "progress"
    ASK_TO_CANCEL = "ask to cancel"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    RETRY = "retry"


# Cancelling a running job is a flag, not a state (ASK_TO_CANCEL): a state of its own would be one
# that a handler which never looks would never leave.
TRANSITIONS: Mapping[State, Mapping[Step, State]] = MappingProxyType(
    {
        State.QUEUED: {
            Step.START: State.RUNNING,
            Step.CANCEL: State.CANCELLED,
            Step.FAIL: State.FAILED,
        },
        State.RUNNING: {
            Step.PROGRESS: State.RUNNING,
            Step.ASK_TO_CANCEL: State.RUNNING,
            Step.RELEASE: State.QUEUED,
            Step.SUCCEED: State.SUCCEEDED,
            Step.FAIL: State.FAILED,
            Step.CANCEL: State.CANCELLED,
            Step.INTERRUPT: State.INTERRUPTED,
        },
        State.SUCCEEDED: {},
        State.FAILED: {Step.RETRY: State.QUEUED},
        State.CANCELLED: {Step.RETRY: State.QUEUED},
        State.INTERRUPTED: {Step.RETRY: State.QUEUED},
    }
)


def next_state(state: State, event: Step) -> State:
    """The state that `event` leads to, by the table.

    Raises:
        InvalidTransition: the table has no such step.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise InvalidTransition(f"a job that is {state} cannot {event}") from None


def start(job: Job, worker: str, at: float) -> Job:
    """`worker` begins the next attempt."""
    return _on(
        job,
        Step.START,
        worker=worker,
        attempt=job.attempt + 1,
        started=at,
        progress=None,
    )


def release(job: Job, reason: str) -> Job:
    """The worker gives the job back unfinished; it goes before those that were made later.

    `attempt` is never given back: handlers fence what they do elsewhere with it.
    """
    return _give_back(job, reason, due=job.created)


def rescue(job: Job, due: float, reason: str) -> Job:
    """The worker died with the job; it may be started again from `due` on."""
    return _give_back(job, reason, due=due, crashes=job.crashes + 1)


def postpone(job: Job, due: float, reason: str) -> Job:
    """The handler raised an exception; it shall be tried again from `due` on."""
    return _give_back(job, reason, due=due, errors=job.errors + 1)


def report(job: Job, progress: Progress) -> Job:
    """The handler has come so far."""
    return _on(job, Step.PROGRESS, progress=progress)


def ask_to_cancel(job: Job) -> Job:
    """Ask the worker to stop the running handler."""
    return _on(job, Step.ASK_TO_CANCEL, cancel_requested=True)


def finish(job: Job, status: int, at: float, reason: str | None = None) -> Job:
    """The handler answered with HTTP `status`: a success below 500.

    Args:
        reason: why it failed, if it did and more is known than the status.
    """
    if status < 500:
        return _end(job, Step.SUCCEED, at, status, None)
    return _end(job, Step.FAIL, at, status, reason or f"the handler answered {status}")


def fail(job: Job, at: float, why: JobFailure) -> Job:
    """There will be no response of the handler's own."""
    return _end(job, Step.FAIL, at, why.status, str(why))


def cancel(job: Job, at: float, why: JobWasCancelled) -> Job:
    """The job was stopped, or will never start, because somebody asked for it."""
    return _end(job, Step.CANCEL, at, why.status, str(why))


def interrupt(job: Job, at: float, why: JobInterrupted) -> Job:
    """The worker ended first, and the job must not be run again."""
    return _end(job, Step.INTERRUPT, at, why.status, str(why))


def give_up(job: Job, at: float, why: JobInterrupted) -> Job:
    """The worker died with the job, which must not be run again."""
    return _end(job, Step.INTERRUPT, at, why.status, str(why), crashes=job.crashes + 1)


def retry(job: Job, at: float) -> Job:
    """An operator wants the finished job to run again; all counts but `attempt` begin anew.

    Raises:
        InvalidTransition: it is not final, or it has succeeded.
    """
    return _on(
        job,
        Step.RETRY,
        worker=None,
        cancel_requested=False,
        progress=None,
        earlier_attempts=job.attempt,
        crashes=0,
        errors=0,
        started=None,
        finished=None,
        expires=None,
        due=at,
        reason="somebody had it retried",
        status=None,
        cancel_at=None,
    )


def is_same_claim(job: Job, other: Job) -> bool:
    """Whether both are one attempt of one worker, perhaps in different versions."""
    return (
        other.state is State.RUNNING
        and job.state is State.RUNNING
        and other.worker == job.worker
        and other.attempt == job.attempt
    )


def as_reason(words: str) -> str:
    """Words of anybody, such as those of an exception, as any store can keep them: not too long,
    and without what UTF-8 or a text column cannot hold."""
    # No character takes less than a byte.
    whole = storable(words[: MAX_REASON + 1]).replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(encoded := whole.encode()) <= MAX_REASON:
        return whole
    ellipsis = "…"
    return encoded[: MAX_REASON - len(ellipsis.encode())].decode(errors="ignore") + ellipsis


def _give_back(job: Job, reason: str, **changes: Any) -> Job:
    return _on(
        job,
        Step.RELEASE,
        worker=None,
        progress=None,
        cancel_requested=False,
        reason=as_reason(reason),
        **changes,
    )


def _end(job: Job, event: Step, at: float, status: int, reason: str | None, **changes: Any) -> Job:
    return _on(
        job,
        event,
        worker=None,
        cancel_requested=False,
        finished=at,
        expires=at + job.ttl,
        status=status,
        cancel_at=None,
        reason=None if reason is None else as_reason(reason),
        **changes,
    )


def _on(job: Job, event: Step, **changes: Any) -> Job:
    state = next_state(job.state, event)
    return job._replace(state=state, version=job.version + 1, **changes)
