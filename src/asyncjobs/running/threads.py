"""A bounded pool of threads for synchronous handlers.

Why an own pool: asyncio's default one also serves ``getaddrinfo``, which a few slow handlers would
hold up, and the threads of `concurrent.futures` and anyio are waited for when the process ends, so
that one stuck handler would keep it from ending. These are daemons.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count
from typing import Any, TypeVar

from ..annotations import without_partials
from ..daemons import THREAD_LIMIT
from ..given import printable
from .current import RunningJob, running_job

T = TypeVar("T")

#: Whether the caller is in a thread of ours, or is what such a thread waits for.
in_our_thread: ContextVar[bool] = ContextVar("asyncjobs.in_our_thread", default=False)

logger = logging.getLogger("asyncjobs")

#: Seconds until it is tried again to start a thread, where the system gave none.
START_RETRY = 0.5


@dataclass(frozen=True, slots=True)
class ThreadsInUse:
    """How the threads for sync handlers do.

    Attributes:
        size: how many there are at most.
        busy: how many of them run something.
        stuck: how many of these still run although their job has ended: its handler did not stop.
    """

    size: int
    busy: int
    stuck: int


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A function to be called.

    Attributes:
        done: gets the outcome, or is cancelled if nobody waits for it any more.
        taken: whoever acquires it has the call: a thread that calls the function, or who waited for
            it and wants it no more.
    """

    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Any, BaseException | None]]
    since: float
    job: RunningJob | None = field(default_factory=lambda: running_job.get(None))
    context: Context = field(default_factory=copy_context)
    taken: threading.Lock = field(default_factory=threading.Lock)

    @property
    def seconds(self) -> float:
        return self.loop.time() - self.since

    def __str__(self) -> str:
        return "no job" if self.job is None else f"job {self.job.id} ({printable(self.job.route)})"


