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
from collections.abc import Awaitable, Callable, Collection
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar

from quart import Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes
from werkzeug.datastructures import ETags

from ...job import Job
from ...jobs import Jobs
from ...running.deadlines import Deadlines
from ...settings import Settings
from ..http.conditional import is_held
from ..http.preferences import preferences_of
from ..quart_side import request_of, scope_of
from .outlasting import OutlastingConnection
from .submitted import Submitted

_KEY = "asyncjobs.visit"

T = TypeVar("T")
Wait = Callable[[], Awaitable[object]]


class Places:
    """Those that an app has in one process for requests which are held.

    Attributes:
        taken: so many are.
    """

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0


class Hold(NamedTuple):
    """What the answer to a submission waits for.

    Attributes:
        seconds: for the end of its job, at most; 0 for the result that a repeat may find; None for
            nothing, whatever is there.
        applied: the preferences of the client that are obeyed by that, as it is told of them.
        at_once: those that are obeyed if it is answered at once all the same.
    """

    seconds: float | None
    applied: str | None = None
    at_once: str | None = None


class Visit:
    """A request whose connection can wait in its stead.

    Attributes:
        arrived: when it came, by the clock of the jobs.
        connection: that has brought it.
        task: in which it is dispatched.
        waits: what it is to wait for before it is dispatched again, if it has come to that.
        submitted: the job that it has made and waits for: it is dispatched once only.
        waited: whether it has waited.
        places: of which it has one, until it is answered; None if it has none.
    """

    __slots__ = (
        *("_asked", "arrived", "connection", "places", "submitted", "task", "waited", "waits"),
    )

    def __init__(self, arrived: float, connection: WaitingConnection) -> None:
        self.arrived = arrived
        self.connection = connection
        self.task = asyncio.current_task()
        # A middleware may have been asked before, and have caught that.
        self._asked = 0 if self.task is None else self.task.cancelling()
        self.waits: list[Wait] = []
        self.submitted: Submitted | None = None
        self.waited = False
        self.places: Places | None = None

    def check_cancelled(self) -> None:
        """Stop here if the client has gone: who has caught the cancellation has not said so."""
        if self.task is not None and self.task.cancelling() > self._asked:
            raise asyncio.CancelledError


def hold_of(request: Request, settings: Settings, *, is_held: bool) -> Hold | None:
    """What the answer to a submission waits for; None for nothing, as the client has said nothing
    that would be obeyed.

    Args:
        is_held: whether it waits unless the client prefers something else.
    """
    preferences = preferences_of(request)
    if preferences is None or preferences == (None, False):
        return Hold(settings.max_wait) if is_held else None
    is_async = "respond-async" if preferences.is_async else None
    if preferences.wait is None:
        return Hold(None, is_async)
    seconds = min(preferences.wait, settings.max_wait)
    wait = f"wait={math.ceil(seconds)}"
    return Hold(seconds, wait if is_async is None else f"{is_async}, {wait}", is_async)


def seconds_wanted(request: Request, settings: Settings) -> float | None:
    """How many seconds at most the answer may wait for the job; None if the client has no such
    preference."""
    preferences = preferences_of(request)
    if preferences is None or preferences.wait is None:
        return None
    return min(preferences.wait, settings.max_wait)


def say_applied(response: Response, seconds: float) -> None:
    """Have an answer say that so long a wait was granted, in whole seconds."""
    response.headers["preference-applied"] = f"wait={math.ceil(seconds)}"


def leave_submission(request: Request, submitted: Submitted, places: Places) -> bool:
    """Leave it to the connection of a request that has made a job to wait for it; False if there is
    none that can, so that the view has to."""
    visit = _visit_of(request)
    if visit is None or visit.submitted is not None:
        return False
    visit.submitted = submitted
    if visit.places is None:
        visit.places = places
        places.taken += 1
    return True


def leave_poll(
    request: Request,
    jobs: Jobs,
    job: Job,
    etag: str,
    seconds: float,
    tags: ETags | None,
    places: Places,
) -> tuple[float | None, Wait | None]:
    """Leave it to the connection of a poll to wait for the job, and to ask again: the view is to
    answer without that.

    It cannot where no connection of ours has brought the request (as in `test_request_context`), in
    tasks beside it, which may outlast it, once its response is being sent, and where to dispatch it
    again could do something twice. That is a request which has made the job itself, one whose
    method is not safe, or one with a body that may have been read.

    Args:
        job: which is not final.
        etag: of the answer that there is now.
        seconds: for its end, at most; or for another version, if the client has this one.
        tags: of the answers that the client has, if it says so.

    Returns the seconds that are granted, None if too many requests are held; and what the view has
    to await itself, if it has to.
    """
    if tags is not None and (tags.star_tag or not is_held(200, etag, tags)):
        return seconds, None  # there is nothing to wait for, or no wait would change anything
    visit = _visit_of(request)
    if places.taken >= jobs.settings.max_waiting and (visit is None or visit.places is None):
        return None, None
    wait: Wait = partial(jobs.wait, job.id, seconds)
    if tags is not None:
        wait = partial(_until_changed, jobs, job, seconds)
    if visit is None or visit.submitted is not None or job.created >= visit.arrived:
        return seconds, partial(wait_here, wait, places)
    if visit.connection.has_body or request.method not in ("GET", "HEAD"):
        return seconds, partial(wait_here, wait, places)
    if not visit.waited:
        visit.waits.append(wait)
        if visit.places is None:
            visit.places = places
            places.taken += 1
    return seconds, None


async def wait_here(wait: Callable[[], Awaitable[T]], places: Places) -> T:
    """Wait in a view, in a place."""
    places.taken += 1
    try:
        return await wait()
    finally:
        places.taken -= 1


class WaitingConnection(OutlastingConnection):
    """A connection that waits in the stead of its request, outside of its context.

    Attributes:
        now: tells the time as the jobs do.
        held: the endpoints that may answer with the result to who has not preferred anything. To
            match the URL, only to know whether it leads to one of them, would cost more than this.
    """

    now: Callable[[], float]
    held: Collection[str] = ()

    def respond(self, request: Request, send: Any) -> Awaitable[ResponseTypes | None]:
        if b"prefer" in dict(self.scope["headers"]) or self.held:
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
            if visit.places is not None:
                visit.places.taken -= 1
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


def connection_class_of(
    theirs: type[Any], now: Callable[[], float], held: Collection[str]
) -> type[ASGIHTTPConnection]:
    """The connections of an app, which are `theirs`, with all that ours do.

    Args:
        theirs: Quart's, or one of its kind: what it has made its own goes before ours.
        now: tells the time as the jobs do.
        held: as in `WaitingConnection`; it may grow.
    """
    bases = (WaitingConnection,) if theirs is ASGIHTTPConnection else (theirs, WaitingConnection)
    patience = Deadlines(WaitingConnection.listen)
    of_app = {"now": staticmethod(now), "held": held, "patience": patience}
    return type("JobsConnection", bases, of_app)


async def _until_changed(jobs: Jobs, job: Job, seconds: float) -> None:
    """Wait until the job is at another version, for so many seconds at most."""
    with jobs.follow(job.id) as follower:
        now = await jobs.get(job.id)
        if now.version == job.version:
            await follower.until_changed(now, seconds)


def _visit_of(request: Request) -> Visit | None:
    """The visit that can wait in the stead of who asks."""
    visit: Visit | None = scope_of(request).get(_KEY)
    return None if visit is None or visit.task is not asyncio.current_task() else visit
