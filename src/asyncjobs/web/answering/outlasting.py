"""Lets a request that has arrived in full become a job, although its client did not stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from quart import Quart, Request
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

    _is_answered = _has_ended = False
    # For who listens, and waits for either.
    _goes_on: asyncio.Event | None = None

    async def next_message(self, request: Request, receive: Any) -> Any:
        message = await super().next_message(request, receive)
        is_end = message["type"] != "http.request"
        if self._has_ended or not (is_end and self.has_arrived):
            return message
        if _leads_to_job(self.app, request):
            self._goes_on = asyncio.Event()
            while not self._is_answered:
                await self._goes_on.wait()
                self._goes_on.clear()
            if not self._has_ended:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SEND_TIME):
                        await self._goes_on.wait()
        return message

    def responded(self) -> None:
        self._is_answered = True
        if self._goes_on is not None:
            self._goes_on.set()

    def ended(self) -> None:
        self._is_answered = self._has_ended = True
        if self._goes_on is not None:
            self._goes_on.set()


def _leads_to_job(app: Quart, request: Request) -> bool:
    endpoint = request.endpoint
    if endpoint is None:  # the client has gone before the request was matched
        try:
            endpoint, _ = app.create_url_adapter(request).match()  # type: ignore[union-attr]
        except (HTTPException, UnicodeError):  # a query that is no text is no request
            return False
    return background_at(app, endpoint) is not None
