"""A request that is all there is handled in the task of the server, and any other one as by Quart.

Quart has a task for each request that listens to its client, one that handles it, and one that
sends the answer, if it is no newer Python. Nearly every request is there at once and is answered
before its client could go: it needs none of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from functools import partial
from typing import Any

from quart import Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes

from ...running.deadlines import Deadlines
from ..quart_side import (
    CONNECTIONS_GROUP,
    LetGo,
    as_connections_raise,
    fill,
    listen_for_end,
    methods_of_connection,
    outgoing,
    request_of,
    response_to,
)
from .sending import send_in_time, send_to_the_end

#: Seconds for which a request may be handled before its client is listened to, who may have gone.
PATIENCE = 0.5


class DirectConnection(ASGIHTTPConnection):
    """A connection whose request is handled in the task that it is called in, if it may.

    It may where all of the request is there when it is called, as far as can be told: `receive` is
    that of a queue, as hypercorn's is. Nobody can tell it from Quart's, but by the number of
    messages in which an answer is sent that is in memory, by the task (what a view puts into a
    context variable is there for a middleware that comes after it), and by what becomes of a client
    that goes before `PATIENCE` is over: nobody has noticed.

    Attributes:
        patience: calls `listen` for all connections of an app.
        has_arrived: whether the request has arrived in full.
        has_body: whether anything of a body has.
        is_untouched: whether it is Quart's and ours alone what it does with its messages.
    """

    patience: Deadlines[DirectConnection]
    has_arrived = False
    has_body = False
    # What is handled here, and the task that handles it.
    _handling: tuple[Any, Any, asyncio.Task[Any]] | None = None
    # What is sent once the request is let go of.
    _lasting: Response | None = None
    _listening: asyncio.Task[None] | None = None
    _has_gone = False
    is_untouched = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Look whether it is Quart's and ours alone what the class does with its messages."""
        super().__init_subclass__(**kwargs)
        packages = {_package_of(method) for method in methods_of_connection(cls)}
        cls.is_untouched = packages <= {"quart", __package__}

    async def __call__(self, receive: Any, send: Any) -> None:
        there = _messages_there(receive) if self.is_untouched else deque()
        if not (there and _is_end(there[-1])):
            await super().__call__(partial(_receive_again, there, receive), send)
            return
        chunks = [message.get("body", b"") for message in there]
        self.has_arrived, self.has_body = True, any(chunks)
        send = outgoing(send)
        request = request_of(self, send)
        await fill(request.body, chunks)
        await self._handle_here(request, receive, self.handle_request(request, send))
        if self._lasting is not None and not self._has_gone:
            del request  # and whatever the app keeps there
            sending = send_to_the_end(self, self._lasting, send)
            await self._handle_here(LetGo(), receive, sending)

    async def handle_messages(self, request: Request, receive: Any, *handler: Any) -> None:
        """Quart's, of which we note what comes."""
        receive = partial(self.next_message, request, receive)
        await super().handle_messages(request, receive, *handler)

    async def handle_request(self, request: Request, send: Any) -> None:
        """Have the app respond to a request, and send the response."""
        try:
            response = await self.respond(request, send)
            self.responded()
            if response is not None:
                await send_in_time(self, response, send)
        finally:
            self.ended()

    async def next_message(self, request: Request, receive: Any) -> Any:
        """The next message of the client's."""
        message = await receive()
        if message["type"] == "http.request":
            self.has_arrived = _is_end(message)
            self.has_body = self.has_body or bool(message.get("body"))
        return message

    def respond(self, request: Request, send: Any) -> Awaitable[ResponseTypes | None]:
        """The response of the app; None if its client has gone meanwhile."""
        return response_to(self.app, request)

    def responded(self) -> None:
        """There is a response, which is about to be sent."""

    def ended(self) -> None:
        """The request is handled, whatever has become of it."""

    def listen(self) -> None:
        """Stop the handling of the request once its client has gone."""
        assert self._handling is not None
        self._listening = asyncio.create_task(self._listen(*self._handling))

    def listen_from_now_on(self) -> None:
        """The same at once, as the answer will take a while, if nobody listens by now."""
        if self._handling is not None and self._listening is None:
            self.listen()

    async def send_lasting(self, response: Response, send: Any) -> None:
        """Send an answer that goes on long after its request: once that is let go of, if it is for
        us to listen to the client, and not for Quart."""
        if self._handling is None:
            await send_to_the_end(self, response, send)
        else:
            self._lasting = response

    async def _handle_here(self, request: Any, receive: Any, handling: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        asked = task.cancelling()
        self._handling = request, receive, task
        self.patience.set(self, PATIENCE)
        try:
            raised = await self._handled(handling)
        finally:
            self.patience.clear(self, PATIENCE)
            self._handling = None  # else the task and its connection would be garbage in a circle
            if self._listening is not None:
                self._listening.cancel()
        if self._has_gone and task.cancelling() > asked:
            task.uncancel()
        try:
            is_cancelled = task.cancelling() > asked
            if isinstance(raised, Exception) and (CONNECTIONS_GROUP or not is_cancelled):
                raise as_connections_raise(raised) from None
            if is_cancelled:  # by the server, whatever the handler has made of that
                if isinstance(raised, asyncio.CancelledError):
                    raise raised
                raise asyncio.CancelledError
            # Else a client that goes, or a view that raises that, is no affair of the server's.
        finally:
            del raised

    async def _handled(self, handling: Awaitable[None]) -> BaseException | None:
        """What the handling of the request raises, itself: who cancels knows it by that."""
        try:
            await handling
        except (asyncio.CancelledError, Exception) as error:
            return error
        return None

    async def _listen(self, request: Any, receive: Any, task: asyncio.Task[Any]) -> None:
        await listen_for_end(self, request, receive, task)
        self._has_gone = True


def _package_of(method: Any) -> str:
    """That of the module which a method is written in: what it says of that, as `__module__`,
    `functools.wraps` may have copied. Empty if it is no function."""
    return str(getattr(method, "__globals__", {}).get("__name__", "")).rpartition(".")[0]


def _messages_there(receive: Any) -> deque[Any]:
    """The messages of the client's that are there by now, if that can be told."""
    queue = getattr(receive, "__self__", None)
    if getattr(receive, "__func__", None) is not asyncio.Queue.get or queue is None:
        return deque()
    return deque([queue.get_nowait() for _ in range(queue.qsize())])


async def _receive_again(there: deque[Any], receive: Any) -> Any:
    """The next message, of those that were there and those that come."""
    return there.popleft() if there else await receive()


def _is_end(message: Any) -> bool:
    """Whether that is the end of a request that is there in full."""
    return message["type"] == "http.request" and not message.get("more_body", False)
