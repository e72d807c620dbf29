"""A job is a stored HTTP request; its result is a stored HTTP response.

This module is pure: it does no I/O and reads no clock. All that a job can do is in `TRANSITIONS`;
one function reads the table, and every named transition returns a new frozen `Job`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from .errors import InvalidTransition

#: Raw header pairs as ASGI gives them: lower-case name and value, latin-1 bytes.
HeaderPairs = tuple[tuple[bytes, bytes], ...]

#: Seconds that a result is kept, unless the route or the settings say otherwise.
DEFAULT_TTL = 86400.0
#: The route and the path of a job of which a store has lost them: the job has failed.
UNKNOWN = ""
#: A job under which its process died so often may be the reason, and runs beside no other such job.
#: Indexes of the SQLite store have it in them: another number takes another schema.
SUSPECT_CRASHES = 2


class State(enum.StrEnum):
    """Where a job is in its life.

    Attributes:
        is_final: whether a job in this state has its result.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded", True
    FAILED = "failed", True
    CANCELLED = "cancelled", True
    INTERRUPTED = "interrupted", True

    is_final: bool

    def __new__(cls, value: str, is_final: bool = False) -> Self:
        state = str.__new__(cls, value)
        state._value_ = value
        state.is_final = is_final
        return state


FINAL = frozenset(state for state in State if state.is_final)


class Event(enum.StrEnum):
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
TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.QUEUED: {
            Event.START: State.RUNNING,
            Event.CANCEL: State.CANCELLED,
            Event.FAIL: State.FAILED,
        },
        State.RUNNING: {
            Event.PROGRESS: State.RUNNING,
            Event.ASK_TO_CANCEL: State.RUNNING,
            Event.RELEASE: State.QUEUED,
            Event.SUCCEED: State.SUCCEEDED,
            Event.FAIL: State.FAILED,
            Event.CANCEL: State.CANCELLED,
            Event.INTERRUPT: State.INTERRUPTED,
        },
        State.SUCCEEDED: {},
        State.FAILED: {Event.RETRY: State.QUEUED},
        State.CANCELLED: {Event.RETRY: State.QUEUED},
        State.INTERRUPTED: {Event.RETRY: State.QUEUED},
    }
)


def next_state(state: State, event: Event) -> State:
    """The state that `event` leads to, by the table.

    Raises:
        InvalidTransition: the table has no such step.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise InvalidTransition(f"a job that is {state} cannot {event}") from None


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, frozen as it arrived, without what must not be stored.

    What is not said here is as in the ASGI scope.

    Attributes:
        method: in upper case; a call of a function is a POST.
        path: percent-decoded and without `root_path`.
        query: behind the question mark, as it came.
        headers: pairs of lower-case names and values, as bytes, without credentials, and what else
            is not stored by what docs/http.md says.
        body: the whole body.
        client: host and port of the peer, if it has them.
        server: host and port that it came to, or the path of a Unix socket and None.
        context: what the program knew besides when it came, as JSON, or empty: stores keep it and
            do not look.
    """

    method: str
    path: str
    query: bytes = b""
    headers: HeaderPairs = ()
    body: bytes = b""
    scheme: str = "http"
    root_path: str = ""
    http_version: str = "1.1"
    client: tuple[str, int | None] | None = None
    server: tuple[str, int | None] | None = None
    context: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response with its whole body.

    Attributes:
        status: the HTTP status.
        headers: pairs of lower-case names and values, as bytes.
        body: as it is sent.
    """

    status: int
    headers: HeaderPairs = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a handler has come: `current` of `total` in units of its own choice.

    Attributes:
        current: so much is done.
        total: so much there is to do; None if that is not known.
        message: what is being done, in words; or None.
    """

    current: float
    total: float | None = None
    message: str | None = None


