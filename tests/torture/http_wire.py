"""HTTP/1.1 by bare sockets: whatever is to be sent is sent, and all that comes back is read."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .http_asks import Answer, Ask, Ending, Expect, Sending

#: Seconds that an answer may take to what must be answered, on a busy machine.
PATIENCE = 30.0
#: The same, where there need be none.
SHORT_PATIENCE = 0.3
#: The most answers that are read to what is no request.
MANY = 20

#: What is raised where a server has nothing more to say. A TimeoutError is an OSError.
GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


async def send(port: int, sending: Sending) -> list[Answer | None]:
    """The answers, in order: to the asks and their twins, or to what was sent in place of them."""
    with suppress(*GONE):
        if sending.wire:
            return await _send_wire(port, sending)
        asks = with_twins(sending)
        if sending.ending in (Ending.CLOSE, Ending.RESET):
            await _send_and_go(port, sending, asks)
        elif sending.pipelined:
            return await _send_at_once(port, asks)
        else:
            return await _send_in_turn(port, asks, half_close=sending.ending is Ending.HALF_CLOSE)
    return []


def with_twins(sending: Sending) -> list[Ask]:
    """Each request, followed by its twin if it has one."""
    return [each for ask in sending.asks for each in (ask, ask.twin) if each is not None]


def patience(ask: Ask) -> float:
    """How long an answer is waited for, in seconds."""
    return SHORT_PATIENCE if ask.expect is Expect.ANYTHING else PATIENCE


def encoded(ask: Ask, port: int, *, last: bool = True) -> bytes:
    """The request as it is sent."""
    headers = ask.all_headers(f"127.0.0.1:{port}")
    if last and "connection" not in {name.lower() for name, _ in headers}:
        headers = (*headers, ("Connection", "close"))
    lines = [f"{ask.method} {ask.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + ask.body


@asynccontextmanager
async def connected(
    port: int, ending: Ending = Ending.READ
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, and its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        if ending is Ending.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _send_wire(port: int, sending: Sending) -> list[Answer | None]:
    answers: list[Answer | None] = []
    async with connected(port, sending.ending) as (reader, writer):
        writer.write(sending.wire)
        if sending.ending in (Ending.CLOSE, Ending.RESET):
            await asyncio.sleep(sending.pause)
            return []
        if sending.ending is Ending.HALF_CLOSE:
            writer.write_eof()
        if sending.version == 2:
            await _received(reader)
            return []
        with suppress(*GONE):
            while len(answers) < MANY:
                async with asyncio.timeout(SHORT_PATIENCE):
                    answers.append(await read_answer(reader, "GET"))
    return answers


async def _received(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(SHORT_PATIENCE / 3):
            while data := await reader.read(65536):
                received += data
    return received


async def _send_and_go(port: int, sending: Sending, asks: list[Ask]) -> None:
    async with connected(port, sending.ending) as (_, writer):
        wire = b"".join(encoded(ask, port, last=False) for ask in asks)
        if sending.sent is not None:
            wire = wire[: len(wire) - len(asks[-1].body) + sending.sent]
        writer.write(wire)
        await asyncio.sleep(sending.pause)


async def _send_at_once(port: int, asks: list[Ask]) -> list[Answer | None]:
    async with connected(port) as (reader, writer):
        writer.write(b"".join(encoded(ask, port, last=ask is asks[-1]) for ask in asks))
        return [await _answer(reader, ask, PATIENCE) for ask in asks]


async def _send_in_turn(
    port: int, asks: list[Ask], *, half_close: bool = False
) -> list[Answer | None]:
    """Each after the answer to the one before."""
    answers: list[Answer | None] = []
    while len(answers) < len(asks):
        async with connected(port) as (reader, writer):
            for ask in asks[len(answers) :]:
                writer.write(encoded(ask, port, last=ask is asks[-1]))
                if half_close:
                    writer.write_eof()
                answer = await _answer(reader, ask, patience(ask))
                answers.append(answer)
                if answer is None or answer.header("connection") == "close":
                    break
    return answers


async def _answer(reader: asyncio.StreamReader, ask: Ask, seconds: float) -> Answer | None:
    with suppress(*GONE):
        async with asyncio.timeout(seconds):
            return await read_answer(reader, ask.method)
    return None


async def read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    """The next answer on this connection, but for what is only preliminary."""
    return await read_rest(reader, await read_head(reader), method)


async def read_head(reader: asyncio.StreamReader) -> Answer:
    """The same, without its body."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        status = int(status_line.split()[1])
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        if status >= 200 or status == 101:
            return Answer(status, headers, b"")


async def read_rest(reader: asyncio.StreamReader, head: Answer, method: str) -> Answer:
    """An answer whose head has been read."""
    if method == "HEAD" or head.status in (101, 204, 304):
        return head
    return head._replace(body=await _read_body(reader, head))


async def _read_body(reader: asyncio.StreamReader, answer: Answer) -> bytes:
    if (length := answer.header("content-length")) is not None:
        return await reader.readexactly(int(length))
    if answer.header("transfer-encoding") != "chunked":
        return await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
