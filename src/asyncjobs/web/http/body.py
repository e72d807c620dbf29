"""The bodies of requests that become jobs: read at once, all or none, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from quart import Request
from werkzeug.exceptions import RequestEntityTooLarge

from ...errors import BodyTimeout, BodyTooLarge
from ..quart_side import is_complete, scope_of

_KEY = "asyncjobs.body"


async def read_body(request: Request, *, limit: int, timeout: float) -> None:
    """Read the whole body, keep it for `body_of`, and let others read it once more.

    This comes before any hook: one that parses a form would leave nothing of the raw body.

    Raises:
        BodyTooLarge: it has more than `limit` bytes.
        BodyTimeout: it took longer than `timeout` seconds to arrive.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        body = await _read(request, limit, timeout)
    except (OverLimit, RequestEntityTooLarge):  # Quart, which counts as well, may be faster
        raise _too_large(limit) from None
    except TimeoutError:
        raise BodyTimeout(
            f"the request body did not arrive within {timeout:g} s; no job was made"
        ) from None
    scope_of(request)[_KEY] = body
    keep_body(request, body)


def keep_body(request: Request, body: bytes) -> None:
    """Have `request` answer with `body` whenever it is asked for its own."""
    request.body = KeptBody(body)  # type: ignore[assignment]


class KeptBody:
    """A request body that is all there, in the place of one of Quart's that may still arrive.

    It can be read more than once, and takes a tenth of the memory: a job keeps it while it runs.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from ()  # what it takes to be a generator, which __await__ must return
        return self._data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._data:
            yield self._data

    def clear(self) -> None:
        """Quart is told not to keep the data."""
        self._data = b""

    def disconnect(self) -> None:
        """The client has gone: nothing more was to come."""


class OverLimit(Exception):
    """There are more bytes than the limit. Nobody but `LimitedBytes` raises it, so that it cannot
    be taken for what a handler has raised."""


class LimitedBytes:
    """Collects chunks, up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Keep one more chunk.

        Raises:
            OverLimit
        """
        self._size += len(chunk)
        if self._size > self._limit:
            raise OverLimit
        self._chunks.append(chunk)

    def joined(self) -> bytes:
        return b"".join(self._chunks)


def body_of(request: Request) -> bytes:
    """What `read_body` has read."""
    body: bytes = scope_of(request)[_KEY]
    return body


async def _read(request: Request, limit: int, timeout: float) -> bytes:
    if is_complete(request.body):  # nearly every one is, and a timer costs more than to take it
        body: bytes = await request.body
        if len(body) > limit:
            raise _too_large(limit)
        return body
    read = LimitedBytes(limit)
    async with asyncio.timeout(timeout):
        # Not `get_data`: Quart would keep a chunked body of any size before it says a word.
        async for chunk in request.body:
            read.add(chunk)
    return read.joined()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is over the limit of {limit} bytes; no job was made")
