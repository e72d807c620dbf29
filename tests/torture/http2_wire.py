"""HTTP/2 without TLS: several requests at once, whatever is in their headers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from .http_asks import Answer, Ask, Ending, Sending
from .http_wire import connected, patience, with_twins

# What is sent may be against all rules.
_CONFIG = H2Configuration(
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
)


async def send(port: int, sending: Sending) -> list[Answer | None]:
    """The answers, in the order of the asks and their twins; None for a stream that was reset."""
    asks = with_twins(sending)
    client = Client(asks, port, sending.sent)
    with suppress(OSError, TimeoutError, ProtocolError):
        async with connected(port, sending.ending) as (reader, writer):
            client.begin()
            writer.write(client.connection.data_to_send())
            if sending.ending in (Ending.CLOSE, Ending.RESET):
                await asyncio.sleep(sending.pause)
                if sending.ending is Ending.CLOSE:  # of the streams, and then of the connection
                    client.reset_all()
                    writer.write(client.connection.data_to_send())
                    await writer.drain()
                return []
            async with asyncio.timeout(max(map(patience, asks))):
                while not client.is_done and (data := await reader.read(65536)):
                    client.receive(data)
                    writer.write(client.connection.data_to_send())
    return client.answers()


class Client:
    """One connection's worth.

    Args:
        sent: so much of the last body, if not all.
    """

    def __init__(self, asks: Sequence[Ask], port: int, sent: int | None) -> None:
        self.connection = H2Connection(_CONFIG)
        self._asks = asks
        self._host = f"127.0.0.1:{port}"
        self._sent = sent
        self._streams = [1 + 2 * number for number in range(len(asks))]
        self._heads: dict[int, Answer] = {}
        self._open = set(self._streams)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return not self._open

    def begin(self, window: int | None = None) -> None:
        """Send all requests.

        Args:
            window: so many bytes of each answer are taken at a time.
        """
        self.connection.initiate_connection()
        if window is not None:
            self.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        for stream, ask in zip(self._streams, self._asks, strict=True):
            cut = self._sent if stream == self._streams[-1] else None
            body = ask.body if cut is None else ask.body[:cut]
            ends = not body and cut is None
            self.connection.send_headers(stream, self._headers(ask), end_stream=ends)
            if body:
                self.connection.send_data(stream, body, end_stream=cut is None)

    def receive(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            self._handle(event)

    def reset_all(self) -> None:
        for stream in self._open:
            self.connection.reset_stream(stream)

    def parts(self) -> list[Answer | None]:
        """What has come of each so far."""
        heads = [(stream, self._heads.get(stream)) for stream in self._streams]
        return [head and head._replace(is_whole=stream not in self._open) for stream, head in heads]

    def answers(self) -> list[Answer | None]:
        """Those that have come in full."""
        return [
            self._heads.get(stream) if stream not in self._open else None
            for stream in self._streams
        ]

    def _headers(self, ask: Ask) -> list[tuple[bytes, bytes]]:
        headers = [(name.lower(), value) for name, value in ask.all_headers(self._host)]
        authority = next((value for name, value in headers if name == "host"), self._host)
        pseudo = [
            (":method", ask.method),
            (":scheme", "http"),
            (":authority", authority),
            (":path", ask.path),
        ]
        plain = [(name, value) for name, value in headers if name != "host"]
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pseudo + plain]

    def _handle(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            headers = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers
            ]
            status = int(dict(headers)[":status"])
            plain = tuple(header for header in headers if header[0] != ":status")
            self._heads[event.stream_id] = Answer(status, plain, b"")
        elif isinstance(event, DataReceived):
            head = self._heads[event.stream_id]
            self._heads[event.stream_id] = head._replace(body=head.body + event.data)
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            self._open.discard(event.stream_id)
            self._heads.pop(event.stream_id, None)
        elif isinstance(event, StreamEnded):
            self._open.discard(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            raise ConnectionError("the server has had enough")
