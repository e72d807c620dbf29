"""How the servers of a store do, and which of its jobs they do not get on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..errors import StoreUnavailable
from ..job import State
from ..listing import MAX_PAGE
from ..store import STRANGER, Presence, Query, Store


async def trouble(store: Store) -> list[str]:
    """What somebody who runs the servers should know, a line for each."""
    others = await store.others()
    lines = [*_told_of(others)]
    if others:
        try:
            await store.health()
        except StoreUnavailable as error:
            lines.append(f"they take no new jobs: {error}")
    lines += await _stuck(store, others)
    if dead := await store.orphans():
        lines.append(f"running, and their process is dead: {_some(len(dead))}")
    return lines


def _told_of(others: Sequence[Presence]) -> Iterator[str]:
    """Who has the store open."""
    if not others:
        yield "no server has the store open"
    for (program, routes), number in Counter(map(_runs, others)).items():
        whose = "of some program" if program is None else f"of {program!r}"
        has = (
            ""
            if routes is None
            else f", with handlers for {', '.join(sorted(routes)) or 'nothing'}"
        )
        yield f"{number} server{'s' if number > 1 else ''} {whose}{has}"


def _runs(presence: Presence) -> tuple[str | None, frozenset[str] | None]:
    return presence.program, presence.routes


async def _stuck(store: Store, others: Sequence[Presence]) -> list[str]:
    """The queued jobs that no process has a handler for."""
    if not others or STRANGER in others or any(other.routes is None for other in others):
        return []  # of none nothing is known
    routes = frozenset[str]().union(*(other.routes or () for other in others))
    query = Query(states=frozenset({State.QUEUED}), not_routes=routes, limit=MAX_PAGE)
    counts = Counter(job.route for job in await store.find(query))
    return [
        f"queued, and no server has a handler for {route!r}: {_some(count)}"
        for route, count in sorted(counts.items())
    ]


def _some(count: int) -> str:
    more = " or more" if count >= MAX_PAGE else ""
    return f"{count} job{'s' if count != 1 else ''}{more}"
