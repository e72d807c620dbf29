"""Has the documents of an app tell of jobs, where it has quart-schema; else nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Quart

from ..around import around

_EXTENSION = "QUART_SCHEMA"


def describe_jobs(
    app: Quart, complete_routes: Callable[[], None], max_wait: Callable[[], float]
) -> None:
    """Have the documents of `app` tell of its jobs, whether it has quart-schema, will, or never.

    Args:
        complete_routes: sees to it that no route of ours is missing.
        max_wait: tells the most seconds that clients can wait for a job.
    """
    described: list[Any] = []

    def describe() -> None:
        provider = getattr(app.extensions.get(_EXTENSION), "openapi_provider", None)
        if provider is not None and provider not in described:
            described.append(provider)
            _describe(app, provider, complete_routes, max_wait)

    def add_command_and_describe(
        add_command: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        add_command(*args, **kwargs)
        describe()

    describe()
    # The last thing that quart-schema does to an app is that it adds its command.
    around(app.cli, "add_command", add_command_and_describe)


def _describe(
    app: Quart,
    provider: Any,
    complete_routes: Callable[[], None],
    max_wait: Callable[[], float],
) -> None:
    from .answers import Part
    from .description import add_jobs, with_converters

    def schema_with_jobs(schema: Callable[[], Part]) -> Part:
        complete_routes()
        document = schema()
        add_jobs(app, provider, document, max_wait())
        return document

    around(provider, "generate_rules", with_converters)
    around(provider, "schema", schema_with_jobs)
