"""Tries whether trouble has passed: nobody else would, as nobody writes who is refused."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from ....errors import StoreUnavailable
from .commits import GroupCommit
from .condition import Condition
from .reserve import Reserve

#: While the store is in trouble, it is tried so often whether that has passed. Seconds.
TRIAL_INTERVAL = 1.0


class Trials:
    """Begin whenever the condition is told of trouble that may pass, and end with it.

    Args:
        commits: through which it is tried to write.
        reserve: is made whole again first.
        condition: is told if the trouble has passed.
        passed: called then.
    """

    def __init__(
        self,
        commits: GroupCommit,
        reserve: Reserve,
        condition: Condition,
        passed: Callable[[], None],
    ) -> None:
        self._commits = commits
        self._reserve = reserve
        self._condition = condition
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        condition.when_troubled(self._begin)

    def close(self) -> None:
        """Try no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if not self._closed and (self._task is None or self._task.done()):
            # In a context of its own: the one here is that of a request.
            self._task = self._loop.create_task(self._try(), context=contextvars.Context())

    async def _try(self) -> None:
        """Try to write until the trouble has passed, or has turned out to stay."""
        while not self._condition.is_final:
            await asyncio.sleep(TRIAL_INTERVAL)
            with suppress(StoreUnavailable):
                if self._has_room():
                    await self._commits.write(None, _write_nothing, can_wait=True)
                    self._condition.recovered()
                    self._passed()
                    return

    def _has_room(self) -> bool:
        try:
            return self._reserve.take_back()
        except sqlite3.Error as error:
            raise self._condition.read_failed(error) from error


def _write_nothing(execute: Callable[..., sqlite3.Cursor]) -> None:
    """A write that changes nothing that anybody reads."""
    (version,) = execute("PRAGMA user_version").fetchone()
    execute(f"PRAGMA user_version = {version}")
