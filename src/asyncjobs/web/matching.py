"""A job belongs to its endpoint, wherever the URL leads today: what was variable in it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from quart import Quart, Request
from quart.routing import QuartRule
from werkzeug.routing import ValidationError

from ..errors import HandlerGone
from ..given import printable


def variables_of(app: Quart, request: Request) -> dict[str, str]:
    """The variable parts of the request's URL, as they are written in it."""
    rule = request.url_rule
    if rule is None or not rule.arguments:
        return {}
    values = request.view_args or {}
    if any(app.url_value_preprocessors[name] for name in (None, *request.blueprints)):
        # They may have taken some away.
        adapter: Any = app.create_url_adapter(request)
        _, values = adapter.match()
    variables = {}
    for name, converter in rule._converters.items():
        with suppress(Exception):  # a converter need not know the way back
            variables[name] = unquote(converter.to_url(values[name]))
    return variables


def lead_to(app: Quart, endpoint: str, request: Request, variables: Mapping[str, str]) -> None:
    """Have `request` lead to `endpoint`: by its own URL or, if that leads elsewhere by now, or
    nowhere, with the variables that it had when it came.

    Raises:
        HandlerGone: the endpoint takes other variables by now.
    """
    if request.url_rule is not None and request.url_rule.endpoint == endpoint:
        return
    rule = rule_of(app, endpoint, variables, request.method)
    try:
        if not rule._converters.keys() <= variables.keys():
            raise ValidationError
        values = values_for(rule, variables)
    except ValidationError:
        raise HandlerGone(
            f"{printable(request.method)} {printable(request.path)} does not lead to "
            f"{endpoint!r} any more, and {rule.rule!r}, which does, has other variables"
        ) from None
    request.url_rule, request.view_args, request.routing_exception = rule, values, None


def is_fixed(app: Quart, endpoint: str, path: str) -> bool:
    """Whether the path is that of a rule of `endpoint`, to the letter: it has no variables."""
    rules: Any = app.url_map._rules_by_endpoint.get(endpoint, ())
    return any(rule.rule == path and not rule.arguments for rule in rules)


def rule_of(app: Quart, endpoint: str, variables: Mapping[str, str], method: str) -> QuartRule:
    """The rule of `endpoint` that fits best; one that is in no map if the app has none of it."""

    def distance(rule: QuartRule) -> tuple[int, bool]:
        differ = rule._converters.keys() ^ variables.keys()
        return len(differ), rule.methods is not None and method not in rule.methods

    rules: Any = app.url_map._rules_by_endpoint.get(endpoint)
    return min(rules, key=distance) if rules else QuartRule("/", endpoint=endpoint)


def values_for(rule: QuartRule, variables: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a view from the variables of its URL; those that `rule` does not have are
    left as they are.

    Raises:
        ValidationError: one is not as the rule has it.
    """
    values = dict(rule.defaults or {})
    for name, text in variables.items():
        converter = rule._converters.get(name)
        values[name] = text if converter is None else converter.to_python(text)
    return values
