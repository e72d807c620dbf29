"""`asyncjobs retry`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..control import Control
from ..job import Job, State
from ..listing import Listing
from ..store import Presence
from .prospects import prospects
from .steering import Step, steer, steering


def _told(job: Job, others: Sequence[Presence]) -> tuple[str, str]:
    return "queued", prospects(job, others) or "it runs once more"


_FAILED = frozenset({State.FAILED, State.INTERRUPTED})
_RETRY = Step("retry", "retried", _FAILED | {State.CANCELLED}, _FAILED, Control.retry, _told)


@click.command()
@steering
def retry(
    place: str | Path,
    job_ids: tuple[str, ...],
    listing: Listing,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Queue jobs once more that have failed, or were interrupted or cancelled.

    They run with the request that they were made from, and their results are forgotten. Name them
    by their ids, of which the first 8 or more digits are enough, or by options: then all that are
    failed or interrupted are meant, those that are cancelled only with --state cancelled, and you
    are asked before more than one is touched.

    \b
    asyncjobs retry 6dbac2da
    asyncjobs retry --state failed --route report --since 2h --dry-run
    asyncjobs retry --state interrupted --yes
    """
    steer(_RETRY, place, job_ids, listing, dry_run=dry_run, yes=yes, as_json=as_json)
