"""Bugs to be planted in servers: each takes its time, as it would in life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from asyncjobs.errors import Conflict
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.key import Key
from asyncjobs.store import ANYONE, Orphan, Owner, Query, Store, StoreWrapper

from .bugs import NoVersionCheckOnFinish
from .one_request_bugs import (
    ToldBeforeStored,
    cancel_at_hang_up,
    make_another_job,
    tell_anothers,
)

#: How long the hasty stores leave a write lying, in seconds.
DELAY = 0.02
#: Who has not moved for so long is dead, says `HeartbeatLiveness`. Seconds.
HEARTBEAT_AGE = 0.7


class Hasty(StoreWrapper):
    """A store with writes that go on after they have returned. In this process nobody notices."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)
        self._pending: dict[str, asyncio.Task[None]] = {}

    def write_later(self, job_id: str, write: Coroutine[Any, Any, object]) -> None:
        async def later() -> None:
            await asyncio.sleep(DELAY)
            with suppress(Conflict):
                await write
            del self._pending[job_id]

        self._pending[job_id] = asyncio.create_task(later())

    async def settled(self, job_id: str) -> None:
        if (task := self._pending.get(job_id)) is not None:
            await task

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        await self.settled(job_id)
        return await super().get(job_id, owner)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        await self.settled(job_id)
        return await super().result(job_id, owner)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        await self.settled(old.id)
        await super().replace(old, new, response, erase=erase)


class HastyAdd(Hasty):
    """`add` returns before anything is written."""

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        self.write_later(job.id, super().add(job, request, key))
        return job

    async def request(self, job_id: str) -> Request:
        await self.settled(job_id)
        return await super().request(job_id)


class HastyClaim(Hasty):
    """A claim returns before anything is written, and the handler begins."""

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if old.state is State.QUEUED and new.state is State.RUNNING:
            self.write_later(old.id, self.inner.replace(old, new, response, erase=erase))
        else:
            await super().replace(old, new, response, erase=erase)


class HeartbeatLiveness(StoreWrapper):
    """Liveness by heartbeat: a stopped process has none, and loses its jobs."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)
        self._folder = folder / "beats"

    async def __aenter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        await super().__aenter__()
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._beating.cancel()
        await super().__aexit__(exc_type, exc, traceback)

    async def orphans(self) -> list[Orphan]:
        running = await self.find(Query(states=frozenset({State.RUNNING})))
        others = [job for job in running if job.worker != self.worker]
        return [Orphan(job, blamed=True) for job in others if self._is_dead(job.worker)]

    def _is_dead(self, worker: str | None) -> bool:
        try:
            beat = (self._folder / f"{worker}").stat().st_mtime
        except FileNotFoundError:
            return True
        return time.time() - beat > HEARTBEAT_AGE

    async def _beat(self) -> None:
        while True:
            (self._folder / self.worker).touch()
            await asyncio.sleep(HEARTBEAT_AGE / 10)


def in_process(plant: Callable[[], None]) -> Callable[[Store, Path], Store]:
    """A bug that is not in the store."""

    def planted(store: Store, folder: Path) -> Store:
        plant()
        return store

    return planted


#: By its name: a planted bug, put around a store whose files are in a folder.
SERVER_BUGS: Mapping[str, Callable[[Store, Path], Store]] = {
    "ack-before-commit": HastyAdd,
    "no-version-check": lambda store, folder: NoVersionCheckOnFinish(store),
    "effect-before-attempt": HastyClaim,
    "stopped-is-dead": HeartbeatLiveness,
    "told-before-stored": ToldBeforeStored,
    "told-anothers-result": in_process(tell_anothers),
    "job-made-again-by-wait": in_process(make_another_job),
    "hang-up-cancels": in_process(cancel_at_hang_up),
}
