"""`asyncjobs cancel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..control import Control
from ..job import Job, State
from ..listing import Listing
from ..store import Presence
from .steering import Step, steer, steering


def _told(job: Job, others: Sequence[Presence]) -> tuple[str, str]:
    if job.state.is_final:
        return "cancelled", job.reason or ""
    return "asked to stop", "it runs, and ends as soon as its handler stops"


_UNDONE = frozenset({State.QUEUED, State.RUNNING})
_CANCEL = Step("cancel", "cancelled", _UNDONE, _UNDONE, Control.cancel, _told)


@click.command()
@steering
def cancel(
    place: str | Path,
    job_ids: tuple[str, ...],
    listing: Listing,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel jobs: at once if nobody runs them, else as soon as their handlers stop.

    Name them by their ids, of which the first 8 or more digits are enough, or by options: then all
    that are queued or running are meant, and you are asked before more than one is touched.

    \b
    asyncjobs cancel 6dbac2da
    asyncjobs cancel --route report --since 1h --dry-run
    asyncjobs cancel --owner ada --state queued --yes
    """
    steer(_CANCEL, place, job_ids, listing, dry_run=dry_run, yes=yes, as_json=as_json)
