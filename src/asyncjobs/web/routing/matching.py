"""A job belongs to its endpoint, wherever the URL leads today: what was variable in it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from msgspec import UNSET
from quart import Quart, Request
from quart.routing import QuartRule
from werkzeug.routing import ValidationError

from ...errors import HandlerGone
from ...forms import is_plain
from ...given import printable
from ..context import Context
from ..quart_side import converters_of


def matched(app: Quart, request: Request) -> Context:
    """The part of the context that says what the URL of `request` has led to."""
    rule = request.url_rule
    if rule is None or not rule.arguments:
        return Context(view_args={})
    values = request.view_args or {}
    if any(app.url_value_preprocessors[name] for name in (None, *request.blueprints)):
        # They may have taken some away.
        adapter: Any = app.create_url_adapter(request)
        _, values = adapter.match()
    return known_of(app, rule, values)


def known_of(app: Quart, rule: QuartRule, values: Mapping[str, Any]) -> Context:
    """The same for a rule, and what it has matched."""
    return Context(
        rule=rule.rule if len(rules_of(app, rule.endpoint)) > 1 else "",
        view_args=_written(rule, values),
        defaults={name: value for name, value in (rule.defaults or {}).items() if is_plain(value)},
    )


def preprocess(app: Quart, request: Request, blueprints: Iterable[str]) -> None:
    """Call what looks at the arguments of the URL before any hook, and may take some away: the
    app's, and that of these blueprints."""
    for name in (None, *blueprints):
        for function in app.url_value_preprocessors[name]:
            function(request.endpoint, request.view_args)


def only_rule(app: Quart, endpoint: str, known: Context) -> QuartRule | None:
    """The rule that `lead_to` is bound to come to, with no variables, whatever the URL of the
    request leads to; None if there may be more to it."""
    rules = rules_of(app, endpoint)
    if len(rules) != 1 or rules[0].arguments or known.view_args != {} or known.defaults:
        return None
    return rules[0]


def lead_to(app: Quart, endpoint: str, request: Request, known: Context) -> None:
    """Have `request` lead to `endpoint` as it did when it came: by its own URL or, if that leads
    elsewhere by now, or means something else, with what is known of it.

    Raises:
        HandlerGone: the endpoint takes other variables by now.
    """
    own = request.url_rule
    if own is not None and own.endpoint == endpoint and _means(own, request.view_args, known):
        return
    rule = rule_of(app, endpoint, known, request.method)
    variables = {} if known.view_args is UNSET else known.view_args
    try:
        if not (
            converters_of(rule).keys() <= {*variables, *known.defaults}
            and variables.keys() <= rule.arguments
        ):
            raise ValidationError
        values = values_for(rule, known)
    except ValidationError:
        raise HandlerGone(
            f"{printable(request.method)} {printable(request.path)} does not lead to "
            f"{endpoint!r} any more, and {rule.rule!r}, which does, has other variables"
        ) from None
    request.url_rule, request.view_args, request.routing_exception = rule, values, None


def rules_of(app: Quart, endpoint: str) -> list[QuartRule]:
    """The rules of an endpoint that there need not be."""
    try:
        return [*app.url_map.iter_rules(endpoint)]  # type: ignore[list-item] # Quart has no others
    except KeyError:
        return []


def rule_of(app: Quart, endpoint: str, known: Context, method: str) -> QuartRule:
    """The rule of `endpoint` that a request has come by, or else that fits it best; one that is in
    no map if the app has none of it."""
    variables = set() if known.view_args is UNSET else known.view_args.keys()

    def distance(rule: QuartRule) -> tuple[bool, int, bool]:
        differ = len(converters_of(rule).keys() ^ variables)
        return rule.rule != known.rule, differ, method not in (rule.methods or [method])

    return min(rules_of(app, endpoint), key=distance, default=QuartRule("/", endpoint=endpoint))


def values_for(rule: QuartRule, known: Context) -> dict[str, Any]:
    """The arguments of a view from what is known of its URL; variables that `rule` does not have
    are left as they are.

    Raises:
        ValidationError: one is not as the rule has it.
    """
    values = {**(rule.defaults or {}), **known.defaults}
    for name, kept in ({} if known.view_args is UNSET else known.view_args).items():
        converter = converters_of(rule).get(name)
        if converter is None:
            values[name] = kept
        else:
            text = kept if isinstance(kept, str) else unquote(converter.to_url(kept))
            values[name] = converter.to_python(text)
    return values


def _means(rule: QuartRule, values: Mapping[str, Any] | None, known: Context) -> bool:
    """Whether a rule that matches is the one that has matched, with the same variables."""
    if known.view_args is UNSET:  # an older version has stored it
        return True
    return known.rule in ("", rule.rule) and _written(rule, values or {}) == known.view_args


def _written(rule: QuartRule, values: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a URL, numbers as such, and all else as it is written in there."""
    variables: dict[str, Any] = {}
    for name, converter in converters_of(rule).items():
        value = values.get(name)
        if type(value) in (int, float) and is_plain(value):
            variables[name] = value
        else:
            with suppress(Exception):  # a converter need not know the way back
                variables[name] = unquote(converter.to_url(value))
    return variables
