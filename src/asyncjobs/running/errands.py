"""What is begun beside the attempts, and may outlive them a little."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self


class Errands:
    """Tasks of their own, for what must not be cancelled with an attempt. An async context manager.

    Args:
        grace: seconds that it waits for them on the way out.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        # Nobody cancels this task but who cancels all, as asyncio does before it closes a loop.
        self._witness = asyncio.create_task(asyncio.Event().wait())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._witness.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace)

    @property
    def is_loop_ending(self) -> bool:
        """Whether all that runs in the event loop is being cancelled."""
        return self._witness.cancelling() > 0

    def begin(self, errand: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it in a task of its own."""
        task = asyncio.create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
