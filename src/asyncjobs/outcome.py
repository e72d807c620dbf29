"""What one attempt at a job has come to, as values.

They are no exceptions: what a handler raises is never more than the handler's own failure. A job
that waits for another one and passes its `JobWasCancelled` on has raised an exception, and was not
cancelled itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import JobFailure
from .job import Response


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised an exception: it may be tried again, if its route says so.

    Attributes:
        answer: what is answered to that exception, if it is not.
        reason: the exception, in words for the owner of the job and the operator.
    """

    answer: Response
    reason: str

    def __str__(self) -> str:
        return "the handler raised an exception"


@dataclass(frozen=True, slots=True)
class Unusable:
    """What the handler came to cannot be kept, or the handler could not be called at all."""

    reason: JobFailure


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler was told to stop, and why."""

    reason: JobFailure

    def __str__(self) -> str:
        return str(self.reason)


#: A `Response` is the handler's own.
Outcome = Response | Raised | Unusable | Stopped


def in_words(error: BaseException) -> str:
    """The type and the message of an exception, whatever it is."""
    kind = type(error).__qualname__
    try:
        message = str.__str__(str(error))  # what is a subclass of it has words of its own
    except BaseException:  # it is a handler's own
        message = "its message cannot be read"
    return f"{kind}: {message}" if message else kind
