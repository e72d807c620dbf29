"""`asyncjobs list`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ..job import Job
from ..listing import Cursor, Listing
from ..store import Store
from .filters import cursor, filtered
from .guest import Guest, visit
from .ids import short_ids
from .looks import as_json, console, document, line, on_terminal, say, table
from .place import at_a_store
from .prospects import waits_for
from .routes import tell_of_none
from .walking import told_how_far, walk


@click.command("list")
@filtered
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="So many at most."
)
@click.option(
    "--before", callback=cursor, metavar="CURSOR", help="Those behind where a page has ended."
)
@as_json
@at_a_store
def list_jobs(
    place: str | Path, listing: Listing, limit: int, before: Cursor | None, as_json: bool
) -> None:
    """List the jobs of a store, the newest first.

    Each --state and each --route is one more that is listed; all other options leave some out.

    \b
    asyncjobs list --store sqlite:///jobs.db
    asyncjobs list --state failed --state interrupted --since 2h
    asyncjobs list --route report --limit 1000 --json | jq .reason

    On a pipe there are fields with tabs between them: the id, the state, the HTTP status, the
    route, when it was made, how many seconds it took, the attempt, and the reason.
    """

    async def ask(guest: Guest) -> None:
        shown = _Shown(guest.store, as_json=as_json)
        found, end = 0, None
        with told_how_far(quietly=as_json) as tell:
            async for page in walk(guest.store, replace(listing, before=before), limit):
                found, end = found + len(page.jobs), page.next
                await shown.add(page.jobs)
                tell(end, found)
        await shown.finish()
        if end is not None:
            say(f"there may be more: --before {end}", err=True)
        if not found:
            await tell_of_none(guest.store, listing.routes or ())

    visit(place, ask)


class _Shown:
    """What is listed: line by line, or at once where it is a table."""

    def __init__(self, store: Store, *, as_json: bool) -> None:
        self._store = store
        self._as_json = as_json
        self._is_table = on_terminal() and not as_json
        self._kept: list[Job] = []
        self._waits: dict[str, str] = {}

    async def add(self, jobs: list[Job]) -> None:
        if self._as_json:
            for job in jobs:
                click.echo(document(job))
            return
        others = await self._store.others()
        for job in jobs:
            if waits := await waits_for(self._store, job, others):
                self._waits[job.id] = waits
            if self._is_table:
                self._kept.append(job)
            else:
                click.echo(line(job, self._store.now(), waits))

    async def finish(self) -> None:
        if self._kept:
            short = await short_ids(self._store, [job.id for job in self._kept])
            screen = console()
            screen.print(table(self._kept, short, self._store.now(), self._waits, screen.width))
