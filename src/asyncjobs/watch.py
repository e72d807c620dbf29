"""One stream of changes, fanned out to all who wait; and one look for all, as hints may be lost."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from .hints import Changed, Hint, Overruled, Queued, Something
from .job import Job
from .store import Store

logger = logging.getLogger("asyncjobs")

#: Seconds between two looks for changes that no hint has told of.
REREAD_INTERVAL = 1.0
#: So many jobs are looked at in one turn of the event loop, which takes less than a millisecond.
LOOK_CHUNK = 500
#: Seconds between two such turns: however many jobs are looked at, it is a small part of the time.
LOOK_REST = 0.005

#: Is told that there may be jobs to start, or running ones to stop.
Callback = Callable[[Queued | Overruled], None]


class Watch:
    """Turns a store's hints into wake-ups. An async context manager.

    Nobody who waits reads anything meanwhile: a job is read once for all who follow it, when there
    is a hint, and as hints may be lost, all versions are compared now and then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._callbacks: list[Callback] = []
        self._followed: dict[str, Followed] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self._something = asyncio.Event()
        self._has_ended = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._listen(self._store.changes())),
            asyncio.create_task(self._look_now_and_then()),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in [*self._tasks, *self._reads]:
            task.cancel()
        self._is_closed = True
        self.end()

    @contextmanager
    def subscribe(self, callback: Callback) -> Iterator[None]:
        """Within this, have `callback` called with each `Queued` and each `Overruled`, and with one
        of both where there may have been any, and now and then, as hints may be lost. Of jobs there
        is more to be known: see `follow`."""
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    @contextmanager
    def follow(self, job_id: str, *, to_the_end: bool = False) -> Iterator[Follower]:
        """The job, to wait for. Follow it first, then read it, then wait.

        Args:
            to_the_end: whether to go on waiting after `end`, as whoever waits is to be stopped then
                and not to be answered. Not longer than the watch is open, all the same.
        """
        followed = self._followed.setdefault(job_id, Followed(self._store))
        follower = Follower(followed, to_the_end=to_the_end, has_ended=self._ends(to_the_end))
        followed.followers.add(follower)
        try:
            yield follower
        finally:
            followed.followers.discard(follower)
            if not followed.followers:
                del self._followed[job_id]

    def end(self) -> None:
        """From now on nobody waits: who does is told that it has ended, and so is who comes."""
        self._has_ended = True
        for followed in self._followed.values():
            for follower in followed.followers:
                if self._ends(follower.to_the_end):
                    follower.has_ended, follower.is_cut_off = True, self._is_closed
                    follower.wake()

    def _ends(self, to_the_end: bool) -> bool:
        return self._is_closed or (self._has_ended and not to_the_end)

    async def _listen(self, changes: AsyncIterator[Hint]) -> None:
        async for hint in changes:
            match hint:
                case Changed(job_id):
                    if job_id in self._followed:
                        self._changed(job_id)
                case Queued() | Overruled():
                    self._call(hint)
                case Something():
                    self._something.set()
                    self._call_for_anything()

    def _call_for_anything(self) -> None:
        """There may have been a hint of any kind."""
        self._call(Queued())
        self._call(Overruled())

    def _call(self, hint: Queued | Overruled) -> None:
        for callback in list(self._callbacks):
            try:
                callback(hint)
            except Exception:  # the others shall hear of it, and of what comes
                logger.exception("a hint was not heeded: %s", hint)

    async def _look_now_and_then(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REREAD_INTERVAL):
                    await self._something.wait()
            except TimeoutError:
                self._call_for_anything()
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
        followers: who does.
        version: the newest that anybody here has read.
        newest: the job, as it was read last for all who wait.
        final: the same, if it was final then.
        is_hinted: whether it may be at another version by now.
        is_read: whether it is being read, for all who wait.
    """

    __slots__ = ("_store", "final", "followers", "is_hinted", "is_read", "newest", "version")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.followers: set[Follower] = set()
        self.version: int | None = None
        self.newest: Job | None = None
        self.final: Job | None = None
        self.is_hinted = False
        self.is_read = False

    async def read(self, job_id: str) -> Job:
        """The job as it is now."""
        return await self._store.get(job_id)

    def known(self, job: Job) -> None:
        """Somebody waits who knows the job as this."""
        self.version = max(job.version, self.version or 0)
        self._store.follow(job)

    def found(self, job: Job) -> None:
        """This is the job now."""
        self.version, self.newest = job.version, job
        if job.state.is_final:
            self.final = job
            self.wake(job)
        elif self.followers:
            self._store.follow(job)
            for follower in self.followers:
                if follower.wants_changes:
                    follower.wake(job)

    def wake(self, final: Job | None = None) -> None:
        """Let all who wait have the job, or have them read it."""
        for follower in self.followers:
            follower.wake(final)


class Follower:
    """One who waits for a job.

    Attributes:
        to_the_end: whether it is not answered at the end of all waiting.
        has_ended: whether there is no more waiting: the job has to do as it is.
        is_cut_off: whether it has to do as it is known, as the store may be closed already.
        wants_changes: whether it waits for any change, and not for the end alone.
    """

    __slots__ = ("_followed", "_woken", "has_ended", "is_cut_off", "to_the_end", "wants_changes")

    def __init__(self, followed: Followed, *, to_the_end: bool, has_ended: bool) -> None:
        self._followed = followed
        self._woken: asyncio.Future[Job | None] | None = None
        self.to_the_end = to_the_end
        self.has_ended = has_ended
        self.is_cut_off = False
        self.wants_changes = False

    async def until_final(self, known: Job, limit: float) -> Job | None:
        """The job once it is final; None if it was not after so many seconds, or there is no more
        waiting: whoever wants it as it is then has to read it.

        Args:
            known: the job as it was read after it was followed, which was not final.

        Raises:
            JobNotFound: it was forgotten meanwhile.
            StoreUnavailable
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(None if math.isinf(limit) else limit):
                while not known.state.is_final:
                    if (final := await self._final(known)) is not None:
                        return final
                    if self.has_ended:
                        return None
                    known = await self._followed.read(known.id)
                return known
        return None

    async def until_changed(self, known: Job, limit: float) -> Job | None:
        """The job once it is at a later version; None if it was not after so many seconds, or there
        is no more waiting.

        Args:
            known: the job as it was read after it was followed.

        Raises:
            JobNotFound: it was forgotten meanwhile.
            StoreUnavailable
        """
        self.wants_changes = True
        try:
            async with asyncio.timeout(None if math.isinf(limit) else limit):
                while not self.has_ended:
                    changed = await self._changed(known)
                    if changed is not None and changed.version != known.version:
                        return changed
        except TimeoutError:
            pass
        finally:
            self.wants_changes = False
        return None

    async def now(self, known: Job) -> Job:
        """The job as it is now; as it is known, if the store may be closed already.

        Raises:
            JobNotFound: it was forgotten meanwhile.
            StoreUnavailable
        """
        return known if self.is_cut_off else await self._followed.read(known.id)

    async def _final(self, known: Job) -> Job | None:
        """The job once it is final; None if it is to be read again, or the waiting has ended.

        Args:
            known: the job as it was read last, which was not final.
        """
        final = self._followed.final
        if final is not None and final.version > known.version:
            return final
        if self.has_ended:
            return None
        self._followed.known(known)
        self._woken = asyncio.get_running_loop().create_future()
        try:
            return await self._woken
        finally:
            self._woken = None

    async def _changed(self, known: Job) -> Job | None:
        """The job as it is, once it may have changed; None if the waiting has ended."""
        newest, changed = self._followed.newest, None
        if newest is not None and newest.version > known.version:
            return newest  # it was read while this one did not wait
        if (self._followed.version or 0) <= known.version:
            changed = await self._final(known)  # or any other change, as it wants them all
        if changed is None and not self.has_ended:
            changed = await self._followed.read(known.id)
        return changed

    def wake(self, job: Job | None = None) -> None:
        """Let it have the job, or have it read it, if it waits."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(job)
