"""What can be decorated and routed, and would fail at each request: it is refused instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from typing import Any

from werkzeug.routing import Rule

from ...errors import SetupError
from ...given import shown
from .classes import METHODS, class_of
from .marks import View

#: What a view is called that has no name, as far as Quart is concerned.
NAMELESS = "asyncjobs_nameless"

_NO_JOBS = {"HEAD", "OPTIONS"}


def check_view(view: Any) -> None:
    """Refuse to decorate what is no view.

    Raises:
        SetupError
    """
    if inspect.iscoroutine(view):
        view.close()  # it is not awaited, and that is not what is wrong with it
        raise SetupError(
            f"@jobs.background decorates a view, not what it returns: {view.__qualname__!r} was "
            "called, name it without the brackets"
        )
    if not callable(view):
        raise SetupError(f"@jobs.background decorates a view, not {shown(view)}")
    if inspect.isclass(view):
        raise SetupError(
            f"@jobs.background decorates a view, not a class: give {view.__qualname__!r} the "
            "attribute decorators = [jobs.background], and route its as_view(...)"
        )


def check_rule(rule: Rule, routed: View, view: View) -> None:
    """Refuse a rule that leads to a marked view.

    Args:
        routed: what the app has for the rule's endpoint.
        view: what was decorated.

    Raises:
        SetupError
    """
    if rule.websocket:
        raise SetupError(no_websocket(rule, view))
    outside = takewhile(lambda layer: layer != view, layers(routed))
    if any(inspect.ismethod(layer) for layer in outside):
        raise SetupError(
            f"{name_of(view)!r} was decorated as a function and is routed as a method, so that a "
            "job would have no `self`: decorate the method of the object, jobs.background(object."
            f"{name_of(view).rpartition('.')[2]})"
        )
    if str(rule.endpoint).rpartition(".")[2] == NAMELESS:
        raise SetupError(
            f"{shown(view)} has no name that its jobs could be stored under: route it with "
            "endpoint="
        )
    methods = {"GET", *_NO_JOBS} if rule.methods is None else rule.methods
    automatic = getattr(rule, "provide_automatic_options", False)
    if "OPTIONS" in methods and not (automatic or _answers_options_above(routed, view)):
        raise SetupError(
            f"OPTIONS on {rule.rule!r} cannot be a background job: take it out of the methods of "
            f"{name_of(view)!r}, and Quart answers it; or route it to a view of its own. A "
            "decorator that answers it, as route_cors does, belongs above @jobs.background"
        )
    if methods <= _NO_JOBS:
        raise SetupError(
            f"no request to {rule.rule!r} would ever be a job, as HEAD and OPTIONS start none: "
            f"give {name_of(view)!r} another method, such as GET or POST"
        )


def check_class(routed: View, is_marked: Callable[[Any], bool]) -> None:
    """Refuse a class-based view of which a method is marked.

    Raises:
        SetupError
    """
    view_class = class_of(routed)
    for name in METHODS:
        if view_class is not None and is_marked(getattr(view_class, name, None)):
            raise SetupError(
                f"@jobs.background is on the method {view_class.__qualname__}.{name}, and has no "
                "request's view there: take it off, and give the class the attribute decorators = "
                "[jobs.background]; a method that shall answer at once goes into a class of its own"
            )


def _answers_options_above(routed: View, view: View) -> bool:
    """Whether a decorator between the two tells Quart to leave OPTIONS to it."""
    told = "provide_automatic_options"
    return getattr(routed, told, None) is False and getattr(view, told, None) is not False


def no_websocket(rule: Rule, view: View) -> str:
    """What to say of a websocket."""
    return (
        f"the websocket {rule.rule!r} cannot be a background job: those are requests. Take "
        f"@jobs.background off {name_of(view)!r}"
    )


def hidden_mark(rule: Rule, view: View) -> str:
    """What to say of a rule whose view calls a marked one, and does not show it."""
    return (
        f"the view of {rule.rule!r} does not show that it is the background job {name_of(view)!r}: "
        "use functools.wraps in each decorator that stands above @jobs.background"
    )


def closed_over(function: Any) -> Iterator[Any]:
    """What a function has from the one that it was made in, as the wrapper of a decorator has the
    function that it wraps, or what an object has in its place."""
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # one that is empty still
            yield cell.cell_contents
    if not inspect.isroutine(function):
        yield from getattr(function, "__dict__", {}).values()


def layers(function: Any) -> Iterator[Any]:
    """A function, what it wraps by ``functools.wraps``, and so on."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def name_of(view: Any) -> str:
    """What to call a view in a message; a partial, for one, has no name, and what `as_view` makes
    has one that nobody has given it."""
    view = class_of(view) or view
    return str(getattr(view, "__qualname__", None) or shown(view))
