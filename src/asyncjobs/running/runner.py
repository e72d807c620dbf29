"""Performs what this process has claimed: an attempt each, in the task that asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from ..errors import JobFailure, StoreUnavailable
from ..events import Action, Troubled
from ..job import Job, Request, State
from ..verdict import why_cancelled
from .attempt import STOP_GRACE, Attempt, AttemptContext
from .claim import Claim
from .claims import Claims
from .current import Place, Program
from .deadlines import Deadlines
from .errands import Errands
from .shield import PutOff


class Runner:
    """Runs jobs, and stops those that shall stop.

    An async context manager, to be left once nothing runs any more: it waits, but not for long, for
    what was begun beside the attempts, such as the end of abandoned jobs.

    Args:
        program: whose jobs they are.
        shield_time: seconds that the stop of a job is put off at most by what it has shielded.
    """

    def __init__(self, claims: Claims, program: Program, *, shield_time: float) -> None:
        self._claims = claims
        self._errands = Errands(STOP_GRACE)
        self._put_off = PutOff()
        self._context = AttemptContext(
            program,
            claims.emit,
            self._errands,
            lambda: self._errands.is_loop_ending,
            Deadlines(Attempt.time_out),
            self._put_off,
            shield_time,
        )
        self._attempts: dict[str, Attempt] = {}
        self._overruled = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._errands.__aenter__()
        self._heeding = asyncio.create_task(self._heed())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._heeding.cancel()
        await self._errands.__aexit__(*exc_info)

    @property
    def running(self) -> int:
        """How many jobs run here now."""
        return len(self._attempts) - self.abandoned

    @property
    def abandoned(self) -> int:
        """How many handlers run on although their job has ended."""
        return sum(attempt.is_over for attempt in self._attempts.values())

    async def run(self, job_id: str, place: Place) -> Job | None:
        """Get the job, claim it, and perform it: all that an engine needs that is told of an id.

        Returns the job as it is then; None if it is not queued any more, nobody here has its
        handler, or somebody else was faster.

        Raises:
            JobNotFound
            StoreUnavailable: it was not started.
        """
        job = await self._claims.store.get(job_id)
        if job.state is not State.QUEUED or job.route not in self._claims.handlers:
            return None
        claim = await self._claims.claim(job)
        return None if claim is None else await self.perform(claim, place)

    async def perform(
        self,
        claim: Claim,
        place: Place,
        done: Callable[[], None] = lambda: None,
        request: Request | None = None,
    ) -> Job:
        """Perform a claimed job, and finish it; the job as it is then.

        Args:
            place, done: as in `Attempt`.
            request: that the job was made from; it is read unless given.
        """
        job_id = claim.job.id
        attempt = self._attempts[job_id] = Attempt(claim, self._context, place, done)
        try:
            await attempt.run(request)
        finally:
            # And not a newer attempt, if this one did not stop.
            if self._attempts.get(job_id) is attempt:
                del self._attempts[job_id]
        return claim.job

    def stop(self, job_id: str, reason: JobFailure) -> None:
        """Stop the handler of this job, if it runs here, and finish the job with `reason`."""
        if (attempt := self._attempts.get(job_id)) is not None:
            attempt.stop(reason)

    async def stop_all(self, reason: JobFailure) -> None:
        """Stop every handler that runs here; returns once none puts that off any more."""
        for job_id in list(self._attempts):
            self.stop(job_id, reason)
        await self._put_off.over()

    def overruled(self) -> None:
        """Somebody may have asked to cancel jobs that run here: look soon."""
        self._overruled.set()

    async def _heed(self) -> None:
        while True:
            await self._overruled.wait()
            self._overruled.clear()
            try:
                await self._stop_overruled()
            except StoreUnavailable:
                pass  # those who write to it tell of that
            except Exception as error:
                self._claims.emit(Troubled(Action.HEED, error))

    async def _stop_overruled(self) -> None:
        if self._attempts:
            for job in await self._claims.find_overruled(len(self._attempts)):
                self.stop(job.id, why_cancelled(job, "while it ran", self._claims.store.now()))
