"""What every process does for all: rescue, cancel, settle, fail what is without handler, tidy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from ..events import Action, Troubled
from ..job import Job
from ..store import ANSWER_DEADLINE
from ..tasks import to_the_end
from .claims import Claims

#: Seconds between two looks for dead processes, and for jobs whose time is over, on average: a lock
#: for each process and a step through an index are all that it costs. The jitter keeps the
#: processes from looking together.
RESCUE_INTERVAL = 0.25
#: Seconds between two sweeps, on average.
SWEEP_INTERVAL = 0.8
#: Seconds of rest after a slice of work, on average, and at least so many times what it took: they
#: are for other work, on the event loop and on the disk. All processes of a store share them.
REST = 0.1
REST_RATIO = 3
#: After so many slices there is a rest also if that is not enough: see `Sweeper._purge`.
MOST_SLICES = 32


class Sweeper:
    """Keeps the store tidy in the background. An async context manager.

    Args:
        gone_after: seconds that a queued job may be without a handler here; None for ever.
        ended: tells how many jobs have ended here.
    """

    def __init__(
        self, claims: Claims, *, gone_after: float | None, ended: Callable[[], int]
    ) -> None:
        self._claims = claims
        self._gone_after = gone_after
        self._ended = ended
        self._seen = 0
        self._owed = 0

    async def __aenter__(self) -> Self:
        # Since when, by the clock of the loop, each of the queued jobs that have no handler has had
        # none. What the job knows does not tell: it may have waited in the queue for days.
        self._missed: dict[str, float] = {}
        # What fails here must not keep the results of earlier jobs from being read.
        # Nor must it wait for more than a little of what may have piled up.
        await self._rescue()
        await self._sweep()
        self._tasks = [
            asyncio.create_task(self._repeat(self._rescue, RESCUE_INTERVAL)),
            asyncio.create_task(self._repeat(self._sweep, SWEEP_INTERVAL)),
            asyncio.create_task(self._repeat(self._tidy, SWEEP_INTERVAL)),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        _, pending = await asyncio.wait(self._tasks, timeout=ANSWER_DEADLINE)
        if pending:
            self._claims.emit(Troubled(Action.STOP_SWEEP))

    async def _repeat(self, chore: Callable[[], Awaitable[object]], interval: float) -> None:
        """Do it again and again: at once, if it says that there is more to do."""
        has_more: object = False
        while True:
            rest = 0 if has_more else interval * self._claims.random.uniform(0.75, 1.25)
            await asyncio.sleep(rest)
            has_more = await chore()

    async def _rescue(self) -> bool:
        await self._decide(self._claims.rescue)
        return await self._decide(self._claims.cancel_overdue)

    async def _sweep(self) -> None:
        await self._decide(self._settle_and_end)

    async def _tidy(self) -> None:
        await self._try(self._forget)

    async def _decide(self, chore: Callable[[], Awaitable[object]]) -> bool:
        """Do what decides about jobs, to its end also if we are cancelled: its writes go on, and
        somebody has to tell what has become of the jobs. Whether it says that there is more."""
        deciding = asyncio.create_task(self._try(chore))
        if await to_the_end(deciding):
            raise asyncio.CancelledError
        return deciding.result()

    async def _try(self, chore: Callable[[], Awaitable[object]]) -> bool:
        try:
            return bool(await chore())
        except Exception as error:
            self._claims.emit(Troubled(Action.SWEEP, error))
            return False

    async def _settle_and_end(self) -> None:
        await self._claims.settle()
        if self._gone_after is not None:
            await self._claims.end(self._missed_for(await self._claims.find_gone()))

    async def _forget(self) -> None:
        """Forget what has expired by now, and give back the space, in slices with rests between."""
        store = self._claims.store
        now = store.now()
        while await self._purge(now):
            pass
        while await self._shrink():
            await self._purge(store.now())

    async def _purge(self, before: float) -> int:
        """Forget some of what has expired before this time, and rest; how many there were.

        A slice of it; but as long as more have ended here than were forgotten, the next one follows
        without a rest, or what a busy process leaves would grow for as long as it is busy. Between
        two slices comes all else that is ready.
        """
        ended = self._ended()
        self._owed, self._seen = self._owed + ended - self._seen, ended
        start, forgotten, slices = _loop_time(), 0, 0
        while slices < MOST_SLICES:
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            done = await self._claims.store.purge(before)
            slices += 1
            forgotten += done
            self._owed = max(self._owed - done, 0) if done else 0  # nothing has expired
            if not self._owed:
                break
            await turned.wait()  # it is over by now, but with a store that has no disk to wait for
        if forgotten:
            await self._rest((_loop_time() - start) / slices)
        return forgotten

    async def _shrink(self) -> bool:
        """Give back a slice of the space, and rest; whether there may be more of it."""
        start = _loop_time()
        if has_more := await self._claims.store.shrink():
            await self._rest(_loop_time() - start)
        return has_more

    async def _rest(self, took: float) -> None:
        """Leave the store alone for a while after a slice that took so many seconds."""
        others = len(await self._claims.store.others())
        rest = max(REST, REST_RATIO * took) * (1 + others)
        # The jitter keeps the processes from working at the same time.
        await asyncio.sleep(rest * self._claims.random.uniform(0.5, 1.5))

    def _missed_for(self, gone: list[Job]) -> list[Job]:
        """Those of the jobs without handler for which that cannot be a deploy on its way any more:
        they have been without one for `gone_after`."""
        now = _loop_time()
        self._missed = {job.id: self._missed.get(job.id, now) for job in gone}
        assert self._gone_after is not None
        return [job for job in gone if now - self._missed[job.id] >= self._gone_after]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
