"""One stream of changes, fanned out to everybody who waits for one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Self

from .store import SOMETHING, Store


class Watch:
    """Turns a store's hints into wake-ups. An async context manager.

    A waiter subscribes first, then reads, and reads again at each wake-up: see `store`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: dict[str, set[asyncio.Event]] = {}

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(self._store.changes()))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._listening.cancel()
        self.wake_all()

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever `job_id` may have changed; whoever waits clears it.

        In the place of an id there may be one of the other hints of `Store.changes`.
        """
        event = asyncio.Event()
        waiters = self._waiters.setdefault(job_id, set())
        waiters.add(event)
        try:
            yield event
        finally:
            waiters.discard(event)
            if not waiters:
                self._waiters.pop(job_id, None)

    def wake_all(self) -> None:
        """Have every waiter look again."""
        for waiters in self._waiters.values():
            for event in waiters:
                event.set()

    async def _listen(self, changes: AsyncIterator[str]) -> None:
        async for job_id in changes:
            if job_id == SOMETHING:
                self.wake_all()
            for event in self._waiters.get(job_id, ()):
                event.set()
