"""Everything that can become of a job, by the names of its transitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from asyncjobs import transitions
from asyncjobs.errors import HandlerFailed, InvalidTransition, JobInterrupted, JobWasCancelled
from asyncjobs.job import Job, Progress, Response


@dataclass(frozen=True, slots=True)
class Facts:
    """What a transition may want to know.

    Attributes:
        worker: who makes it.
        now: seconds since the epoch.
        wait: seconds until a job that is given back is due.
        serial: a number that no other change has.
    """

    worker: str
    now: float
    wait: float
    serial: int


Change = Callable[[Job, Facts], Job]

CHANGES: Mapping[str, Change] = {
    "start": lambda job, facts: transitions.start(job, facts.worker, facts.now),
    "postpone": lambda job, facts: transitions.postpone(job, facts.now + facts.wait, "it raised"),
    "report": lambda job, facts: transitions.report(
        job, Progress(facts.serial, None, "\N{SNOWMAN}")
    ),
    "ask_to_cancel": lambda job, facts: transitions.ask_to_cancel(job),
    "release": lambda job, facts: transitions.release(job, "given back"),
    "rescue": lambda job, facts: transitions.rescue(
        job, facts.now + facts.wait, "its process died"
    ),
    "finish": lambda job, facts: transitions.finish(job, 200, facts.now),
    "fail": lambda job, facts: transitions.fail(job, facts.now, HandlerFailed("broken")),
    "cancel": lambda job, facts: transitions.cancel(job, facts.now, JobWasCancelled("unwanted")),
    "interrupt": lambda job, facts: transitions.interrupt(job, facts.now, JobInterrupted("ended")),
    "give_up": lambda job, facts: transitions.give_up(job, facts.now, JobInterrupted("ended")),
    "retry": lambda job, facts: transitions.retry(job, facts.now),
}


# What a job does in which the wanted change is impossible: the way to one in which it is not.
_ON_THE_WAY = ("start", "retry", "report")


def changed(
    versions: Sequence[Job], name: str, facts: Facts
) -> tuple[str, Job, Job, Response | None]:
    """The change called `name` of the first of `versions` that can still change, or one towards it.

    Returns:
        The name of the change, the job before and after it, and the response if that is final.
    """
    for old in versions:
        for candidate in (name, *_ON_THE_WAY):
            with suppress(InvalidTransition):
                new = CHANGES[candidate](old, facts)
                return candidate, old, new, _response_of(new, facts)
    raise AssertionError("every job can change when it is new")


def _response_of(job: Job, facts: Facts) -> Response | None:
    if not job.state.is_final:
        return None
    # No two are the same: a response that gets lost or mixed up is seen.
    return Response(200, ((b"content-type", b"text/plain"),), b"%d" % facts.serial)
