"""An app that does a bit of everything: views, hooks and signals, which all say what happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

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

#: A time-out, in seconds, of what is never there in time, and one that nobody lives to see.
SHORT, LONGER_THAN_ANY = 0.005, 200.0
#: Views whose answer comes in parts.
STREAMED = ("stream", "stream_that_waits", "stream_that_raises", "sync_stream", "parts", "file")
#: Views that answer from a thread, or read in one: nothing of them happens within some turns.
THREADED = ("sync", "sync_stream", "file")
#: Views that wait, for what never comes to a client that goes.
WAITING = ("slow", "stubborn", "slow_in_group", "slow_in_timeout", "tidy", "stream_that_waits")
#: Views of whose answer nothing is sent.
UNSENT = ("cancels", "cancels_itself", "too_late")

#: Whose setting it is: "nobody's" where nothing is for a request.
setting: ContextVar[str] = ContextVar("setting", default="nobody's")

Wait = Callable[[str], Awaitable[None]]

_SIGNALS = (
    quart.request_started,
    quart.request_finished,
    quart.request_tearing_down,
    quart.got_request_exception,
    quart.appcontext_pushed,
    quart.appcontext_popped,
)


class Audience(Protocol):
    """Who is told what happens in the app."""

    def note(self, what: str) -> None:
        """Something has happened."""

    def reach(self, point: str) -> None:
        """The app is about to come to this point, or to be "over"."""

    async def wait(self, point: str) -> None:
        """The app is at this point, and goes on once this returns."""


def make_app(
    audience: Audience,
    folder: Path,
    *,
    view: str,
    hooks: str,
    custom: bool,
    config: Iterable[tuple[str, Any]],
) -> Quart:
    """The app.

    Args:
        folder: its root, with a file to be sent.
        view: the only one that it has.
        hooks: what its hooks do beside taking notes.
        custom: whether it has a connection class of its own.
    """
    app = Quart("conversations", root_path=str(folder))
    app.secret_key = "of conversations"
    app.config.update(config)
    if custom:
        app.asgi_http_class = _own_connection(audience.note)
    _add_middleware(app, audience.note)
    _add_hooks(app, audience.note, hooks)
    _add_signals(app, audience.note)
    for each in _views(audience.note, audience.reach, audience.wait):
        if each.__name__ == view:  # a rule takes longer than a request
            app.add_url_rule(f"/{view}", view_func=each, methods=["GET", "POST"])
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
            setting.set("the middleware's")
        try:
            await inner(scope, receive, send)
        finally:
            note(f"middleware: {setting.get()} setting")

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
        note(f"before: {request.method} {request.url} {setting.get()} setting")
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


def _views(
    note: Callable[[str], None], reach: Callable[[str], None], wait: Wait
) -> Iterator[Callable[..., Any]]:
    yield from _plain_views(note)
    yield from _made_views(note)
    yield from _raising_views(reach)
    yield from _reading_views(note)
    yield from _slow_views(note, wait)
    yield from _timed_views(note, reach)
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
        note(f"view: {setting.get()} setting, {g.begun}, {request.http_version}")
        setting.set("the view's")
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
        return f"{setting.get()} setting in a thread"

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
            async with asyncio.timeout(LONGER_THAN_ANY):
                await wait("view waits")
        except TimeoutError:
            note("view: timed out")
        finally:
            task = asyncio.current_task()
            note(f"view: cancelled {task and task.cancelling()} times")
        return "waited"

    yield from (slow, stubborn, tidy, slow_in_group, slow_in_timeout)


def _timed_views(
    note: Callable[[str], None], reach: Callable[[str], None]
) -> Iterator[Callable[..., Any]]:
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

    async def too_late() -> Response:
        reach("over")
        response = Response("too late")
        response.timeout = 0
        return response

    async def patient() -> Response:
        response = Response("patient")
        response.timeout = None
        return response

    yield from (impatient, hasty, too_late, patient)


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
