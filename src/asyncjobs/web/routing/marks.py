"""The marks that ``@jobs.background`` leaves on views, and the names of what comes from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quart import Quart

from ...handler import RouteSettings

View = Callable[..., Any]

#: The endpoints that every job has an URL of.
JOB_ENDPOINTS = STATUS_ENDPOINT, RESULT_ENDPOINT = "asyncjobs_status", "asyncjobs_result"
#: The endpoints of the list of jobs, and of the URL that has one retried.
LIST_ENDPOINT, RETRY_ENDPOINT = "asyncjobs_list", "asyncjobs_retry"

_MARK = "_asyncjobs_background"
# Without a dot, so that hooks of the view's blueprint guard polls.
_POLL_SUFFIX = "__job"


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What ``@jobs.background`` knows of a view.

    Attributes:
        view: what runs in the background.
        poll_route: whether its rules get poll routes.
        is_held: whether a submission is answered with the result, if that is soon there, unless its
            client prefers something else.
        key: tells the key of the current request, which makes repeats of it the same job.
        settings: as they were given to the decorator.
    """

    view: View
    poll_route: bool
    is_held: bool
    key: View | None
    settings: RouteSettings


def mark(function: View, background: Background) -> None:
    """Remember with the decorated view what is to be done with it."""
    setattr(function, _MARK, background)


def background_of(function: View | None) -> Background | None:
    """The mark of a view; ``functools.wraps`` hands it on to decorators outside of ours."""
    return getattr(function, _MARK, None)


def background_at(app: Quart, endpoint: str | None) -> Background | None:
    """The mark of the view that an endpoint of `app` has, if it has one, and that is marked."""
    return background_of(app.view_functions.get(endpoint or ""))


def poll_endpoint(endpoint: str) -> str:
    """The endpoint of the poll routes of a view's endpoint."""
    return f"{endpoint}{_POLL_SUFFIX}"


def poll_rule(rule: str) -> str:
    """The rule of the poll route below a view's rule."""
    return f"{rule.rstrip('/')}/<asyncjobs_id:asyncjobs_id>"


def polled_at(endpoint: str) -> str:
    """The endpoint of the view whose poll routes have `endpoint`; empty if it is none of those."""
    return endpoint.removesuffix(_POLL_SUFFIX) if endpoint.endswith(_POLL_SUFFIX) else ""
