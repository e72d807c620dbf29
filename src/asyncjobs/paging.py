"""All pages of a store, one after the other, and what can be counted on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

from .job import State
from .listing import Listing, Page
from .store import Store


async def pages(store: Store, listing: Listing) -> AsyncIterator[Page]:
    """The page that is asked for, and all behind it. Whatever else is to run on the loop does so
    between two of them.

    Raises:
        StoreUnavailable
    """
    while True:
        page = await store.list(listing)
        yield page
        if page.next is None:
            return
        listing = replace(listing, before=page.next)
        await asyncio.sleep(0)  # a store on the loop may have had no reason to wait


async def counts(store: Store, listing: Listing) -> Counter[tuple[State, str]]:
    """How many jobs there are in each state of each route, of those that `listing` asks for.

    It goes through all of them, at a few seconds for a million: `since` and `owner` make it less.
    A job that changes meanwhile is counted once, as it was when its page was read.

    Raises:
        StoreUnavailable
    """
    counted: Counter[tuple[State, str]] = Counter()
    async for page in pages(store, listing):
        counted.update((job.state, job.route) for job in page.jobs)
    return counted
