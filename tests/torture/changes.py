"""Everything that can become of a job, by the names of its transitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..errors import InvalidTransition
from ..job import Job, Progress, Response


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
    "start": lambda job, facts: job.start(facts.worker, facts.now),
    "postpone": lambda job, facts: job.postpone(facts.now + facts.wait),
    "report": lambda job, facts: job.report(Progress(facts.serial, None, "\N{SNOWMAN}")),
    "ask_to_cancel": lambda job, facts: job.ask_to_cancel(),
    "release": lambda job, facts: job.release(),
    "rescue": lambda job, facts: job.rescue(facts.now + facts.wait),
    "finish": lambda job, facts: job.finish(200, facts.now),
    "fail": lambda job, facts: job.fail(facts.now),
    "cancel": lambda job, facts: job.cancel(facts.now),
    "interrupt": lambda job, facts: job.interrupt(facts.now),
    "give_up": lambda job, facts: job.give_up(facts.now),
    "retry": lambda job, facts: job.retry(facts.now),
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
