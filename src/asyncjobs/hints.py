"""Hands each hint to everybody who listens. What a store's `changes` is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable


class Hints:
    """A broadcast of job ids within one event loop; nothing is kept for who does not listen."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()

    def send(self, job_ids: Iterable[str]) -> None:
        """Tell every listener of these changes."""
        for listener in self._listeners:
            for job_id in job_ids:
                listener.put_nowait(job_id)

    def listen(self) -> AsyncIterator[str]:
        """The hints from this call on, without end."""
        # Subscribed here and not at the first step of the iterator: what changes between the two
        # would be lost.
        listener: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(listener)
        return self._receive(listener)

    async def _receive(self, listener: asyncio.Queue[str]) -> AsyncIterator[str]:
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)
