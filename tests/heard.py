"""What jobs tell of themselves, to be awaited in the place of polling."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from asyncjobs import Jobs
from asyncjobs.events import Draining, Event, Troubled

E = TypeVar("E", bound=Event)

DEADLINE = 30


class Heard:
    """The events since somebody began to listen.

    Attributes:
        all: in the order in which they came.
    """

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._left: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._left.append(event)
        self._news.set()

    async def next(self, kind: type[E], job_id: str | None = None) -> E:
        """The first event of this kind, of this job if it is named, that was not given before."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for event in self._left:
                    if isinstance(event, kind) and job_id in (None, job_of(event)):
                        self._left.remove(event)
                        return event
                self._news.clear()
                await self._news.wait()

    def of(self, job_id: str) -> list[Event]:
        """All that was told of a job."""
        return [event for event in self.all if job_of(event) == job_id]


@contextmanager
def heard(jobs: Jobs) -> Iterator[Heard]:
    """What is told of `jobs` within this."""
    events = Heard()
    unsubscribe = jobs.events.subscribe(events)
    try:
        yield events
    finally:
        unsubscribe()


def job_of(event: Event) -> str | None:
    """The id of the job that an event is about, if it is about one."""
    if isinstance(event, Draining):
        return None
    return event.job_id if isinstance(event, Troubled) else event.job.id


def kinds(events: list[Event]) -> list[str]:
    """What each of the events is called."""
    return [type(event).__name__ for event in events]
