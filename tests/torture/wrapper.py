"""A store around a store: the base of what the harnesses put between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from ..job import Job, Request, Response
from ..store import ANYONE, Owner, Query, Store


class StoreWrapper(Store):
    """Passes every call on to `inner`, which it opens and closes."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    # Some stores are given their name only when they are opened.
    @property
    def worker(self) -> str:  # type: ignore[override]
        return self.inner.worker

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc, traceback)

    async def add(self, job: Job, request: Request) -> Job:
        return await self.inner.add(job, request)

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        return await self.inner.get(job_id, owner)

    async def request(self, job_id: str) -> Request:
        return await self.inner.request(job_id)

    async def response(self, job_id: str) -> Response:
        return await self.inner.response(job_id)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self.inner.result(job_id, owner)

    async def find(self, query: Query) -> list[Job]:
        return await self.inner.find(query)

    async def replace(self, old: Job, new: Job, response: Response | None = None) -> None:
        await self.inner.replace(old, new, response)

    async def purge(self, before: float) -> int:
        return await self.inner.purge(before)

    def changes(self) -> AsyncIterator[str]:
        return self.inner.changes()

    async def orphans(self) -> list[Job]:
        return await self.inner.orphans()

    async def health(self) -> None:
        await self.inner.health()
