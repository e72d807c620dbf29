"""Which jobs a command is about: the options that stand for a `Listing`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from functools import wraps
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..given import number, shown, text
from ..job import State
from ..listing import Cursor, Listing
from ..owner import ANYONE

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _states(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> frozenset[State] | None:
    value = tuple(name.lower() for name in value)
    for name in value:
        if name not in list(State):
            near = get_close_matches(name, list(State))
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(State)}"
            raise click.BadParameter(f"there is no state {shown(name)}: {hint}")
    return frozenset(map(State, value)) or None


def _routes(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(text("a route", route) for route in value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _complete_state(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [state for state in State if state.startswith(incomplete)]


def _complete_route(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from .completion import routes_for

    return routes_for(ctx, incomplete)


def since(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time in seconds since the epoch: RFC 3339, or so long ago."""
    if value is None:
        return None
    with suppress(ValueError):
        if (ago := _AGO.fullmatch(value)) is not None:
            return number("a time", time.time() - float(ago[1]) * _SECONDS[ago[2]])
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.timestamp()
    raise click.BadParameter(
        f"{shown(value)} is no time: write 2026-11-22T09:00:00Z, or 90s, 15m, 2h, 3d or 1w for so "
        "long ago"
    )


def cursor(ctx: click.Context, param: click.Parameter, value: str | None) -> Cursor | None:
    """Where a page has ended."""
    try:
        return None if value is None else Cursor.from_text(value)
    except ValueError:
        raise click.BadParameter(
            f"{shown(value)} is no cursor: give what the last page has ended with"
        ) from None


of_routes = click.option(
    "--route",
    "routes",
    metavar="ROUTE",
    multiple=True,
    callback=_routes,
    shell_complete=_complete_route,
    help="Of this route: an endpoint, or the name of a function.",
)
_OPTIONS = [
    click.option(
        "--state",
        "states",
        metavar="STATE",
        multiple=True,
        callback=_states,
        shell_complete=_complete_state,
        help=f"In this state: {', '.join(State)}.",
    ),
    of_routes,
    click.option("--owner", metavar="OWNER", help="Of this owner."),
    click.option("--nobody", is_flag=True, help="Of no owner."),
    click.option("--program", metavar="NAME", help="Of this program, or of anybody."),
    click.option(
        "--since",
        metavar="TIME",
        callback=since,
        help="Made since then: 2026-11-22T09:00:00Z, or 90s, 15m, 2h, 3d, 1w ago.",
    ),
]


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that filter, and itself what they stand for, as `listing`."""

    @wraps(command)
    def listing(*args: Any, **options: Any) -> Any:
        names = ("states", "routes", "owner", "nobody", "program", "since")
        asked = _listing(**{name: options.pop(name) for name in names})
        return command(*args, listing=asked, **options)

    for option in reversed(_OPTIONS):
        listing = option(listing)
    return listing


def _listing(
    states: frozenset[State] | None,
    routes: tuple[str, ...],
    owner: str | None,
    nobody: bool,
    program: str | None,
    since: float | None,
) -> Listing:
    if nobody and owner is not None:
        raise click.UsageError("--nobody and --owner leave no job: leave out one of them")
    try:
        return Listing(
            owner=None if nobody else ANYONE if owner is None else owner,
            program=program,
            states=states,
            routes=frozenset(routes) or None,
            since=since,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
