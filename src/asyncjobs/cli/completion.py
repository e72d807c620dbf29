"""What a TAB completes of what is in the store: quickly, or nothing, and without a word."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from shlex import quote

import click
from click.shell_completion import CompletionItem

from ..given import printable
from ..job import Job
from ..listing import Listing
from ..store import Store
from ..stores import open_to_look
from .place import VARIABLE
from .routes import known_routes

#: So many are offered at most.
_OFFERED = 20


def jobs_for(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """The newest jobs, or those whose ids begin so."""

    async def ask(store: Store) -> list[CompletionItem]:
        if not begun:
            jobs: Iterable[Job] = (await store.list(Listing(limit=_OFFERED))).jobs
        else:
            jobs = [await store.get(job_id) for job_id in await store.ids(begun, _OFFERED)]
        return [CompletionItem(job.id, help=printable(f"{job.state} {job.route}")) for job in jobs]

    return _asked(ctx, ask)


def routes_for(ctx: click.Context, begun: str) -> list[CompletionItem]:
    """The routes that begin so, of the newest jobs and of the servers that run."""

    async def ask(store: Store) -> list[CompletionItem]:
        known = await known_routes(store)
        return [
            CompletionItem(route)
            for route in sorted(known)
            if route.startswith(begun) and quote(route) == route  # else a shell would take it apart
        ]

    return _asked(ctx, ask)


def _asked(
    ctx: click.Context, ask: Callable[[Store], Awaitable[list[CompletionItem]]]
) -> list[CompletionItem]:
    """An app is not imported for that, as nobody knows how long it takes, and what it prints."""
    url = ctx.params.get("store") or os.environ.get(VARIABLE)
    if not url or ctx.params.get("app"):
        return []

    async def look() -> list[CompletionItem]:
        async with open_to_look(url) as store:
            return await ask(store)

    try:
        return asyncio.run(look())
    except Exception:  # a shell has no place for what went wrong
        return []
