"""A ``Host`` that nothing can be made of: the app's own 400 (RFC 9112, section 3.2).

Quart binds its routes to the host before there is a request that an error handler could answer for,
so that ``a..b``, or a name with more than 63 letters in a part, would be a 500 of the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from quart import Quart
from werkzeug.exceptions import HTTPException

from ..around import around


def answer_bad_hosts(app: Quart) -> None:
    """Have the routes of `app` match nothing for such a host, by an exception that it handles."""

    def create_url_adapter(create: Callable[[Any], Any], request: Any) -> Any:
        try:
            return create(request)
        except HTTPException as error:
            adapter = app.url_map.bind("", request.root_path, url_scheme=request.scheme)
            adapter.match = partial(_refuse, error)  # type: ignore[method-assign]
            return adapter

    around(app, "create_url_adapter", create_url_adapter)


def _refuse(error: HTTPException, *args: Any, **kwargs: Any) -> NoReturn:
    raise error