class Threads:
    """Runs functions in at most `size` threads, started when they are needed.

    Attributes:
        freed: called when there is a thread again that had been lost.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.freed: Callable[[], None] = lambda: None
        self._names = count(1)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0
        # How many of the busy ones wait for another job, with another thread in their place.
        self._lent = 0
        self._stuck: set[_Call] = set()
        # While the system gives no more threads: the next try.
        self._retry: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> ThreadsInUse:
        busy = max(0, min(self._busy - self._lent, self.size))
        return ThreadsInUse(self.size, busy, len(self._stuck))

    @property
    def trouble(self) -> str | None:
        """Why no function can be called, and none may ever be, in words for clients."""
        if len(self._stuck) >= self.size:
            return (
                f"no thread is left for sync handlers: all {self.size} are stuck in handlers that "
                "did not stop when their jobs had ended"
            )
        if self._retry is not None and len(self._stuck) >= self._started:
            return f"no thread can be started for sync handlers: {THREAD_LIMIT}"
        return None

    def free(self, reserved: int) -> int:
        """How many functions could start at once, beside `reserved` others that may have.

        One that is no longer waited for counts as long as it runs: nothing can end a thread from
        outside.
        """
        there = self.size if self._retry is None else self._started - self._lent
        return there - self._in_use_with(reserved)

    def reserve(self, reserved: int) -> bool:
        """Have a thread ready for one more function, beside `reserved` others that may have begun.

        False if the system gives none; it is asked again in a while.
        """
        return self._provide(self._in_use_with(reserved) + 1)

    def lend(self) -> None:
        """A function that runs waits for another one: there is one more thread meanwhile.

        Raises:
            RuntimeError: the system gives none.
        """
        self._lent += 1
        if not self._provide(self._busy - self._lent + 1):
            self._lent -= 1
            raise RuntimeError(
                "a sync handler cannot wait for another job now, as no thread can take the place "
                f"of its own: {THREAD_LIMIT}"
            )

    def take_back(self) -> None:
        """The function that has waited goes on."""
        self._lent -= 1
        self._dismiss()

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Call `function` where it belongs, and await what it gives if that is awaitable.

        To be awaited at once. An async function is awaited without a coroutine of ours around it:
        very many may be waiting.
        """
        if is_threaded(function):
            return _awaited(self.run(partial(function, *args, **kwargs)))
        result = function(*args, **kwargs)
        return result if inspect.isawaitable(result) else _ready(result)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread, in the caller's context, and return or raise what it does.

        While there is no thread, and none can be started, it waits. If the caller is cancelled, a
        function that has begun runs on and its outcome is dropped; another never begins.
        """
        while not self._provide(self._busy - self._lent + 1) and not self._started:  # noqa: ASYNC110
            await asyncio.sleep(START_RETRY)
        loop = asyncio.get_running_loop()
        call = _Call(function, loop, loop.create_future(), loop.time())
        self._busy += 1
        self._calls.put(call)
        try:
            # The outcome is a value on its way here: a StopIteration cannot be set on a future.
            result: T
            result, error = await call.done
        except BaseException:  # cancelled, or closed where it stands
            self._leave(call)
            raise
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the threads that are idle, and each other one when its function returns."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for _ in range(self._started):
            self._calls.put(None)

    def _in_use_with(self, reserved: int) -> int:
        return max(reserved + len(self._stuck), self._busy - self._lent)

    def _provide(self, count: int) -> bool:
        """See that there are so many threads beside those that only wait, or all that there may
        be; False if the system gives no more."""
        count = min(count, self.size) + self._lent
        while self._started < count and self._retry is None:
            try:
                self._start()
            except RuntimeError as error:
                logger.error("sync handlers have to wait: %s; %s", error, THREAD_LIMIT)
                self._retry_later()
        return self._started >= count

    def _dismiss(self) -> None:
        """End those that are too many now that others do not wait any more, once they are idle."""
        while self._started > self.size + self._lent:
            self._started -= 1
            self._calls.put(None)

    def _start(self) -> None:
        name = f"asyncjobs-{next(self._names)}"
        threading.Thread(target=self._work, name=name, daemon=True).start()
        self._started += 1

    def _retry_later(self) -> None:
        loop = asyncio.get_running_loop()
        # In no context: that of a job would be kept for as long as this goes on.
        self._retry = loop.call_later(START_RETRY, self._try_again, context=Context())

    def _try_again(self) -> None:
        try:
            self._start()
        except RuntimeError:
            self._retry_later()
            return
        self._retry = None
        logger.warning("threads for sync handlers can be started again")
        self._provide(self._busy - self._lent)
        self.freed()

    def _leave(self, call: _Call) -> None:
        """Nobody waits for this call any more."""
        if call.done.done() and not call.done.cancelled():
            return  # it was just over
        if call.taken.acquire(blocking=False):
            self._busy -= 1
            return
        self._stuck.add(call)
        logger.error(
            "the thread of %s does not stop, %.1f s after it began: it goes on without its job, "
            "and is lost to others until it returns (%d of %d are)",
            call,
            call.seconds,
            len(self._stuck),
            self.size,
        )

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if call.taken.acquire(blocking=False):
                outcome = _outcome_of(call)
                try:
                    call.loop.call_soon_threadsafe(self._settle, call, outcome)
                except RuntimeError:
                    return  # the loop was closed: nobody waits for this any more
                del outcome
            # Not to be kept alive while this thread waits for the next one.
            del call

    def _settle(self, call: _Call, outcome: tuple[Any, BaseException | None]) -> None:
        self._busy -= 1
        if call in self._stuck:
            self._stuck.remove(call)
            logger.warning("the thread of %s is back, after %.1f s", call, call.seconds)
            self.freed()
        if not call.done.done():
            call.done.set_result(outcome)


def is_threaded(function: Callable[..., Any]) -> bool:
    """Whether a function is called in a thread: it is no coroutine function, and no async
    generator."""
    try:
        return _is_threaded(function)
    except TypeError:  # an object that cannot be hashed
        return _is_threaded.__wrapped__(function)


@lru_cache(maxsize=256)  # it is asked for each job, of what few handlers there are
def _is_threaded(function: Callable[..., Any]) -> bool:
    return not is_kind_of(function, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def is_kind_of(function: Callable[..., Any], *kinds: Callable[[Any], bool]) -> bool:
    """Whether a function is of one of these kinds, or a partial or an object that calls one."""
    function = without_partials(function)
    called = type(function).__call__
    return any(kind(function) or kind(called) for kind in kinds)


async def _awaited(call: Awaitable[Any]) -> Any:
    # A sync function may give a coroutine, as the wrapper of an async one does.
    result = await call
    return await result if inspect.isawaitable(result) else result


async def _ready(result: Any) -> Any:
    return result


def _outcome_of(call: _Call) -> tuple[Any, BaseException | None]:
    try:
        return call.context.run(_called_here, call.function), None
    except BaseException as error:
        return None, error


def _called_here(function: Callable[[], T]) -> T:
    in_our_thread.set(True)
    return function()
