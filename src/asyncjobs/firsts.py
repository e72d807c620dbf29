"""Repeats that come while the first of them is being stored: they wait for it, so that what
refuses new jobs, or counts them, does not take them for some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from .job import Job
from .key import Key
from .store import Store


class Firsts:
    """Of the submissions that come with a key, those that are being stored in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By their keys, with the job that each is to be.
        self._storing: dict[bytes, tuple[str, asyncio.Event]] = {}

    async def holder(self, key: Key) -> Job | None:
        """The job that has the key; None if it is free, and nobody stores one with it: who is told
        so is to do that, by `begin` before anything is awaited.

        Raises:
            KeyReused: another request has it.
            StoreUnavailable
        """
        holder = await self._store.keyed(key)
        # Of those who wait for one that comes to nothing, the next one is the first of the others.
        while holder is None and (first := self._storing.get(key.digest)) is not None:
            await first[1].wait()
            holder = await self._store.keyed(key)
        return holder

    def begin(self, key: Key, job: Job) -> Callable[[], None]:
        """The job is about to be stored.

        Returns what is to be called once it is, or it is known that it will not be.
        """
        self._storing.setdefault(key.digest, (job.id, asyncio.Event()))
        return partial(self._end, key, job)

    def _end(self, key: Key, job: Job) -> None:
        first = self._storing.get(key.digest)
        if first is not None and first[0] == job.id:
            del self._storing[key.digest]
            first[1].set()
