"""A store for whoever comes to look, and steers now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
        self._coming_and_going = asyncio.Lock()
        self._is_joined = False
        self._writers = 0

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        async with self._joined():
            await self._steering.replace(old, new, response, erase=erase)

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[None]:
        # For no longer than there are writes: who has joined keeps a server that stops from putting
        # its log away.
        async with self._coming_and_going:
            if not self._is_joined:
                await self._steering.__aenter__()
                self._is_joined = True
            self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            async with self._coming_and_going:
                if self._is_joined and not self._writers:
                    self._is_joined = False
                    await self._steering.__aexit__(None, None, None)
