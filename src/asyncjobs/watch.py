"""One stream of changes, fanned out to all who wait; and one look for all, as hints may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from .job import Job
from .store import SOMETHING, Store

#: Seconds between two looks for changes that no hint has told of.
REREAD_INTERVAL = 1.0
#: So many jobs are looked at in one turn of the event loop, which takes less than a millisecond.
LOOK_CHUNK = 500
#: Seconds between two such turns: however many jobs are looked at, it is a small part of the time.
LOOK_REST = 0.005


class Watch:
    """Turns a store's hints into wake-ups. An async context manager.

    Nobody who waits reads anything meanwhile: a job is read once for all who follow it, when there
    is a hint, and as hints may be lost, all versions are compared now and then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[str, set[asyncio.Event]] = {}
        self._followed: dict[str, Followed] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self._something = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._listen(self._store.changes())),
            asyncio.create_task(self._look_now_and_then()),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in [*self._tasks, *self._reads]:
            task.cancel()
        self.wake_all()

    @contextmanager
    def subscribe(self, hint: str) -> Iterator[asyncio.Event]:
        """An event that is set at each such hint of `Store.changes`, or if there may have been one;
        whoever waits clears it. Of jobs there is more to be known: see `follow`."""
        event = asyncio.Event()
        events = self._events.setdefault(hint, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._events.pop(hint, None)

    @contextmanager
    def follow(self, job_id: str) -> Iterator[Followed]:
        """The job, to wait for. Follow it first, then read it, then wait."""
        followed = self._followed.setdefault(job_id, Followed())
        followed.followers += 1
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                del self._followed[job_id]

    def wake_all(self) -> None:
        """Have everybody who waits look for themselves."""
        self._set_events()
        for followed in self._followed.values():
            followed.wake()

    async def _listen(self, changes: AsyncIterator[str]) -> None:
        async for hint in changes:
            if hint == SOMETHING:
                self._set_events()
                self._something.set()
            elif hint in self._followed:
                self._changed(hint)
            else:
                for event in self._events.get(hint, ()):
                    event.set()

    def _set_events(self) -> None:
        for events in self._events.values():
            for event in events:
                event.set()

    async def _look_now_and_then(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REREAD_INTERVAL):
                    await self._something.wait()
            self._something.clear()
            await self._look()

    async def _look(self) -> None:
        """Find the changes that no hint has told of, without a read of each job."""
        job_ids = list(self._followed)
        for start in range(0, len(job_ids), LOOK_CHUNK):
            if start:
                await asyncio.sleep(LOOK_REST)
            chunk = job_ids[start : start + LOOK_CHUNK]
            versions: dict[str, int] = {}
            with suppress(Exception):  # then all are read, and who waits meets what is wrong
                versions = await self._store.versions(chunk)
            for job_id in chunk:
                followed = self._followed.get(job_id)
                if followed is not None and followed.version != versions.get(job_id):
                    self._changed(job_id)

    def _changed(self, job_id: str) -> None:
        followed = self._followed[job_id]
        followed.is_hinted = True
        if not followed.is_read:
            followed.is_read = True
            read = asyncio.create_task(self._read(job_id, followed))
            self._reads.add(read)
            read.add_done_callback(self._reads.discard)

    async def _read(self, job_id: str, followed: Followed) -> None:
        try:
            while followed.is_hinted:  # once more, if it is again meanwhile
                followed.is_hinted = False
                followed.found(await self._store.get(job_id))
        except Exception:
            followed.wake()  # who waits reads, and meets that as well
        finally:
            followed.is_read = False


class Followed:
    """A job that somebody waits for.

    Attributes:
        followers: how many do.
        version: the newest that anybody here has read.
        is_hinted: whether it may be at another version by now.
        is_read: whether it is being read, for all who wait.
    """

    __slots__ = ("_final", "_waiting", "followers", "is_hinted", "is_read", "version")

    def __init__(self) -> None:
        self.followers = 0
        self.version: int | None = None
        self.is_hinted = False
        self.is_read = False
        self._final: Job | None = None
        self._waiting: set[asyncio.Future[Job | None]] = set()

    async def final(self, known: Job) -> Job | None:
        """The job once it is final; None if whoever waits is to read it again.

        Args:
            known: the job as it was read last, which was not final.
        """
        if self._final is not None and self._final.version > known.version:
            return self._final
        self.version = max(known.version, self.version or 0)
        woken: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        try:
            return await woken
        finally:
            self._waiting.discard(woken)

    def found(self, job: Job) -> None:
        """This is the job now."""
        self.version = job.version
        if job.state.is_final:
            self._final = job
            self.wake(job)

    def wake(self, final: Job | None = None) -> None:
        """Let all who wait have the job, or have them read it."""
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(final)
