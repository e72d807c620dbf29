"""A store that fails when it is told to: before a write, or after it, or that does not answer."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from asyncjobs.errors import StoreUnavailable
from asyncjobs.job import Job, Request, Response
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Orphan, Owner, Query, Store, StoreWrapper

T = TypeVar("T")


class Fault(enum.StrEnum):
    """What goes wrong with one call.

    Attributes:
        BEFORE: nothing is applied, and the caller is told `StoreUnavailable`.
        AFTER: it is applied, durably, and the caller is told `StoreUnavailable` all the same.
        HELD: it is applied, and the caller is told nothing until the store is released.
    """

    BEFORE = "before"
    AFTER = "after"
    HELD = "held"


#: Decides about a call by the name of its method and, if it is an `add` or a `replace`, by the job
#: as it shall be.
Plan = Callable[[str, Job | None], Fault | None]


class FaultyStore(StoreWrapper):
    """A store whose calls fail where `plan` says so; all but `changes` may."""

    def __init__(self, inner: Store, plan: Plan) -> None:
        super().__init__(inner)
        self.plan = plan
        self._released = asyncio.Event()

    def release(self) -> None:
        """Have all calls return that are held, now and later."""
        self._released.set()

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        return await self._call("add", partial(self.inner.add, job, request, key), job)

    async def keyed(self, key: Key) -> Job | None:
        return await self._call("keyed", partial(self.inner.keyed, key))

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        return await self._call("get", partial(self.inner.get, job_id, owner))

    async def request(self, job_id: str) -> Request:
        return await self._call("request", partial(self.inner.request, job_id))

    async def response(self, job_id: str) -> Response:
        return await self._call("response", partial(self.inner.response, job_id))

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self._call("result", partial(self.inner.result, job_id, owner))

    async def find(self, query: Query) -> list[Job]:
        return await self._call("find", partial(self.inner.find, query))

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        return await self._call("overdue", partial(self.inner.overdue, before, program, limit))

    async def count(self, query: Query) -> int:
        return await self._call("count", partial(self.inner.count, query))

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        replace = partial(self.inner.replace, old, new, response, erase=erase)
        await self._call("replace", replace, new)

    async def purge(self, before: float) -> int:
        return await self._call("purge", partial(self.inner.purge, before))

    async def shrink(self) -> bool:
        return await self._call("shrink", self.inner.shrink)

    async def orphans(self) -> list[Orphan]:
        return await self._call("orphans", self.inner.orphans)

    async def _call(self, name: str, call: Callable[[], Awaitable[T]], job: Job | None = None) -> T:
        fault = self.plan(name, job)
        if fault is Fault.BEFORE:
            raise StoreUnavailable(f"a fault before {name}")
        result = await call()
        if fault is Fault.AFTER:
            raise StoreUnavailable(f"a fault after {name}")
        if fault is Fault.HELD:
            await self._released.wait()
        return result
