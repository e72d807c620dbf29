"""What a store tells that something has happened: hints, and how they get to everybody who listens.

They may repeat and may be lost, so they are never the truth: subscribe, *then* read, sleep until a
hint or a time-out, read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from .job import Job, State

# Dataclasses, and no named tuples: `Overruled()` and `Something()` would be equal, as all that are
# empty are.


@dataclass(frozen=True, slots=True)
class Changed:
    """This job is at another version now.

    Attributes:
        job_id: as in `Job.id`.
    """

    job_id: str


@dataclass(frozen=True, slots=True)
class Queued:
    """A job was queued, or some were, and may be started here.

    Attributes:
        route: whose; None if it may be any.
    """

    route: str | None = None


@dataclass(frozen=True, slots=True)
class Overruled:
    """Somebody has changed a job that is run here: to have it stop, for one."""


@dataclass(frozen=True, slots=True)
class Something:
    """It is not known what has happened: it may be any of the others, or all of them."""


#: One of them.
Hint = Changed | Queued | Overruled | Something


def hints_of(old: Job | None, new: Job, worker: str) -> Collection[Hint]:
    """What else there is to hint at in the process called `worker` once it has put `new` in the
    place of `old`, or added it, besides that the job has changed."""
    if new.state is State.QUEUED:
        return (Queued(new.route),)
    if new.cancel_requested and new.worker == worker and old is not None:
        return () if old.cancel_requested else (Overruled(),)
    return ()


class Hints:
    """A broadcast of hints within one event loop; nothing is kept for who does not listen.

    What a store's `changes` is made of.
    """

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Collection[Hint]]] = set()

    def send(self, hints: Collection[Hint]) -> None:
        """Give every listener these hints, which are left as they are from now on."""
        if hints:
            for listener in self._listeners:
                listener.put_nowait(hints)

    def listen(self) -> AsyncIterator[Hint]:
        """The hints from this call on, without end."""
        # Subscribed here and not at the first step of the iterator: what changes between the two
        # would be lost.
        listener: asyncio.Queue[Collection[Hint]] = asyncio.Queue()
        self._listeners.add(listener)
        return self._receive(listener)

    async def _receive(self, listener: asyncio.Queue[Collection[Hint]]) -> AsyncIterator[Hint]:
        try:
            while True:
                for hint in await listener.get():
                    yield hint
        finally:
            self._listeners.discard(listener)
