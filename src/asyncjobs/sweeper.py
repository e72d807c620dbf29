"""What every process does for all once a second: rescue, pass on cancellations, forget."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from .errors import StoreUnavailable
from .runner import Runner
from .store import SOMETHING, Store
from .watch import Watch

logger = logging.getLogger("asyncjobs")

#: Seconds between two sweeps, on average: the jitter keeps the processes from sweeping together.
SWEEP_INTERVAL = 0.8


class Sweeper:
    """Keeps the store tidy in the background. An async context manager.

    Args:
        look: has the engine look for queued jobs that others have added.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch,
        runner: Runner,
        look: Callable[[], None],
        *,
        clock: Callable[[], float],
        random: random.Random,
    ) -> None:
        self._store = store
        self._watch = watch
        self._runner = runner
        self._look = look
        self._clock = clock
        self._random = random

    async def __aenter__(self) -> Self:
        await self._sweep()
        self._tasks = [
            asyncio.create_task(self._sweep_for_ever()),
            asyncio.create_task(self._follow_others()),
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL * self._random.uniform(0.75, 1.25))
            try:
                await self._sweep()
            except StoreUnavailable as error:
                logger.warning("the store was not swept: %s", error)
            except Exception:
                logger.exception("the sweep failed; the next one may not")

    async def _sweep(self) -> None:
        await self._runner.rescue_orphans()
        await self._runner.stop_cancelled()
        await self._store.purge(self._clock())

    async def _follow_others(self) -> None:
        """Act at once on what other processes do."""
        with self._watch.subscribe(SOMETHING) as something:
            while True:
                await something.wait()
                something.clear()
                self._look()
                with suppress(StoreUnavailable):
                    await self._runner.stop_cancelled()
