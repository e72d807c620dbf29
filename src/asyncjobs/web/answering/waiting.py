"""Lets a request wait for a job while it holds nothing of the app's.

What ``before_request`` functions have taken, such as a connection to a database, is given back when
the context of the request is left. So it is left before the wait: the answer that it has come to is
withheld, and once the wait is over the request is dispatched once more, as if it had just come. The
app's hooks and guards run again, and what they have said the first time is no part of the answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from quart import Request
from quart.asgi import ASGIHTTPConnection

from ...job import Job
from ...jobs import Jobs
from ...watch import Follower
from ..http.preferences import wait_preference
from ..quart_side import request_of, scope_of

_KEY = "asyncjobs.visit"


class Visit:
    """A request whose connection can wait in its stead.

    Attributes:
        arrived: when it came, by the clock of the jobs.
        task: in which it is dispatched.
        has_body: whether anything of a body has come.
        waits: what it is to wait for before it is dispatched again, if it has come to that.
        held: what has to be held on to until then.
        waited: whether it has waited.
    """

    __slots__ = ("arrived", "has_body", "held", "task", "waited", "waits")

    def __init__(self, arrived: float) -> None:
        self.arrived = arrived
        self.task: asyncio.Task[None] | None = None
        self.has_body = False
        self.waits: list[Callable[[], Awaitable[None]]] = []
        self.held = ExitStack()
        self.waited = False

    async def receive(self, receive: Any) -> Any:
        """The next message of the connection."""
        message = await receive()
        if message.get("body"):
            self.has_body = True
        return message

    async def send(self, scope: dict[str, Any], send: Any, message: Any) -> None:
        """Send a part of the answer, unless that is only the one that comes before a wait.

        Raises:
            _Withheld
        """
        if self.waits and not self.waited:
            raise _Withheld
        scope.pop(_KEY, None)
        await send(message)


class Wait:
    """How long a poll is held, and for what: the job was followed before it was read.

    Attributes:
        seconds: so long at most.
    """

    def __init__(self, jobs: Jobs, seconds: float, follower: Follower, held: ExitStack) -> None:
        self.seconds = seconds
        self._jobs = jobs
        self._follower = follower
        self._held = held

    async def until_final(self, job: Job) -> None:
        """Until the job, which was read as this, is final, or that is over."""
        await self._jobs.until_final(self._follower, job, self.seconds)

    def is_for_view(self, request: Request, job: Job) -> bool:
        """Whether the view has to wait for the job itself. Else it is to answer without that: its
        connection will wait, and ask again, or has done so.

        A view has to where no connection of ours has brought the request (as in
        `test_request_context`), in tasks beside it, which may outlast it, once its response is
        being sent, and where to dispatch it again could do something twice. That is a request which
        has made the job itself, one whose method is not safe, or one with a body that may have been
        read.
        """
        if self.seconds <= 0:
            return False
        visit: Visit | None = scope_of(request).get(_KEY)
        if visit is None or visit.task is not asyncio.current_task():
            return True
        if job.created >= visit.arrived or visit.has_body or request.method not in ("GET", "HEAD"):
            return True
        if not visit.waited:
            visit.held.enter_context(self._held.pop_all())
            visit.waits.append(partial(self.until_final, job))
        return False


_NO_WAIT = nullcontext()


def wanted(jobs: Jobs, job_id: str, request: Request) -> AbstractContextManager[Wait | None]:
    """The wait that the client of a poll wants, begun before the job is read; if it wants one."""
    preference = wait_preference(request)
    return _NO_WAIT if preference is None else _begun(preference, jobs, job_id)


@contextmanager
def _begun(preference: float, jobs: Jobs, job_id: str) -> Iterator[Wait]:
    with ExitStack() as held:
        follower = held.enter_context(jobs.follow(job_id))
        yield Wait(jobs, min(preference, jobs.settings.max_wait), follower, held)


def waiting_outside(
    connection_class: type[Any], now: Callable[[], float]
) -> type[ASGIHTTPConnection]:
    """A kind of connection that waits in the stead of its request, outside of its context.

    Args:
        now: tells the time as the jobs do.
    """

    class WaitingConnection(connection_class):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._may_wait = any(name == b"prefer" for name, _ in self.scope["headers"])
            self._visit = Visit(now() if self._may_wait else math.inf)

        async def handle_messages(self, request: Any, receive: Any, *handler: Any) -> None:
            if self._may_wait:
                receive = partial(self._visit.receive, receive)
            await super().handle_messages(request, receive, *handler)

        async def handle_request(self, request: Request, send: Any) -> None:
            if self._may_wait:
                await self._visit_and_wait(request, send)
            else:
                await super().handle_request(request, send)

        async def _visit_and_wait(self, request: Request, send: Any) -> None:
            scope, visit = scope_of(request), self._visit
            scope[_KEY], visit.task = visit, asyncio.current_task()
            # What a hook puts into a context variable must not be there when it is called again.
            context = copy_context()
            try:
                with suppress(_Withheld):
                    await super().handle_request(request, partial(visit.send, scope, send))
                if visit.waits:
                    _check_cancelled()
                    again = self._wait_and_answer(request.body, send)
                    await asyncio.create_task(again, context=context)
            finally:
                scope.pop(_KEY, None)
                visit.held.close()

        async def _wait_and_answer(self, body: Any, send: Any) -> None:
            waits = [wait() for wait in self._visit.waits]
            # If something is wrong, the view meets that as well.
            await asyncio.gather(*waits, return_exceptions=True)
            self._visit.task, self._visit.waited = asyncio.current_task(), True
            request = request_of(self, send)
            request.body = body  # the one that is told what arrives, and that nothing more does
            await super().handle_request(request, send)

    return WaitingConnection


def _check_cancelled() -> None:
    """Stop here if the client has gone: `asyncio.wait_for` of Python 3.11, in which Quart sends its
    answers, forgets that it was cancelled where it has come to its end in the same moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Withheld(Exception):
    """An answer is not sent, as the request is to wait first."""
