"""The queued jobs that this process may start next, and when it is to look for them."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from ..job import Job
from ..running.claims import Claims, Due
from ..store import Query
from .awaited import Awaited
from .slots import Slots

#: The most shares of the queue that a process chooses from: see `reach_after`.
MAX_REACH = 16
#: At most so many queued jobs, in threads or as tasks, are started at a time, however many may run:
#: all else waits for the transaction that claims them.
START_CHUNK = 200
#: Out of so many suspects the next one is chosen.
SUSPECTS = 100


def reach_after(reach: int, taken: list[bool]) -> int:
    """Out of how many shares of the queue to take the next jobs, after these claims.

    Processes that all claim the oldest jobs get in each other's way: all but one come too late.
    """
    if taken.count(False) > len(taken) // 4:
        return min(reach * 2, MAX_REACH)
    return max(reach - 1, 1)


def starting_order(suspects: list[Job], healthy: list[Job], random: random.Random) -> list[Job]:
    """The queued jobs to start, as far as there are slots, out of all that may be started now.

    Of the suspects it is one: when that takes the process down, it takes no other suspect with it,
    which would be convicted for what it has not done. Which one is left to chance, as the first in
    the queue might be the first for ever. It goes before the healthy: they never let it in.
    """
    return [*([random.choice(suspects)] if suspects else []), *healthy]


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be started.

    Attributes:
        jobs: in the order in which they get what slots there are.
        awaited: those of them that running jobs wait for.
        more: whether there are more of them, for as many slots.
    """

    jobs: list[Job]
    awaited: frozenset[Job]
    more: bool


NOTHING = Next([], frozenset(), more=False)


class Queue:
    """Looks for queued jobs that there are slots for, whenever somebody rings, as is done now and
    then in any case, or one is due.

    Args:
        awaited: the jobs that running ones wait for.
    """

    def __init__(self, claims: Claims, slots: Slots, awaited: Awaited) -> None:
        self._claims = claims
        self._slots = slots
        self._awaited = awaited
        self._routes: set[str] = set()
        # Whether any other route may have some as well, for all that is known: nobody new waits for
        # that, or each look in case a hint was lost would send all that comes into the queue.
        self._any_route = False
        # Jobs are taken out of the oldest in the queue: out of so many times as many as can start.
        self._reach = 1
        # When, by the clock of the loop, there is something to be started that could not be before;
        # first of all there may be anything.
        self._next_look = 0.0
        self._doorbell = asyncio.Event()

    def may_have(self, route: str) -> bool:
        """Whether jobs of this route may wait here: nobody overtakes them."""
        return route in self._routes

    def ring(self, routes: Iterable[str] | None = None) -> None:
        """These routes have jobs in the queue, or any route may: look soon."""
        if routes is None:
            self._any_route = True
        else:
            self._routes.update(self._claims.handlers.keys() & routes)
        self._doorbell.set()

    def ring_if_queued(self) -> None:
        """A slot is free: that is of interest if somebody waits for one."""
        if self._routes:
            self._doorbell.set()

    def put_off(self, route: str) -> None:
        """A job of this route could not be started now: look at it next time."""
        self._routes.add(route)

    async def wait(self) -> None:
        """Until somebody has rung since the last look, or something is due by now."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if math.isinf(self._next_look) else self._next_look):
                await self._doorbell.wait()

    async def look(self) -> Next:
        """What to start as far as the slots allow, oldest first.

        Raises:
            StoreUnavailable
        """
        self._doorbell.clear()
        if is_due := _loop_time() >= self._next_look:
            self._next_look = math.inf
        if is_due or self._any_route:
            self._routes.update(self._claims.handlers)
            self._any_route = False
        free = {route: self._slots.free(self._claims.handlers[route]) for route in self._routes}
        ready = {route: slots for route, slots in free.items() if slots}
        if not ready:
            return NOTHING
        suspects = await self._find_suspect(frozenset(ready))
        awaited = await self._find_awaited(ready)
        healthy, more = await self._find_healthy(ready, suspects, awaited)
        jobs = starting_order(suspects, healthy, self._claims.random)
        return Next(jobs, frozenset(awaited), more)

    def claimed(self, taken: list[bool]) -> None:
        """Of the jobs that were looked for last, somebody else was faster with some, or not."""
        self._reach = reach_after(self._reach, taken)

    async def _find_awaited(self, routes: Mapping[str, int]) -> list[Job]:
        """Queued jobs that running ones wait for, as many as there may be slots for."""
        queued = await self._awaited.find(max(routes.values()))
        return [job for job in self._now(self._claims.due_of(queued)) if job.route in routes]

    async def _find_suspect(self, routes: frozenset[str]) -> list[Job]:
        """A queued job of these routes that may take this process down; none while one runs.

        It is chosen by chance, as for `starting_order`, but where the others need not be read.
        """
        if self._slots.has_suspect:
            return []
        query = Query(routes=routes, suspects=True, limit=1)
        oldest = await self._due(query)
        # Each of those that are due is as likely as any other: where there is none, there is none
        # further on either, and it is tried again among those before.
        among = SUSPECTS
        while oldest and (place := self._claims.random.randrange(among)) > 0:
            if due := await self._due(replace(query, skip=place)):
                return due
            among = place
        return oldest

    async def _find_healthy(
        self, ready: Mapping[str, int], suspects: list[Job], awaited: list[Job]
    ) -> tuple[list[Job], bool]:
        """The jobs to start but for suspects, those first that are awaited; and whether there are
        more of them for as many slots."""
        healthy, more = [*awaited], False
        # Tasks and threads apart, so that no more is read than can start.
        for threaded in (False, True):
            limits = {route: ready[route] for route in ready if self._runs(route, threaded)}
            taken = sum(self._runs(job.route, threaded) for job in [*suspects, *healthy])
            limit = self._slots.free_in_all(threaded=threaded) - taken
            if limits and limit > 0:
                due = await self._find_due(limits, min(limit, START_CHUNK))
                more |= len(due) == START_CHUNK < limit
                healthy += [job for job in due if job not in awaited]
        return healthy, more

    async def _find_due(self, limits: Mapping[str, int], limit: int) -> list[Job]:
        """Queued jobs of these routes, without suspects.

        They are the oldest, unless other processes take the oldest as well.

        Args:
            limits: how many of each route can start, and so none that cannot.
            limit: how many can start of all of them together.
        """
        # Before the read: what is added meanwhile is looked for again.
        self._routes -= limits.keys()
        query = Query(routes=frozenset(limits), suspects=False, limits=limits, limit=limit)
        if self._reach > 1:
            share = self._claims.random.randrange(self._reach)
            if due := await self._due(replace(query, share=share, shares=self._reach)):
                self.ring(limits)  # for the other shares
                return due
        due = await self._due(query)
        found = Counter(job.route for job in due)
        left = (route for route in limits if len(due) == limit or found[route] == limits[route])
        self._routes.update(left)
        return due

    def _runs(self, route: str, threaded: bool) -> bool:
        return self._claims.handlers[route].threaded == threaded

    async def _due(self, query: Query) -> list[Job]:
        return self._now(await self._claims.due(query))

    def _now(self, due: Due) -> list[Job]:
        """Those that may be started now; takes note of when the next one may."""
        if due.wait is not None:
            self._next_look = min(self._next_look, _loop_time() + due.wait)
        return due.jobs


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
