"""Who waits for a job in the stead of a request that would be answered too early.

That is its connection, once the context of the request is left, wherever that can. It cannot where
no connection of ours has brought the request (as in `test_request_context`), and in tasks beside
it, which may outlast it, once its response is being sent: there the view does.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, closing, nullcontext
from enum import Enum, auto
from typing import NamedTuple

from quart import Request
from quart.typing import ResponseTypes

from ...job import Job
from ...jobs import Jobs
from ..quart_side import scope_of
from .connection import DirectConnection
from .places import Places
from .submitted import Submitted

#: Where a scope has the exchange of its request.
EXCHANGE = "asyncjobs.exchange"


class Wait(NamedTuple):
    """What a poll waits for.

    Attributes:
        job: which is not final.
        seconds: for so many at most.
        is_for_change: whether any other version of the job ends it, and not its end alone.
    """

    jobs: Jobs
    job: Job
    seconds: float
    is_for_change: bool

    async def over(self) -> None:
        """Wait.

        Raises:
            JobNotFound, StoreUnavailable
        """
        if not self.is_for_change:
            await self.jobs.wait(self.job.id, self.seconds)
            return
        with self.jobs.follow(self.job.id) as follower:
            now = await self.jobs.get(self.job.id)
            if now.version == self.job.version:
                await follower.until_changed(now, self.seconds)


class Held(Enum):
    """What has become of a poll that would wait.

    Attributes:
        FULL: as many requests are held as may be: it is answered at once.
        LEFT: to its connection, which waits and asks again: what is answered now nobody sees. Where
            it has asked again this is the answer.
        OVER: the view has waited, and has to look again.
    """

    FULL = auto()
    LEFT = auto()
    OVER = auto()


class Exchange:
    """One request and its answer, from its arrival on until it is closed: it is dispatched once,
    and once more if it is a poll that has to wait.

    Args:
        arrived: when it came, by the clock of the jobs.
        connection: that waits in its stead; None if the view has to.

    Attributes:
        waits: what is waited for before it is dispatched again, if it has come to that.
        submitted: the job that it has made and waits for: it is dispatched once only.
        has_waited: whether it is dispatched again.
    """

    __slots__ = (
        "_asked",
        "_places",
        "_task",
        "arrived",
        "connection",
        "has_waited",
        "submitted",
        "waits",
    )

    def __init__(self, arrived: float = 0, connection: DirectConnection | None = None) -> None:
        self.arrived = arrived
        self.connection = connection
        self.waits: list[Wait] = []
        self.submitted: Submitted | None = None
        self.has_waited = False
        self._places: Places | None = None
        self._task = asyncio.current_task()
        # A middleware may have been asked before, and have caught that.
        self._asked = 0 if self._task is None else self._task.cancelling()

    @property
    def is_in_current_task(self) -> bool:
        """Whether it is this task that it is dispatched in."""
        return self._task is asyncio.current_task()

    def take_place(self, places: Places, most: int) -> bool:
        """Whether it may wait, as one of `most`: it has a place then."""
        self._places = places
        return places.take(self, most)

    def may_be_dispatched_again(self, request: Request, job: Job) -> bool:
        """Whether it can be in another task, and would do nothing twice: a request that has made
        the job itself would, one whose method is not safe, or one with a body, which may have been
        read."""
        return (
            self.connection is not None
            and self.submitted is None
            and job.created < self.arrived
            and not self.connection.has_body
            and request.method in ("GET", "HEAD")
        )

    async def answer(self, submitted: Submitted) -> ResponseTypes:
        """The answer to who has made a job and waits for it: the 202, if the connection waits."""
        if self.connection is None or self.submitted is not None:
            with closing(submitted):
                return await submitted.answer(submitted.accepted)
        self.submitted = submitted
        return submitted.accepted

    def check_cancelled(self) -> None:
        """Stop here if the client has gone: who has caught the cancellation has not said so."""
        if self._task is not None and self._task.cancelling() > self._asked:
            raise asyncio.CancelledError

    def dispatch_again(self) -> None:
        """It is, in this task from now on."""
        self._task, self.has_waited = asyncio.current_task(), True

    def close(self) -> None:
        """It is answered, or never will be."""
        if self._places is not None:
            self._places.give_back(self)
        if self.submitted is not None:
            self.submitted.close()


def exchange_of(request: Request) -> AbstractContextManager[Exchange]:
    """The exchange of a request, or one that is over with the view that asks."""
    exchange: Exchange | None = scope_of(request).get(EXCHANGE)
    if exchange is None or not exchange.is_in_current_task:
        return closing(Exchange())
    return nullcontext(exchange)


async def hold(request: Request, wait: Wait, places: Places) -> Held:
    """Hold the answer to a poll, until what it waits for is there.

    Raises:
        JobNotFound, StoreUnavailable: the view has waited.
    """
    with exchange_of(request) as exchange:
        if not exchange.take_place(places, wait.jobs.settings.max_waiting):
            return Held.FULL
        if not exchange.may_be_dispatched_again(request, wait.job):
            await wait.over()
            return Held.OVER
        if not exchange.has_waited:
            exchange.waits.append(wait)
        return Held.LEFT
