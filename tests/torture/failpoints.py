"""Points at which a server kills itself: after what is said here, and before anything else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from asyncjobs.job import Job, Request, Response, State
from asyncjobs.key import Key
from asyncjobs.store import Store, StoreWrapper

from .ledger import Ledger, Signalled

BEFORE_ADD = "before-add"
#: The job is committed, and the client does not know it yet.
AFTER_ADD = "after-add"
#: The attempt is committed, and the handler has not begun.
AFTER_CLAIM = "after-claim"
#: The handler has begun, and had its effect.
IN_HANDLER = "in-handler"
BEFORE_FINISH = "before-finish"
AFTER_FINISH = "after-finish"

FAILPOINTS = (BEFORE_ADD, AFTER_ADD, AFTER_CLAIM, IN_HANDLER, BEFORE_FINISH, AFTER_FINISH)


class Failpoint:
    """Kills this process when it comes by the point `name` for the `nth` time.

    Args:
        folder: of the ledgers, which are told before.
        name: one of `FAILPOINTS`, or None to let the process live.
        linked: whether the process is one of several workers, of which all others are told to stop
            when one has died.
    """

    def __init__(
        self, folder: Path, name: str | None = None, nth: int = 1, *, linked: bool = False
    ) -> None:
        self._folder = folder
        self._name = name
        self._left = nth
        self._linked = linked

    def passing(self, name: str) -> None:
        """The process is at the point `name`."""
        if name == self._name:
            self._left -= 1
            if self._left <= 0:
                self.kill(name)

    def kill(self, kind: str) -> None:
        """End this process as kill -9 does."""
        self.about_to_die(kind)
        os.kill(os.getpid(), signal.SIGKILL)

    def about_to_die(self, kind: str) -> None:
        """Write down that this process is going to die of `kind`, and what follows from that."""
        now = time.monotonic()
        told = [Signalled(pid, "term", now) for pid in _siblings()] if self._linked else []
        Ledger(self._folder, Signalled).write(Signalled(os.getpid(), kind, now), *told)


class FailpointStore(StoreWrapper):
    """Passes the points around each write to `inner`."""

    def __init__(self, inner: Store, failpoint: Failpoint) -> None:
        super().__init__(inner)
        self._failpoint = failpoint

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        self._failpoint.passing(BEFORE_ADD)
        added = await super().add(job, request, key)
        self._failpoint.passing(AFTER_ADD)
        if added.state is State.RUNNING:
            self._failpoint.passing(AFTER_CLAIM)
        return added

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        finishes = new.state.is_final and old.worker == self.worker
        if finishes:
            self._failpoint.passing(BEFORE_FINISH)
        await super().replace(old, new, response, erase=erase)
        if finishes:
            self._failpoint.passing(AFTER_FINISH)
        elif new.state is State.RUNNING and old.state is State.QUEUED:
            self._failpoint.passing(AFTER_CLAIM)


def _siblings() -> list[int]:
    """The other processes that our parent has started, also those that have only just begun."""
    parent = os.getppid()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if int(child) != os.getpid()]
