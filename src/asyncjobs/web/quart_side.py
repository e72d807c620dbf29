"""Quart from its other side: what is private in it, in werkzeug and in hypercorn, and what differs
between its versions 0.22 and 0.23, where methods take the context.

No other module of ours reads a private name of theirs.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any

import quart
import quart.ctx
import quart.globals
from quart import Quart, Request, Response, asgi
from quart.json.provider import DefaultJSONProvider
from quart.sessions import SessionMixin
from quart.typing import ResponseReturnValue, ResponseTypes
from quart.utils import run_sync_iterable
from quart.wrappers import base
from quart.wrappers.request import Body
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, MapAdapter, Rule

from ..given import printable

#: What Quart itself keeps in a session: whether the cookie outlives the browser, and what `flash`
#: shows on the next page.
SESSION_KEYS = frozenset({"_permanent", "_flashes"})

#: The media type of what a view returns as a dict or a list, unless the app says otherwise.
JSON = DefaultJSONProvider.mimetype

#: Whether a connection handles its request in a group of tasks, which tells what is wrong even if
#: it is cancelled, and what listens to the client is given the one that handles.
CONNECTIONS_GROUP = (
    "request_task" in inspect.signature(asgi.ASGIHTTPConnection.handle_messages).parameters
)
_CREATE_REQUEST = asgi.ASGIHTTPConnection._create_request_from_scope
_TAKES_CONTEXT = "ctx" in inspect.signature(Quart.handle_user_exception).parameters
_ClientDisconnected: type[Exception] | tuple[()] = getattr(base, "ClientDisconnectedError", ())
#: What is raised to who sends something to a client that has gone.
CLIENT_HAS_GONE: tuple[type[Exception], ...]
CLIENT_HAS_GONE = (OSError, *([_ClientDisconnected] if _ClientDisconnected else []))
_CONTEXT: ContextVar[Any] = getattr(quart.globals, "_cv_app" if _TAKES_CONTEXT else "_cv_request")
_MATCH_REQUEST = getattr(
    quart.ctx, "AppContext" if _TAKES_CONTEXT else "RequestContext"
).match_request
# As they are before anybody puts something else into their place, in the class or in an app.
_MAKE_RESPONSE = Quart.make_response
_JSON_RESPONSE = DefaultJSONProvider.response
_RUN_SYNC_ITERABLE = getattr(run_sync_iterable(iter(())), "ag_code", None)


def current_request() -> Request:
    """The request that is being handled, itself: its proxy costs something at each attribute, and
    takes three calls more to tell what it stands for.

    Raises:
        RuntimeError: there is none.
    """
    try:
        context = _CONTEXT.get()
    except LookupError:
        raise RuntimeError("Not within a request context") from None
    request: Request = context.request if _TAKES_CONTEXT else context.request_websocket
    return request


def scope_of(request: Request) -> dict[str, Any]:
    """The ASGI scope of a request, where what we know of it is kept."""
    scope: Any = request.scope
    plain: dict[str, Any] = scope
    return plain


class ReadyHeaders(Headers):
    """Headers that are known to be well-formed: to have them checked one by one, as werkzeug does,
    is a good part of what a poll costs."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._list = list(pairs)


def request_of(connection: Any, send: Any) -> Request:
    """One more request of a connection, as if it had just come: as it makes one itself, but for the
    headers, which it would check once more, one by one."""
    app, scope = connection.app, connection.scope
    request: Request
    values = b"".join([value for _, value in scope["headers"]])
    path, root_path = scope["path"], scope.get("root_path", "")
    is_quarts = type(connection)._create_request_from_scope is _CREATE_REQUEST
    # No server lets a line's end pass, and a target that is no path is Quart's own affair.
    if not is_quarts or b"\n" in values or b"\r" in values or path[:1] != "/":
        request = connection._create_request_from_scope(send)
        return request
    if root_path:
        path = asgi._normalise_path(path, root_path)
    request = app.request_class(
        scope["method"],
        scope["scheme"],
        path,
        scope["query_string"],
        headers_of_request(app, scope["headers"], scope.get("client"), scope["http_version"]),
        root_path,
        scope["http_version"],
        max_content_length=app.config["MAX_CONTENT_LENGTH"],
        body_timeout=app.config["BODY_TIMEOUT"],
        send_push_promise=partial(connection._send_push_promise, send),
        scope=scope,
    )
    return request


