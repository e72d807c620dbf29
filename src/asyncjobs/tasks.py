"""To wait for what must come to its end, whatever else is cancelled, or fails, meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def all_to_the_end(deeds: Iterable[Awaitable[T]]) -> list[T]:
    """What they come to, done together; raises the first error, once all have ended."""
    ended = await asyncio.gather(*deeds, return_exceptions=True)
    done = []
    for each in ended:
        if isinstance(each, BaseException):
            raise each
        done.append(each)
    return done


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
