"""Lets a request that has arrived in full become a job, although its client did not stay."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException

from .routes import background_of


def outlasting_clients(connection_class: type[Any]) -> type[ASGIHTTPConnection]:
    """A kind of connection that does not cancel the submission of a job when its client hangs up.

    Quart cancels the handler of a client that has gone, be it before its first hook. For a job that
    would be chance: whoever has sent the whole request, and perhaps never meant to wait for an
    answer, has a job. One who hangs up in the middle of the body has none.
    """

    class OutlastingConnection(connection_class):  # type: ignore[misc]
        async def __call__(self, receive: Any, send: Any) -> None:
            self._arrived = False
            self._handled = False
            self._waiting: asyncio.Future[None] | None = None
            await super().__call__(partial(self._receive, receive), send)

        async def handle_request(self, request: Any, send: Any) -> None:
            try:
                await super().handle_request(request, send)
            finally:
                self._handled = True
                if self._waiting is not None and not self._waiting.done():
                    self._waiting.set_result(None)

        async def _receive(self, receive: Any) -> Any:
            message = await receive()
            if message["type"] == "http.request":
                self._arrived = not message.get("more_body", False)
            elif self._arrived and not self._handled and self._leads_to_job():
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting
            return message

        def _leads_to_job(self) -> bool:
            # By its own means: the client may have gone before the request was matched.
            request = self._create_request_from_scope(None)
            try:
                endpoint, _ = self.app.create_url_adapter(request).match()
            except HTTPException:
                return False
            return background_of(self.app.view_functions.get(endpoint)) is not None

    return OutlastingConnection
