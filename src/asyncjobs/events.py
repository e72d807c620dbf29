"""What happens to jobs, as values; what it is called in words, `log` knows.

Of one job it is told in the order in which it happens. What a process did, it tells itself, once it
knows that it is stored: of what the store never answered for, nobody does.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

from .job import Job

logger = logging.getLogger("asyncjobs")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A new job is stored, for good."""

    job: Job


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt at a job begins in this process."""

    job: Job


@dataclass(frozen=True, slots=True)
class HandlerRaised:
    """The handler of a job, running as it was then, has raised an exception.

    Attributes:
        error: what it raised; None if that was a view, as the app has told of it.
        is_last: whether the job ends with this attempt; else it is queued again.
    """

    job: Job
    error: BaseException | None
    is_last: bool


@dataclass(frozen=True, slots=True)
class Unfit:
    """What an attempt has come to cannot be kept, or the handler could not be called at all."""

    job: Job
    error: BaseException


@dataclass(frozen=True, slots=True)
class Released:
    """An attempt has ended, and the job is queued again; its reason says why."""

    job: Job


@dataclass(frozen=True, slots=True)
class Finished:
    """A job is final, by what this process did; told once for each time that it becomes so."""

    job: Job


@dataclass(frozen=True, slots=True)
class Retried:
    """A job that had ended is queued once more, as somebody here wanted."""

    job: Job


@dataclass(frozen=True, slots=True)
class Rescued:
    """The worker of a job had died; this is what was decided about the job."""

    job: Job


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """A job was stored as started here, but was not begun with; this has become of it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Gone:
    """A job has failed, as nobody has its handler any more."""

    job: Job


@dataclass(frozen=True, slots=True)
class Lost:
    """A job that ran here has another attempt by now, mostly of another worker, or has ended
    elsewhere, or is not there: this attempt has written nothing."""

    job: Job


@dataclass(frozen=True, slots=True)
class Overran:
    """A handler does not stop when it is told to, so that its job ends without it.

    Attributes:
        seconds: so long it has run.
        is_over: whether it has ended in the meantime.
    """

    job: Job
    seconds: float
    is_over: bool


@dataclass(frozen=True, slots=True)
class Draining:
    """This process accepts no more jobs, and some run.

    Attributes:
        running: how many.
        seconds: so long they have to end; None if that time is over, and they are stopped.
    """

    running: int
    seconds: float | None


class Action(enum.Enum):
    """What somebody was about to do when there was trouble."""

    LOOK = "look at the queue"
    CLAIM = "start a queued job"
    FETCH = "read the request of a job"
    STORE = "store the outcome of an attempt"
    CONCLUDE = "store the outcome of an attempt as it is"
    PERFORM = "bring an attempt to its end"
    ADD = "find out whether a job was stored"
    RESCUE = "decide about the job of a dead worker"
    CANCEL = "cancel a job whose time is over"
    SETTLE = "give back a job that was never begun with"
    END = "end a job whose handler has gone"
    HEED = "stop the jobs that somebody has cancelled"
    SWEEP = "sweep the store"
    STOP_SWEEP = "wait for the last sweep"
    DRAIN = "hear from the store what was to be started"
    KILL = "end a handler that does not stop"


@dataclass(frozen=True, slots=True)
class Troubled:
    """Something went wrong that is no job's own failure; what can go on goes on.

    Attributes:
        action: what was to be done.
        error: why it was not, if that is known.
        job_id: for which job, if for one.
        count: of how many jobs, if of some.
    """

    action: Action
    error: BaseException | None = None
    job_id: str | None = None
    count: int = 0


Event = (
    Submitted
    | Started
    | HandlerRaised
    | Unfit
    | Released
    | Finished
    | Retried
    | Rescued
    | NeverStarted
    | Gone
    | Lost
    | Overran
    | Draining
    | Troubled
)
Emit = Callable[[Event], None]


class Events:
    """Hands each event to all subscribers, in the order in which they came, on the event loop."""

    def __init__(self) -> None:
        # By what is theirs alone: one may subscribe twice.
        self._subscribers: dict[object, Callable[[Event], object]] = {}

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Have `subscriber` called with each event, at once: it must not block.

        Returns what ends that, at once; it may be called from within, and more than once.
        """
        subscription = object()
        self._subscribers[subscription] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(subscription, None)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell all of this. What a subscriber raises is logged, and harms nobody."""
        for subscription, subscriber in list(self._subscribers.items()):
            if subscription in self._subscribers:  # nobody has ended it just now
                try:
                    subscriber(event)
                except BaseException:  # the job that it is about must not be left where it is
                    logger.exception("a subscriber of events has failed")
