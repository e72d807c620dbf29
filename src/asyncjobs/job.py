"""A job is a stored HTTP request; its result is a stored HTTP response. All are frozen values.

What can become of a job is in `transitions`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

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
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    is_final: bool


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.INTERRUPTED})
for _state in State:
    _state.is_final = _state in FINAL  # once, as it is asked several times for each job


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
        reason: why it is where it is, in words: why it ended without success, or why it was queued
            again, also while it runs once more. None if it succeeded, or nothing has happened yet.
        status: the HTTP status of its result, once it is final.
        cancel_at: it is cancelled then, unless it has ended before; None for never.

    For stores and engines:
        path: the path of the request, without root_path: the poll URL is below it.
        repeatable: whether it may be run again when it is not known how far it came.
        program: whose it is: no other program runs, shows or ends it. None belongs to anybody.
        ttl: seconds that its result is kept, so that whoever ends it need not know its handler.
        matched: what its URL had led to, as JSON, for those who guard the job: its request may be
            erased by then. None if that is not known.
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
    matched: str | None = None
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
    reason: str | None = None
    status: int | None = None
    cancel_at: float | None = None

    @property
    def starts(self) -> int:
        """How often it was started since it was made, or since an operator had it retried."""
        return self.attempt - self.earlier_attempts

    @property
    def is_suspect(self) -> bool:
        """Whether it may be the reason why its processes died."""
        return self.crashes >= SUSPECT_CRASHES
