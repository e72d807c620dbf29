"""What a view has returned, read to its end as bytes, and closed whatever comes meanwhile.

Nobody but us reads it, so it is for us to ask, before each item, whether the job shall stop; and to
close it at once, in the job's own context and in the thread that has read it. Left to the garbage
collector, its ``finally`` would run in whatever job comes next.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast

import quart
from quart.typing import ResponseTypes
from quart.wrappers.response import DataBody, IterableBody, ResponseBody

from ...running.attempt import STOP_GRACE
from ...running.current import current_job
from ...running.threads import Threads
from ..http.body import LimitedBytes, OverLimit
from ..quart_side import sync_iterator_of

logger = logging.getLogger("asyncjobs")

#: Iterators over what is all in memory: to read them runs no code of anybody.
_IN_MEMORY: tuple[type, ...] = (type(iter([])), type(iter(())))


async def drain(response: ResponseTypes, limit: int, threads: Threads, *, threaded: bool) -> bytes:
    """The whole body of `response`.

    What is synchronous is read in `threads`, where it would be a guest of asyncio's own otherwise.

    Args:
        limit: bytes that it may have.
        threaded: whether the handler is, so that it is told to stop some time before its task is
            cancelled; another one is told and cancelled at once.

    Raises:
        OverLimit
        asyncio.CancelledError: the job shall stop.
        BaseException: whatever the body raises.
    """
    grace = 0.0 if threaded else STOP_GRACE
    if not isinstance(response, quart.Response):  # werkzeug's own, such as that of an HTTPException
        read = partial(_read, [response.iter_encoded()], response.close, limit)
        return read() if response.is_sequence else await _in_thread(read, threads, grace)
    body = response.response
    if isinstance(body, DataBody):  # nearly every response has one, and needs no loop
        if body.end - body.begin > limit:
            raise OverLimit
        return body.data[body.begin : body.end]
    iterator = sync_iterator_of(body.iter) if isinstance(body, IterableBody) else None
    if iterator is None:
        return await _read_async(body, limit, grace)
    if isinstance(iterator, _IN_MEMORY):
        return _read([iterator], None, limit)
    items = [iterator]
    del iterator
    # The last reference is the thread's then: what has no `close` of its own lets go in there.
    await body.iter.aclose()  # type: ignore[attr-defined] # the wrapper, which has not begun
    return await _in_thread(partial(_read, items, None, limit), threads, grace)


async def _in_thread(read: Callable[[], bytes], threads: Threads, grace: float) -> bytes:
    """What `read` returns in a thread. It sees for itself that it shall stop, if only at the next
    item; `grace` are the seconds for that, once we are cancelled. Later nobody waits for it."""
    reading = asyncio.create_task(threads.run(partial(_outcome_of, read)))
    try:
        outcome = await asyncio.shield(reading)
    finally:
        if not reading.done():
            try:
                await asyncio.wait([reading], timeout=grace)
            finally:
                reading.cancel()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _outcome_of(read: Callable[[], bytes]) -> bytes | BaseException:
    # A task that raises SystemExit or KeyboardInterrupt hands it on to the loop, and that ends.
    try:
        return read()
    except BaseException as error:
        return error


def _read(source: list[Iterator[Any]], close: Callable[[], None] | None, limit: int) -> bytes:
    collected = LimitedBytes(limit)
    items = source.pop()
    try:
        current_job.check_cancelled()
        for item in items:
            collected.add(_encoded(item))
            current_job.check_cancelled()
    finally:
        with _logged():
            close = close or getattr(items, "close", None)
            if close is not None:
                close()
        del items, close  # else the traceback would keep what is read
    return collected.joined()


async def _read_async(body: ResponseBody, limit: int, grace: float) -> bytes:
    collected = LimitedBytes(limit)
    async with _opened(body) as items:
        await _ask(grace)
        async for item in items:
            collected.add(_encoded(item))
            await _ask(grace)
    return collected.joined()


@asynccontextmanager
async def _opened(body: ResponseBody) -> AsyncIterator[AsyncIterable[Any]]:
    items = await body.__aenter__()
    try:
        yield items
    finally:
        raised = cast("tuple[Any, Any, Any]", sys.exc_info())
        with _logged():
            await body.__aexit__(*raised)


async def _ask(grace: float) -> None:
    # The loop needs a turn for there to be an answer: not every generator awaits something.
    await asyncio.sleep(0)
    task = asyncio.current_task()
    if current_job.has_to_stop and task is not None and not task.cancelling():
        # Our cancellation is on its way. It must come here, and not while we close the iterator.
        await asyncio.sleep(grace)
    current_job.check_cancelled()


@contextmanager
def _logged() -> Iterator[None]:
    """What goes wrong while something is closed changes nothing any more about the response."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and current_job.is_cancelled:
            raise
        logger.exception("what job %s has returned could not be closed", current_job.id)


def _encoded(item: Any) -> Any:
    return item.encode() if isinstance(item, str) else item
