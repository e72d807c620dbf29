"""The limits on what runs in this process at a time."""

from __future__ import annotations

import asyncio
from collections import Counter

from ..handler import Handler
from ..threads import Threads
from .awaited import Awaited


class Slots:
    """How many more jobs of each route may run here.

    There are four limits: on tasks, on threads, the route's own, and the one of suspects (see
    `Job.is_suspect`), of which one runs at a time.

    Args:
        awaited: is told of the jobs that others wait for, for which they have given up a slot.
    """

    def __init__(self, concurrency: int, threads: Threads, awaited: Awaited) -> None:
        self.awaited = awaited
        self._concurrency = concurrency
        self.threads = threads
        self._taken: Counter[str] = Counter()
        self._tasks = 0
        self._threaded = 0
        self._suspects = 0
        # Whose jobs have waited for others and want to go on, the first first.
        self._returning: dict[Slot, asyncio.Future[None]] = {}

    @property
    def has_suspect(self) -> bool:
        """Whether a suspect runs here."""
        return self._suspects > 0

    def free(self, handler: Handler) -> int:
        """How many jobs of this handler could start now, after those that want to go on."""
        return max(self._room(handler) - self._returning_to(handler.threaded), 0)

    def free_in_all(self, *, threaded: bool) -> int:
        """How many jobs could start now, in threads or as tasks, of all handlers together."""
        return max(self._room_in_all(threaded) - self._returning_to(threaded), 0)

    def take(self, handler: Handler, *, suspect: bool = False) -> Slot | None:
        """A slot for a job, if there is one: with a thread that is there, where it takes one.

        There is none for a suspect beside another one, which may just have come back from a wait.
        """
        if not self.free(handler) or (suspect and self.has_suspect):
            return None
        if handler.threaded and not self.threads.reserve(self._threaded):
            return None
        slot = Slot(self, handler, suspect=suspect)
        self._count(slot, 1)
        return slot

    def give_back(self, slot: Slot) -> None:
        """A slot is free again: for a job that wants to go on, before any other."""
        self._count(slot, -1)
        for returning, place in self._returning.items():
            if not place.done() and self._admits(returning):
                self._count(returning, 1)
                place.set_result(None)

    async def retake(self, slot: Slot) -> None:
        """Take a slot that was given back; waits for it, before all who are new."""
        place = self._returning[slot] = asyncio.get_running_loop().create_future()
        if self._admits(slot):
            self._count(slot, 1)
            place.set_result(None)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.give_back(slot)
            raise
        finally:
            del self._returning[slot]

    def _admits(self, slot: Slot) -> bool:
        return self._room(slot.handler) > 0 and not (slot.suspect and self.has_suspect)

    def _returning_to(self, threaded: bool) -> int:
        return sum(slot.handler.threaded == threaded for slot in self._returning)

    def _room_in_all(self, threaded: bool) -> int:
        if threaded:
            return self.threads.free(self._threaded)
        return self._concurrency - self._tasks

    def _room(self, handler: Handler) -> int:
        room = self._room_in_all(handler.threaded)
        if handler.concurrency is not None:
            room = min(room, handler.concurrency - self._taken[handler.route])
        return room

    def _count(self, slot: Slot, change: int) -> None:
        self._taken[slot.handler.route] += change
        self._suspects += change * slot.suspect
        if slot.handler.threaded:
            self._threaded += change
        else:
            self._tasks += change


class Slot:
    """The place of one job among those that run here.

    A job that waits for another one needs none meanwhile: if it kept it, jobs that wait for jobs
    could take all slots, and what they wait for would never start.
    """

    __slots__ = ("_held", "_lent", "_over", "_slots", "_threads", "_waits", "handler", "suspect")

    def __init__(self, slots: Slots, handler: Handler, *, suspect: bool) -> None:
        self.handler = handler
        self.suspect = suspect
        self._slots = slots
        self._threads = slots.threads if handler.threaded else None
        self._held = True
        self._over = False
        self._waits = 0
        self._lent = False

    def give_back(self) -> None:
        """The job needs it no more; may be said twice."""
        self._over = True
        self._free()

    def pause(self, job_id: str) -> None:
        """The job begins to wait for this other one; it may wait for several at a time.

        Raises:
            RuntimeError: it is in a thread, and there is none to be had that could take its place.
        """
        if not self._waits and not self._over:
            if self._threads is not None:
                self._threads.lend()
                self._lent = True
            self._free()
        self._waits += 1
        self._slots.awaited.add(job_id)

    async def resume(self, job_id: str, *, go_on: bool) -> None:
        """The wait for that job is over. If it was the last one, the job has its slot again when
        this returns.

        Args:
            go_on: whether it needs the slot: a job that shall stop does not.
        """
        self._slots.awaited.discard(job_id)
        self._waits -= 1
        if self._waits:
            return
        try:
            if go_on and not self._over:
                await self._slots.retake(self)
                self._held = True
        finally:
            if self._lent and self._threads is not None:
                self._lent = False
                self._threads.take_back()
            if self._over:  # by now
                self._free()

    def _free(self) -> None:
        if self._held:
            self._held = False
            self._slots.give_back(self)
