"""Scripted ASGI conversations with an app that does a bit of everything, and all that came of them.

A conversation has a loop of its own, which it ends as a server does. It waits for nothing but
events: a script says at which point of it a client goes, or the server gives up.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import quart
from quart import (
    Quart,
    Response,
    ResponseReturnValue,
    abort,
    after_this_request,
    g,
    make_push_promise,
    redirect,
    request,
    send_file,
    session,
)
from quart.asgi import ASGIHTTPConnection
from werkzeug.wrappers import Response as WerkzeugResponse

from asyncjobs import QuartJobs

DEADLINE = 20.0
#: So many turns of the loop, and all that needs no thread and no clock has come to where it waits.
TURNS = 40
#: A time-out, in seconds, of what is never there in time.
SHORT = 0.005

Way = Literal["a queue", "a function"]
Point = Literal["at once", "settled", "view waits", "stream waits", "send waits"]
Event = Literal["gone", "cancelled"]
Wait = Callable[[str], Awaitable[None]]

_setting: ContextVar[str] = ContextVar("_setting", default="nobody's")
_SIGNALS = (
    quart.request_started,
    quart.request_finished,
    quart.request_tearing_down,
    quart.got_request_exception,
    quart.appcontext_pushed,
    quart.appcontext_popped,
)


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
        self.app = _make_app(self, folder)
        if with_jobs:
            QuartJobs(self.app, store="memory:")
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reached: set[str] = set()
        self._news = asyncio.Event()
        self._is_open = asyncio.Event()
        self._sent = 0

    def note(self, what: str) -> None:
        if _setting.get() != "nobody's":  # what comes of the request, and not of the app's start
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


# The app.


def _make_app(conversation: _Conversation, folder: Path) -> Quart:
    app = Quart("conversations", root_path=str(folder))
    app.secret_key = "of conversations"
    app.config.update(conversation.script.config)
    if conversation.script.custom:
        app.asgi_http_class = _own_connection(conversation.note)
    _add_middleware(app, conversation.note)
    _add_hooks(app, conversation.note, conversation.script.hooks)
    _add_signals(app, conversation.note)
    for view in _views(conversation.note, conversation.reach, conversation.wait):
        if view.__name__ == conversation.script.view:  # a rule takes longer than a request
            app.add_url_rule(f"/{view.__name__}", view_func=view, methods=["GET", "POST"])
    app.add_url_rule("/slashed/", "slashed", _slashed)
    return app


async def _slashed() -> str:
    return "slashed"


def _own_connection(note: Callable[[str], None]) -> type[ASGIHTTPConnection]:
    class OwnConnection(ASGIHTTPConnection):
        async def handle_request(self, request: Any, send: Any) -> None:
            note("own: begun")
            try:
                await super().handle_request(request, send)
            except BaseException as error:
                note(f"own: {error!r}")
                raise
            note("own: done")

        async def _send_response(self, send: Any, response: Any) -> None:
            note(f"own: sends {response.status_code}")
            await super()._send_response(send, response)

    return OwnConnection


def _add_middleware(app: Quart, note: Callable[[str], None]) -> None:
    inner = app.asgi_app

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            _setting.set("the middleware's")
        try:
            await inner(scope, receive, send)
        finally:
            note(f"middleware: {_setting.get()} setting")

    app.asgi_app = middleware  # type: ignore[method-assign]


def _add_hooks(app: Quart, note: Callable[[str], None], kind: str) -> None:
    async def done(hook: str) -> None:
        if kind == "suspend":
            await asyncio.sleep(0)
        if kind == f"raise {hook}":
            raise ValueError(hook)

    @app.before_request
    async def before() -> ResponseReturnValue | None:
        g.begun = "before"
        note(f"before: {request.method} {request.url} {_setting.get()} setting")
        await done("before")
        return "by the hook" if kind == "answer" else None

    @app.after_request
    async def after(response: Response) -> Response:
        note(f"after: {response.status_code} {g.begun}")
        await done("after")
        response.headers.add("X-After", "one")
        response.headers.add("X-After", "two")
        return response

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        note(f"teardown: {error!r} {getattr(g, 'begun', 'nothing')}")
        await done("in teardown")

    @app.teardown_appcontext
    async def teardown_app(error: BaseException | None) -> None:
        note(f"teardown of the app's context: {error!r}")

    @app.errorhandler(KeyError)
    async def handle(error: KeyError) -> ResponseReturnValue:
        note(f"handled: {error!r}")
        return {"handled": str(error)}, 400


def _add_signals(app: Quart, note: Callable[[str], None]) -> None:
    def listener(name: str) -> Callable[..., Awaitable[None]]:
        async def heard(sender: Any, **more: Any) -> None:
            told = [f"{key}={value!r}" for key, value in more.items() if key == "exception"]
            note(" ".join([f"signal: {name}", *told]))

        return heard

    for signal in _SIGNALS:
        signal.connect(listener(signal.name), app, weak=False)


#: Views whose answer comes in parts.
STREAMED = ("stream", "stream_that_waits", "stream_that_raises", "sync_stream", "parts", "file")
#: Views that answer from a thread, or read in one: nothing of them happens within some turns.
THREADED = ("sync", "sync_stream", "file")
#: Views that wait, for what never comes to a client that goes.
WAITING = ("slow", "stubborn", "slow_in_group", "slow_in_timeout", "tidy", "stream_that_waits")


def _views(
    note: Callable[[str], None], reach: Callable[[str], None], wait: Wait
) -> Iterator[Callable[..., Any]]:
    yield from _plain_views(note)
    yield from _made_views(note)
    yield from _raising_views(reach)
    yield from _reading_views(note)
    yield from _slow_views(note, wait)
    yield from _timed_views(note)
    yield from _streams(note, wait)
    yield from _other_streams()


def _plain_views(note: Callable[[str], None]) -> Iterator[Callable[..., Any]]:
    async def text() -> str:
        return "héllo"

    async def data() -> bytes:
        return bytes(range(256)) * 300

    async def empty() -> tuple[str, int]:
        return "", 204

    async def nothing() -> Any:
        return None

    async def mapping() -> dict[str, Any]:
        note(f"view: {_setting.get()} setting, {g.begun}, {request.http_version}")
        _setting.set("the view's")
        return {
            "headers": list(request.headers),
            "args": dict(request.args),
            "remote": request.remote_addr,
            "root": request.root_path,
            "scope": sorted(request.scope),
        }

    yield from (text, data, empty, nothing, mapping)


def _made_views(note: Callable[[str], None]) -> Iterator[Callable[..., Any]]:
    async def created() -> tuple[str, int, dict[str, str]]:
        @after_this_request
        async def later(response: Response) -> Response:
            note("after this request")
            response.set_cookie("later", "yes")
            return response

        session["visits"] = session.get("visits", 0) + 1
        return "created", 201, {"X-Made": "here"}

    async def sent_away() -> WerkzeugResponse:
        return redirect("/text")

    async def foreign() -> WerkzeugResponse:
        return WerkzeugResponse(["for", "eign"], headers={"X-Foreign": "yes"})

    async def pushing() -> str:
        await make_push_promise("/text")
        note("pushed")
        return "pushed"

    def sync() -> str:
        return f"{_setting.get()} setting in a thread"

    yield from (created, sent_away, foreign, pushing, sync)


def _raising_views(reach: Callable[[str], None]) -> Iterator[Callable[..., Any]]:
    async def teapot() -> str:
        abort(418)

    async def broken() -> str:
        raise ValueError("broken")

    async def handled() -> str:
        raise KeyError("handled")

    async def cancels() -> str:
        reach("over")
        raise asyncio.CancelledError

    async def cancels_itself() -> str:
        reach("over")
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return "not cancelled"

    async def group() -> str:
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    async def resets() -> str:
        raise ConnectionResetError("of another connection")

    yield from (teapot, broken, handled, cancels, cancels_itself, group, resets)


def _reading_views(note: Callable[[str], None]) -> Iterator[Callable[..., Any]]:
    async def reads() -> bytes:
        body: bytes = await request.get_data(as_text=False)
        note(f"read: {len(body)}")
        return body

    async def reads_twice() -> bytes:
        once, twice = await request.body, await request.get_data(as_text=False)
        return bytes(once) + bytes(twice)

    async def reads_parts() -> bytes:
        body = b""
        async for part in request.body:
            note("read a part")
            body += part
        return body

    async def form() -> dict[str, Any]:
        fields = await request.form
        return {name: fields.getlist(name) for name in fields}

    async def json() -> Any:
        return {"json": await request.get_json(silent=True)}

    yield from (reads, reads_twice, reads_parts, form, json)


def _slow_views(note: Callable[[str], None], wait: Wait) -> Iterator[Callable[..., Any]]:
    async def slow() -> str:
        try:
            await wait("view waits")
        except BaseException as error:
            note(f"view: {error!r}")
            raise
        return "waited"

    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await wait("view waits")
        note("view: goes on")
        return "went on"

    async def tidy() -> str:
        try:
            await wait("view waits")
        finally:
            await asyncio.sleep(0)
            note("view: tidied up")
        return "waited"

    async def slow_in_group() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
        note("view: after the group")
        return "waited"

    async def slow_in_timeout() -> str:
        try:
            async with asyncio.timeout(10 * DEADLINE):
                await wait("view waits")
        except TimeoutError:
            note("view: timed out")
        finally:
            task = asyncio.current_task()
            note(f"view: cancelled {task and task.cancelling()} times")
        return "waited"

    yield from (slow, stubborn, tidy, slow_in_group, slow_in_timeout)


def _timed_views(note: Callable[[str], None]) -> Iterator[Callable[..., Any]]:
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            note("view: timed out")
        return "waited"

    async def hasty() -> Response:
        response = Response("hasty")
        response.timeout = SHORT
        return response

    async def patient() -> Response:
        response = Response("patient")
        response.timeout = None
        return response

    yield from (impatient, hasty, patient)


def _streams(note: Callable[[str], None], wait: Wait) -> Iterator[Callable[..., Any]]:
    async def stream() -> AsyncIterator[bytes]:
        async def generate() -> AsyncIterator[bytes | str]:
            yield b"one"
            yield ""
            yield "zwei"
            note("stream: done")

        return generate()  # type: ignore[return-value]

    async def stream_that_waits() -> Any:
        async def generate() -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await wait("stream waits")
                yield b"two"
            except BaseException as error:
                note(f"stream: {type(error).__name__}")
                raise
            finally:
                note("stream: closed")

        return generate(), 200, {"X-Stream": "yes"}

    async def stream_that_raises() -> Any:
        async def generate() -> AsyncIterator[bytes]:
            yield b"one"
            raise ValueError("in mid-stream")

        return generate()

    yield from (stream, stream_that_waits, stream_that_raises)


def _other_streams() -> Iterator[Callable[..., Any]]:
    async def sync_stream() -> Any:
        def generate() -> Iterator[bytes]:
            yield from (b"one", b"two", b"three")

        return generate()

    async def parts() -> Response:
        return Response(_Parts([b"one", b"two"]))

    async def file() -> Response:
        path = Path(quart.current_app.root_path) / "file.txt"
        return await send_file(path, conditional=True)

    yield from (sync_stream, parts, file)


class _Parts:
    """What can be read without a thread, part by part."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part


#: All views, by name.
VIEWS = tuple(
    view.__name__ for view in _views(lambda _: None, lambda _: None, lambda _: asyncio.sleep(0))
)
