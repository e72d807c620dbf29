"""What is to be said to one peer: what comes up in a turn of the event loop goes together.

A receiver's queue takes about ten datagrams on Linux (net.unix.max_dgram_qlen), and one that is
busy does not read them for some milliseconds: then it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .messages import encode

#: Seconds until the first further try where the peer's queue is full; it doubles each time.
FIRST_RETRY = 0.005
#: A peer that has not read anything for about twice as long is stopped: it misses what was said.
LAST_RETRY = 0.5
#: Things that wait for one peer under one head; what is said beyond that it misses.
MAX_WAITING = 5000


class Outbox:
    """Collects what is said to one peer.

    Args:
        send: sends a datagram to it; False if its queue is full.
    """

    def __init__(self, send: Callable[[bytes], bool]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        # The things under each head; in dictionaries, as nothing needs to be said twice.
        self._waiting: dict[str, dict[str, None]] = {}
        self._retry = FIRST_RETRY
        self._flushing: asyncio.Handle | None = None

    def put(self, head: str, thing: str) -> None:
        """Say `thing` under `head`, soon."""
        things = self._waiting.setdefault(head, {})
        if len(things) < MAX_WAITING:
            things[thing] = None
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Say now what waits, as far as the peer's queue takes it."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._said():
            self._retry = FIRST_RETRY
        elif self._retry <= LAST_RETRY:
            self._flushing = self._loop.call_later(self._retry, self.flush)
            self._retry *= 2
        else:
            self._waiting.clear()

    def close(self) -> None:
        """Say what waits, once, and no more."""
        self.flush()
        if self._flushing is not None:
            self._flushing.cancel()

    def _said(self) -> bool:
        for head, things in list(self._waiting.items()):
            while things:
                datagram, said = encode(head, things)
                if not self._send(datagram):
                    return False
                for thing in said:
                    del things[thing]
            del self._waiting[head]
        return True
