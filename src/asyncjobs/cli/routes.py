"""Which routes there are, for whoever has mistyped one."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from ..listing import MAX_PAGE, Listing
from ..store import Store
from .looks import say


async def known_routes(store: Store) -> set[str]:
    """The routes of the newest 1,000 jobs, and of the servers that run."""
    newest = await store.list(Listing(limit=MAX_PAGE))
    routes = {job.route for job in newest.jobs}
    for presence in await store.others():
        routes |= presence.routes or frozenset()
    return routes


async def tell_of_strange(store: Store, routes: Collection[str]) -> bool:
    """Say which of these routes are none that is known, and what may have been meant; whether any
    are not."""
    known = await known_routes(store)
    strange = sorted(set(routes) - known)
    for route in strange:
        near = get_close_matches(route, known)
        names = ", ".join(near or sorted(known)) or "none"
        meant = f"Did you mean {names}?" if near else f"Routes of the newest jobs: {names}"
        say(f"no job of a route {route!r} is known. {meant}", err=True)
    return bool(strange)


async def tell_of_none(store: Store, routes: Collection[str]) -> bool:
    """Say that no job is as it was asked for; whether that is as a route is not known."""
    is_strange = await tell_of_strange(store, routes)
    if not is_strange:
        say("there is no such job", err=True)
    return is_strange
