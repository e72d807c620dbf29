"""Whether one more job may wait in the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from .errors import QueueFull, QuotaExceeded
from .job import State
from .owner import ANYONE, Owner
from .store import Query, Store

#: A count is good for so many seconds, and grows meanwhile by what this process adds.
COUNT_TIME = 0.1
#: A count that would refuse a job by what may be counted twice waits for so many seconds at most.
SETTLE_TIME = 0.1
#: So many counts are kept before those are dropped that are not good any more.
MANY_COUNTS = 1000


@dataclass(slots=True)
class _Count:
    """How many jobs wait in the queue, of an owner or of anybody.

    Attributes:
        waiting: how many there are: those that were counted, and what this process adds since.
        adding: how many of these are on their way to the store, where none of them may be counted.
        none_adding: set as soon as there are none of these.
        asking: how many others wait to be told whether they may be added.
        until: when it has to be counted anew.
    """

    waiting: int = 0
    adding: int = 0
    none_adding: asyncio.Event = field(default_factory=asyncio.Event)
    asking: int = 0
    until: float = 0.0


class Backlog:
    """Keeps the queue of a store within its limits. It is asked of each job that does not start at
    once, and of no other.

    Jobs that run ones submit count as any other. Those that come back, as their process has died,
    they shall be tried again, or an operator wants so, are not asked for.

    A count is kept for a tenth of a second (`COUNT_TIME`), so that a full queue is not counted for
    each job that is refused. What this process adds meanwhile counts at once, so that by itself it
    never passes a limit; with others the limit may be passed by what these add in that time.

    Args:
        most: so many jobs wait at most.
        most_of_owner: and so many of one owner.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        *,
        most: int,
        most_of_owner: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._most = most
        self._most_of_owner = most_of_owner
        self._clock = clock
        self._counts: dict[Owner, _Count] = {}
        self._many = MANY_COUNTS
        self._counting = asyncio.Lock()

    async def add(self, owner: str | None) -> Callable[[], None]:
        """Let one more job of that owner be added to the queue.

        Returns what is to be called once it is known what has become of it: until then no count can
        be trusted to have it.

        Raises:
            QuotaExceeded, QueueFull: it must not be.
            StoreUnavailable
        """
        limits: dict[Owner, int] = {ANYONE: self._most}
        if owner is not None:
            limits[owner] = self._most_of_owner
        counts = [self._count_of(each) for each in limits]
        for count in counts:
            count.asking += 1
        try:
            for (each, most), count in zip(limits.items(), counts, strict=True):
                await self._keep_good(each, most, count)
            # From here on without a break: all that ask at the same time would be let in.
            if owner is not None and counts[-1].waiting >= self._most_of_owner:
                raise QuotaExceeded(
                    f"you have {self._most_of_owner} queued jobs, and no more may wait: try again "
                    "once some of them have begun"
                )
            if counts[0].waiting >= self._most:
                raise QueueFull(
                    f"there are {self._most} queued jobs, and no more may wait: try again later"
                )
        finally:
            for count in counts:
                count.asking -= 1
        for count in counts:
            count.waiting += 1
            count.adding += 1
            count.none_adding.clear()
        return partial(_added, counts)

    def _count_of(self, owner: Owner) -> _Count:
        count = self._counts.get(owner)
        if count is None:
            self._drop_old()
            count = self._counts[owner] = _Count()
        return count

    async def _keep_good(self, owner: Owner, most: int, count: _Count) -> None:
        if count.until <= self._clock():
            async with self._counting:
                if count.until <= self._clock():  # nobody was faster
                    await self._count_anew(owner, most, count)

    async def _count_anew(self, owner: Owner, most: int, count: _Count) -> None:
        query = Query(states=frozenset({State.QUEUED}), owner=owner, limit=most)
        while True:
            adding = count.adding  # some of these may be counted twice, but none is left out
            counted = await self._store.count(query)
            # Whoever would be refused by that alone waits until it is known; not for ever.
            if counted == most or counted + adding < most or not await _none_adding(count):
                break
        count.waiting = counted + adding
        count.until = self._clock() + COUNT_TIME

    def _drop_old(self) -> None:
        if len(self._counts) < self._many:
            return
        now = self._clock()
        self._counts = {
            owner: count
            for owner, count in self._counts.items()
            if count.until > now or count.adding or count.asking
        }
        # Not for each one that comes, if there are so many at a time.
        self._many = max(MANY_COUNTS, 2 * len(self._counts))


def _added(counts: Sequence[_Count]) -> None:
    for count in counts:
        count.adding -= 1
        if not count.adding:
            count.none_adding.set()


async def _none_adding(count: _Count) -> bool:
    """Wait until all that are on their way to the store are known to be there; False if that takes
    too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_TIME):
            await count.none_adding.wait()
            return True
    return False
