"""Runs jobs in this process: a task each, and a bounded pool of threads for sync handlers."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Self

from ..engine import Engine
from ..errors import JobInterrupted, ShuttingDown
from ..events import Action, Draining, Troubled
from ..job import Job, Request, State
from ..running.attempt import STOP_GRACE
from ..running.claim import Claim
from ..running.claims import Claims
from ..running.runner import Runner
from ..running.threads import Threads
from ..store import ANSWER_DEADLINE
from ..verdict import is_overdue
from .awaited import Awaited
from .queue import Queue
from .slots import Slot, Slots

#: Seconds that handlers have to stop, once they were told to at the end of the drain time, and what
#: they have shielded is over.
STOP_DEADLINE = 3 * STOP_GRACE


class LocalEngine(Engine):
    """Runs as many jobs at a time as there are slots; the others wait in the store.

    Args:
        concurrency: how many asynchronous handlers run at a time.
        drain_time: seconds that running jobs have to end when the engine stops.
    """

    def __init__(
        self,
        claims: Claims,
        runner: Runner,
        threads: Threads,
        *,
        concurrency: int,
        drain_time: float,
    ) -> None:
        self._claims = claims
        self._runner = runner
        self._drain_time = drain_time
        awaited = Awaited(claims.store, self._slot_freed)
        self._slots = Slots(concurrency, threads, awaited)
        self._queue = Queue(claims, self._slots, awaited)
        threads.freed = self._thread_freed
        self._running: set[asyncio.Task[Job]] = set()
        # What is on its way to the disk as started, and whether there is anything.
        self._admitted: dict[str, tuple[Claim, Slot]] = {}
        self._none_admitted = asyncio.Event()
        self._none_admitted.set()
        self._looking: asyncio.Task[None] | None = None
        # Whether nothing that comes back from the store is started any more.
        self._too_late = False

    async def __aenter__(self) -> Self:
        # What earlier processes have left goes before the first new job.
        await self._look()
        self._looking = asyncio.create_task(self._look_after_queue())
        return self

    async def drain(self) -> None:
        self.is_draining = True
        self._queue.ring(())
        await self._hear_from_store()
        if self._running:
            self._claims.emit(Draining(len(self._running), self._drain_time))
        await self._ended(self._drain_time)
        if not self._running:
            return
        self._claims.emit(Draining(len(self._running), None))
        await self._runner.stop_all(JobInterrupted("the server was stopped while the job ran"))
        await self._ended(STOP_DEADLINE)
        for task in self._running:
            self._kill(task)
        await self._ended(STOP_DEADLINE)

    def admit(self, job: Job) -> Job:
        if self.is_draining:
            raise ShuttingDown("the server is stopping and accepts no more jobs: try again soon")
        if self._looking is None or self._queue.may_have(job.route):
            return job
        if job.cancel_at is not None and is_overdue(job, job.created):
            return job  # which is not started, but cancelled
        slot = self._slots.take(self._claims.handlers[job.route])
        if slot is None:
            return job
        claim = self._claims.start(job, job.created)  # which is now
        self._admitted[job.id] = claim, slot
        self._none_admitted.clear()
        return claim.job

    def dismiss(self, job: Job, *, in_doubt: bool = True) -> None:
        if job.state is State.RUNNING:
            claim, slot = self._take_admitted(job)
            if in_doubt:
                self._claims.doubt(claim)
            self._give_back(slot)

    async def submit(self, job: Job, request: Request) -> None:
        if job.state is State.RUNNING and self._too_late:
            self.dismiss(job)
        elif job.state is State.RUNNING:
            self._start(*self._take_admitted(job), request)
        elif job.state is State.QUEUED:
            self.look({job.route})

    def look(self, routes: Iterable[str] | None = None) -> None:
        self._queue.ring(routes)

    def _take_admitted(self, job: Job) -> tuple[Claim, Slot]:
        admitted = self._admitted.pop(job.id)
        if not self._admitted:
            self._none_admitted.set()
        return admitted

    def _start(self, claim: Claim, slot: Slot, request: Request | None = None) -> None:
        """Run a job that is started, in its slot."""
        # An inherited context would share the `g` of the request that submitted the job, and keep
        # that request for as long as the job runs. So would that of a callback.
        context = contextvars.Context()
        run = self._runner.perform(claim, slot, partial(self._give_back, slot), request)
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
        self._slot_freed()

    def _slot_freed(self) -> None:
        self._queue.ring_if_queued()

    def _thread_freed(self) -> None:
        self._slots.let_return()
        self._slot_freed()

    async def _look_after_queue(self) -> None:
        while not self.is_draining:
            await self._look()
            await self._queue.wait()

    async def _look(self) -> None:
        """Start what there is a slot for."""
        try:
            await self._start_queued()
        except Exception as error:
            self._claims.emit(Troubled(Action.LOOK, error))

    async def _start_queued(self) -> None:
        found = await self._queue.look()
        claims = []
        for job in found.jobs:
            handler = self._claims.handlers[job.route]
            slot = self._slots.take(handler, suspect=job.is_suspect, awaited=job in found.awaited)
            if slot is not None:
                claims.append(self._claim(job, slot, more=found.more))
            else:
                self._queue.put_off(job.route)
        if claims:
            # Together, so that all of them are one transaction.
            self._queue.claimed(await asyncio.gather(*claims))

    async def _claim(self, job: Job, slot: Slot, *, more: bool) -> bool:
        """Start the job if it can be claimed; False if somebody else was faster.

        Args:
            more: whether others may start at once as well, if the store takes this one.
        """
        try:
            claim = await self._claims.claim(job)
        except Exception as error:
            self._claims.emit(Troubled(Action.CLAIM, error, job.id))
            self._queue.put_off(job.route)
            slot.give_back()  # without the doorbell: the store is left some time
            return True
        if claim is None:
            self._give_back(slot)
            return False
        self._start(claim, slot)
        if more:
            self._slot_freed()
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
            self._claims.emit(Troubled(Action.DRAIN, count=len(self._admitted)))
            if self._looking is not None:
                self._looking.cancel()
        self._too_late = True

    async def _ended(self, seconds: float) -> None:
        """Wait for the running jobs, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait(self._running)

    def _kill(self, task: asyncio.Task[Job]) -> None:
        """End a task whose handler swallows its cancellation: it would keep the loop from closing.

        Its job has ended without it already.
        """
        coroutine = task.get_coro()
        assert coroutine is not None
        try:
            coroutine.close()
        except RuntimeError as error:
            self._claims.emit(Troubled(Action.KILL, error))
        # The task learns of it at its next step.
        task.cancel()
