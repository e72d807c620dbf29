"""To wait for what must come to its end, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio


async def to_the_end(task: asyncio.Task[None]) -> bool:
    """Wait until the task has ended, also if the caller is cancelled; raises what it has raised.

    Returns:
        Whether the caller was cancelled meanwhile.
    """
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():  # as all tasks are when their loop is about to end
        task.result()
    return cancelled
