"""All pages of a store, one after the other, and what can be counted on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True, slots=True)
class Counted:
    """What has been counted so far. A job that changes meanwhile is counted once, as it was when
    its page was read.

    Attributes:
        counts: how many jobs of a route are in a state.
        oldest: when the oldest of them was made.
    """

    counts: Counter[tuple[State, str]] = field(default_factory=Counter)
    oldest: dict[tuple[State, str], float] = field(default_factory=dict)

    def add(self, page: Page) -> None:
        """Count the jobs of this page as well."""
        for job in page.jobs:
            group = job.state, job.route
            self.counts[group] += 1
            self.oldest[group] = min(job.created, self.oldest.get(group, job.created))
