"""To wait for what must come to its end, whatever else is cancelled, or fails, meanwhile; and for
what need not be waited for, if all is well."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, TypeVar

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


async def to_the_end(task: asyncio.Task[Any]) -> bool:
    """Wait until the task has ended, also if the caller is cancelled; raises what it has raised.

    Returns:
        Whether the caller was cancelled meanwhile.
    """
    cancelled = False
    while not task.done():
        # Each job ends with this, and `asyncio.wait`, which is for many, takes four times as long.
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(partial(_settle, ended))
        try:
            await ended
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():  # as all tasks are when their loop is about to end
        task.result()
    return cancelled


def _settle(ended: asyncio.Future[None], _: asyncio.Task[None]) -> None:
    if not ended.done():
        ended.set_result(None)


async def in_time(deed: Coroutine[Any, Any, T], timeout: float | None) -> T:
    """What `deed` returns, in the task of the caller. Only if it has to wait a timer is set, which
    costs more than many a deed that seldom has to: the time begins then.

    Args:
        timeout: in seconds; None for no limit.

    Raises:
        TimeoutError
    """
    try:
        waits_for = deed.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(timeout):
        return await _rest_of(deed, waits_for)


@types.coroutine
def _rest_of(deed: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a deed that was begun by hand, and waits for that.

    As ``yield from`` does, which would go on before what it waits for has come.
    """
    while True:
        try:
            step = partial(deed.send, (yield waits_for))
        except BaseException as error:
            step = partial(deed.throw, error)
        try:
            waits_for = step()
        except StopIteration as done:
            value: T = done.value
            return value
        finally:
            del step  # with an error it would be garbage in a circle
