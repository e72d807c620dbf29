"""The right of this process to perform one job, until it is finished, given back or lost.

Nothing is written unless the right is still ours: every write is conditional on the version that it
was decided on, so that a worker that has lost its job can change nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import (
    Conflict,
    HandlerFailed,
    InvalidTransition,
    JobNotFound,
    JobUnreadable,
    StoreUnavailable,
)
from ..events import Action, Emit, Finished, Lost, NeverStarted, Released, Troubled
from ..handler import Handler
from ..job import Job, Progress, Request, Response
from ..outcome import Outcome, Unusable
from ..store import Store
from ..transitions import is_same_claim, report
from ..verdict import Verdict, concluded, is_tried_again, never_started

#: Seconds between two tries of a job to reach the store while it is unavailable.
STORE_RETRY = 0.5


@dataclass(frozen=True, slots=True)
class ClaimContext:
    """What every claim is made with.

    Attributes:
        store: that keeps the jobs.
        emit: is told what happens to them.
        random: for jitter.
        max_starts: how often a job is started at most.
    """

    store: Store
    emit: Emit
    random: random.Random
    max_starts: int


class Claim:
    """A job that is started in the name of this process.

    Attributes:
        job: as last known here.
        handler: what runs it.
        is_over: whether it is finished, given back, or somebody else's by now.
    """

    __slots__ = ("_context", "handler", "is_over", "job")

    def __init__(self, context: ClaimContext, job: Job, handler: Handler) -> None:
        self._context = context
        self.job = job
        self.handler = handler
        self.is_over = False

    @property
    def is_last(self) -> bool:
        """Whether the job ends with this attempt, also if its handler raises an exception."""
        return not is_tried_again(self.job, self.handler.retries, self._context.max_starts)

    def now(self) -> float:
        """The time, as the store tells it."""
        return self._context.store.now()

    async def request(self) -> Request | Unusable:
        """The stored request, or why there is none. While the store is unavailable, wait for it:
        the job has not failed, it has not begun."""
        job_id = self.job.id
        while True:
            try:
                return await self._context.store.request(job_id)
            except JobUnreadable as error:
                return Unusable(error)
            except JobNotFound:
                return Unusable(JobUnreadable("the stored request of the job is missing"))
            except StoreUnavailable as error:
                self._context.emit(Troubled(Action.FETCH, error, job_id))
                await asyncio.sleep(STORE_RETRY)

    async def report(self, progress: Progress) -> None:
        """Store how far the handler has come, if the job is still ours."""
        # Based on what is stored: on a version that never was, it could overwrite a cancellation.
        # If the job ends meanwhile, that is with this progress.
        with suppress(StoreUnavailable, InvalidTransition):
            await self._write(lambda job: (report(job, progress), None))

    async def finish(self, outcome: Outcome, progress: Progress | None) -> None:
        """Store what became of the job, if need be without what the handler has said: it is final
        then, or queued again.

        Whatever is wrong with that, the job must not be left running for ever.
        """
        at = self._context.store.now()
        for what, reported in ((outcome, progress), (outcome, None), (None, None)):
            try:
                await self._store_outcome(what or _cannot_be_stored(), reported, at)
                return
            except Exception as error:
                self._context.emit(Troubled(Action.CONCLUDE, error, self.job.id))

    async def release(self) -> None:
        """Give back the job, which was never begun with, if it is stored as started.

        Raises:
            Conflict: it has changed just now.
            StoreUnavailable
        """
        store = self._context.store
        try:
            stored = await store.get(self.job.id)
        except JobNotFound:
            return
        # During the read, another write may have begun to start it.
        if not self.is_over and is_same_claim(stored, self.job):
            given_back, response = never_started(stored, store.now(), self._context.max_starts)
            await store.replace(stored, given_back, response)
            self._context.emit(NeverStarted(given_back))
            if given_back.state.is_final:
                self._context.emit(Finished(given_back))

    async def _store_outcome(self, outcome: Outcome, progress: Progress | None, at: float) -> None:
        """While the store is unavailable, wait for it."""
        waiting = False
        while not self.is_over:
            try:
                is_ours = await self._write(lambda job: self._concluded(job, outcome, progress, at))
                self.is_over = True
                self._context.emit(_end_of(self.job) if is_ours else Lost(self.job))
            except StoreUnavailable as error:
                if not waiting:
                    self._context.emit(Troubled(Action.STORE, error, self.job.id))
                waiting = True
                await asyncio.sleep(STORE_RETRY)

    def _concluded(
        self, job: Job, outcome: Outcome, progress: Progress | None, at: float
    ) -> Verdict:
        context = self._context
        # That was asked for after the handler had ended, if it was because its time was over.
        if job.cancel_requested and job.cancel_at is not None and not isinstance(outcome, Response):
            at = max(at, context.store.now())
        return concluded(
            job if progress in (None, job.progress) else report(job, progress),
            outcome,
            at,
            context.random,
            retries=self.handler.retries,
            max_starts=context.max_starts,
        )

    async def _write(self, decide: Callable[[Job], Verdict]) -> bool:
        """Change the job as `decide` says; False if the claim is lost."""
        store = self._context.store
        while True:
            old = self.job
            new, response = decide(old)
            try:
                await store.replace(old, new, response)
                self.job = new
                return True
            except Conflict:
                try:
                    stored = await store.get(old.id)
                except JobNotFound:
                    return False
                if stored == new._replace(due=stored.due):  # which may have another jitter
                    self.job = stored  # by a try of ours, of which the store did not say so
                    return True
                if not is_same_claim(stored, old):
                    return False
                # Somebody asked to cancel it, for one. A write of ours may have been faster still.
                self.job = max(stored, self.job, key=lambda job: job.version)


def _cannot_be_stored() -> Unusable:
    return Unusable(HandlerFailed("the job's outcome cannot be stored"))


def _end_of(job: Job) -> Finished | Released:
    return Finished(job) if job.state.is_final else Released(job)
