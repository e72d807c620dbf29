"""What every process does for all: rescue, pass cancellations on, fail what is without handler."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Self

from ..apart import Apart
from ..errors import StoreUnavailable
from ..handler import Handler
from ..job import Job, State
from ..store import ANSWER_DEADLINE, OVERRULED, QUEUED, Query, Store
from ..verdict import gone
from ..watch import Watch
from .runner import Runner

logger = logging.getLogger("asyncjobs")

#: Seconds between two looks for dead processes, on average: a lock each is all that it costs. The
#: jitter keeps the processes from looking together.
RESCUE_INTERVAL = 0.25
#: Seconds between two sweeps, on average.
SWEEP_INTERVAL = 0.8
#: Seconds of rest after a slice of work, on average, and at least so many times what it took: they
#: are for other work, on the event loop and on the disk. All processes of a store share them.
REST = 0.1
REST_RATIO = 3
#: At most so many jobs that nobody can run are ended in one sweep.
GONE_CHUNK = 100


class Sweeper:
    """Keeps the store tidy in the background. An async context manager.

    Args:
        handlers: what can be run here.
        gone_after: seconds that a queued job may be without a handler here; None for ever.
        look: has the engine look for queued jobs that others have added.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch,
        runner: Runner,
        handlers: Mapping[str, Handler],
        look: Callable[[], None],
        *,
        gone_after: float | None,
        clock: Callable[[], float],
        random: random.Random,
    ) -> None:
        self._store = store
        self._watch = watch
        self._runner = runner
        self._handlers = handlers
        self._look = look
        self._gone_after = gone_after
        self._clock = clock
        self._random = random
        self._apart = Apart("cannot be failed")

    async def __aenter__(self) -> Self:
        # Since when, by the clock of the loop, each of the queued jobs that have no handler has had
        # none. What the job knows does not tell: it may have waited in the queue for days.
        self._missed: dict[str, float] = {}
        # What fails here must not keep the results of earlier jobs from being read.
        # Nor must it wait for more than a little of what may have piled up.
        await self._try(self._rescue)
        await self._try(self._sweep)
        self._tasks = [
            asyncio.create_task(self._repeat(self._rescue, RESCUE_INTERVAL)),
            asyncio.create_task(self._repeat(self._sweep, SWEEP_INTERVAL)),
            asyncio.create_task(self._repeat(self._tidy, SWEEP_INTERVAL)),
            asyncio.create_task(self._start_what_others_queue()),
            asyncio.create_task(self._stop_what_others_cancel()),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        _, pending = await asyncio.wait(self._tasks, timeout=ANSWER_DEADLINE)
        if pending:
            logger.error("the store does not answer: it is closed in the middle of a sweep")

    async def _repeat(self, chore: Callable[[], Awaitable[object]], interval: float) -> None:
        while True:
            await asyncio.sleep(interval * self._random.uniform(0.75, 1.25))
            await self._try(chore)

    async def _try(self, chore: Callable[[], Awaitable[object]]) -> None:
        try:
            await chore()
        except StoreUnavailable as error:
            logger.warning("the store was not swept: %s", error)
        except Exception:
            logger.exception("the sweep failed; the next one may not")

    async def _rescue(self) -> None:
        if await self._runner.rescue_orphans():
            self._look()

    async def _sweep(self) -> None:
        await self._runner.stop_cancelled()
        await self._runner.doubts.settle()
        await self._end_gone()

    async def _tidy(self) -> None:
        """Forget what has expired by now, and give back the space, in slices with rests between."""
        now = self._clock()
        while await self._and_rest(self._store.purge(now)):
            pass
        while await self._and_rest(self._store.shrink()):
            await self._and_rest(self._store.purge(self._clock()))

    async def _and_rest(self, slice_of_work: Awaitable[int]) -> int:
        """Await it, and then, if there was anything to do, leave the store alone for a while."""
        time = asyncio.get_running_loop().time
        start = time()
        if done := await slice_of_work:
            rest = max(REST, REST_RATIO * (time() - start)) * (1 + len(await self._store.others()))
            # The jitter keeps the processes from working at the same time.
            await asyncio.sleep(rest * self._random.uniform(0.5, 1.5))
        return done

    async def _end_gone(self) -> None:
        """Fail queued jobs whose handler has gone, once that cannot be a deploy on its way.

        Only a process that runs jobs can tell, and where no other one has the handler.
        """
        if self._gone_after is None or not self._handlers:
            return
        now = asyncio.get_running_loop().time()
        missed, self._missed = self._missed, {}
        for job in await self._find_gone():
            since = self._missed[job.id] = missed.get(job.id, now)
            if now - since >= self._gone_after:
                logger.error("job %s fails: there is no handler %r any more", job.id, job.route)
                ended = self._store.replace(job, *gone(job, self._clock()))
                await self._apart.done(job.id, ended)

    async def _find_gone(self) -> list[Job]:
        """Queued jobs that no living process of this store can run, as far as they say what they
        can."""
        if not await self._store.find(unknown_to(self._handlers, 1)):
            return []
        routes = set(self._handlers)
        for other in await self._store.others():
            if other.routes is None:
                return []
            routes |= other.routes
        return await self._store.find(unknown_to(routes, GONE_CHUNK))

    async def _start_what_others_queue(self) -> None:
        with self._watch.subscribe(QUEUED) as queued:
            while True:
                await queued.wait()
                queued.clear()
                self._look()

    async def _stop_what_others_cancel(self) -> None:
        with self._watch.subscribe(OVERRULED) as overruled:
            while True:
                await overruled.wait()
                overruled.clear()
                with suppress(StoreUnavailable):
                    await self._runner.stop_cancelled()


def unknown_to(routes: Iterable[str], limit: int) -> Query:
    """The queued jobs of all other routes."""
    return Query(states=frozenset({State.QUEUED}), not_routes=frozenset(routes), limit=limit)
