"""Runs jobs in this process: a task each, and a bounded pool of threads for sync handlers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Self

from ..engine import Engine
from ..errors import JobInterrupted, StoreUnavailable
from ..handler import Handler
from ..job import Job, Request, State
from ..running.runner import STOP_GRACE, Runner
from ..running.threads import Threads
from ..store import ANSWER_DEADLINE, Query, Store
from ..transitions import start
from ..verdict import is_due
from .awaited import Awaited
from .slots import Slot, Slots

logger = logging.getLogger("asyncjobs")

#: The queue is looked at that often in any case: the doorbell may have been missed. Seconds.
LOOK_INTERVAL = 1.0
#: The most shares of the queue that a process chooses from: see `reach_after`.
MAX_REACH = 16
#: At most so many queued jobs, in threads or as tasks, are started at a time, however many may run:
#: all else waits for the transaction that claims them.
START_CHUNK = 200
#: Out of so many suspects the next one is chosen.
SUSPECTS = 100
#: Seconds that handlers have to stop, once they were told to at the end of the drain time.
STOP_DEADLINE = 3 * STOP_GRACE


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


class LocalEngine(Engine):
    """Runs as many jobs at a time as there are slots; the others wait in the store.

    Args:
        clock: tells which queued jobs are due.
        random: keeps processes that share a queue out of each other's way.
        concurrency: how many asynchronous handlers run at a time.
        drain_time: seconds that running jobs have to end when the engine stops.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        handlers: Mapping[str, Handler],
        threads: Threads,
        *,
        clock: Callable[[], float],
        random: random.Random,
        concurrency: int,
        drain_time: float,
    ) -> None:
        self._store = store
        self._runner = runner
        self._handlers = handlers
        self._clock = clock
        self._random = random
        self._drain_time = drain_time
        self._awaited = Awaited(store, self._ring_if_queued)
        self._slots = Slots(concurrency, threads, self._awaited)
        threads.freed = self._thread_freed
        self._running: set[asyncio.Task[Job]] = set()
        # The routes that may have jobs in the queue.
        self._queued: set[str] = set()
        # Jobs are taken out of the oldest in the queue: out of so many times as many as can start.
        self._reach = 1
        # When, by the clock of the loop, all routes are looked at next.
        self._next_look = 0.0
        self._doorbell = asyncio.Event()
        # The slots of jobs that are on their way to the disk as started, and whether there are any.
        self._admitted: dict[str, Slot] = {}
        self._none_admitted = asyncio.Event()
        self._none_admitted.set()
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        # Whether nothing that comes back from the store is started any more.
        self._too_late = False

    async def __aenter__(self) -> Self:
        # What earlier processes have left goes before the first new job.
        await self._look_at_queue()
        self._looking = asyncio.create_task(self._look_after_queue())
        return self

    async def drain(self) -> None:
        self._stopping = True
        self._doorbell.set()
        await self._hear_from_store()
        if self._running:
            logger.info("running jobs have %g s to end: %d", self._drain_time, len(self._running))
        await self._ended(self._drain_time)
        if not self._running:
            return
        logger.warning("jobs that have not ended in time, and are stopped: %d", len(self._running))
        self._runner.stop_all(JobInterrupted("the server was stopped while the job ran"))
        await self._ended(STOP_DEADLINE)
        for task in self._running:
            _end(task)
        await self._ended(STOP_DEADLINE)

    def admit(self, job: Job) -> Job:
        handler = self._handlers[job.route]
        # Nobody overtakes a queue.
        if self._looking is None or self._stopping or job.route in self._queued:
            return job
        slot = self._slots.take(handler)
        if slot is None:
            return job
        self._admitted[job.id] = slot
        self._none_admitted.clear()
        return start(job, self._store.worker, self._clock())

    def dismiss(self, job: Job) -> None:
        if job.state is State.RUNNING:
            self._runner.doubts.add(job)
            self._give_back(self._take_admitted(job))

    async def submit(self, job: Job, request: Request) -> None:
        if job.state is State.RUNNING and self._too_late:
            self.dismiss(job)
        elif job.state is State.RUNNING:
            self._start(job, self._take_admitted(job), request)
        elif job.state is State.QUEUED:
            self.look({job.route})

    def look(self, routes: Iterable[str] | None = None) -> None:
        """Ring the doorbell: these routes, or all, may have jobs in the queue."""
        self._queued.update(self._handlers if routes is None else routes)
        self._doorbell.set()

    def _take_admitted(self, job: Job) -> Slot:
        slot = self._admitted.pop(job.id)
        if not self._admitted:
            self._none_admitted.set()
        return slot

    def _start(self, job: Job, slot: Slot, request: Request | None = None) -> None:
        """Run a job that is started, in its slot."""
        # An inherited context would share the `g` of the request that submitted the job, and keep
        # that request for as long as the job runs. So would that of a callback.
        context = contextvars.Context()
        run = self._runner.run(job, slot, partial(self._give_back, slot), request)
        task = asyncio.create_task(run, context=context)
        self._running.add(task)
        task.add_done_callback(self._ran, context=context)

    def _ran(self, task: asyncio.Task[Job]) -> None:
        self._running.discard(task)
        if (
            not task.cancelled()
            and task.exception() is None
            and task.result().state is State.QUEUED
        ):
            self.look({task.result().route})  # which finds out when it is due

    def _give_back(self, slot: Slot) -> None:
        slot.give_back()
        if slot.suspect:
            self.look()  # for the next one
        self._ring_if_queued()

    def _thread_freed(self) -> None:
        self._slots.let_return()
        self._ring_if_queued()

    def _ring_if_queued(self) -> None:
        """A slot is free: that is of interest if somebody waits for one."""
        if self._queued:
            self._doorbell.set()

    async def _look_after_queue(self) -> None:
        while not self._stopping:
            self._doorbell.clear()
            await self._look_at_queue()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_look):
                    await self._doorbell.wait()

    async def _look_at_queue(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_look:
            self._queued.update(self._handlers)
            self._next_look = now + LOOK_INTERVAL
        try:
            await self._start_queued()
        except StoreUnavailable as error:
            logger.warning("queued jobs have to wait: %s", error)
        except Exception:
            logger.exception("the queue could not be read; the next look is soon")

    async def _start_queued(self) -> None:
        """Claim and start what the slots allow, oldest first."""
        free = {route: self._slots.free(self._handlers[route]) for route in self._queued}
        ready = {route: slots for route, slots in free.items() if slots}
        if not ready:
            return
        suspects = await self._find_suspect(frozenset(ready))
        awaited = await self._find_awaited(ready)
        healthy = [*awaited]
        more = False
        # Tasks and threads apart, so that no more is read than can start.
        for threaded in (False, True):
            limits = {route: ready[route] for route in ready if self._runs(route, threaded)}
            taken = sum(self._runs(job.route, threaded) for job in [*suspects, *healthy])
            limit = self._slots.free_in_all(threaded=threaded) - taken
            if limits and limit > 0:
                due = await self._find_due(limits, min(limit, START_CHUNK))
                more |= len(due) == START_CHUNK < limit
                healthy += [job for job in due if job not in awaited]
        claims = []
        for job in starting_order(suspects, healthy, self._random):
            handler = self._handlers[job.route]
            slot = self._slots.take(handler, suspect=job.is_suspect, awaited=job in awaited)
            if slot is not None:
                claims.append(self._claim(job, slot, more=more))
            else:
                self._queued.add(job.route)
        # Together, so that all the claims are one transaction.
        self._reach = reach_after(self._reach, await asyncio.gather(*claims))

    def _runs(self, route: str, threaded: bool) -> bool:
        return self._handlers[route].threaded == threaded

    async def _find_awaited(self, routes: Mapping[str, int]) -> list[Job]:
        """Queued jobs that running ones wait for, as many as there may be slots for."""
        awaited = self._due(await self._awaited.find(max(routes.values())))
        return [job for job in awaited if job.route in routes]

    async def _find_suspect(self, routes: frozenset[str]) -> list[Job]:
        """A queued job of these routes that may take this process down; none while one runs.

        It is chosen by chance, as for `starting_order`, but where the others need not be read.
        """
        if self._slots.has_suspect:
            return []
        query = Query(states=frozenset({State.QUEUED}), routes=routes, suspects=True, limit=1)
        oldest = self._due(await self._store.find(query))
        # Each of those that are due is as likely as any other: where there is none, there is none
        # further on either, and it is tried again among those before.
        among = SUSPECTS
        while oldest and (place := self._random.randrange(among)) > 0:
            if due := self._due(await self._store.find(replace(query, skip=place))):
                return due
            among = place
        return oldest

    async def _find_due(self, limits: Mapping[str, int], limit: int) -> list[Job]:
        """Queued jobs of these routes, without suspects.

        They are the oldest, unless other processes take the oldest as well.

        Args:
            limits: how many of each route can start, and so none that cannot.
            limit: how many can start of all of them together.
        """
        # Before the read: what is added meanwhile is looked for again.
        self._queued -= limits.keys()
        query = Query(
            states=frozenset({State.QUEUED}),
            routes=frozenset(limits),
            suspects=False,
            limits=limits,
            limit=limit,
        )
        if self._reach > 1:
            share = replace(query, share=self._random.randrange(self._reach), shares=self._reach)
            if due := self._due(await self._store.find(share)):
                self.look(limits)  # for the other shares
                return due
        due = self._due(await self._store.find(query))
        found = Counter(job.route for job in due)
        left = (route for route in limits if len(due) == limit or found[route] == limits[route])
        self._queued.update(left)
        return due

    def _due(self, queued: list[Job]) -> list[Job]:
        """Those that may be started now; takes note of when the next one may."""
        now = self._clock()
        due = [job for job in queued if is_due(job, now)]
        if len(due) < len(queued):
            wait = min(job.due for job in queued if not is_due(job, now)) - now
            self._next_look = min(self._next_look, asyncio.get_running_loop().time() + wait)
        return due

    async def _claim(self, job: Job, slot: Slot, *, more: bool) -> bool:
        """Start the job if it can be claimed; False if somebody else was faster.

        Args:
            more: whether others may start at once as well, if the store takes this one.
        """
        try:
            claimed = await self._runner.claim(job)
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                logger.warning("job %s has to wait: %s", job.id, error)
            else:
                logger.exception("job %s cannot be started; the next try is soon", job.id)
            self._queued.add(job.route)
            slot.give_back()  # without the doorbell: the store is left some time
            return True
        if claimed is None:
            self._give_back(slot)
            return False
        self._start(claimed, slot)
        if more:
            self._ring_if_queued()
        return True

    async def _hear_from_store(self) -> None:
        """Wait for the jobs that are being claimed or added as started, if the store ever answers.

        If it does not, they are left to those who rescue what this process leaves.
        """
        if self._too_late:
            return
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                if self._looking is not None:
                    # Not cancelled: a job that it is just claiming would be left running, and by
                    # nobody.
                    await asyncio.wait([self._looking])
                await self._none_admitted.wait()
        except TimeoutError:
            logger.error(
                "the store does not answer: what was to be started is left to other processes, and "
                "to the next start (%d new jobs, and any that were being claimed)",
                len(self._admitted),
            )
            if self._looking is not None:
                self._looking.cancel()
        self._too_late = True

    async def _ended(self, seconds: float) -> None:
        """Wait for the running jobs, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait(self._running)


def _end(task: asyncio.Task[Job]) -> None:
    """End a task whose handler swallows its cancellation: it would keep the loop from closing.

    Its job has ended without it already.
    """
    coroutine = task.get_coro()
    assert coroutine is not None
    try:
        coroutine.close()
    except RuntimeError:
        logger.exception("a handler cannot be ended by any means")
    # The task learns of it at its next step.
    task.cancel()