def headers_of_request(
    app: Quart, pairs: Iterable[tuple[bytes, bytes]], client: Any, http_version: str
) -> Headers:
    """The headers of a request, of well-formed pairs."""
    headers = [("Remote-Addr", client[0] if client else "<local>")]
    headers += [(_title_of(name), value.decode("latin-1")) for name, value in pairs]
    if http_version < "1.1" and not any(name == "Host" for name, _ in headers):
        headers.append(("Host", app.config["SERVER_NAME"] or ""))
    return ReadyHeaders(headers)


@lru_cache(maxsize=1024)
def _title_of(name: bytes) -> str:
    return name.decode("latin-1").title()


async def fill(body: Body, chunks: Iterable[bytes]) -> None:
    """Have all of a request's body be there, as its connection does with what it receives."""
    put: Any = getattr(body, "put", None)  # which never waits: its queue has no limit
    for chunk in chunks:
        if put is None:
            body.append(chunk)
        else:
            await put(chunk)
    body.set_complete()


def outgoing(send: Any) -> Any:
    """`send` as a connection hands it on: 0.23 has it say in other words that the client has
    gone."""
    convert = getattr(asgi, "_convert_os_error", None)
    return send if convert is None else convert(send)


async def response_to(app: Quart, request: Request) -> ResponseTypes | None:
    """The app's response to a request, as a connection asks for it; None if there is nobody to send
    it to."""
    try:
        return await app.handle_request(request)
    except _ClientDisconnected:
        return None
    except Exception as error:
        return await asgi._handle_exception(app, error)


async def listen_for_end(
    connection: Any, request: Request, receive: Any, task: asyncio.Task[Any]
) -> None:
    """Listen to a client until it has gone, and then cancel the task that handles its request."""
    if CONNECTIONS_GROUP:
        await connection.handle_messages(request, receive, task)
    else:
        await connection.handle_messages(request, receive)
        task.cancel()


class LetGo:
    """In the place of a request that is answered, for who still listens to its client: it takes
    what comes, and keeps nothing."""

    @property
    def body(self) -> LetGo:
        return self

    async def put(self, data: bytes) -> None:
        """0.23 has a body take what comes so."""

    def append(self, data: bytes) -> None:
        """0.22 so."""

    def set_complete(self) -> None: ...

    def disconnect(self) -> None: ...


async def send_in_parts(connection: Any, response: ResponseTypes, send: Any) -> None:
    """Send a response as a connection does."""
    await connection._send_response(send, response)


def methods_of_connection(connection_class: Any) -> list[Callable[..., Any]]:
    """Those of a kind of connection that its messages go through."""
    names = (
        "__call__",
        "_create_request_from_scope",
        "handle_messages",
        "handle_request",
        "_send_response",
    )
    return [getattr(connection_class, name) for name in names]


def client_has_gone(connection: Any) -> bool:
    """Whether a connection knows that its client has; in 0.22 none does."""
    return getattr(connection, "_disconnected", False)


def as_connections_raise(error: Exception) -> Exception:
    """What a connection raises if the handling of its request raises `error`."""
    if CONNECTIONS_GROUP:  # in a group of tasks
        return ExceptionGroup("unhandled errors in a TaskGroup", [error])
    return error


def converters_of(rule: Rule) -> Mapping[str, BaseConverter]:
    """The converters of a rule, by the variables that they are for."""
    return rule._converters


def take_rule(context: Any, rule: Rule) -> bool:
    """Have the request of a context that is about to be entered lead to a rule without arguments,
    and its URL not be matched; False where that is not for Quart alone to do, and it will be.

    To match it is a good part of what a request costs, and this the method that is there to be
    overridden.
    """
    adapter: MapAdapter | None = context.url_adapter
    is_quarts = _function(context.match_request) is _MATCH_REQUEST
    # An app may also make adapters of its own, for maps of its own.
    if type(adapter) is not MapAdapter or adapter.map is not context.app.url_map or not is_quarts:
        return False
    request = context.request

    def match_request() -> None:
        request.url_rule, request.view_args, request.routing_exception = rule, {}, None

    context.match_request = match_request
    return True


def current_context() -> Any:
    """The context of the request that is being handled."""
    return _CONTEXT.get()


