"""`asyncjobs stats`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..job import State
from ..listing import MAX_PAGE, Listing
from ..paging import Counted
from ..store import Query, Store
from ..styles import STYLES
from .filters import since
from .guest import Guest, visit
from .looks import clean, console, cut, on_terminal, rfc3339, room_for_routes, say, span
from .place import at_a_store
from .servers import trouble
from .walking import told_how_far, walk

_DAY = 86400.0
#: So wide are all columns but that of the routes, in characters.
_STATES = 66


@click.command()
@click.option(
    "--since",
    metavar="TIME",
    callback=since,
    help="Of the jobs made since then, as in list; of the last 24 hours unless given.",
)
@click.option("--all", "of_all", is_flag=True, help="Of all jobs: seconds for a million of them.")
@click.option("--json", "as_json", is_flag=True, help="JSON: an object a line, for each count.")
@at_a_store
def stats(place: str | Path, since: float | None, of_all: bool, as_json: bool) -> None:
    """Count the jobs of each route in each state.

    Of jobs that wait, the oldest is told, however old it is. So are the servers that have the store
    open, and what they do not get on with.

    \b
    asyncjobs stats --since 1h
    asyncjobs stats --all --json | jq 'select(.state == "failed")'
    """
    if of_all and since is not None:
        raise click.UsageError("--all is since ever: leave out --since")
    if since is None and not of_all:
        since = time.time() - _DAY

    async def ask(guest: Guest) -> None:
        counted = Counted()
        listing = Listing(since=since, limit=MAX_PAGE)
        with told_how_far() as tell:
            async for page in walk(guest.store, listing, None):
                counted.add(page)
                tell(page.next, counted.counts.total())
        if as_json or not on_terminal():
            _print_lines(counted, as_json=as_json)
        else:
            screen = console()
            screen.print(_table(counted, screen.width))
        if not as_json:
            await _tell_of_waiting(guest.store)
            for trouble_line in await trouble(guest.store):
                say(trouble_line, err=not on_terminal())

    visit(place, ask)


def _print_lines(counted: Counted, *, as_json: bool) -> None:
    groups = ((route, state) for state, route in counted.counts)
    for route, state in sorted(groups):
        count, oldest = counted.counts[state, route], rfc3339(counted.oldest[state, route])
        if as_json:
            said = {"route": route, "state": state, "count": count, "oldest": oldest}
            click.echo(json.dumps(said))
        else:
            say(f"{clean(route) or '-'}\t{state}\t{count}\t{oldest}")


def _table(counted: Counted, width: int) -> Table:
    """The routes, one a row, and all of them in the last one.

    Args:
        width: of the terminal.
    """
    looks = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    room = room_for_routes(width - _STATES)
    looks.add_column("Route", "all", no_wrap=True, max_width=room)
    for state in State:
        total = sum(count for (of, _), count in counted.counts.items() if of is state)
        looks.add_column(Text(state, STYLES[state]), f"{total:,}", justify="right", no_wrap=True)
    for route in sorted({route for _, route in counted.counts}):
        counts = (counted.counts[state, route] for state in State)
        looks.add_row(Text(cut(clean(route))), *(f"{count:,}" if count else "" for count in counts))
    return looks


async def _tell_of_waiting(store: Store) -> None:
    """The job that has waited for longest, and the one that has run for longest."""
    now = store.now()
    for state, times in ((State.QUEUED, "created"), (State.RUNNING, "started")):
        query = Query(states=frozenset({state}), limit=MAX_PAGE)
        # Oldest due first: what was put off after a failure is none that waits for its turn.
        jobs = await store.find(replace(query, limit=1) if state is State.QUEUED else query)
        if jobs:
            job = min(jobs, key=lambda job: getattr(job, times) or now)
            lasts = span(now - (getattr(job, times) or now))
            say(f"{state} for longest: {job.id} of {job.route}, {lasts}", err=not on_terminal())
