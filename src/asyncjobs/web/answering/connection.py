"""Lets a request that has arrived in full become a job, although its client did not stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from quart import Quart
from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException

from ..routing.marks import background_at

#: Seconds that the answer to who has gone may take to be sent: who says no more may still listen.
SEND_TIME = 1.0


def outlasting_clients(connection_class: type[Any]) -> type[ASGIHTTPConnection]:
    """A kind of connection that does not cancel the submission of a job when its client hangs up.

    Quart cancels the handler of a client that has gone, be it before its first hook. For a job that
    would be chance: whoever has sent the whole request, and perhaps never meant to wait for an
    answer, has a job. One who hangs up in the middle of the body has none. Once there is an answer
    Quart may do so: hypercorn waits for ever to send it on an HTTP/2 connection that is closed.
    """

    class OutlastingConnection(connection_class):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._arrived = False
            self._answered, self._sent = asyncio.Event(), asyncio.Event()

        async def handle_messages(self, request: Any, receive: Any, *handler: Any) -> None:
            await super().handle_messages(
                request, partial(self._receive, receive, request), *handler
            )

        async def handle_request(self, request: Any, send: Any) -> None:
            try:
                await super().handle_request(request, partial(self._send, send))
            finally:
                self._answered.set()
                self._sent.set()

        async def _receive(self, receive: Any, request: Any) -> Any:
            message = await receive()
            if message["type"] == "http.request":
                self._arrived = not message.get("more_body", False)
            elif self._arrived and _leads_to_job(self.app, request):
                await self._answered.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(SEND_TIME):
                        await self._sent.wait()
            return message

        async def _send(self, send: Any, message: Any) -> None:
            self._answered.set()
            await send(message)

    return OutlastingConnection


def _leads_to_job(app: Quart, request: Any) -> bool:
    endpoint = request.endpoint
    if endpoint is None:  # the client has gone before the request was matched
        try:
            endpoint, _ = app.create_url_adapter(request).match()  # type: ignore[union-attr]
        except (HTTPException, UnicodeError):  # a query that is no text is no request
            return False
    return background_at(app, endpoint) is not None
