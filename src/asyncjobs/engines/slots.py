"""The limits on what runs in this process at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..handler import Handler
from ..threads import Threads


class Slots:
    """How many more jobs of each route may run here.

    There are three limits: on tasks, on threads, and the route's own.
    """

    def __init__(self, handlers: Mapping[str, Handler], concurrency: int, threads: Threads) -> None:
        self._handlers = handlers
        self._concurrency = concurrency
        self._threads = threads
        self._taken: Counter[str] = Counter()
        self._tasks = 0
        self._threaded = 0

    def free(self, handler: Handler) -> int:
        """How many jobs of this handler could start now."""
        if handler.threaded:
            free = self._threads.free(self._threaded)
        else:
            free = self._concurrency - self._tasks
        if handler.concurrency is not None:
            free = min(free, handler.concurrency - self._taken[handler.route])
        return max(free, 0)

    def take(self, handler: Handler) -> Slot | None:
        """A slot for a job, if there is one: with a thread that is there, where it takes one."""
        if not self.free(handler):
            return None
        if handler.threaded and not self._threads.reserve(self._threaded):
            return None
        self.count(handler, 1)
        return Slot(self, handler)

    def count(self, handler: Handler, change: int) -> None:
        """So many more slots of this handler are taken, or fewer."""
        self._taken[handler.route] += change
        if handler.threaded:
            self._threaded += change
        else:
            self._tasks += change


class Slot:
    """The place of one job among those that run here."""

    __slots__ = ("_held", "_slots", "handler")

    def __init__(self, slots: Slots, handler: Handler) -> None:
        self.handler = handler
        self._slots = slots
        self._held = True

    def give_back(self) -> None:
        """The job needs it no more; may be said twice."""
        if self._held:
            self._held = False
            self._slots.count(self.handler, -1)
