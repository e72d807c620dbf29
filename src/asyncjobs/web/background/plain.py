"""A plain result as the stored response that Quart would make of it, without one of Quart's, which
nobody would see."""

from __future__ import annotations

from typing import Any

import quart
from quart import Quart
from quart.json.provider import DefaultJSONProvider

from ...job import Response
from ..http.body import OverLimit

_MIMETYPE = "application/json"
_HEADERS = ((b"content-type", _MIMETYPE.encode()),)
# As they are before anybody puts something else into their place, in the class or in an app.
_MAKE_RESPONSE = Quart.make_response
_RESPONSE = DefaultJSONProvider.response


def is_plain(app: Quart, result: Any) -> bool:
    """Whether all that the app makes of `result` is JSON, by Quart's own code."""
    return (
        (type(result) is dict or type(result) is list)
        and _function(app.make_response) is _MAKE_RESPONSE
        and _function(app.json.response) is _RESPONSE
        and app.json.mimetype == _MIMETYPE  # type: ignore[attr-defined] # its class has it
        and app.response_class is quart.Response
    )


def response_of(app: Quart, result: Any, limit: int) -> Response:
    """The response to a result that is plain.

    Raises:
        OverLimit: its body has more bytes than that.
        Exception: it is no JSON.
    """
    provider: Any = app.json
    is_spread = app.debug if provider.compact is None else provider.compact is False
    form: dict[str, Any] = {"indent": 2} if is_spread else {"separators": (",", ":")}
    body = f"{provider.dumps(result, **form)}\n".encode()
    if len(body) > limit:
        raise OverLimit
    return Response(quart.Response.default_status, _HEADERS, body)


def _function(method: Any) -> Any:
    return getattr(method, "__func__", None)