def session_of(context: Any) -> SessionMixin:
    """The session in a request's context."""
    session: SessionMixin = getattr(context, "_session" if _TAKES_CONTEXT else "session")
    return session


def set_session(context: Any, session: SessionMixin) -> None:
    """Have `session` be the one of a request's context."""
    setattr(context, "_session" if _TAKES_CONTEXT else "session", session)


def after_this_request_of(context: Any) -> list[Callable[..., Any]]:
    """What a view has asked for by ``after_this_request``."""
    functions: list[Callable[..., Any]] = context._after_request_functions
    return functions


def plain_json_of(app: Quart, result: Any) -> str | None:
    """The body that Quart makes of what a view has returned, if that is JSON, and if all else about
    the response is as by default: its class, its status and its media type. None if there may be
    more to it.

    Raises:
        Exception: it is no JSON.
    """
    provider: Any = app.json
    if not (
        (type(result) is dict or type(result) is list)
        and _function(app.make_response) is _MAKE_RESPONSE
        and _function(provider.response) is _JSON_RESPONSE
        and provider.mimetype == JSON
        and app.response_class is Response
    ):
        return None
    is_spread = app.debug if provider.compact is None else provider.compact is False
    form: dict[str, Any] = {"indent": 2} if is_spread else {"separators": (",", ":")}
    return f"{provider.dumps(result, **form)}\n"


def error_handler_of(app: Quart, error: Exception, blueprints: Iterable[str]) -> Any:
    """The app's own handler for an error in a view of these blueprints; None if it has none."""
    return app._find_error_handler(error, [*blueprints])


async def handle_user_exception(
    app: Quart, error: Exception
) -> HTTPException | ResponseReturnValue:
    """What the app's own error handlers make of `error`; raises it if they have nothing to say."""
    handle: Any = app.handle_user_exception
    answer: HTTPException | ResponseReturnValue
    answer = await (handle(current_context(), error) if _TAKES_CONTEXT else handle(error))
    return answer


async def options_response(app: Quart) -> Response:
    """What Quart answers to OPTIONS by itself."""
    make: Any = app.make_default_options_response
    response: Response = await (make(current_context()) if _TAKES_CONTEXT else make())
    return response


def is_complete(body: Body) -> bool:
    """Whether all of a request's body has arrived; False also where Quart does not tell."""
    complete: asyncio.Event | None = getattr(body, "_complete", None)
    return complete is not None and complete.is_set()


def sync_iterator_of(iterator: AsyncIterator[Any]) -> Iterator[Any] | None:
    """What Quart has wrapped into this `iterator`, to be read in asyncio's own threads.

    None if it has wrapped nothing, or if it cannot be told.
    """
    wrapper: Any = iterator
    if _RUN_SYNC_ITERABLE is None or getattr(wrapper, "ag_code", None) is not _RUN_SYNC_ITERABLE:
        return None
    frame = wrapper.ag_frame  # None once it has been read to its end
    wrapped: Iterator[Any] | None = None if frame is None else frame.f_locals.get("iterable")
    return wrapped


def log_exception(app: Quart, error: BaseException) -> None:
    """Log `error` with its traceback, as the app logs those of its requests.

    It names the path of the request, as it came, in which a client may have put line ends.
    """
    log: Any = app.log_exception
    exc_info = (type(error), error, error.__traceback__)
    request = current_request()
    path, request.path = request.path, printable(request.path)
    try:
        if _TAKES_CONTEXT:
            log(current_context(), exc_info)
        else:
            log(exc_info)
    finally:
        request.path = path


def event_of_hypercorn() -> Any:
    """The event by which hypercorn tells its workers to stop; None if this process is none of
    them."""
    if multiprocessing.parent_process() is None:
        return None
    arguments = getattr(multiprocessing.current_process(), "_kwargs", {})
    event = arguments.get("shutdown_event")
    return event if hasattr(event, "is_set") else None


def stop_of_hypercorn(send: Any) -> Any:
    """The event by which hypercorn tells the connections of a process that it stops, by what one of
    them sends with; None if that is not its own."""
    stream = getattr(inspect.unwrap(send), "__self__", None)
    event = getattr(getattr(stream, "context", None), "terminated", None)
    return event if inspect.iscoroutinefunction(getattr(event, "wait", None)) else None


def _function(method: Any) -> Any:
    return getattr(method, "__func__", None)
