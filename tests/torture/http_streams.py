"""Watchers: they open streams of events, read them as they like, and go when they like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from h2.exceptions import ProtocolError

from .http2_wire import Client
from .http_asks import Answer, Ask, Ending, Reads, Sending
from .http_events import events_of, is_stream, unchunked
from .http_wire import GONE, PATIENCE, connected, encoded, read_head, read_rest

#: Seconds in which the first event has to come, and the end of a stream after the last one.
PROMPTNESS = 10.0
#: Seconds after which a watcher looks whether it has had enough.
TICK = 0.02
#: Bytes that a slow one takes at a time, and the seconds that it rests after that.
SIP, REST = 16, 0.001

_BROKEN = (*GONE, ProtocolError, ValueError)


async def watch(port: int, sending: Sending) -> list[Answer | None]:
    """The answers to all, which are asked at the same time; of streams what has come of them."""
    if sending.version == 2:
        return await _over_one_connection(port, sending.asks)
    return list(await asyncio.gather(*(_over_its_own(port, ask) for ask in sending.asks)))


class Watcher:
    """Decides how long somebody goes on."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._begun = self._heard = time.monotonic()
        self._count = 0

    @property
    def is_tired(self) -> bool:
        """Whether it has waited for longer than anything may take."""
        return time.monotonic() - self._begun > PATIENCE

    def has_enough(self, body: bytes) -> bool:
        """Whether that is all of a stream that it waits for."""
        now, events = time.monotonic(), events_of(body)
        if len(events) > self._count:
            self._count, self._heard = len(events), now
        if len(events) >= self._reads.events:
            return True
        if not events or events[-1].is_final:  # then there must be more, or an end
            return now - self._heard > PROMPTNESS
        return now - self._begun > min(self._reads.seconds, PATIENCE)


async def _over_its_own(port: int, ask: Ask) -> Answer | None:
    """In HTTP/1.1."""
    reads = ask.reads or Reads()
    with suppress(*_BROKEN):
        async with connected(port, reads.ending) as (reader, writer):
            writer.write(encoded(ask, port))
            async with asyncio.timeout(PATIENCE):
                head = await read_head(reader)
                if ask.method == "HEAD" or not is_stream(head):
                    return await read_rest(reader, head, ask.method)
            return await _read_stream(reader, head, reads)
    return None


async def _read_stream(reader: asyncio.StreamReader, head: Answer, reads: Reads) -> Answer:
    watcher, raw = Watcher(reads), b""
    body, is_whole = b"", False
    while not (is_whole or watcher.has_enough(body)):
        data = await _read(reader, SIP if reads.is_slow else 65536)
        if data == b"":  # cut off, where an end should have been
            break
        raw += data or b""
        body, is_whole = unchunked(raw)
        if reads.is_slow:
            await asyncio.sleep(REST)
    return head._replace(body=body, is_whole=is_whole)


async def _over_one_connection(port: int, asks: Sequence[Ask]) -> list[Answer | None]:
    """In HTTP/2, all at once: nobody goes before all have had enough."""
    ways = [ask.reads or Reads() for ask in asks]
    client, watchers = Client(asks, port, None), list(map(Watcher, ways))
    answers: list[Answer | None] = [None for _ in asks]
    with suppress(*_BROKEN):
        async with connected(port, ways[0].ending) as (reader, writer):
            client.begin(SIP if any(reads.is_slow for reads in ways) else None)
            writer.write(client.connection.data_to_send())
            while not client.is_done and not _have_enough(watchers, client.parts()):
                data = await _read(reader, 65536)
                if data == b"":
                    break
                client.receive(data or b"")
                writer.write(client.connection.data_to_send())
            parts = client.parts()
            answers = list(map(_of_use, parts))
            if ways[0].ending is Ending.CLOSE:  # of the streams, and then of the connection
                client.reset_all()
                writer.write(client.connection.data_to_send())
                await writer.drain()
    return answers


def _of_use(part: Answer | None) -> Answer | None:
    """An answer that is there, or a stream as far as it is."""
    return part if part is not None and (part.is_whole or is_stream(part)) else None


def _have_enough(watchers: Sequence[Watcher], parts: Sequence[Answer | None]) -> bool:
    """Whether nobody waits for anything any more."""
    return all(map(_has_enough, watchers, parts))


def _has_enough(watcher: Watcher, part: Answer | None) -> bool:
    if part is None or not (part.is_whole or is_stream(part)):
        return watcher.is_tired
    return part.is_whole or watcher.has_enough(part.body)


async def _read(reader: asyncio.StreamReader, size: int) -> bytes | None:
    """What has come by the next tick; None if nothing has, and no bytes at the end."""
    try:
        async with asyncio.timeout(TICK):
            return await reader.read(size)
    except TimeoutError:
        return None
