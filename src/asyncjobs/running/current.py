"""`current_job`: what a handler sees of the job that it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast, overload

from werkzeug.local import LocalProxy

from ..errors import JobCancelled
from ..given import number, shown, storable
from ..job import Job, Progress, Request
from .shield import Shield, Stopping

T = TypeVar("T")

#: The most characters that are kept of the message of a progress.
MESSAGE_LIMIT = 1000
# One for all: very many jobs may run, and hardly any of them waits for another one.
_NO_WAITS: frozenset[asyncio.Task[Any] | None] = frozenset()


class Program(Protocol):
    """What a job's handler may want of the program that runs it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    async def submit(
        self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> Job: ...


class Place(Protocol):
    """A job's place among those that run here; see `engines.slots.Slot`."""

    def pause(self, job_id: str) -> None: ...

    async def resume(self, job_id: str, *, go_on: bool) -> None: ...


class RunningJob:
    """One attempt at a job, as its handler sees it. Every method may be called from any thread.

    Args:
        job: the job, just started.
        reported: called each time that there is a new progress; must not block.
        loop_ends: whether all that runs in the event loop is being cancelled.
        place: is given back while the job waits for another one.

    Attributes:
        id: of the job, 32 hex digits.
        route: the endpoint of its view, or the name of its function.
        owner: whose it is, as `QuartJobs` was told; or None.
        attempt: 1, 2, 3…: no two starts of a job have the same number.
        program: the `Jobs` that run it.
        request: the stored request, with its whole body: sync views, which cannot await Quart's,
            read that.
        latest: the newest progress that the handler has reported.
        is_last: whether the job ends with this attempt, also if its handler raises an exception.
        principal: who has asked for the job, as what `QuartJobs` was given as `principal` has said
            when the request came; None if there is nothing, and in functions of `Jobs`.
    """

    request: Request

    __slots__ = (
        "_loop_ends",
        "_place",
        "_reported",
        "_waits",
        "attempt",
        "id",
        "is_last",
        "latest",
        "owner",
        "principal",
        "program",
        "request",
        "route",
        "stopping",
    )

    def __init__(
        self,
        job: Job,
        program: Program,
        place: Place,
        reported: Callable[[], None],
        loop_ends: Callable[[], bool],
    ) -> None:
        self.id = job.id
        self.route = job.route
        self.owner = job.owner
        self.attempt = job.attempt
        self.latest: Progress | None = None
        self.is_last = True
        self.principal: Any = None
        self.program = program
        self._place = place
        self._reported = reported
        self._loop_ends = loop_ends
        self.stopping = Stopping()  # of which the runner tells
        self._waits = _NO_WAITS

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler shall stop: cancelled, past its timeout, or the server goes down."""
        return self.stopping.is_asked_for or self._loop_ends()

    @property
    def has_to_stop(self) -> bool:
        """Whether the handler has to stop now: `is_cancelled`, and nothing of it is shielded."""
        return self.stopping.is_due or self._loop_ends()

    def check_cancelled(self) -> None:
        """Stop here if the job shall stop, and nothing of it is shielded.

        Raises:
            JobCancelled: let it pass, after cleaning up.
        """
        if self.has_to_stop:
            raise JobCancelled(f"job {self.id} shall stop")

    def shield(self) -> Shield:
        """Keep what must not be cut from being so: ``async with current_job.shield():``, in a sync
        handler ``with``.

        Within this the job is not stopped: not by a cancellation, not by its time-out, and not by
        the stop of the server. When it is left, a stop that was put off takes effect at once, as a
        `CancelledError`. It is put off by the setting `shield_time` at most; then the job is
        stopped as without. `is_cancelled` tells all the while whether it shall stop; what else
        raises `JobCancelled` does not do so within.

        It is for the whole handler: as long as any task or thread of it shields something, no other
        one is stopped. It does not keep off what the handler cancels itself, such as by
        `asyncio.timeout`, nor the end of the event loop.

        Raises:
            JobCancelled: on entering, if the job shall stop already: it begins nothing new.
            TypeError: on entering with ``with``, in an async handler.
        """
        return Shield(self.stopping)

    def progress(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the job has come. Never blocks; only the newest of many is kept.

        Args:
            current: so much is done; a finite int or float, in units of your own choice.
            total: so much there is to do, if that is known.
            message: what is being done, in words; 1,000 characters of it are kept, and what UTF-8
                cannot hold is replaced.

        Raises:
            JobCancelled: the job shall stop; a thread learns it here.
            TypeError, ValueError: a number is none, or not finite; the progress stays what it was.
        """
        self._report(_progress(current, total, message))

    @overload
    def track(
        self, iterable: Iterable[T], total: float | None = None, message: str | None = None
    ) -> Iterator[T]: ...
    @overload
    def track(
        self, iterable: AsyncIterable[T], total: float | None = None, message: str | None = None
    ) -> AsyncIterator[T]: ...
    def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T],
        total: float | None = None,
        message: str | None = None,
    ) -> Iterator[T] | AsyncIterator[T]:
        """Go through `iterable` and report each item that is done.

        `total` is its length, where it has one and nothing else is said.

        Raises:
            TypeError, ValueError: as in `progress`, by this very call.
        """
        if total is None:
            total = _length_of(iterable)
        begun = _progress(0, total, message)
        if isinstance(iterable, AsyncIterable):
            return self._track_async(aiter(iterable), begun)
        return self._track(iter(iterable), begun)

    def submit(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Job:
        """Have a registered function run in the background: for sync handlers, which cannot await.

        Durable when it returns. Raises what `Jobs.submit` does, and:

        Raises:
            TypeError: this is an async handler, which can ``await jobs.submit(...)``.
        """
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise TypeError(
                "current_job.submit is for sync handlers: in an async one, await jobs.submit(...)"
            )
        loop = self.program.loop
        submission = self.program.submit(function, *args, **kwargs)
        return asyncio.run_coroutine_threadsafe(submission, loop).result()

    @asynccontextmanager
    async def waiting(self, job_id: str) -> AsyncIterator[None]:
        """Within this the job waits for the one with that id, and its place is given back.

        Raises:
            JobCancelled: it shall stop.
            RuntimeError: its place cannot be given back, and why.
        """
        self.check_cancelled()
        task = asyncio.current_task()
        self._place.pause(job_id)
        self._waits |= {task}
        try:
            yield
        finally:
            try:
                await self._place.resume(job_id, go_on=not self.has_to_stop)
            finally:
                self._waits -= {task}

    def stop_waits(self) -> None:
        """End what a thread waits for, which cannot be cancelled itself; called by the runner."""
        for task in self._waits:
            if task is not None:
                task.cancel()

    def end(self) -> None:
        """Tell nobody of progress any more; called by the runner."""
        self._reported = _to_nobody
        if self.stopping.is_asked_for:
            self.stopping.end()

    def _report(self, progress: Progress) -> None:
        self.check_cancelled()
        self.latest = progress
        self._reported()

    def _track(self, items: Iterator[T], begun: Progress) -> Iterator[T]:
        self._report(begun)
        for done, item in enumerate(items, start=1):
            yield item
            self._report(Progress(done, begun.total, begun.message))

    async def _track_async(self, items: AsyncIterator[T], begun: Progress) -> AsyncIterator[T]:
        self._report(begun)
        done = 0
        async for item in items:
            yield item
            done += 1
            self._report(Progress(done, begun.total, begun.message))


def _to_nobody() -> None:
    """There is a new progress of a job that is over."""


def _progress(current: float, total: float | None, message: str | None) -> Progress:
    """What a handler says, as it can be stored and be sent as JSON.

    Raises:
        TypeError, ValueError
    """
    if not isinstance(message, (str, type(None))):
        raise TypeError(f"message must be str or None, not {shown(message)}: give str(message)")
    return Progress(
        number("current", current),
        None if total is None else number("total", total),
        None if message is None else storable(message[:MESSAGE_LIMIT]),
    )


def _length_of(iterable: object) -> int | None:
    try:
        return len(iterable) if isinstance(iterable, Sized) else None
    except OverflowError:  # such as that of range(10**20)
        return None


running_job: ContextVar[RunningJob] = ContextVar("asyncjobs.running_job")

#: The job that the calling handler runs in; a RuntimeError outside of one.
current_job = cast(
    "RunningJob",
    LocalProxy(
        running_job,
        unbound_message=(
            "current_job was used outside of a background job: it is there in handlers that "
            "@jobs.background or @jobs.function runs, and in what they call"
        ),
    ),
)
