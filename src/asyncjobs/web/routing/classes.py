"""Class-based views: an app has a function in the place of one, which knows its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart.views import MethodView, http_method_funcs

#: The methods of any class that a request may be handed to.
METHODS = ("dispatch_request", *sorted(http_method_funcs))


def class_of(routed: Any) -> type[Any] | None:
    """The class of what `View.as_view` has made; None for any other view."""
    return getattr(routed, "view_class", None)


def methods_of(view_class: type[Any]) -> list[Callable[..., Any]]:
    """What may be called for the requests to a class."""
    names = METHODS if issubclass(view_class, MethodView) else METHODS[:1]
    return [getattr(view_class, name) for name in names if hasattr(view_class, name)]


def method_for(view_class: type[Any], method: str) -> Callable[..., Any]:
    """What has the parameters that a request of this HTTP method is answered with."""
    found = None
    if issubclass(view_class, MethodView):
        found = getattr(view_class, method.lower(), None)
    answering: Callable[..., Any] = found or view_class.dispatch_request
    return answering
