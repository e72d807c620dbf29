"""Bugs to be planted in how a server treats the jobs that its processes died under."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from asyncjobs import job, verdict
from asyncjobs.job import Job, Response
from asyncjobs.store import Orphan, Store, StoreWrapper
from asyncjobs.stores.sqlite import queries


def suspect_nobody(store: Store, folder: Path) -> Store:
    """All run side by side, however often their processes have died."""
    for module in (job, queries):
        vars(module)["SUSPECT_CRASHES"] = sys.maxsize
    return store


def convict_at_three(store: Store, folder: Path) -> Store:
    """The same, and what was there at three crashes has caused them."""
    verdict.MAX_CRASHES = 3
    return suspect_nobody(store, folder)


class ForgetsFirstCrash(StoreWrapper):
    """The first crash of a job does not count."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        if new.crashes > old.crashes and old.attempt == 1:
            new = new._replace(crashes=0)
        await super().replace(old, new, response, erase=erase)


class BlamesWhoWasToldToStop(StoreWrapper):
    """Each death is a crash, also that of a process that had been told to stop."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)

    async def orphans(self) -> list[Orphan]:
        return [orphan._replace(blamed=True) for orphan in await super().orphans()]


#: By its name, as `SERVER_BUGS`.
POISON_BUGS: Mapping[str, Callable[[Store, Path], Store]] = {
    "convict-at-three": convict_at_three,
    "no-suspects": suspect_nobody,
    "forgotten-crash": ForgetsFirstCrash,
    "told-is-blamed": BlamesWhoWasToldToStop,
}
