"""`asyncjobs watch`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import click

from ..errors import StoreUnavailable
from ..hints import Hint
from ..job import State
from ..store import Store
from .bars import Bars, Lines, Screen
from .exits import Exit
from .filters import of_routes
from .guest import Guest, visit
from .ids import complete_id, maybe_id, whole_id
from .looks import as_json, can_draw, say
from .place import at_a_store
from .prospects import waits_for
from .routes import tell_of_strange
from .seen import Seen

#: Seconds between two looks at many jobs, at least: as often as anybody can follow.
_OFTEN = 0.2
#: Seconds after which there is a look, whether there was a hint or not.
_SELDOM = 1.0

#: Looks once, and says what to end with, if that is now.
_Look = Callable[[], Awaitable[Exit | None]]


@click.command()
@click.argument(
    "job_id", metavar="[ID]", required=False, callback=maybe_id, shell_complete=complete_id
)
@of_routes
@as_json
@at_a_store
def watch(place: str | Path, job_id: str | None, routes: tuple[str, ...], as_json: bool) -> None:
    """Watch jobs while they run, with their progress.

    On a terminal there is a bar for each job that runs, and a line for each that has ended;
    elsewhere a line for each change. With the id of a job it ends when the job does: with 0 if the
    job has succeeded, else with 1. Without, Ctrl-C ends it. Servers may stop and start
    meanwhile.

    \b
    asyncjobs watch
    asyncjobs watch --route report
    asyncjobs watch 6dbac2da && echo done
    """
    if job_id is not None and routes:
        raise click.UsageError("give the id of a job or --route, and not both")

    async def ask(guest: Guest) -> Exit:
        if can_draw() and not as_json:
            screen: Screen = Bars(guest.store, waiting=job_id is not None)
        else:
            screen = Lines(guest.store, as_json=as_json)
        with screen:
            if job_id is None:
                await tell_of_strange(guest.store, routes)
                return await _look_again(
                    guest.store, _all(guest.store, screen, frozenset(routes) or None), _OFTEN
                )
            whole = await whole_id(guest.store, job_id)
            return await _look_again(guest.store, _one(guest.store, screen, whole), 0.0)

    if code := visit(place, ask):
        raise SystemExit(code)


def _one(store: Store, screen: Screen, job_id: str) -> _Look:
    version: int | None = None

    async def look() -> Exit | None:
        nonlocal version
        job = await store.get(job_id)
        if job.version != version:
            await screen.changed(job)
            if version is None and (waits := await waits_for(store, job)):
                say(f"{job_id}\t{waits}", err=True)
            version = job.version
        if not job.state.is_final:
            return None
        return Exit.OK if job.state is State.SUCCEEDED else Exit.JOB_FAILED

    return look


def _all(store: Store, screen: Screen, routes: frozenset[str] | None) -> _Look:
    seen = Seen(store, routes)

    async def look() -> None:
        for job in await seen.changes():
            await screen.changed(job)
            await asyncio.sleep(0)  # a store that is only read never waits: Ctrl-C is heard so

    return look


async def _look_again(store: Store, look: _Look, rest: float) -> Exit:
    """Look whenever there may be news, until a look says what to end with.

    Args:
        rest: seconds between two looks, at least.
    """
    hints, said = store.changes(), False
    heard = asyncio.ensure_future(_next(hints))
    try:
        while True:
            try:
                if (code := await look()) is not None:
                    return code
                said = False
            except StoreUnavailable as error:
                if not said:
                    say(f"the store cannot be read just now: {error}", err=True)
                said = True
            await asyncio.sleep(rest)
            await asyncio.wait([heard], timeout=_SELDOM)
            if heard.done():
                heard = asyncio.ensure_future(_next(hints))
    finally:
        heard.cancel()


async def _next(hints: AsyncIterator[Hint]) -> Hint:
    return await anext(hints)
