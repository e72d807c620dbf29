"""Lets a request that has arrived in full become a job, although its client did not stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from quart import Quart, Request
from quart.typing import ResponseTypes
from werkzeug.exceptions import HTTPException

from ..routing.marks import background_at
from .connection import DirectConnection

#: Seconds that the answer to who has gone may take to be sent: who says no more may still listen.
SEND_TIME = 1.0


class OutlastingConnection(DirectConnection):
    """A connection that does not cancel the submission of a job when its client hangs up.

    Quart cancels the handler of a client that has gone, be it before its first hook. For a job that
    would be chance: whoever has sent the whole request, and perhaps never meant to wait for an
    answer, has a job. One who hangs up in the middle of the body has none. Once there is an answer
    Quart may do so: hypercorn waits for ever to send it on an HTTP/2 connection that is closed.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._answered, self._sent = asyncio.Event(), asyncio.Event()

    async def next_message(self, request: Request, receive: Any) -> Any:
        message = await super().next_message(request, receive)
        is_end = message["type"] != "http.request"
        if is_end and self.has_arrived and _leads_to_job(self.app, request):
            await self._answered.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_TIME):
                    await self._sent.wait()
        return message

    async def handle_request(self, request: Request, send: Any) -> None:
        try:
            await super().handle_request(request, send)
        finally:
            self._answered.set()
            self._sent.set()

    async def respond(self, request: Request, send: Any) -> ResponseTypes | None:
        response = await super().respond(request, send)
        self._answered.set()
        return response


def _leads_to_job(app: Quart, request: Request) -> bool:
    endpoint = request.endpoint
    if endpoint is None:  # the client has gone before the request was matched
        try:
            endpoint, _ = app.create_url_adapter(request).match()  # type: ignore[union-attr]
        except (HTTPException, UnicodeError):  # a query that is no text is no request
            return False
    return background_at(app, endpoint) is not None
