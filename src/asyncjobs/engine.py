"""Who sees that jobs run. An engine is told of jobs, and has them claimed and performed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from .job import Job, Request


class Engine(ABC):
    """Sees that jobs run. An async context manager: it accepts jobs within ``async with``.

    Attributes:
        is_draining: whether it accepts no more jobs.
    """

    is_draining = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.drain()

    @abstractmethod
    async def drain(self) -> None:
        """Start no more jobs; give back those that have not ended after the drain time.

        May be called more than once.
        """

    def admit(self, job: Job) -> Job:
        """The new `job` as it shall be stored: started already, if it can run here at once.

        That saves the durable write of its start. Each admitted job must be submitted or dismissed.

        Raises:
            ShuttingDown: the engine accepts no more jobs.
        """
        return job

    def dismiss(self, job: Job, *, in_doubt: bool = True) -> None:
        """An admitted job that was not stored after all.

        Args:
            in_doubt: whether it may be stored all the same.
        """
        return

    @abstractmethod
    async def submit(self, job: Job, request: Request) -> None:
        """See that the stored `job` runs. One that is only queued may be submitted again.

        Args:
            request: that it was made from: an engine in this process need not read it.
        """

    def look(self, routes: Iterable[str] | None = None) -> None:
        """Queued jobs of these routes, or of any, may be due: see that they run."""
        return
