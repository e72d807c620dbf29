"""What differs between Quart 0.22 and 0.23, where methods take the context; and a look inside."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import quart
from quart import Quart, Request, Response
from quart.sessions import SessionMixin
from quart.typing import ResponseReturnValue
from quart.utils import run_sync_iterable
from quart.wrappers.request import Body
from werkzeug.exceptions import HTTPException

from ..given import printable

_TAKES_CONTEXT = "ctx" in inspect.signature(Quart.handle_user_exception).parameters
_RUN_SYNC_ITERABLE = getattr(run_sync_iterable(iter(())), "ag_code", None)


def current_request() -> Request:
    """The request that is being handled, itself: its proxy costs something at each attribute."""
    proxy: Any = quart.request
    request: Request = proxy._get_current_object()
    return request


def scope_of(request: Request) -> dict[str, Any]:
    """The ASGI scope of a request, where what we know of it is kept."""
    scope: Any = request.scope
    plain: dict[str, Any] = scope
    return plain


def current_context() -> Any:
    """The context of the request that is being handled."""
    if _TAKES_CONTEXT:
        from quart.globals import _cv_app

        return _cv_app.get()
    return None


def set_session(context: Any, session: SessionMixin) -> None:
    """Have `session` be the one of a request's context."""
    setattr(context, "_session" if _TAKES_CONTEXT else "session", session)


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
