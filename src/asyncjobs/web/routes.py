"""Marks views as background jobs, and gives each of their rules a poll route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from quart import Quart
from werkzeug.routing import BaseConverter, Map, Rule

from ..errors import SetupError
from ..handler import RouteSettings

View = Callable[..., Any]

_MARK = "_asyncjobs_background"
#: Appended to a view's endpoint. Without a dot, so that hooks of the view's blueprint guard polls.
POLL_SUFFIX = "__job"


class JobIdConverter(BaseConverter):
    """Matches ids of jobs and nothing else: `/foo/<name>` beside it keeps all other paths."""

    regex = "[0-9a-f]{32}"
    weight = 10


@dataclass(frozen=True, slots=True)
class Background:
    """What ``@jobs.background`` knows of a view.

    Attributes:
        view: what runs in the background.
        poll_route: whether its rules get poll routes.
        settings: as they were given to the decorator.
    """

    view: View
    poll_route: bool
    settings: RouteSettings


def mark(function: View, background: Background) -> None:
    """Remember with the decorated view what is to be done with it."""
    setattr(function, _MARK, background)


def background_of(function: View | None) -> Background | None:
    """The mark of a view; ``functools.wraps`` hands it on to decorators outside of ours."""
    return getattr(function, _MARK, None)


class PollRoutes:
    """Watches the rules of one app, those it has and those it will get.

    Args:
        inner: the views that were decorated; none of them should be routed itself.
        poll: the view of the poll routes.
        found: told of each endpoint whose view is marked, once.
    """

    def __init__(
        self,
        app: Quart,
        inner: set[View],
        poll: View,
        found: Callable[[str, Background], None],
    ) -> None:
        self._app = app
        self._inner = inner
        self._poll = poll
        self._found = found
        self._seen: set[int] = set()  # rules cannot be hashed; they live as long as the map
        self._endpoints: set[str] = set()
        self._add_url_rule = app.add_url_rule

    def install(self) -> None:
        """Add the poll routes now, and whenever the app gets a rule from now on.

        `before_serving` would be too late: a test client without a lifespan never runs it.
        """
        add_url_rule = self._app.add_url_rule

        @wraps(add_url_rule)
        def add_url_rule_and_poll_route(*args: Any, **kwargs: Any) -> None:
            add_url_rule(*args, **kwargs)
            self._scan()

        self._app.add_url_rule = add_url_rule_and_poll_route  # type: ignore[method-assign]
        self._scan()

    def _scan(self) -> None:
        url_map: Map = self._app.url_map
        for rule in [rule for rule in url_map.iter_rules() if id(rule) not in self._seen]:
            self._seen.add(id(rule))
            view = self._app.view_functions.get(rule.endpoint)
            if view in self._inner:
                raise SetupError(wrong_order(view))
            if (background := background_of(view)) is None:
                continue
            if rule.websocket:
                raise SetupError(
                    f"the websocket {rule.rule!r} cannot be a background job: those are requests"
                )
            self._add(rule, background)

    def _add(self, rule: Rule, background: Background) -> None:
        if rule.endpoint not in self._endpoints:
            self._endpoints.add(rule.endpoint)
            self._found(rule.endpoint, background)
        if background.poll_route:
            options: dict[str, Any] = {"host": rule.host} if self._app.url_map.host_matching else {}
            if rule.subdomain:
                options["subdomain"] = rule.subdomain
            self._add_url_rule(
                f"{rule.rule.rstrip('/')}/<asyncjobs_id:asyncjobs_id>",
                f"{rule.endpoint}{POLL_SUFFIX}",
                self._poll,
                methods=["GET", "DELETE"],
                **options,
            )


def wrong_order(view: View) -> str:
    """What to say when `view` is routed without the decorator that it has."""
    return (
        f"the view {view.__qualname__!r} is routed without its @jobs.background: put @app.route "
        "above it, as the outermost decorator, and @jobs.background below"
    )
