"""A store that keeps ledgers of what was written to it, by whom, and who is about to stop."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

from asyncjobs.job import Job, Request, Response
from asyncjobs.key import Key
from asyncjobs.store import Presence, Store, StoreWrapper

from .ledger import STOPPING, Joined, Ledger, Signalled, Written


class HistoryStore(StoreWrapper):
    """Writes the ledgers of `folder` after each write to `inner` that came through."""

    def __init__(self, inner: Store, folder: Path) -> None:
        super().__init__(inner)
        self._folder = folder

    async def __aenter__(self) -> Self:
        self._history = Ledger(self._folder, Written)
        joined = Ledger(self._folder, Joined)
        await super().__aenter__()
        joined.write(Joined(self.worker, os.getpid(), time.monotonic()))
        joined.close()
        return self

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        added = await super().add(job, request, key)
        self._wrote(added)
        return added

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        await super().replace(old, new, response, erase=erase)
        self._wrote(new)

    def announce(self, presence: Presence) -> None:
        super().announce(presence)
        if presence.stopping:
            signals = Ledger(self._folder, Signalled)
            signals.write(Signalled(os.getpid(), STOPPING, time.monotonic()))
            signals.close()

    def _wrote(self, job: Job) -> None:
        pid, now = os.getpid(), time.monotonic()
        self._history.write(
            Written(
                job.id, job.version, job.state.value, job.attempt, job.crashes, job.worker, pid, now
            )
        )
