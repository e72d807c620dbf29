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
from collections.abc import Awaitable, Callable, Collection
from contextvars import copy_context
from typing import Any

from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes

from ...running.deadlines import Deadlines
from ..quart_side import request_of, scope_of
from .exchange import EXCHANGE, Exchange
from .outlasting import OutlastingConnection


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
        scope, exchange = scope_of(request), Exchange(self.now(), self)
        scope[EXCHANGE] = exchange
        # What a hook puts into a context variable must not be there when it is called again.
        context = copy_context()
        try:
            response = await super().respond(request, send)
            if response is None or not (exchange.waits or exchange.submitted):
                return response
            exchange.check_cancelled()
            if exchange.submitted:
                self.responded()  # the job is made: from here on its client may go
                return await exchange.submitted.answer(response)
            again = self._wait_and_respond_again(exchange, request.body, send)
            return await asyncio.create_task(again, context=context)
        finally:
            scope.pop(EXCHANGE, None)
            exchange.close()

    async def _wait_and_respond_again(
        self, exchange: Exchange, body: Any, send: Any
    ) -> ResponseTypes | None:
        waits = [wait.over() for wait in exchange.waits]
        # If something is wrong, the view meets that as well.
        await asyncio.gather(*waits, return_exceptions=True)
        exchange.dispatch_again()
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
