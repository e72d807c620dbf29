"""Bugs in the result that is told in the request which made the job, to be planted in a process.

What waits there is `Submitted`, and each of these is put around it, or around the `Jobs` below.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from quart import Response as QuartResponse
from quart import has_request_context
from quart import request as current_request
from quart.typing import ResponseTypes
from quart.wrappers.response import DataBody

from asyncjobs.errors import InvalidTransition
from asyncjobs.job import Job, Response
from asyncjobs.jobs import Jobs
from asyncjobs.store import Store, StoreWrapper
from asyncjobs.web.answering.submitted import Following, Submitted

#: Seconds for which a result is told already, and not yet written.
DELAY = 0.1
#: How often it is looked whether there is one, in seconds.
LOOK = 0.002

Result = tuple[Job, Response]


class ToldBeforeStored(StoreWrapper):
    """Who waits in the request that made the job is told the result before it is written."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)
        self._results: dict[str, Result] = {}
        hurry(self._results)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if new.state.is_final and response is not None and old.worker == self.worker:
            self._results[new.id] = (new, response)
            await asyncio.sleep(DELAY)
        try:
            await super().replace(old, new, response, erase=erase)
        finally:
            self._results.pop(new.id, None)


def hurry(results: Mapping[str, Result]) -> None:
    """Have those who wait in the request that made the job be told of these before their jobs end.

    Whoever waits to poll asks the store afterwards, as ever.
    """
    result = Following.result

    async def hasty(self: Following) -> tuple[Job, Response | None]:
        final = asyncio.ensure_future(result(self))
        while not final.done() and self.job_id not in results:
            await asyncio.wait([final], timeout=LOOK)
        if final.done():
            return final.result()
        final.cancel()
        return results[self.job_id]

    Following.result = hasty  # type: ignore[method-assign]


def changes_told(change: Callable[[QuartResponse], None]) -> Callable[[], None]:
    """A bug: a result that is told in one request is another one than it should be."""

    def plant() -> None:
        answer = Submitted.answer

        async def careless(self: Submitted, said: ResponseTypes) -> ResponseTypes:
            told = await answer(self, said)
            if told is not said and isinstance(told, QuartResponse):
                change(told)
            return told

        Submitted.answer = careless  # type: ignore[method-assign]

    return plant


def tell_anothers() -> None:
    """All who wait at one path are told the body of the first one's result."""
    told: dict[str, bytes] = {}

    def change(response: QuartResponse) -> None:
        path = response.headers["content-location"].rpartition("/")[0]
        assert isinstance(response.response, DataBody)
        response.set_data(told.setdefault(path, response.response.data))

    changes_told(change)()


def make_another_job() -> None:
    """Who waits is taken for one who polls, whose request is dispatched twice."""
    accept = Jobs.accept

    async def careless(self: Jobs, *args: Any, **kwargs: Any) -> tuple[Job, bool]:
        if has_request_context() and "wait=" in current_request.headers.get("Prefer", ""):
            await accept(self, *args, **kwargs)
        return await accept(self, *args, **kwargs)

    Jobs.accept = careless  # type: ignore[method-assign]


def cancel_at_hang_up() -> None:
    """Who hangs up wants nothing any more."""
    answer = Submitted.answer

    async def careless(self: Submitted, said: ResponseTypes) -> ResponseTypes:
        try:
            return await answer(self, said)
        except asyncio.CancelledError:
            with suppress(InvalidTransition):
                await self._following._jobs.cancel(self._following.job_id)
            raise

    Submitted.answer = careless  # type: ignore[method-assign]
