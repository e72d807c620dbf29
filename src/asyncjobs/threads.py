"""A bounded pool of threads for synchronous handlers.

Why an own pool: asyncio's default one also serves ``getaddrinfo``, which a few slow handlers would
hold up, and the threads of `concurrent.futures` and anyio are waited for when the process ends, so
that one stuck handler would keep it from ending. These are daemons.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Call:
    context: Context
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[tuple[Any, BaseException | None]]


class Threads:
    """Runs functions in at most `size` threads, started when they are needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0

    @property
    def free(self) -> int:
        """How many functions could start at once. A function that is no longer waited for counts
        as long as it runs: nothing can end a thread from outside."""
        return self.size - self._busy

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread, in the caller's context, and return or raise what it does.

        If the caller is cancelled, the function runs on and its outcome is dropped.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        self._busy += 1
        self._calls.put(_Call(copy_context(), function, loop, done))
        if self._started < min(self._busy, self.size):
            self._started += 1
            threading.Thread(
                target=self._work, name=f"asyncjobs-{self._started}", daemon=True
            ).start()
        # The outcome is a value on its way here: a StopIteration cannot be set on a future.
        result: T
        result, error = await done
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the threads that are idle, and each other one when its function returns."""
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            outcome = _outcome_of(call)
            try:
                call.loop.call_soon_threadsafe(self._settle, call.done, outcome)
            except RuntimeError:
                return  # the loop was closed: nobody waits for this any more
            # Not to be kept alive while this thread waits for the next one.
            del call, outcome

    def _settle(
        self,
        done: asyncio.Future[tuple[Any, BaseException | None]],
        outcome: tuple[Any, BaseException | None],
    ) -> None:
        self._busy -= 1
        if not done.done():
            done.set_result(outcome)


def _outcome_of(call: _Call) -> tuple[Any, BaseException | None]:
    try:
        return call.context.run(call.function), None
    except BaseException as error:
        return None, error
