"""How an answer is sent: at once what is in memory, in pieces what is large, for as long as it goes
on what lasts, and all else as Quart does it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from quart import Quart, Response
from quart.typing import ResponseTypes
from quart.wrappers.response import DataBody, IterableBody

from ...tasks import in_time
from ..quart_side import CLIENT_HAS_GONE, client_has_gone, send_in_parts
from .large import LargeBody


class LastingBody(IterableBody):
    """The body of an answer that goes on long after its request: a connection that can do so lets
    go of that first, with all that it has from the app. No time-out ends it, and nothing is wrong
    if its client does."""

    def begin(self, send: Any) -> None:
        """It is about to be sent by that, which is the server's."""


class Sender(Protocol):
    """A connection, as far as it sends an answer."""

    app: Quart

    @property
    def is_untouched(self) -> bool:
        """Whether it is Quart's and ours alone what it does with its messages."""

    def listen_from_now_on(self) -> None:
        """Stop to send once the client has gone."""

    async def send_lasting(self, response: Response, send: Any) -> None:
        """Send an answer that goes on long after its request."""


async def send_in_time(connection: Sender, response: ResponseTypes, send: Any) -> None:
    """Send an answer, or what of it its client takes in the time that there is for it."""
    timeout = connection.app.config["RESPONSE_TIMEOUT"]
    if isinstance(response, Response) and response.timeout != Ellipsis:
        timeout = response.timeout
    is_ours = (
        isinstance(response, Response)
        and (timeout is None or timeout > 0)
        and connection.is_untouched
        and not client_has_gone(connection)
    )
    body: Any = response.response
    try:
        if is_ours and type(body) is DataBody and type(body.data) is bytes:
            await in_time(_send_at_once(response, body, send), timeout)
        elif is_ours and isinstance(body, LargeBody):
            connection.listen_from_now_on()  # who has gone shall not be sent the rest
            await _send_in_pieces(response, body, send, timeout)
        elif isinstance(response, Response) and isinstance(body, LastingBody):
            await connection.send_lasting(response, send)
        else:
            await asyncio.wait_for(send_in_parts(connection, response, send), timeout)
    except TimeoutError:
        pass


async def send_to_the_end(connection: Sender, response: Response, send: Any) -> None:
    """Send an answer that goes on, until it ends or its client does."""
    if isinstance(response.response, LastingBody):
        response.response.begin(send)
    with suppress(*CLIENT_HAS_GONE):  # as those who watch do, with or without a word
        await send_in_parts(connection, response, send)


async def _send_at_once(response: Any, body: DataBody, send: Any) -> None:
    """Send what is in memory, in two messages where Quart has three."""
    await send(_start_of(response))
    data = body.data[body.begin : body.end]
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def _send_in_pieces(response: Any, body: LargeBody, send: Any, timeout: float | None) -> None:
    """Send what is large: the time-out is for each message, as all of it may take a slow client
    long.

    Raises:
        TimeoutError
    """
    await in_time(_send(_start_of(response), send), timeout)
    for piece in body.pieces():
        part = {"type": "http.response.body", "body": piece, "more_body": True}
        await in_time(_send(part, send), timeout)
        await asyncio.sleep(0)  # to hear that, and as others wait
    end = {"type": "http.response.body", "body": b"", "more_body": False}
    await in_time(_send(end, send), timeout)


def _start_of(response: Any) -> dict[str, Any]:
    # As Quart encodes them, which takes a step of a generator for each.
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


async def _send(message: dict[str, Any], send: Any) -> None:
    await send(message)
