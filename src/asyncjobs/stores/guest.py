"""A store for whoever comes to look, and steers now and then."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType

from ..job import Job, Response
from ..store import Store, StoreWrapper


class GuestStore(StoreWrapper):
    """A store that is looked at, and joined only when something is to be changed.

    Args:
        looking, steering: the same, opened to look and to steer.
    """

    def __init__(self, looking: Store, steering: Store) -> None:
        super().__init__(looking)
        self._steering = steering
        self._joining = asyncio.Lock()
        self._joined: Store | None = None
        self._stack = AsyncExitStack()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.aclose()
        finally:
            await super().__aexit__(exc_type, exc, traceback)

    async def replace(self, old: Job, new: Job, response: Response | None = None) -> None:
        async with self._joining:
            if self._joined is None:
                self._joined = await self._stack.enter_async_context(self._steering)
        await self._joined.replace(old, new, response)
