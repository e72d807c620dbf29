"""What requests cost, counted exactly and without a clock: Python calls, callbacks of the loop,
statements of SQLite, commits and flushes.

Nothing is left to chance. The loop's clock stands still, so that no timer fires; the disk takes as
long as the loop has anything else to do; no garbage is collected; and the requests come from a
driver in the same loop, which hands them over as hypercorn's worker does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self, TypeVar
from unittest.mock import patch

from quart import Quart

from asyncjobs.running import exits

T = TypeVar("T")

#: Seconds that the loop waits for another thread before it is said to wait for nothing.
PATIENCE = 10.0

_CALLBACK = "asyncio.events:Handle._run"
#: How often timers are compared depends on those that were there before; when it is that a task is
#: forgotten, on the last one who knows it.
_BY_CHANCE = ("asyncio.events:TimerHandle.__lt__", "_weakrefset:WeakSet.__init__.<locals>._remove")

_HEADERS = [
    (b"host", b"localhost"),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
]


@dataclass
class Account:
    """What was done.

    Attributes:
        calls: of Python functions, by module and name; that one which has waited goes on is a call
            of it as well.
        statements: of SQLite, by their first words.
        flushes: how often the disk was waited for.
    """

    calls: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    flushes: int = 0

    def per(self, rounds: int) -> Account:
        """What each of so many rounds has taken of this."""

        def share(counts: Counter[str]) -> Counter[str]:
            return Counter({name: round(number / rounds) for name, number in counts.items()})

        return Account(share(self.calls), share(self.statements), round(self.flushes / rounds))

    @property
    def callbacks(self) -> int:
        """How many callbacks the loop has called."""
        return self.calls[_CALLBACK]

    @property
    def commits(self) -> int:
        return self.statements["COMMIT"]


class Counting:
    """Counts what is done in a loop of its own, and in the threads that were started from it.

    A context manager. Apps are to be started in `run`, as their threads are watched from the start.
    """

    def __init__(self) -> None:
        self._account: Account | None = None
        self._watching: set[int] = set()
        self._real_connect, self._real_flush = sqlite3.connect, os.fdatasync
        self._patches = (
            patch("sqlite3.connect", self._connect),
            patch("os.fdatasync", self._flush),
            # Nor shall a loop be said to be blocked whose clock stands still.
            patch("asyncjobs.running.watchdog.BLOCKED_AFTER", 3600.0),
        )

    def __enter__(self) -> Self:
        self._pace = _Pace()
        self._runner = asyncio.Runner(debug=False, loop_factory=lambda: _Loop(self._pace))
        for each in self._patches:
            each.start()
        threading.setprofile(self._profile)
        return self

    def __exit__(self, *exc_info: object) -> None:
        threading.setprofile(None)
        try:
            self._runner.close()
        finally:
            for each in self._patches:
                each.stop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop."""
        return self._runner.run(coroutine)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Have the time stand still meanwhile: for a few rounds before what is counted, so that
        what is due by then has been done, and for that."""
        # Those look around by the clock, whatever is asked for.
        threads = threading.enumerate()
        self._watching = {thread.ident or 0 for thread in threads if thread.name == exits.WATCH}
        gc.disable()
        self._pace.begin()
        try:
            yield
        finally:
            self._pace.end()
            gc.enable()

    @contextmanager
    def counted(self) -> Iterator[Account]:
        """Count what is done meanwhile into the account that is given."""
        account = self._account = Account()
        sys.setprofile(self._profile)
        try:
            yield account
        finally:
            sys.setprofile(None)
            self._account = None
            for name in _BY_CHANCE:
                del account.calls[name]

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        if (
            event == "call"
            and self._account is not None
            and frame.f_code.co_filename != __file__
            and threading.get_ident() not in self._watching
        ):
            module = frame.f_globals.get("__name__")
            _count(self._account.calls, f"{module}:{frame.f_code.co_qualname}")

    def _connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = self._real_connect(*args, **kwargs)
        connection.set_trace_callback(self._trace)
        return connection

    def _trace(self, statement: str) -> None:
        if self._account is not None:
            _count(self._account.statements, " ".join(statement.split()[:3]))

    def _flush(self, fd: int) -> None:
        if self._account is not None:
            self._account.flushes += 1
        if self._pace.now is None:
            self._real_flush(fd)
        else:
            self._pace.wait_for_disk()


def _count(counter: Counter[str], name: str) -> None:
    # A counter answers for what it does not have by a Python call, which would be counted.
    counter[name] = counter.get(name, 0) + 1


class _Pace(selectors.DefaultSelector):
    """Has the disk wait for the loop, and the loop for the disk, but never both go on at once."""

    def __init__(self) -> None:
        super().__init__()
        self._disk = threading.Lock()  # a bare one: a condition is made of Python calls
        self.now: float | None = None

    def begin(self) -> None:
        self._disk.acquire()
        self.now = asyncio.get_running_loop().time()
        self._thread = threading.get_ident()

    def end(self) -> None:
        self.now = None
        self._disk.release()

    def wait_for_disk(self) -> None:
        """Return when the loop has nothing else to do."""
        if threading.get_ident() != self._thread:
            with self._disk:
                pass

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.now is None or timeout == 0:
            return super().select(timeout)
        self._disk.release()
        try:
            ready = super().select(PATIENCE)
        finally:
            self._disk.acquire()
        if not ready:
            raise RuntimeError("what is counted waits for a timer, and the clock stands still")
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while it is counted."""

    def __init__(self, pace: _Pace) -> None:
        self._pace = pace
        super().__init__(pace)

    def time(self) -> float:
        return super().time() if self._pace.now is None else self._pace.now


class Client:
    """Hands requests to an app as hypercorn's asyncio worker does: each is a task of its own, and
    has all its messages in a queue when that begins."""

    def __init__(self, app: Quart) -> None:
        self._app = app

    async def request(
        self, method: str, path: str, body: bytes = b"", prefer: str = ""
    ) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(10)
        answer: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            answer.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await inbox.put({"type": "http.disconnect"})

        handling = asyncio.create_task(
            self._app(_scope(method, path, body, prefer), inbox.get, send)
        )
        if body:
            await inbox.put({"type": "http.request", "body": body, "more_body": True})
        await inbox.put({"type": "http.request", "body": b"", "more_body": False})
        await handling
        return answer[0]["status"], b"".join(message.get("body", b"") for message in answer)


def _scope(method: str, path: str, body: bytes, prefer: str) -> dict[str, Any]:
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    if prefer:
        headers.append((b"prefer", prefer.encode()))
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {},
    }
