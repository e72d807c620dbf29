"""One attempt at a job: its task or thread, its deadline, its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import HandlerFailed, JobFailure, JobInterrupted, JobTimedOut
from ..events import Action, Emit, HandlerRaised, Overran, Started, Troubled, Unfit
from ..job import Request
from ..outcome import Outcome, Raised, Stopped, Unusable, in_words
from ..problem import problem
from ..tasks import to_the_end
from ..verdict import why_cancelled
from .claim import Claim
from .current import Place, Program, RunningJob, running_job
from .deadlines import Deadlines
from .errands import Errands
from .shield import PutOff

#: Seconds that a handler has for stopping, once it was told to, before the job ends without it.
STOP_GRACE = 1.0
#: At most one progress of a job is stored in so many seconds.
PROGRESS_INTERVAL = 0.2


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """What all attempts of a process have in common.

    Attributes:
        program: whose jobs they are.
        emit: is told what happens.
        errands: takes what may outlive an attempt.
        loop_ends: whether all that runs in the event loop is being cancelled.
        deadlines: calls `Attempt.time_out`.
        put_off: has the attempts whose stop is put off.
        shield_time: seconds that it is put off at most.
    """

    program: Program
    emit: Emit
    errands: Errands
    loop_ends: Callable[[], bool]
    deadlines: Deadlines[Attempt]
    put_off: PutOff
    shield_time: float


class Attempt:
    """Performs a claimed job in the task that calls `run`, and finishes it.

    Args:
        place: that it has here.
        done: called once, when the job is finished or turned out to be somebody else's. The handler
            may then still run, if it does not stop when it is told to.

    Attributes:
        claim: the right to it.
        is_over: whether `done` was called.
    """

    __slots__ = (
        "_began",
        "_context",
        "_current",
        "_done",
        "_ending",
        "_expiry",
        "_halting",
        "_is_finishing",
        "_is_performing",
        "_is_reporting",
        "_loop",
        "_stopped",
        "_task",
        "claim",
        "is_over",
    )

    def __init__(
        self, claim: Claim, context: AttemptContext, place: Place, done: Callable[[], None]
    ) -> None:
        self.claim = claim
        self.is_over = False
        self._context = context
        self._done = done
        self._current = RunningJob(
            claim.job,
            context.program,
            place,
            self._reported,
            context.loop_ends,
        )
        self._current.is_last = claim.is_last
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._task = asyncio.current_task()
        # Whether the handler is being run: only then may the task be cancelled.
        self._is_performing = False
        # Whether the outcome is decided, and being stored.
        self._is_finishing = False
        self._is_reporting = False
        self._stopped: Stopped | None = None
        # Stores the outcome; before the handler has ended, if that did not stop.
        self._ending: asyncio.Task[None] | None = None
        # Stops it at the end of its Cancel-After, if it has one; and however long it is shielded.
        self._expiry: asyncio.TimerHandle | None = None
        self._halting: asyncio.TimerHandle | None = None

    async def run(self, request: Request | None) -> None:
        """Perform the job, made from `request`, which is read unless given; and finish it."""
        self._context.emit(Started(self.claim.job))
        if (cancel_at := self.claim.job.cancel_at) is not None:
            left = max(0.0, cancel_at - self.claim.now())
            self._expiry = self._loop.call_later(left, self._expire, cancel_at)
        try:
            # Not in a coroutine more: each is kept for as long as the handler runs.
            try:
                outcome = await self._perform(request)
            except Exception as error:  # of ours: the job must not be left running all the same
                self._context.emit(Troubled(Action.PERFORM, error, self.claim.job.id))
                outcome = Unusable(HandlerFailed("the attempt could not be brought to its end"))
            if self._ending is None:
                # In a task of its own: whoever knows the handler's may still cancel that.
                self._ending = self._finish_soon(outcome)
            else:  # what the handler has come to is too late
                self._context.emit(self._overran(is_over=True))
            await to_the_end(self._ending)
        except Exception as error:
            self._context.emit(Troubled(Action.PERFORM, error, self.claim.job.id))
        finally:
            self._end()
            # Else the attempt, its task, and what the handler knows would be garbage in circles.
            self._task = None
            self._current.end()
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None

    def stop(self, reason: JobFailure) -> None:
        """Stop the handler, if it runs, and finish the job with `reason`. That is put off while
        something is shielded."""
        if self._stopped is not None or not self._is_performing:
            return
        self._stopped = Stopped(reason)
        # Whatever its handler raises now: it is given back, or it ends.
        is_given_back = isinstance(reason, JobInterrupted) and self.claim.job.repeatable
        self._current.is_last = not is_given_back
        if self._current.stopping.ask(self._unshielded):
            self._halt()
        else:
            self._context.put_off.add(self)
            self._halting = self._loop.call_later(self._context.shield_time, self._halt)

    def time_out(self) -> None:
        """Stop the handler, as its time is over."""
        timeout = self.claim.handler.timeout
        self.stop(JobTimedOut(f"the job ran past the {timeout:g} s of its route"))

    def _expire(self, at: float) -> None:
        """The time is over that the Cancel-After of the job has given it."""
        self.stop(why_cancelled(self.claim.job, "while it ran", at))

    async def _perform(self, request: Request | None) -> Outcome:
        handler, deadlines = self.claim.handler, self._context.deadlines
        running_job.set(self._current)
        if handler.timeout is not None:
            deadlines.set(self, handler.timeout)
        self._is_performing = True
        try:
            stored = request or await self.claim.request()
            if isinstance(stored, Unusable):
                outcome: Outcome = stored
            else:
                self._current.request = stored
                outcome = await self.claim.handler.perform(stored)
        except asyncio.CancelledError:
            outcome = self._cut_short()
        except BaseException as error:
            # Also SystemExit and KeyboardInterrupt: one handler must not take the server down.
            self._context.emit(HandlerRaised(self.claim.job, error, self._current.is_last))
            outcome = _raised(f"the handler raised {type(error).__name__}", in_words(error))
        else:
            if isinstance(outcome, Raised):
                self._context.emit(HandlerRaised(self.claim.job, None, self._current.is_last))
        finally:
            self._is_performing = False
            if handler.timeout is not None:
                deadlines.clear(self, handler.timeout)
            if self._halting is not None:
                self._put_off_no_more()
        if isinstance(outcome, Unusable):
            self._context.emit(Unfit(self.claim.job, outcome.reason))
        return self._stopped or outcome

    def _cut_short(self) -> Outcome:
        """What a handler has come to that was cancelled, if it was not by us."""
        if self._context.loop_ends():
            return Stopped(JobInterrupted("the event loop ended while the job ran"))
        what = "the handler was cancelled from within"
        return _raised(what, what)

    def _finish_soon(self, outcome: Outcome) -> asyncio.Task[None]:
        return self._context.errands.begin(self._finish(outcome))

    async def _finish(self, outcome: Outcome) -> None:
        self._is_finishing = True
        try:
            await self.claim.finish(outcome, self._current.latest)
        finally:
            self._end()

    def _end(self) -> None:
        """The job is no longer run here; may be said twice."""
        if not self.is_over:
            self.is_over = True
            self._done()

    def _unshielded(self) -> None:
        """What was shielded is no more, in any thread."""
        if _is_running(self._loop):
            self._halt()  # now: it goes no step further
        else:
            self._loop.call_soon_threadsafe(self._halt)

    def _halt(self) -> None:
        """Stop the handler, whatever is shielded."""
        self._put_off_no_more()
        if self._current.stopping.is_due or not self._is_performing:
            return
        self._current.stopping.is_due = True
        if self.claim.handler.threaded:
            # A thread cannot be cancelled. It is left time to see for itself that it shall stop.
            self._current.stop_waits()
            self._loop.call_later(STOP_GRACE, self._cancel)
            self._loop.call_later(2 * STOP_GRACE, self._abandon)
        else:
            # Now, and not a moment later, when it may have seen it and be cleaning up.
            self._cancel()
            self._loop.call_later(STOP_GRACE, self._abandon)

    def _put_off_no_more(self) -> None:
        self._context.put_off.discard(self)
        if self._halting is not None:
            self._halting.cancel()
            self._halting = None

    def _cancel(self) -> None:
        if self._is_performing and self._task is not None:
            self._task.cancel()

    def _abandon(self) -> None:
        """The handler does not stop. End its job; whatever it comes to is fenced off."""
        if self._is_performing:
            self._context.emit(self._overran(is_over=False))
            assert self._stopped is not None
            self._ending = self._finish_soon(self._stopped)

    def _overran(self, *, is_over: bool) -> Overran:
        return Overran(self.claim.job, self._loop.time() - self._began, is_over)

    def _reported(self) -> None:
        """There is a new progress, said in any thread; the newest is stored in a moment."""
        if self._is_performing and not self._is_reporting:
            self._is_reporting = True
            self._loop.call_soon_threadsafe(self._report_soon)

    def _report_soon(self) -> None:
        self._loop.call_later(PROGRESS_INTERVAL, self._report)

    def _report(self) -> None:
        self._is_reporting = False
        if self._is_performing and not self._is_finishing:
            self._context.errands.begin(self._store_progress())

    async def _store_progress(self) -> None:
        progress = self._current.latest
        assert progress is not None
        if not self._is_finishing:  # which stores it as well
            await self.claim.report(progress)


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the caller is in this loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _raised(what: str, reason: str) -> Raised:
    return Raised(problem(HandlerFailed(what)), reason)
