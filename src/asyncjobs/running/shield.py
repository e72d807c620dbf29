"""What a handler shields from the stop of its job, and how long that is put off by it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from ..errors import JobCancelled

# One for all: hardly any job shields anything, and those that do hold it for a moment only.
_changing = threading.Lock()


class Stopping:
    """Whether one attempt at a job has been told to stop, and has to. Of any thread.

    Attributes:
        is_asked_for: whether it has been told to.
        is_due: whether it has to, whatever is shielded.
    """

    # In the class, and without `__init__`: each job has one, and hardly any changes it.
    is_asked_for = False
    is_due = False
    _shields = 0
    _unshielded: Callable[[], None] | None = None

    def ask(self, unshielded: Callable[[], None]) -> bool:
        """Tell it to stop; False if something is shielded just now.

        Args:
            unshielded: called once nothing is any more, by whichever thread that was in.
        """
        with _changing:
            self.is_asked_for = True
            self._unshielded = unshielded
            return not self._shields

    def enter(self) -> None:
        """One thing more is shielded.

        Raises:
            JobCancelled: it has been told to stop, and nothing is shielded: it begins nothing new.
        """
        with _changing:
            if self.is_due or (self.is_asked_for and not self._shields):
                raise JobCancelled("the job shall stop: nothing that is to be shielded may begin")
            self._shields += 1

    def leave(self) -> bool:
        """One thing is shielded no more; whether the attempt has to stop now."""
        with _changing:
            self._shields -= 1
            ends = self.is_asked_for and not self._shields
        if ends and (unshielded := self._unshielded) is not None:  # another thread may end it now
            unshielded()
        return ends

    def end(self) -> None:
        """The attempt is over: nobody is to be told any more."""
        self._unshielded = None


class Shield:
    """What `current_job.shield()` gives: an async context manager for async handlers, and a plain
    one for sync ones.

    Args:
        stopping: of the attempt.
    """

    __slots__ = ("_stopping",)

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    async def __aenter__(self) -> Self:
        self._stopping.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._stopping.leave():
            # Here the handler's task meets its cancellation, and so does one that it awaits: else
            # they would be cancelled once more while they clean up.
            await asyncio.sleep(0)
            raise _stopped()

    def __enter__(self) -> Self:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise TypeError("in an async handler it is: async with current_job.shield()")
        self._stopping.enter()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._stopping.leave():
            raise _stopped()


class PutOff:
    """Attempts that were told to stop, and whose stop is put off by what they have shielded."""

    def __init__(self) -> None:
        self._attempts: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, attempt: object) -> None:
        self._attempts.add(attempt)
        self._none.clear()

    def discard(self, attempt: object) -> None:
        """It has to stop now, or has ended; may be said twice, or of any other."""
        self._attempts.discard(attempt)
        if not self._attempts:
            self._none.set()

    async def over(self) -> None:
        """Wait until there is none."""
        await self._none.wait()


def _stopped() -> JobCancelled:
    return JobCancelled("the job was told to stop while something was shielded, and stops now")
