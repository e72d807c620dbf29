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
        async def handle_messages(self, request: Any, receive: Any, *handler: Any) -> None:
            self._arrived = False
            receive = partial(self._receive, receive, request, handler)
            await super().handle_messages(request, receive, *handler)

        async def _receive(
            self, receive: Any, request: Any, handler: tuple[asyncio.Task[None], ...]
        ) -> Any:
            message = await receive()
            if message["type"] == "http.request":
                self._arrived = not message.get("more_body", False)
            elif self._arrived and self._leads_to_job(request):
                if handler:  # Quart 0.23 says which task it would cancel now
                    await asyncio.wait(handler)
                else:  # Quart 0.22 cancels us once it has handled the request
                    await asyncio.Event().wait()
            return message

        def _leads_to_job(self, request: Any) -> bool:
            endpoint = request.endpoint
            if endpoint is None:  # the client has gone before the request was matched
                try:
                    endpoint, _ = self.app.create_url_adapter(request).match()
                except HTTPException:
                    return False
            return background_of(self.app.view_functions.get(endpoint)) is not None

    return OutlastingConnection
