"""Whether a process takes jobs, and how those do that it runs."""

from __future__ import annotations

from dataclasses import dataclass

from .engine import Engine
from .errors import StoreUnavailable
from .running.runner import Runner
from .running.threads import Threads, ThreadsInUse
from .store import Store


@dataclass(frozen=True, slots=True)
class Health:
    """How the jobs of this process do.

    Attributes:
        accepting: whether this process takes new jobs, and will be able to run them.
        reason: why it does not, in words for clients; or, if it does, what was lost before this
            process started.
        running: how many jobs run in this process.
        abandoned: how many async handlers still run although their job has ended: they did not
            stop when they were told to.
        threads: how the threads for sync handlers do.
    """

    accepting: bool
    reason: str | None
    running: int
    abandoned: int
    threads: ThreadsInUse


async def health_of(store: Store, engine: Engine, runner: Runner, threads: Threads) -> Health:
    """How these do, which belong together."""
    reason = threads.trouble
    warning = None
    if engine.is_draining:
        reason = "the server is stopping"
    else:
        try:
            warning = await store.health()
        except StoreUnavailable as error:
            reason = str(error)
    return Health(
        accepting=reason is None,
        reason=reason or warning,
        running=runner.running,
        abandoned=runner.abandoned,
        threads=threads.in_use,
    )
