"""Lets a request wait for a job while it holds nothing of the app's.

What ``before_request`` functions have taken, such as a connection to a database, is given back when
the context of the request is left. So it is left before the wait, and the answer that it has come
to is withheld until the connection has waited in its stead.

Who has polled is dispatched once more then, as if the request had just come: the app's hooks and
guards run again, and what they have said the first time is no part of the answer. Who has submitted
the job is not, as that would make another one: in the place of the 202 it has the result.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from quart import Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes

from ...job import Job
from ...running.deadlines import Deadlines
from ...settings import Settings
from ..http.preferences import wait_preference
from ..quart_side import request_of, scope_of
from .outlasting import OutlastingConnection
from .submitted import Submitted

_KEY = "asyncjobs.visit"


class Visit:
    """A request whose connection can wait in its stead.

    Attributes:
        arrived: when it came, by the clock of the jobs.
        connection: that has brought it.
        task: in which it is dispatched.
        waits: what it is to wait for before it is dispatched again, if it has come to that.
        submitted: the job that it has made and waits for: it is dispatched once only.
        waited: whether it has waited.
    """

    __slots__ = ("_asked", "arrived", "connection", "submitted", "task", "waited", "waits")

    def __init__(self, arrived: float, connection: WaitingConnection) -> None:
        self.arrived = arrived
        self.connection = connection
        self.task = asyncio.current_task()
        # A middleware may have been asked before, and have caught that.
        self._asked = 0 if self.task is None else self.task.cancelling()
        self.waits: list[Callable[[], Awaitable[object]]] = []
        self.submitted: Submitted | None = None
        self.waited = False

    def check_cancelled(self) -> None:
        """Stop here if the client has gone: who has caught the cancellation has not said so."""
        if self.task is not None and self.task.cancelling() > self._asked:
            raise asyncio.CancelledError


def seconds_wanted(request: Request, settings: Settings) -> float | None:
    """How many seconds at most the answer may wait for the job; None if the client has no such
    preference."""
    preference = wait_preference(request)
    return None if preference is None else min(preference, settings.max_wait)


def say_applied(response: Response, seconds: float) -> None:
    """Have an answer say that so long a wait was granted, in whole seconds."""
    response.headers["preference-applied"] = f"wait={math.ceil(seconds)}"


def leave_submission(request: Request, submitted: Submitted) -> bool:
    """Leave it to the connection of a request that has made a job to wait for it; False if there is
    none that can, so that the view has to."""
    visit = _visit_of(request)
    if visit is None or visit.submitted is not None:
        return False
    visit.submitted = submitted
    return True


def leave_poll(request: Request, job: Job, wait: Callable[[], Awaitable[object]]) -> bool:
    """Leave it to the connection of a poll to `wait` for the job, and to ask again: the view is to
    answer without that. True also if it has waited; False if the view has to.

    It has to where no connection of ours has brought the request (as in
    `test_request_context`), in tasks beside it, which may outlast it, once its response is being
    sent, and where to dispatch it again could do something twice. That is a request which has made
    the job itself, one whose method is not safe, or one with a body that may have been read.
    """
    visit = _visit_of(request)
    if visit is None or visit.submitted is not None or job.created >= visit.arrived:
        return False
    if visit.connection.has_body or request.method not in ("GET", "HEAD"):
        return False
    if not visit.waited:
        visit.waits.append(wait)
    return True


class WaitingConnection(OutlastingConnection):
    """A connection that waits in the stead of its request, outside of its context.

    Attributes:
        now: tells the time as the jobs do.
    """

    now: Callable[[], float]

    def respond(self, request: Request, send: Any) -> Awaitable[ResponseTypes | None]:
        if b"prefer" in dict(self.scope["headers"]):
            return self._respond_and_wait(request, send)
        return super().respond(request, send)

    async def _respond_and_wait(self, request: Request, send: Any) -> ResponseTypes | None:
        scope, visit = scope_of(request), Visit(self.now(), self)
        scope[_KEY] = visit
        # What a hook puts into a context variable must not be there when it is called again.
        context = copy_context()
        try:
            response = await super().respond(request, send)
            if response is None or not (visit.waits or visit.submitted):
                return response
            visit.check_cancelled()
            if visit.submitted:
                self.responded()  # the job is made: from here on its client may go
                return await visit.submitted.answer(response)
            again = self._wait_and_respond_again(visit, request.body, send)
            return await asyncio.create_task(again, context=context)
        finally:
            scope.pop(_KEY, None)
            if visit.submitted:
                visit.submitted.close()

    async def _wait_and_respond_again(
        self, visit: Visit, body: Any, send: Any
    ) -> ResponseTypes | None:
        waits = [wait() for wait in visit.waits]
        # If something is wrong, the view meets that as well.
        await asyncio.gather(*waits, return_exceptions=True)
        visit.task, visit.waited = asyncio.current_task(), True
        request = request_of(self, send)
        request.body = body  # the one that is told what arrives, and that nothing more does
        return await super().respond(request, send)


def connection_class_of(theirs: type[Any], now: Callable[[], float]) -> type[ASGIHTTPConnection]:
    """The connections of an app, which are `theirs`, with all that ours do.

    Args:
        theirs: Quart's, or one of its kind: what it has made its own goes before ours.
        now: tells the time as the jobs do.
    """
    bases = (WaitingConnection,) if theirs is ASGIHTTPConnection else (theirs, WaitingConnection)
    of_app = {"now": staticmethod(now), "patience": Deadlines(WaitingConnection.listen)}
    return type("JobsConnection", bases, of_app)


def _visit_of(request: Request) -> Visit | None:
    """The visit that can wait in the stead of who asks."""
    visit: Visit | None = scope_of(request).get(_KEY)
    return None if visit is None or visit.task is not asyncio.current_task() else visit
