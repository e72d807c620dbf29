"""Gives each rule of a marked view its poll route, and checks that all routes get along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from quart import Quart
from werkzeug.routing import BaseConverter, Map, Rule

from ...errors import SetupError
from ..around import around
from .collisions import ID, collisions
from .marks import Background, View, background_of, poll_endpoint, poll_rule, polled_at
from .refusals import (
    check_class,
    check_rule,
    closed_over,
    hidden_mark,
    layers,
    name_of,
    no_websocket,
)

#: What comes after the prefix, for the routes of ours that are about one job.
OF_JOB = "/<asyncjobs_id:job_id>"
#: The host and the subdomain that a rule is for.
Domain = tuple[str | None, str | None]

# What the decorator `rate_exempt` of quart-rate-limiter sets: to poll is what we ask clients to do.
_RATE_EXEMPT = "_quart_rate_limiter_exempt"


class JobIdConverter(BaseConverter):
    """Matches ids of jobs and nothing else: a `/<path:page>` further up keeps all other paths."""

    regex = "[0-9a-f]{32}"
    weight = 10


@dataclass(frozen=True, slots=True)
class Decorated:
    """What one `QuartJobs` has decorated, whatever apps that is for.

    Attributes:
        routed: those that a rule of an app leads to.
    """

    all: list[Background] = field(default_factory=list)
    routed: set[Background] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """A route of ours that is no view's.

    Attributes:
        path: comes after the prefix.
        is_polled: whether it is where clients are told to ask again and again.
    """

    path: str
    endpoint: str
    view: View
    methods: Sequence[str]
    is_polled: bool = True


class PollRoutes:
    """Watches the rules of one app, those it has and those it will get.

    Args:
        decorated: none of these views should be routed without its decorator.
        poll: the view of the poll routes.
        own: the routes of ours that each host and subdomain has that a job may be made at.
        found: told of each endpoint whose view is marked, once.
    """

    def __init__(
        self,
        app: Quart,
        decorated: Decorated,
        poll: View,
        own: Sequence[OwnRoute],
        found: Callable[[str, Background], None],
    ) -> None:
        self._app = app
        self._decorated = decorated
        self._poll = poll
        self._own = own
        self._found = found
        self._seen: set[int] = set()  # rules cannot be hashed; they live as long as the map
        self._endpoints: set[str] = set()
        # The endpoints of our own rules, under the prefix and below the views'.
        self._own_endpoints = {route.endpoint for route in own}
        self._poll_endpoints: set[str] = set()
        self._domains: set[Domain] = set()
        self._prefix: str | None = None
        self._prefixed: set[tuple[str, Domain]] = set()
        self._add_url_rule = app.add_url_rule

    def install(self) -> None:
        """Add the poll routes now, and whenever the app gets a rule from now on.

        `before_serving` would be too late: a test client without a lifespan never runs it.
        """
        around(self._app, "add_url_rule", self._add_url_rule_and_poll_route)
        self._scan()

    def complete(self, prefix: str) -> None:
        """Add the routes under the prefix, and check them all: nothing of the app is missing now.

        Raises:
            SetupError: two routes would take requests from each other, a view was decorated in the
                wrong order, or a method of a class.
        """
        self._prefix = prefix
        self._scan()  # views that have come after their rules, or were exchanged
        if not self._app.url_map.host_matching:
            self._domains.add((None, self._app.url_map.default_subdomain))
        for domain in sorted(self._domains, key=str):
            self._add_own(prefix, domain)
        for view in self._app.view_functions.values():
            check_class(view, lambda method: background_of(method) is not None)
        self._check_order()
        self._check_collisions()

    def _add_url_rule_and_poll_route(
        self, add_url_rule: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        add_url_rule(*args, **kwargs)
        self._scan()
        if self._prefix is not None:
            self.complete(self._prefix)

    def _scan(self) -> None:
        url_map: Map = self._app.url_map
        for rule in [rule for rule in url_map.iter_rules() if id(rule) not in self._seen]:
            routed = self._app.view_functions.get(rule.endpoint)
            if routed is not None and (background := background_of(routed)) is not None:
                check_rule(rule, routed, background.view)
                self._add(rule, background)
                self._seen.add(id(rule))

    def _add(self, rule: Rule, background: Background) -> None:
        self._decorated.routed.add(background)
        if rule.endpoint not in self._endpoints:
            self._endpoints.add(rule.endpoint)
            self._found(rule.endpoint, background)
        if rule.build_only:
            return
        domain = (rule.host if self._app.url_map.host_matching else None, rule.subdomain)
        self._domains.add(domain)
        if background.poll_route:
            endpoint = poll_endpoint(rule.endpoint)
            self._poll_endpoints.add(endpoint)
            _exempt(self._poll)
            self._add_ours(poll_rule(rule.rule), endpoint, self._poll, ("GET", "DELETE"), domain)

    def _add_own(self, prefix: str, domain: Domain) -> None:
        if (prefix, domain) in self._prefixed:
            return
        for route in self._own:
            if route.is_polled:
                _exempt(route.view)
            path = f"{prefix}{route.path}"
            self._add_ours(path, route.endpoint, route.view, route.methods, domain)
        self._prefixed.add((prefix, domain))

    def _add_ours(
        self, path: str, endpoint: str, view: View, methods: Sequence[str], domain: Domain
    ) -> None:
        host, subdomain = domain
        options: dict[str, Any]
        options = {"host": host} if self._app.url_map.host_matching else {"subdomain": subdomain}
        try:
            self._add_url_rule(path, endpoint, view, methods=[*methods], **options)
        except (AssertionError, SyntaxError, ValueError) as error:
            raise SetupError(
                f"the route {path!r} of asyncjobs cannot be added: {error}. Give what the app has "
                "of that name another one"
            ) from error

    def _check_order(self) -> None:
        views = self._app.view_functions
        plain = [
            (rule, views[rule.endpoint])
            for rule in self._app.url_map.iter_rules()
            if rule.endpoint in views and background_of(views[rule.endpoint]) is None
        ]
        for background in self._decorated.all:
            # One that is routed may be routed plainly beside it.
            if background in self._decorated.routed:
                continue
            inside = [*layers(background.view)]
            for rule, view in plain:
                if view in inside:
                    raise SetupError(wrong_order(rule, background.view))
                if any(background_of(inner) is background for inner in closed_over(view)):
                    raise SetupError(hidden_mark(rule, background.view))

    def _check_collisions(self) -> None:
        url_map: Map = self._app.url_map
        rules = [*url_map.iter_rules()]
        own = [rule for rule in rules if rule.endpoint in self._own_endpoints]
        polls = [rule for rule in rules if rule.endpoint in self._poll_endpoints]
        ours = self._own_endpoints | self._poll_endpoints
        rest = [rule for rule in rules if rule.endpoint not in ours]
        for our, other in collisions(own, [*rest, *polls]):
            raise SetupError(
                f"{_both(our, other)}: give those of asyncjobs another place, "
                'QuartJobs(prefix="/tasks"), or QUART_JOBS_PREFIX in the configuration'
            )
        for our, other in collisions(polls, rest):
            raise SetupError(
                f"{_both(our, other)}: take the poll route of {_view_of(our)!r} away, "
                "@jobs.background(poll_route=False), and its results are at "
                f"{self._prefix}/<id>/result"
            )


def wrong_order(rule: Rule, view: View) -> str:
    """What to say when `view` is routed without the decorator that it has."""
    if rule.websocket:
        return no_websocket(rule, view)
    return (
        f"the view {name_of(view)!r} is routed without its @jobs.background: put @app.route "
        "above it, as the outermost decorator, and @jobs.background below"
    )


def _exempt(view: View) -> None:
    setattr(getattr(view, "__func__", view), _RATE_EXEMPT, True)


def _both(our: Rule, other: Rule) -> str:
    said = (
        f"the routes {_shown(other)} and {_shown(our)}, which asyncjobs has added, would take "
        "requests from each other"
    )
    if ID.search(our.rule) is None:
        return said
    return f"{said}, where a part of the path looks like the id of a job"


def _view_of(poll: Rule) -> str:
    return polled_at(poll.endpoint)


def _shown(rule: Rule) -> str:
    methods = ", ".join(sorted((rule.methods or {"*"}) - {"HEAD", "OPTIONS"}))
    where = rule.host or rule.subdomain
    at = f" at {where!r}" if where else ""
    return f"{methods} {ID.sub('<id>', rule.rule)!r}{at} ({rule.endpoint!r})"
