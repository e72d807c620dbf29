"""From page to page, as far as is asked for: in steps, between which anybody can stop it."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..listing import MAX_PAGE, Cursor, Listing, Page
from ..paging import pages
from ..store import Store
from .looks import console, on_terminal, rfc3339

# Seconds after which somebody wants to know how far it is.
_PATIENCE = 0.5


async def walk(store: Store, listing: Listing, limit: int | None) -> AsyncIterator[Page]:
    """Pages until there are so many jobs; None for all. The `next` of the last one is where they go
    on."""
    left = limit
    while left is None or left > 0:
        size = MAX_PAGE if left is None else min(left, MAX_PAGE)
        async for page in pages(store, replace(listing, limit=size)):
            yield page
            if page.next is None:
                return
            listing = replace(listing, before=page.next)
            if left is not None and page.jobs:
                left -= len(page.jobs)
                break  # what is still to come fits no more into such a page


@contextmanager
def told_how_far(*, quietly: bool = False) -> Iterator[Callable[[Cursor | None, int], None]]:
    """Within this, tell somebody at a terminal how far the walk is, given a place and a count.

    Args:
        quietly: not to do so, as something else is printed meanwhile.
    """
    if quietly or not (sys.stderr.isatty() and on_terminal()):
        yield lambda place, count: None
        return
    began = time.monotonic()
    status = console(stderr=True).status("")

    def tell(place: Cursor | None, count: int) -> None:
        if place is not None and time.monotonic() - began > _PATIENCE:
            status.update(f"{count:,} jobs, back to {rfc3339(place.created)}")
            status.start()

    try:
        yield tell
    finally:
        status.stop()