# A named tuple, as each job is made and changed several times on the hot path, at a third of what a
# frozen dataclass costs.
class Job(NamedTuple):
    """One job at one moment. Times are seconds since the epoch.

    Attributes:
        id: 32 hex digits (``uuid4().hex``).
        route: what runs it: a Quart endpoint, or the name of a registered function.
        state: where it is in its life.
        progress: what its handler has reported last, while it runs; or None.
        attempt: how often it was started.
        owner: whom it belongs to; None if nobody in particular.
        created: when it was made.
        started: when its last attempt began.
        finished: when it became final.
        cancel_requested: whether a running job was asked to stop.

    For stores and engines:
        path: the path of the request, without root_path: the poll URL is below it.
        repeatable: whether it may be run again when it is not known how far it came.
        program: whose it is: no other program runs, shows or ends it. None belongs to anybody.
        ttl: seconds that its result is kept, so that whoever ends it need not know its handler.
        version: goes up by one with every change; each write is conditional on it.
        earlier_attempts: the attempts before an operator had it retried, which are not held
            against it.
        crashes: how often the process that ran it died, and it may have been the reason.
        errors: how often its handler raised an exception and was to be tried again.
        worker: the process that runs it, while it does.
        due: a queued job is not started before, if that is to wait after a failure; and the jobs of
            a queue are started in this order.
        expires: a final job may be purged after.
    """

    id: str
    route: str
    path: str
    created: float
    owner: str | None = None
    repeatable: bool = False
    program: str | None = None
    ttl: float = DEFAULT_TTL
    state: State = State.QUEUED
    version: int = 1
    attempt: int = 0
    earlier_attempts: int = 0
    crashes: int = 0
    errors: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    progress: Progress | None = None
    due: float = 0.0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None

    @property
    def starts(self) -> int:
        """How often it was started since it was made, or since an operator had it retried."""
        return self.attempt - self.earlier_attempts

    @property
    def is_suspect(self) -> bool:
        """Whether it may be the reason why its processes died."""
        return self.crashes >= SUSPECT_CRASHES

    def start(self, worker: str, at: float) -> Self:
        """`worker` begins the next attempt."""
        return self._on(
            Event.START,
            worker=worker,
            attempt=self.attempt + 1,
            started=at,
            progress=None,
        )

    def release(self) -> Self:
        """The worker gives the job back unfinished; it goes before those that were made later.

        `attempt` is never given back: handlers fence what they do elsewhere with it.
        """
        return self._give_back(due=self.created)

    def rescue(self, due: float) -> Self:
        """The worker died with the job; it may be started again from `due` on."""
        return self._give_back(due=due, crashes=self.crashes + 1)

    def postpone(self, due: float) -> Self:
        """The handler raised an exception; it shall be tried again from `due` on."""
        return self._give_back(due=due, errors=self.errors + 1)

    def report(self, progress: Progress) -> Self:
        """The handler has come so far."""
        return self._on(Event.PROGRESS, progress=progress)

    def ask_to_cancel(self) -> Self:
        """Ask the worker to stop the running handler."""
        return self._on(Event.ASK_TO_CANCEL, cancel_requested=True)

    def finish(self, status: int, at: float) -> Self:
        """The handler answered with HTTP `status`: a success below 500."""
        return self._end(Event.SUCCEED if status < 500 else Event.FAIL, at)

    def fail(self, at: float) -> Self:
        """There will be no response of the handler's own."""
        return self._end(Event.FAIL, at)

    def cancel(self, at: float) -> Self:
        """The job was stopped, or will never start, because somebody asked for it."""
        return self._end(Event.CANCEL, at)

    def interrupt(self, at: float) -> Self:
        """The worker ended first, and the job must not be run again."""
        return self._end(Event.INTERRUPT, at)

    def give_up(self, at: float) -> Self:
        """The worker died with the job, which must not be run again."""
        return self._end(Event.INTERRUPT, at, crashes=self.crashes + 1)

    def retry(self, at: float) -> Self:
        """An operator wants the finished job to run again; all counts but `attempt` begin anew."""
        return self._on(
            Event.RETRY,
            worker=None,
            cancel_requested=False,
            progress=None,
            earlier_attempts=self.attempt,
            crashes=0,
            errors=0,
            started=None,
            finished=None,
            expires=None,
            due=at,
        )

    def is_same_claim(self, other: Job) -> bool:
        """Whether `other` is this very attempt of this worker, perhaps a newer version of it."""
        return (
            other.state is State.RUNNING
            and self.state is State.RUNNING
            and other.worker == self.worker
            and other.attempt == self.attempt
        )

    def _give_back(self, **changes: Any) -> Self:
        return self._on(
            Event.RELEASE,
            worker=None,
            progress=None,
            cancel_requested=False,
            **changes,
        )

    def _end(self, event: Event, at: float, **changes: Any) -> Self:
        return self._on(
            event,
            worker=None,
            cancel_requested=False,
            finished=at,
            expires=at + self.ttl,
            **changes,
        )

    def _on(self, event: Event, **changes: Any) -> Self:
        state = next_state(self.state, event)
        return self._replace(state=state, version=self.version + 1, **changes)
