"""What `cancel` and `retry` have in common: jobs by their ids or by filters, and a question first.

What is to be changed is found, then asked for, then done: nobody waits for an answer with a store
open.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..control import Control
from ..errors import AsyncJobsError, InvalidTransition, JobNotFound, JobUnreadable, StoreUnavailable
from ..job import Job, State
from ..listing import Listing
from ..store import Presence
from .exits import Exit, Failure, code_of
from .filters import filtered
from .guest import Guest, visit
from .ids import complete_id, ids, whole_id
from .looks import as_json, counted, document, line, say
from .place import at_a_store
from .routes import tell_of_none
from .walking import told_how_far, walk

#: So many are changed at a time, whose writes go to the disk together.
_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Step:
    """What can be done with jobs.

    Attributes:
        verb, done: what it is called, and that it was done.
        states: those that it can be done in.
        default: those whose jobs are meant if filters name none.
        take: does it.
        told: what to say of a job afterwards, in a word and a sentence.
    """

    verb: str
    done: str
    states: frozenset[State]
    default: frozenset[State]
    take: Callable[[Control, str], Awaitable[Job]]
    told: Callable[[Job, Sequence[Presence]], tuple[str, str]]


def steering(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments and options of one that steers."""
    for decorate in (
        at_a_store,
        as_json,
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only list the jobs that are meant."),
        filtered,
        click.argument(
            "job_ids", metavar="[ID]...", nargs=-1, callback=ids, shell_complete=complete_id
        ),
    ):
        command = decorate(command)
    return command


def steer(
    step: Step,
    place: str | Path,
    job_ids: tuple[str, ...],
    listing: Listing,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take the step with the jobs that are meant, and tell what has become of each."""
    by_filter = listing != Listing()
    _check(step, job_ids, listing, by_filter=by_filter)
    if by_filter and not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError(
            f"there is no terminal to ask at: see what is meant with --dry-run, and {step.verb} it "
            "with --yes"
        )
    if by_filter:
        listing = replace(listing, states=listing.states or step.default)
        found, missing = visit(place, lambda guest: _found(guest, listing))
        wanted = list(found)
    else:
        found = {}
        wanted, missing = visit(place, lambda guest: _ids(guest, job_ids))
    if dry_run:
        codes = visit(place, lambda guest: _rehearse(step, guest, wanted, as_json=as_json))
    elif len(found) > 1 and not (yes or _agreed(step, found)):
        raise Failure(Exit.REFUSED, "nothing was changed")
    else:
        codes = visit(place, lambda guest: _take(step, guest, wanted, as_json=as_json))
    if code := max([*missing, *codes], default=Exit.OK):
        raise SystemExit(code)


def _check(step: Step, job_ids: tuple[str, ...], listing: Listing, *, by_filter: bool) -> None:
    if job_ids and by_filter:
        raise click.UsageError("give ids, or options that say which jobs are meant, and not both")
    if not job_ids and not by_filter:
        raise click.UsageError("which jobs? Give ids, or options such as --route report")
    if never := sorted((listing.states or frozenset()) - step.states):
        raise click.UsageError(f"a job that is {never[0]} cannot be {step.done}")


async def _found(guest: Guest, listing: Listing) -> tuple[dict[str, State], list[Exit]]:
    """The states of the jobs that are meant, by their ids, as there may be a million of them; and
    what to end with besides."""
    found: dict[str, State] = {}
    with told_how_far() as tell:
        async for page in walk(guest.store, listing, None):
            found |= {job.id: job.state for job in page.jobs}
            tell(page.next, len(found))
    # A name that nobody knows is rather a mistake than one that has no jobs just now.
    is_strange = not found and await tell_of_none(guest.store, listing.routes or ())
    return found, [Exit.NOT_FOUND] if is_strange else []


async def _ids(guest: Guest, job_ids: tuple[str, ...]) -> tuple[list[str], list[Exit]]:
    """The ids in full, each once, and a code for each that there is none of."""
    found, missing = [], []
    for begun in job_ids:
        try:
            found.append(await whole_id(guest.store, begun))
        except JobNotFound as error:
            missing.append(_tell_error(begun, error))
    return list(dict.fromkeys(found)), missing


def _agreed(step: Step, found: Mapping[str, State]) -> bool:
    """Ask somebody."""
    counts = Counter(found.values())
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    try:
        return click.confirm(f"{step.verb} {counted(len(found), 'job')} ({states})?", err=True)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise SystemExit(Exit.INTERRUPTED) from None
        click.echo(err=True)  # behind the question
        return False


async def _rehearse(
    step: Step, guest: Guest, job_ids: Sequence[str], *, as_json: bool
) -> list[Exit]:
    codes = []
    for job_id in job_ids:
        try:
            job = await guest.store.get(job_id)
            if job.state not in step.states:
                raise InvalidTransition(f"the job is {job.state} and cannot be {step.done}")
        except (JobNotFound, InvalidTransition) as error:
            codes.append(_tell_error(job_id, error))
            continue
        click.echo(document(job) if as_json else line(job, guest.store.now()))
    would = counted(len(job_ids) - len(codes), "job")
    say(f"{would} would be {step.done}; nothing was changed", err=True)
    return codes


async def _take(step: Step, guest: Guest, job_ids: Sequence[str], *, as_json: bool) -> list[Exit]:
    codes = []
    for start in range(0, len(job_ids), _TOGETHER):
        together = job_ids[start : start + _TOGETHER]
        outcomes = await asyncio.gather(
            *(step.take(guest.control, job_id) for job_id in together), return_exceptions=True
        )
        others = await guest.store.others()
        for job_id, outcome in zip(together, outcomes, strict=True):
            if isinstance(outcome, Job):
                _tell(step, outcome, others, as_json=as_json)
            elif isinstance(
                outcome, JobNotFound | InvalidTransition | JobUnreadable | StoreUnavailable
            ):
                codes.append(_tell_error(job_id, outcome))
            else:
                raise outcome
    return codes


def _tell(step: Step, job: Job, others: Sequence[Presence], *, as_json: bool) -> None:
    if as_json:
        click.echo(document(job))
        return
    word, said = step.told(job, others)
    say(f"{word}\t{job.id}\t{job.route}\t{said}")


def _tell_error(job_id: str, error: AsyncJobsError) -> Exit:
    code = code_of(error)
    words = {Exit.NOT_FOUND: "not found", Exit.REFUSED: "refused"}
    say(f"{words.get(code, 'not done')}\t{job_id}\t{error}", err=True)
    return code
