"""Scripted ASGI conversations with an app, and all that came of them.

A conversation has a loop of its own, which it ends as a server does. It waits for nothing but
events: a script says at which point of it a client goes, or the server gives up.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from asyncjobs import QuartJobs
from everything_app import make_app, setting

DEADLINE = 20.0
#: So many turns of the loop, and all that needs no thread and no clock has come to where it waits.
TURNS = 40

Way = Literal["a queue", "a function"]
Point = Literal["at once", "settled", "view waits", "stream waits", "send waits"]
Event = Literal["gone", "cancelled"]


@dataclass(frozen=True)
class Script:
    """A conversation.

    Attributes:
        view: which one is asked for.
        hooks: what the app's hooks do beside taking notes.
        custom: whether the app has a connection class of its own.
        method, version, query, headers: of the request.
        path: where it goes, if not to the view.
        body: its parts.
        whole: whether the last part says that it is the last.
        lone_end: whether that is said in a message of its own, as hypercorn does.
        early: how many messages are there before the app is called. The rest comes one by one.
        point, event: what happens when; with "at once" it is there before the app is called.
        waits_at, fails_at: the message of the answer at which the server waits, or says that the
            client has gone. The first is 0.
        config: of the app.
        scope: replaces a part of the scope; None takes it out.
    """

    view: str = "text"
    hooks: str = "take notes"
    custom: bool = False
    method: str = "GET"
    version: str = "1.1"
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    path: str | None = None
    body: tuple[bytes, ...] = ()
    whole: bool = True
    lone_end: bool = True
    early: int = 99
    point: Point | None = None
    event: Event = "gone"
    waits_at: int | None = None
    fails_at: int | None = None
    config: tuple[tuple[str, Any], ...] = ()
    scope: tuple[tuple[str, Any], ...] = ()

    def messages(self) -> list[dict[str, Any]]:
        """What the client sends, but for its going."""
        parts = [{"type": "http.request", "body": part, "more_body": True} for part in self.body]
        if self.whole and (self.lone_end or not parts):
            parts.append({"type": "http.request", "body": b"", "more_body": False})
        elif self.whole:
            parts[-1]["more_body"] = False
        return parts

    def to_scope(self) -> dict[str, Any]:
        path = self.path or f"/{self.view}"
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": self.version,
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": [(b"host", b"localhost"), *self.headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
            "extensions": {"http.response.push": {}} if self.version == "2" else {},
        }
        scope.update(self.scope)
        return {name: value for name, value in scope.items() if value is not None}


@dataclass
class Outcome:
    """What came of a conversation.

    Attributes:
        answer: the messages of the answer that the server has taken. Whether the only part of a
            body comes with its end is nobody's affair.
        ended: how the call of the app ended.
        notes: what happened in the app, and to the server's `send`, in this order.
        log: the name, level, message, and kind of exception of each record.
        unheard: what asyncio had to say of exceptions that nobody was told of.
    """

    answer: list[Any] = field(default_factory=list)
    ended: str = ""
    notes: list[str] = field(default_factory=list)
    log: list[tuple[str, str, str, str]] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return bool(self.answer) and self.answer[-1].get("more_body") is False


def come_of(script: Script, way: Way, folder: Path, *, with_jobs: bool) -> Outcome:
    """Play `script` to a new app: what came of it."""
    conversation = _Conversation(script, way, folder, with_jobs=with_jobs)
    asyncio.run(conversation.take_place())
    outcome = conversation.outcome
    notes = _in_order(script, outcome.notes)
    return replace(outcome, answer=_as_one(outcome.answer), notes=notes)


class _Conversation:
    def __init__(self, script: Script, way: Way, folder: Path, *, with_jobs: bool) -> None:
        self.script = script
        self.way = way
        self.outcome = Outcome()
        self.app = make_app(
            self,
            folder,
            view=script.view,
            hooks=script.hooks,
            custom=script.custom,
            config=script.config,
        )
        if with_jobs:
            QuartJobs(self.app, store="memory:")
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reached: set[str] = set()
        self._news = asyncio.Event()
        self._is_open = asyncio.Event()
        self._sent = 0

    def note(self, what: str) -> None:
        if setting.get() != "nobody's":  # what comes of the request, and not of the app's start
            self.outcome.notes.append(what)

    def reach(self, point: str) -> None:
        """The conversation has come to this point, or is "over"."""
        self._reached.add(point)
        self._news.set()

    async def wait(self, point: str) -> None:
        """Where the script may do something, and the conversation goes on only afterwards."""
        self.reach(point)
        try:
            await self._is_open.wait()
        except asyncio.CancelledError:
            self.reach("over")
            raise

    async def take_place(self) -> None:
        unheard = self.outcome.unheard
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: unheard.append(context["message"])
        )
        async with self.app.test_app(), asyncio.timeout(DEADLINE):
            log = _Log(self.outcome.log)
            logging.getLogger().addHandler(log)
            try:
                await self._call()
            finally:
                logging.getLogger().removeHandler(log)

    async def _call(self) -> None:
        messages = self.script.messages()
        early, late = messages[: self.script.early], messages[self.script.early :]
        for message in early:
            self._queue.put_nowait(message)
        before = asyncio.all_tasks()
        call = asyncio.create_task(
            self.app(self.script.to_scope(), self._receive(), self._send)  # type: ignore[arg-type]
        )
        if self.script.point == "at once":
            self._happen(call)
        try:
            for message in late:
                await _settle()
                self._queue.put_nowait(message)
            await self._follow(call)
            await asyncio.wait([call])
            self.outcome.ended = _end_of(call)
        finally:
            await _end_the_loop(before)

    async def _follow(self, call: asyncio.Task[None]) -> None:
        """Let the conversation come to where its end is, and bring that about."""
        point = self.script.point
        if point is None:
            if "RESPONSE_TIMEOUT" not in dict(self.script.config) and self.script.view != "hasty":
                self._is_open.set()
            await self._until(call, "over")
            await _settle()
            self._queue.put_nowait({"type": "http.disconnect"})
        elif point == "settled":
            await _settle()
            self._happen(call)
        elif point != "at once":
            await self._until(call, point)
            self._happen(call)

    def _happen(self, call: asyncio.Task[None]) -> None:
        if self.script.event == "gone":
            self._queue.put_nowait({"type": "http.disconnect"})
        else:
            call.cancel()

    async def _until(self, call: asyncio.Task[None], point: str) -> None:
        """Until the conversation is at this point, or over."""
        call.add_done_callback(lambda _: self.reach("over"))
        while not {point, "over"} & self._reached:
            self._news.clear()
            await self._news.wait()

    def _receive(self) -> Callable[[], Awaitable[dict[str, Any]]]:
        async def receive() -> dict[str, Any]:
            return await self._queue.get()

        return self._queue.get if self.way == "a queue" else receive

    async def _send(self, message: dict[str, Any]) -> None:
        number, self._sent = self._sent, self._sent + 1
        if number == self.script.fails_at:
            self.note("send failed")
            self.reach("over")
            raise ConnectionResetError("the client has gone")
        if number == self.script.waits_at:
            try:
                await self.wait("send waits")
            except asyncio.CancelledError:
                self.note("send cancelled")
                raise
        self._take(dict(message))
        if message.get("more_body") is False:
            self.reach("over")

    def _take(self, message: dict[str, Any]) -> None:
        if "headers" in message:
            message["headers"] = [_without_time(pair) for pair in message["headers"]]
        self.outcome.answer.append(message)


def _as_one(answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same answer, in which a body of one part comes with its end: one that is in memory may
    be sent so, and another one has more parts here."""
    match answer:
        case [*start, {"more_body": True} as part, {"body": b"", "more_body": False}] if not any(
            message["type"] == "http.response.body" for message in start
        ):
            return [*start, {**part, "more_body": False}]
    return answer


