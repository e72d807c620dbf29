"""The open handles of one store, and calls on them from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from asyncjobs import slices
from asyncjobs.errors import Conflict, JobNotFound, KeyReused, StoreUnavailable
from asyncjobs.hints import Changed, Hint, Something
from asyncjobs.store import Store
from asyncjobs.stores import MemoryStore, SqliteStore

from .faults import Fault, FaultyStore
from .model import CANCELLED, Call, Outcome

#: Seconds that any call may take.
DEADLINE = 60.0
#: A caller is cancelled after fewer turns of the loop than this.
TURNS = 4


class Kind(NamedTuple):
    """A kind of store.

    Attributes:
        open: makes a store, whose files are in a folder.
        die: what the end of its process does to an open store, where there are others on the same
            files; None where a store has no files.
    """

    open: Callable[[Path], Store]
    die: Callable[[Store], None] | None = None


def _die(store: Store) -> None:
    # The system frees the lock by which others know that a process lives. Nothing is closed.
    cast("Any", store)._open.peers.leave()


STORES = {
    "memory": Kind(lambda folder: MemoryStore()),
    "sqlite": Kind(lambda folder: SqliteStore(folder / "jobs.db"), _die),
}


class Handle(NamedTuple):
    """An open store, as the harness uses it, and as it is below the bug that may be planted."""

    store: Store
    inner: Store


class Handles:
    """Opens stores of one kind on the same folder, each as another process would.

    Args:
        wrap: plants a bug in a store, or none.
    """

    def __init__(self, kind: Kind, folder: Path, wrap: Callable[[Store], Store]) -> None:
        self._kind = kind
        self._folder = folder
        self._wrap = wrap
        self._loop = asyncio.Runner()
        self._living: list[Handle] = []
        self._dead: list[Handle] = []
        # To the model, a purge is done in one go.
        self._slice, slices.SLICE = slices.SLICE, math.inf

    def __len__(self) -> int:
        return len(self._living)

    def worker(self, handle: int) -> str:
        """The name that this handle has in `Job.worker`."""
        return self._living[handle].inner.worker

    def open(self) -> None:
        inner = self._kind.open(self._folder)
        store = self._wrap(inner)
        self._loop.run(store.__aenter__())
        self._living.append(Handle(store, inner))

    def close(self, handle: int) -> None:
        self._loop.run(self._living.pop(handle).store.__aexit__(None, None, None))

    def die(self, handle: int) -> None:
        """The handle is never used again, but is not closed either: its process has ended."""
        assert self._kind.die is not None
        self._dead.append(self._living.pop(handle))
        self._kind.die(self._dead[-1].inner)

    def close_all(self) -> None:
        """Close everything, the dead included: the machine goes on without them."""
        self._living += self._dead
        while self._living:
            self.close(-1)
        self._loop.close()
        slices.SLICE = self._slice

    def at_once(self, calls: Sequence[Call]) -> list[Outcome]:
        """Make these calls at the same time, with their faults."""
        return self._loop.run(self._at_once(calls))

    def in_turn(self, calls: Sequence[Call]) -> list[Outcome]:
        """Make these calls one after the other, without their faults."""
        return self._loop.run(self._in_turn(calls))

    def heard(self, call: Call) -> Outcome:
        """Make this call; if it changed a job, wait until every handle has a hint of that.

        Raises:
            TimeoutError: one has none.
        """
        return self._loop.run(self._heard(call))

    async def _at_once(self, calls: Sequence[Call]) -> list[Outcome]:
        stores = [self._faulty(call) for call in calls]
        tasks = [
            asyncio.create_task(_outcome(store, call))
            for store, call in zip(stores, calls, strict=True)
        ]
        async with asyncio.timeout(DEADLINE):
            for turn in range(TURNS):
                for call, task in zip(calls, tasks, strict=True):
                    if call.cancel_after == turn:
                        task.cancel()
                await asyncio.sleep(0)
            free = [t for c, t in zip(calls, tasks, strict=True) if c.fault is not Fault.HELD]
            await asyncio.gather(*free, return_exceptions=True)
            for store in stores:
                store.release()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        return [_told(outcome) for outcome in outcomes]

    async def _in_turn(self, calls: Sequence[Call]) -> list[Outcome]:
        return [await _outcome(self._living[call.handle].store, call) for call in calls]

    async def _heard(self, call: Call) -> Outcome:
        listeners = [handle.store.changes() for handle in self._living]
        if call.name == "replace":
            for handle in self._living:
                handle.store.follow(call.args[0])
        outcome = await _outcome(self._living[call.handle].store, call)
        if call.name == "replace" and outcome is None:
            async with asyncio.timeout(DEADLINE):
                for listener in listeners:
                    await _hint_of(listener, call.args[0].id)
        return outcome

    def _faulty(self, call: Call) -> FaultyStore:
        return FaultyStore(self._living[call.handle].store, lambda name, job: call.fault)


async def _outcome(store: Store, call: Call) -> Outcome:
    try:
        result = await getattr(store, call.name)(*call.args, **call.options)
    except (Conflict, JobNotFound, KeyReused, StoreUnavailable) as error:
        return type(error)
    # Of the orphans no order is promised.
    return sorted(result, key=lambda orphan: orphan.job.id) if call.name == "orphans" else result


def _told(outcome: Outcome) -> Outcome:
    if isinstance(outcome, asyncio.CancelledError):
        return CANCELLED
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _hint_of(listener: AsyncIterator[Hint], job_id: str) -> None:
    async for hint in listener:
        if hint in (Changed(job_id), Something()):
            return
