"""The SQLite store for whoever only looks: it reads, joins nothing and makes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from ....errors import SetupError, StoreError, StoreReadOnly, StoreUnavailable
from ....hints import Hint, Something
from ....job import Job, Request, Response
from ....key import Key
from ....listing import Listing, Page
from ....store import ANYONE, Liveness, Orphan, Owner, Presence, Query, Store
from ..paths import checked
from ..processes import outside
from ..reader import Reader
from ..writing.condition import NO_ROOM
from ..writing.reserve import is_whole
from .lookout import Lookout, Unsteady

T = TypeVar("T")

#: Seconds between two looks whether anybody has written, while somebody listens.
POLL_INTERVAL = 0.05
#: So long a look is tried again while somebody opens or closes the store, in seconds.
PATIENCE = 2.0
#: Seconds between two such tries.
_RETRY = 0.005


class LookingStore(Store):
    """The jobs in the SQLite file at `path`, for whoever looks at them and changes nothing.

    It works beside living servers and on a stopped store, also one of another user, as long as its
    files can be read. No file is made or changed, and nobody is held up. A job whose row is damaged
    is given as a server would mend it. Writes, and what only a server knows, raise `StoreReadOnly`.

    Args:
        path: the file.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: the path can be no file's, or means something else elsewhere.
    """

    #: No process is called that: it runs nothing.
    worker = ""

    def __init__(
        self, path: os.PathLike[str] | str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(os.path.realpath(checked("the store", path)))
        self._clock = clock
        self._folder = Path(f"{self.path}-procs")
        self._lookout = Lookout(self.path)
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise SetupError(f"the store {self.path} is open already")
        await self._looked(_nothing)
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False

    def abandon(self) -> None:
        self._is_open = False

    def now(self) -> float:
        return self._clock()

    async def keyed(self, key: Key) -> Job | None:
        return await self._look(lambda reader: reader.keyed(key))

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        return await self._look(lambda reader: reader.get(job_id, owner))

    async def versions(self, job_ids: Collection[str]) -> dict[str, int]:
        async def versions(reader: Reader) -> dict[str, int]:
            return reader.versions(job_ids)

        return await self._look(versions)

    async def ids(self, prefix: str, limit: int) -> list[str]:
        async def ids(reader: Reader) -> list[str]:
            return reader.ids(prefix, limit)

        return await self._look(ids)

    async def request(self, job_id: str) -> Request:
        async def request(reader: Reader) -> Request:
            return reader.request(job_id)

        return await self._look(request)

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        return await self._look(lambda reader: reader.result(job_id, owner))

    async def find(self, query: Query) -> list[Job]:
        return await self._look(lambda reader: reader.find(query))

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        return await self._look(lambda reader: reader.overdue(before, program, limit))

    async def count(self, query: Query) -> int:
        return await self._look(lambda reader: reader.count(query))

    async def programs(self) -> frozenset[str]:
        return await self._look(Reader.programs)

    async def orphans(self) -> list[Orphan]:
        """The same; nobody is blamed, as only those who rescue jobs need to know that."""

        async def orphans(reader: Reader) -> list[Orphan]:
            dead = [
                name
                for name in reader.workers([])
                if outside.liveness(self._folder, name) is Liveness.DEAD
            ]
            rows = [row for name in (None, *dead) for row in reader.run_by(name)]
            left = reader.jobs(rows, [], lambda job: not job.state.is_final)
            return [Orphan(job, blamed=False) for job in left]

        return await self._look(orphans)

    async def liveness(self, worker: str) -> Liveness:
        return outside.liveness(self._folder, worker)

    async def others(self) -> list[Presence]:
        return outside.presences(self._folder)

    def changes(self) -> AsyncIterator[Hint]:
        # Looked at here and not at the first step of the iterator: see `Hints.listen`.
        return self._changes(self._stamp())

    async def add(self, job: Job, request: Request, key: Key | None = None) -> NoReturn:
        raise self._read_only()

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> NoReturn:
        raise self._read_only()

    async def purge(self, before: float) -> NoReturn:
        raise self._read_only()

    async def shrink(self) -> NoReturn:
        raise self._read_only()

    def announce(self, presence: Presence) -> NoReturn:
        raise self._read_only()

    async def backup(self, path: Path | str) -> NoReturn:
        raise self._read_only()

    async def health(self) -> str | None:
        """Whether servers take new jobs, as far as their files tell of it."""
        if not is_whole(self.path):
            raise StoreUnavailable(NO_ROOM)
        return None

    async def _look(self, ask: Callable[[Reader], Awaitable[T]]) -> T:
        """What is read in one look.

        Raises:
            StoreUnavailable: the store, which was there, cannot be looked at now.
        """
        if not self._is_open:
            raise RuntimeError("the store is not open: use it within 'async with'")
        try:
            return await self._looked(ask)
        except StoreError as error:
            raise StoreUnavailable(str(error)) from error

    async def _looked(self, ask: Callable[[Reader], Awaitable[T]]) -> T:
        now = asyncio.get_running_loop().time
        deadline = None  # however long a look takes, there is a second one
        while True:
            try:
                with self._lookout.look() as look:
                    return await ask(Reader(look, clock=self._clock))
            except Unsteady as unsteady:
                deadline = deadline or now() + PATIENCE
                if now() > deadline:
                    raise unsteady.reason from unsteady
            await asyncio.sleep(_RETRY)

    async def _changes(self, seen: object) -> AsyncIterator[Hint]:
        again = False
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            now = self._stamp()
            # Once more behind a change: there may have been another in the same tick of the clock
            # of the file system, and what is written can be read a moment later.
            if now != seen or again:
                yield Something()
            again, seen = now != seen, now

    def _stamp(self) -> object:
        with suppress(StoreError):  # whoever reads meets that as well
            return self._lookout.stamp()
        return None

    def _read_only(self) -> StoreReadOnly:
        return StoreReadOnly(
            f"the store {self.path} was opened to look: nothing is written by that. Open it to "
            "steer to cancel and retry jobs; all else is for servers"
        )

    # The last one: see `Store.list`.
    async def list(self, listing: Listing) -> Page:
        return await self._look(lambda reader: reader.list(listing))


async def _nothing(reader: Reader) -> None:
    """To look whether the store can be looked at."""
