"""A store for whoever comes to look, and steers now and then."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType

from ..job import Job, Response
from ..store import Store, StoreWrapper
from . import open_to_look, open_to_steer


class GuestStore(StoreWrapper):
    """The store that `url` names: it is looked at, and joined only when something is to be changed.

    Raises:
        ConfigurationError: no store has such a URL, or none that can be seen from outside.
    """

    def __init__(self, url: str) -> None:
        super().__init__(open_to_look(url))
        self._url = url
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
                self._joined = await self._stack.enter_async_context(open_to_steer(self._url))
        await self._joined.replace(old, new, response)
