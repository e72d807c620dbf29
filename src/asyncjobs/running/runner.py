"""Runs one job: claim, perform, finish.

Nothing is written unless the claim is still ours: every write is conditional on the version that
it was decided on, so that a worker that has lost its job can change nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Self

from .. import transitions
from ..apart import Apart
from ..errors import (
    Conflict,
    HandlerFailed,
    InvalidTransition,
    JobFailure,
    JobInterrupted,
    JobNotFound,
    JobTimedOut,
    JobUnreadable,
    JobWasCancelled,
    StoreUnavailable,
)
from ..handler import Handler
from ..job import Job, Progress, Request, State
from ..outcome import Outcome, Raised, Stopped, Unusable, in_words
from ..problem import problem
from ..store import Orphan, Query, Store
from ..tasks import all_to_the_end, to_the_end
from ..verdict import Verdict, concluded, is_tried_again, orphaned
from .current import Place, Program, RunningJob, log_retry, running_job
from .deadlines import Deadlines
from .doubts import Doubts

logger = logging.getLogger("asyncjobs")

#: Seconds that a handler has for stopping, once it was told to, before the job ends without it.
STOP_GRACE = 1.0
#: At most one progress of a job is stored in so many seconds.
PROGRESS_INTERVAL = 0.2
#: Seconds between two tries of a job to reach the store while it is unavailable.
STORE_RETRY = 0.5

#: So many jobs of dead workers are decided about at a time.
RESCUE_CHUNK = 100


class Run:
    """One attempt at a job, in this process.

    Attributes:
        job: the job as last known here.
        performing: whether the handler is being run: only then may the task be cancelled.
        stopped: why the handler was told to stop, if it was.
        finishing: whether the outcome is decided, and being stored.
        ending: stores the outcome; before the handler has ended, if that did not stop.
        over: whether the job is finished, or somebody else's by now.
    """

    __slots__ = (
        "_done",
        "current",
        "ending",
        "finishing",
        "handler",
        "job",
        "loop",
        "over",
        "performing",
        "reporting",
        "stopped",
        "task",
    )

    def __init__(
        self, job: Job, handler: Handler, current: RunningJob, done: Callable[[], None]
    ) -> None:
        self.job = job
        self.handler = handler
        self.current = current
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.performing = False
        self.stopped: Stopped | None = None
        self.finishing = False
        self.ending: asyncio.Task[None] | None = None
        self.over = False
        self.reporting = False
        self._done = done

    def end(self) -> None:
        """The job is no longer run here; may be said twice."""
        if not self.over:
            self.over = True
            self._done()


class Runner:
    """Runs jobs of `store` with `handlers`, each in the task that calls `run`.

    An async context manager, to be left once nothing runs any more.

    Args:
        program: whose jobs they are.
        max_starts: how often a job is started at most.

    Attributes:
        doubts: the started jobs that will not be run, as the write of their start failed.
    """

    def __init__(
        self,
        store: Store,
        handlers: Mapping[str, Handler],
        program: Program,
        *,
        clock: Callable[[], float],
        random: random.Random,
        max_starts: int,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._program = program
        self._clock = clock
        self._random = random
        self._max_starts = max_starts
        self._runs: dict[str, Run] = {}
        self._deadlines = Deadlines(self._time_out)
        self._errands: set[asyncio.Task[None]] = set()
        self._apart = Apart("of a dead worker cannot be decided about")
        self.doubts = Doubts(store, clock, max_starts)

    async def __aenter__(self) -> Self:
        # Nobody cancels this task but who cancels all, as asyncio does before it closes a loop.
        self._witness = asyncio.create_task(asyncio.Event().wait())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait, but not for long, for what was begun beside the runs: the end of abandoned jobs."""
        self._witness.cancel()
        if self._errands:
            await asyncio.wait(self._errands, timeout=STOP_GRACE)

    @property
    def running(self) -> int:
        """How many jobs run here now."""
        return len(self._runs) - self.abandoned

    @property
    def abandoned(self) -> int:
        """How many handlers run on although their job has ended."""
        return sum(run.over for run in self._runs.values())

    async def claim(self, job: Job) -> Job | None:
        """Start a queued job for this worker; None if somebody else was faster.

        Raises:
            StoreUnavailable: it does not run here, whatever the store says of it.
        """
        started = transitions.start(job, self._store.worker, self._clock())
        self.doubts.clear(job.id)
        try:
            await self._store.replace(job, started)
        except Conflict:
            return None
        except StoreUnavailable:
            self.doubts.add(started)
            raise
        return started

    async def run(
        self, job: Job, place: Place, done: Callable[[], None], request: Request | None = None
    ) -> Job:
        """Perform a job that this worker has claimed, and finish it; the job as it is then.

        Args:
            place: that it has here.
            done: called once, when the job is finished or turned out to be somebody else's. The
                handler may then still run, if it does not stop when it is told to.
            request: that the job was made from; it is read unless given.
        """
        current = RunningJob(job, self._program, place, self._reported, self._loop_ends)
        run = Run(job, self._handlers[job.route], current, done)
        current.is_last = not is_tried_again(job, run.handler.retries, self._max_starts)
        self._runs[job.id] = run
        try:
            outcome = await self._perform(run, request)
            if run.ending is None:
                # In a task of its own: whoever knows the handler's may still cancel that.
                run.ending = self._do(self._finish(run, outcome))
            else:  # what the handler has come to is too late
                logger.warning("the handler of %s has ended, after %.1f s", *self._ran(run))
            await to_the_end(run.ending)
        except Exception:
            logger.exception("job %s could not be finished", job.id)
        finally:
            if self._runs.get(job.id) is run:  # and not a newer attempt, if this one did not stop
                del self._runs[job.id]
            run.end()
            run.task = None  # else the task and its run would be garbage in a circle
        return run.job

    def stop(self, job_id: str, reason: JobFailure) -> None:
        """Stop the handler of this job, if it runs here, and finish the job with `reason`."""
        run = self._runs.get(job_id)
        if run is None or run.stopped is not None or not run.performing:
            return
        run.stopped = Stopped(reason)
        run.current.stop()
        if run.handler.threaded:
            # A thread cannot be cancelled. It is left time to see for itself that it shall stop.
            run.current.stop_waits()
            run.loop.call_later(STOP_GRACE, self._cancel, run)
            run.loop.call_later(2 * STOP_GRACE, self._abandon, run, run.stopped)
        else:
            # Now, and not a moment later, when it may have seen it and be cleaning up.
            self._cancel(run)
            run.loop.call_later(STOP_GRACE, self._abandon, run, run.stopped)

    def stop_all(self, reason: JobFailure) -> None:
        """Stop every handler that runs here."""
        for job_id in list(self._runs):
            self.stop(job_id, reason)

    async def stop_cancelled(self) -> None:
        """Stop the handlers of those jobs that somebody, somewhere, has asked to cancel."""
        if not self._runs:
            return
        for job in await self._store.find(
            Query(
                states=frozenset({State.RUNNING}),
                worker=self._store.worker,
                cancel_requested=True,
                limit=len(self._runs),
            )
        ):
            self.stop(job.id, JobWasCancelled("the job was cancelled while it ran"))

    async def rescue_orphans(self) -> int:
        """Decide about some of the jobs that dead workers have left; how many they were."""
        # Together, so that all of it is one transaction, and a short one.
        orphans = islice(await self._store.orphans(), RESCUE_CHUNK)
        rescues = [self._apart.done(orphan.job.id, self._rescue(orphan)) for orphan in orphans]
        return sum(await all_to_the_end(rescues))

    async def _rescue(self, orphan: Orphan) -> None:
        """Decide about a dead worker's job.

        Raises:
            Conflict: a peer was faster.
        """
        rescued, response = orphaned(
            orphan.job,
            self._clock(),
            self._random,
            blamed=orphan.blamed,
            max_starts=self._max_starts,
        )
        await self._store.replace(orphan.job, rescued, response)
        logger.warning("job %s of a dead worker is %s now", orphan.job.id, rescued.state)

    async def _perform(self, run: Run, request: Request | None) -> Outcome:
        handler = run.handler
        running_job.set(run.current)
        if handler.timeout is not None:
            self._deadlines.set(run.job.id, handler.timeout)
        run.performing = True
        try:
            stored = request or await self._request(run.job.id)
            if isinstance(stored, Request):
                run.current.request = stored
                outcome = await handler.perform(stored)
            else:
                outcome = stored
        except asyncio.CancelledError:
            outcome = self._cut_short()
        except BaseException as error:
            # Also SystemExit and KeyboardInterrupt: one handler must not take the server down.
            if run.current.is_last:
                logger.exception("job %s failed", run.job.id)
            else:
                log_retry(run.current, error)
            outcome = _raised(f"the handler raised {type(error).__name__}", in_words(error))
        else:
            # The app has logged it, with a traceback that does not name the job.
            if isinstance(outcome, Raised) and run.current.is_last:
                logger.warning("job %s failed: its view raised an exception", run.job.id)
        finally:
            run.performing = False
            if handler.timeout is not None:
                self._deadlines.clear(run.job.id, handler.timeout)
        if isinstance(outcome, Unusable):
            logger.error("job %s failed: %s", run.job.id, outcome.reason)
        return run.stopped or outcome

    def _cut_short(self) -> Outcome:
        """What a handler has come to that was cancelled, if it was not by us."""
        if self._loop_ends():
            return Stopped(JobInterrupted("the event loop ended while the job ran"))
        what = "the handler was cancelled from within"
        return _raised(what, what)

    async def _request(self, job_id: str) -> Request | Unusable:
        """The stored request, or why there is none. While the store is unavailable, wait for it:
        the job has not failed, it has not begun."""
        while True:
            try:
                return await self._store.request(job_id)
            except JobUnreadable as error:
                return Unusable(error)
            except JobNotFound:
                return Unusable(JobUnreadable("the stored request of the job is missing"))
            except StoreUnavailable as error:
                logger.error("job %s has to wait for its request: %s", job_id, error)
                await asyncio.sleep(STORE_RETRY)

    async def _finish(self, run: Run, outcome: Outcome) -> None:
        """Store what became of the job, if need be without what the handler has said.

        Whatever is wrong with that, the job must not be left running for ever.
        """
        run.finishing = True
        cannot = Unusable(HandlerFailed("the job's outcome cannot be stored"))
        progress = run.current.latest
        for what, reported in ((outcome, progress), (outcome, None), (cannot, None)):
            try:
                await self._store_outcome(run, what, reported)
                return
            except Exception:
                logger.exception("the outcome of job %s cannot be stored like this", run.job.id)

    async def _store_outcome(self, run: Run, outcome: Outcome, progress: Progress | None) -> None:
        """While the store is unavailable, wait for it."""

        def conclude(job: Job) -> Verdict:
            if progress is not None and progress != job.progress:
                job = transitions.report(job, progress)
            return concluded(
                job,
                outcome,
                self._clock(),
                self._random,
                retries=run.handler.retries,
                max_starts=self._max_starts,
            )

        waiting = False
        while not run.over:
            try:
                if not await self._write(run, conclude):
                    logger.warning("job %s is not this worker's any more", run.job.id)
                elif run.job.state in (State.QUEUED, State.INTERRUPTED):
                    logger.warning("job %s is %s now: %s", run.job.id, run.job.state, outcome)
                run.end()
            except StoreUnavailable as error:
                if not waiting:
                    logger.error("the result of job %s has to wait: %s", run.job.id, error)
                waiting = True
                await asyncio.sleep(STORE_RETRY)

    async def _write(self, run: Run, decide: Callable[[Job], Verdict]) -> bool:
        """Change the job as `decide` says; False if the claim is lost."""
        while True:
            old = run.job
            new, response = decide(old)
            try:
                await self._store.replace(old, new, response)
                run.job = new
                return True
            except Conflict:
                try:
                    stored = await self._store.get(old.id)
                except JobNotFound:
                    return False
                if not transitions.is_same_claim(stored, old):
                    return False
                # Somebody asked to cancel it, for one. A write of ours may have been faster still.
                run.job = max(stored, run.job, key=lambda job: job.version)

    def _loop_ends(self) -> bool:
        return self._witness.cancelling() > 0

    def _cancel(self, run: Run) -> None:
        if run.performing and run.task is not None:
            run.task.cancel()

    def _abandon(self, run: Run, outcome: Stopped) -> None:
        """The handler does not stop. End its job; whatever it comes to is fenced off."""
        if run.performing:
            logger.error(
                "the handler of %s does not stop, %.1f s after it began: its job ends without it",
                *self._ran(run),
            )
            run.ending = self._do(self._finish(run, outcome))

    def _ran(self, run: Run) -> tuple[str, float]:
        """Whose handler that is, and for how many seconds it has run."""
        job = run.job
        return f"job {job.id} ({job.route})", self._clock() - (job.started or job.created)

    def _time_out(self, job_id: str) -> None:
        timeout = self._runs[job_id].handler.timeout
        self.stop(job_id, JobTimedOut(f"the job ran past the {timeout:g} s of its route"))

    def _reported(self, job_id: str) -> None:
        """There is a new progress, said in any thread; the newest is stored in a moment."""
        run = self._runs.get(job_id)
        if run is not None and not run.reporting:
            run.reporting = True
            run.loop.call_soon_threadsafe(self._store_progress_soon, run)

    def _store_progress_soon(self, run: Run) -> None:
        run.loop.call_later(PROGRESS_INTERVAL, self._store_progress, run)

    def _store_progress(self, run: Run) -> None:
        run.reporting = False
        if run.performing and not run.finishing:
            self._do(self._write_progress(run))

    async def _write_progress(self, run: Run) -> None:
        progress = run.current.latest
        assert progress is not None
        if run.finishing:
            return  # which stores it as well
        # Based on what is stored: on a version that never was, it could overwrite a cancellation.
        # If the job ends meanwhile, that is with this progress.
        with suppress(StoreUnavailable, InvalidTransition):
            await self._write(run, lambda job: (transitions.report(job, progress), None))

    def _do(self, errand: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task


def _raised(what: str, reason: str) -> Raised:
    return Raised(problem(HandlerFailed(what)), reason)