def _in_order(script: Script, notes: list[str]) -> list[str]:
    """The notes, with the middleware's at the end where a server cancels its task: Quart 0.22 lets
    the handler of that request outlive it until its loop ends, and 0.23 does not."""
    if script.event == "cancelled" and script.point is not None:
        return sorted(notes, key=lambda note: note.startswith("middleware"))
    return notes


def _end_of(call: asyncio.Task[None]) -> str:
    if call.cancelled():
        return "cancelled"
    return "returned" if (error := call.exception()) is None else _told(error)


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}[{', '.join(map(_told, error.exceptions))}]"
    return repr(error)


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _end_the_loop(before: set[asyncio.Task[Any]]) -> None:
    """Cancel what is still at work, as a loop does that ends. Quart leaves the handler of a request
    to that if the server has cancelled its own task."""
    left = asyncio.all_tasks() - before
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _without_time(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A header without the time of the answer: that at which a session was signed, or after which
    a file is to be asked for again."""
    name, value = header
    if name == b"expires":
        return name, b""
    return name, re.sub(rb"(session=[^.;]+)\.[^;]+", rb"\1", value)


class _Log(logging.Handler):
    def __init__(self, records: list[tuple[str, str, str, str]]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        self.records.append(
            (record.name, record.levelname, record.getMessage(), _told(raised) if raised else "")
        )
