"""The limits on what runs in this process at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from ..handler import Handler
from ..running.threads import Threads, in_our_thread
from .awaited import Awaited


def rivals(handler: Handler, handlers: Iterable[Handler]) -> dict[str, int | None]:
    """The routes, out of those of `handlers`, whose queued jobs wait for the same slots as those of
    this handler: where it has a limit of its own, there are no others.

    With each is how many of its jobs can be in the way at a time, whose route has a limit: those
    behind them are passed by. None for any number.
    """
    if handler.concurrency is not None:
        return {handler.route: None}
    return {
        other.route: other.concurrency for other in handlers if other.threaded == handler.threaded
    }


class Slots:
    """How many more jobs of each route may run here.

    There are four limits: on tasks, on threads, the route's own, and the one of suspects (see
    `Job.is_suspect`), of which one runs at a time.

    Args:
        awaited: is told of the jobs that others wait for, for which they have given up a slot.
    """

    def __init__(self, concurrency: int, threads: Threads, awaited: Awaited) -> None:
        self.awaited = awaited
        self.threads = threads
        self._concurrency = concurrency
        self._taken: Counter[str] = Counter()
        self._tasks = 0
        self._threaded = 0
        self._suspects = 0
        self._suspects_at_work = 0
        # Whose jobs have waited for others and want to go on, the first first. Where there is room
        # for one it goes on at once: who is still here is kept by a limit of its own.
        self._returning: dict[Slot, asyncio.Future[None]] = {}

    @property
    def has_suspect(self) -> bool:
        """Whether a suspect runs here, be it that it waits for another job."""
        return self._suspects > 0

    def free(self, handler: Handler) -> int:
        """How many jobs of this handler could start now."""
        return max(self._room(handler), 0)

    def free_in_all(self, *, threaded: bool) -> int:
        """How many jobs could start now, in threads or as tasks, of all handlers together."""
        return max(self._room_in_all(threaded), 0)

    def take(
        self, handler: Handler, *, suspect: bool = False, awaited: bool = False
    ) -> Slot | None:
        """A slot for a job, if there is one: with a thread that is there, where it takes one.

        Args:
            suspect: whether it may take the process down. There is none for it beside another one,
                which stays one while it waits: when it has gone on, both would be convicted.
            awaited: whether a running job waits for it; that may be the other suspect.
        """
        others = self._suspects_at_work if awaited else self._suspects
        if self._room(handler) <= 0 or (suspect and others):
            return None
        if handler.threaded and not self.threads.reserve(self._threaded):
            return None
        slot = Slot(self, handler, suspect=suspect)
        self._suspects += suspect
        self.count(slot, 1)
        return slot

    def leave(self, slot: Slot) -> None:
        """The job of this slot, which is given back, has ended."""
        self._suspects -= slot.suspect

    def count(self, slot: Slot, change: int) -> None:
        """One more slot is held, or one fewer, which somebody who wants to go on may have."""
        self._taken[slot.handler.route] += change
        self._suspects_at_work += change * slot.suspect
        if slot.handler.threaded:
            self._threaded += change
        else:
            self._tasks += change
        if change < 0 and self._returning:
            self.let_return()

    async def retake(self, slot: Slot) -> None:
        """Wait until the slot is held again, before all who are new, or is needed no more."""
        place = self._returning[slot] = asyncio.get_running_loop().create_future()
        self.let_return()
        try:
            await place
        finally:
            if self._returning.get(slot) is place:
                del self._returning[slot]

    def withdraw(self, slot: Slot) -> None:
        """The slot is needed no more, if it was."""
        place = self._returning.pop(slot, None)
        if place is not None and not place.done():
            place.set_result(None)

    def let_return(self) -> None:
        """Let those go on for whom there is room; to be called whenever there may be some."""
        for slot in list(self._returning):
            if self._room(slot.handler) > 0 and not (slot.suspect and self._suspects_at_work):
                slot.hold()
                self.withdraw(slot)

    def _room_in_all(self, threaded: bool) -> int:
        if threaded:
            return self.threads.free(self._threaded)
        return self._concurrency - self._tasks

    def _room(self, handler: Handler) -> int:
        room = self._room_in_all(handler.threaded)
        if handler.concurrency is not None:
            room = min(room, handler.concurrency - self._taken[handler.route])
        return room


class Slot:
    """The place of one job among those that run here.

    A job that waits for another one needs none meanwhile: if it kept it, jobs that wait for jobs
    could take all slots, and what they wait for would never start. It may wait for several at a
    time: it has its slot while it waits for none.
    """

    __slots__ = ("_held", "_lent", "_over", "_slots", "_waits", "handler", "suspect")

    def __init__(self, slots: Slots, handler: Handler, *, suspect: bool) -> None:
        self.handler = handler
        self.suspect = suspect
        self._slots = slots
        self._held = True
        self._over = False
        self._waits = 0
        self._lent = False

    def give_back(self) -> None:
        """The job needs it no more; may be said twice."""
        if not self._over:
            self._over = True
            self._slots.withdraw(self)
            self._release()
            self._slots.leave(self)

    def pause(self, job_id: str) -> None:
        """The job begins to wait for this other one.

        Raises:
            RuntimeError: it is in a thread, and there is none to be had that could take its place.
        """
        if in_our_thread.get() and not self._lent:
            self._slots.threads.lend()
            self._lent = True
        self._waits += 1
        self._slots.withdraw(self)
        self._release()
        self._slots.awaited.add(job_id)

    async def resume(self, job_id: str, *, go_on: bool) -> None:
        """The wait for that job is over. If it was the last one, the job has its slot again when
        this returns.

        Args:
            go_on: whether it needs the slot: a job that shall stop does not.
        """
        self._slots.awaited.discard(job_id)
        self._waits -= 1
        try:
            if go_on and self._needs_slot():
                await self._slots.retake(self)
        finally:
            if go_on and self._needs_slot():
                self.hold()  # it goes on all the same, as it was cancelled while it waited for it
            if self._lent and not self._waits:
                self._lent = False
                self._slots.threads.take_back()

    def hold(self) -> None:
        """The slot is the job's again."""
        self._held = True
        self._slots.count(self, 1)

    def _needs_slot(self) -> bool:
        return not (self._waits or self._held or self._over)

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._slots.count(self, -1)
