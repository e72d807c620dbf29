"""The words of the log: what is said there of each event. `say` subscribes to `Events`.

What others have written (names of routes, messages of exceptions) makes no lines of its own there.
"""

from __future__ import annotations

import logging
from typing import assert_never

from . import events
from .errors import StoreUnavailable
from .events import Action, Event, Troubled
from .given import printable
from .job import Job, State

logger = logging.getLogger("asyncjobs")

#: What is said if an error was to be expected: of a store that cannot be reached, for one. It has
#: no traceback.
_EXPECTED = {
    Action.LOOK: (logging.WARNING, "queued jobs have to wait: %(error)s"),
    Action.CLAIM: (logging.WARNING, "job %(id)s has to wait: %(error)s"),
    Action.FETCH: (logging.ERROR, "job %(id)s has to wait for its request: %(error)s"),
    Action.STORE: (logging.ERROR, "the result of job %(id)s has to wait: %(error)s"),
    Action.SWEEP: (logging.WARNING, "the store was not swept: %(error)s"),
    Action.STOP_SWEEP: (
        logging.ERROR,
        "the store does not answer: it is closed in the middle of a sweep",
    ),
    Action.DRAIN: (
        logging.ERROR,
        "the store does not answer: what was to be started is left to other processes, and to the "
        "next start (%(count)d new jobs, and any that were being claimed)",
    ),
}
#: What is said of any other error, with its traceback.
_UNEXPECTED = {
    Action.LOOK: "the queue could not be read; the next look is soon",
    Action.CLAIM: "job %(id)s cannot be started; the next try is soon",
    Action.FETCH: "the request of job %(id)s cannot be read",
    Action.STORE: "the result of job %(id)s cannot be stored",
    Action.CONCLUDE: "the outcome of job %(id)s cannot be stored like this",
    Action.PERFORM: "job %(id)s could not be finished",
    Action.ADD: "it cannot be told whether job %(id)s was stored",
    Action.RESCUE: "job %(id)s of a dead worker cannot be decided about; the others go on",
    Action.CANCEL: "job %(id)s, whose time is over, cannot be cancelled; the others go on",
    Action.SETTLE: "job %(id)s cannot be given back; the others go on",
    Action.END: "job %(id)s, whose handler has gone, cannot be ended; the others go on",
    Action.HEED: "jobs that were cancelled cannot be stopped; the next try is soon",
    Action.SWEEP: "the sweep failed; the next one may not",
    Action.STOP_SWEEP: "the last sweep cannot be waited for",
    Action.DRAIN: "it cannot be told what was to be started: %(count)d new jobs, or more",
    Action.KILL: "a handler cannot be ended by any means",
}


def say(event: Event) -> None:  # noqa: C901 - a line for each kind of event
    """Say in the log what has happened."""
    match event:
        case events.Submitted() | events.Started() | events.Retried():
            return  # the end of each job is enough to read
        case events.Finished(job):
            _say_end(job)
        case events.HandlerRaised(job, error, is_last):
            _say_failure(job, error, is_last)
        case events.Unfit(job, error):
            logger.error("job %s failed: %s", job.id, printable(str(error)))
        case events.Released(job):
            logger.warning("job %s is %s now%s", job.id, job.state, _reason(job))
        case events.Rescued(job):
            logger.warning("job %s of a dead worker is %s now", job.id, job.state)
        case events.NeverStarted(job):
            logger.warning("job %s was never started and is %s now", job.id, job.state)
        case events.Gone(job):
            logger.error("job %s fails: there is no handler %r any more", job.id, job.route)
        case events.Lost(job):
            logger.warning("job %s is not this worker's any more", job.id)
        case events.Overran(job, seconds, is_over):
            _say_overrun(job, seconds, is_over)
        case events.Draining(running, seconds):
            _say_draining(running, seconds)
        case Troubled():
            _say_trouble(event)
        case _:
            assert_never(event)


def say_retried(job_id: str, route: str, attempt: int, error: BaseException | None) -> None:
    """Tell of an exception after which the job is tried again: it is no failure yet, for whoever is
    told of those."""
    logger.warning(
        "job %s of %r: attempt %d raised an exception, and it is tried again",
        *(job_id, route, attempt),
        exc_info=error,
    )


def _say_end(job: Job) -> None:
    """The one line that each job ends with."""
    level = logging.WARNING if job.state is State.INTERRUPTED else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "job %s of %s %s with %s in %.0f ms%s",
            *(job.id, printable(job.route), job.state, job.status),
            *(1000 * _seconds(job), _reason(job)),
        )


def _seconds(job: Job) -> float:
    """How long a final job took since it was started; none, where the clock was set back since."""
    began = job.created if job.started is None else job.started
    return max(0.0, (job.finished or began) - began)


def _reason(job: Job) -> str:
    """The reason, if there is one, as the end of a line: of an exception's words none is forged."""
    return f": {printable(job.reason)}" if job.reason else ""


def _say_failure(job: Job, error: BaseException | None, is_last: bool) -> None:
    if error is not None and is_last:
        logger.error("job %s failed", job.id, exc_info=error)
    elif error is not None:
        say_retried(job.id, job.route, job.attempt, error)
    elif is_last:
        # The app has logged it, with a traceback that does not name the job.
        logger.warning("job %s failed: its view raised an exception", job.id)


def _say_overrun(job: Job, seconds: float, is_over: bool) -> None:
    name = f"job {job.id} ({printable(job.route)})"
    if is_over:
        logger.warning("the handler of %s has ended, after %.1f s", name, seconds)
    else:
        logger.error(
            "the handler of %s does not stop, %.1f s after it began: its job ends without it",
            *(name, seconds),
        )


def _say_draining(running: int, seconds: float | None) -> None:
    if seconds is None:
        logger.warning("jobs that have not ended in time, and are stopped: %d", running)
    else:
        logger.info("running jobs have %g s to end: %d", seconds, running)


def _say_trouble(event: Troubled) -> None:
    error = event.error
    said: dict[str, object] = {"id": event.job_id, "count": event.count}
    is_expected = error is None or isinstance(error, (StoreUnavailable, TimeoutError))
    if is_expected and event.action in _EXPECTED:
        level, words = _EXPECTED[event.action]
        logger.log(level, words, {**said, "error": _why(error)})
    else:
        logger.error(_UNEXPECTED[event.action], said, exc_info=error)


def _why(error: BaseException | None) -> str:
    return "nobody knows why" if error is None else printable(str(error) or type(error).__name__)
