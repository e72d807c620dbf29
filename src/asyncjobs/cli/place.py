"""Which store a command is about."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

from ..errors import AsyncJobsError
from .exits import Exit, Failure

VARIABLE = "QUART_JOBS_STORE"
_WAYS = (
    "say where the jobs are: --store sqlite:////srv/app/jobs.db, or --app module:app for the store "
    f"of an app, or the variable {VARIABLE} in the environment"
)


def at_a_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name a store, and itself that store, as `place`."""

    @click.option("--store", metavar="URL", help=f"The store. Else that of ${VARIABLE}.")
    @click.option(
        "--app",
        metavar="MODULE:APP",
        help="An app, or a Jobs, whose store it is. It is imported, and not started.",
    )
    @wraps(command)
    def placed(*args: Any, store: str | None, app: str | None, **options: Any) -> Any:
        return command(*args, place=place_of_store(store, app), **options)

    return placed


def place_of_store(store: str | None, app: str | None) -> str | Path:
    """The URL of the store that is meant, or the path of its file.

    Raises:
        click.UsageError: none is, or two are.
        Failure: the app has none.
    """
    if store is not None and app is not None:
        raise click.UsageError("--store and --app both name a store: leave out one of them")
    if app is not None:
        return _place_in(app)
    if store is not None:  # also an empty one, of a variable that is not set: no other is meant
        return store
    named = os.environ.get(VARIABLE)
    if not named:
        raise click.UsageError(f"{_WAYS}{_hint()}")
    return named


def _hint() -> str:
    """What somebody has probably meant."""
    for path in ("jobs.db", "instance/jobs.db"):
        if os.path.isfile(path):
            return f". There is {path} here: --store sqlite:///{path}"
    return ""


def _place_in(written: str) -> str | Path:
    """The place of the store of an app or of a `Jobs`, which is imported, and asked for that."""
    from quart import Quart

    from ..jobs import DEFAULT_STORE, Jobs
    from ..stores import place_of
    from ..web import QuartJobs, store_of

    found = _imported(written)
    try:
        if isinstance(found, Quart):
            return store_of(found)
        if isinstance(found, Jobs):
            setting = found.settings.store
            return place_of(DEFAULT_STORE if setting is None else setting)
    except AsyncJobsError as error:
        raise Failure(Exit.USAGE, f"--app {written}: {error}") from None
    hint = "name the store with --store"
    if isinstance(found, QuartJobs):
        hint = "name its app"
    elif callable(found) and not written.endswith("()"):
        hint = f"if it makes one, write '{written}()'"
    raise Failure(
        Exit.USAGE,
        f"--app {written} is a {type(found).__qualname__}, and no Quart app and no Jobs: {hint}",
    )


def _imported(written: str) -> Any:
    """What `module:name` stands for, or what it makes if it ends in ``()``."""
    sys.path.insert(0, os.getcwd())  # as servers do
    module, _, name = written.partition(":")
    if not module or not name:
        raise click.UsageError(f"--app {written} must be a module and a name in it: module:app")
    try:
        with redirect_stdout(sys.stderr):  # what it prints is none of our lines
            found = resolve_name(written.removesuffix("()"))
            return found() if written.endswith("()") else found
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        raise Failure(Exit.USAGE, f"--app {written} cannot be imported: {said}") from None
