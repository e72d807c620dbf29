"""What `Jobs` have while they are open, and which are open in this process."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from contextlib import AsyncExitStack
from typing import Protocol

from .backlog import Backlog
from .control import Control
from .engine import Engine
from .firsts import Firsts
from .hints import Overruled, Queued
from .program import ProgramStore
from .running.claims import Claims
from .running.runner import Runner
from .running.sweeper import Sweeper
from .watch import Watch

logger = logging.getLogger("asyncjobs")


class Opened:
    """The parts, in the order in which they are opened."""

    store: ProgramStore
    watch: Watch
    control: Control
    backlog: Backlog
    firsts: Firsts
    claims: Claims
    runner: Runner
    engine: Engine
    sweeper: Sweeper
    stack: AsyncExitStack

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.process = os.getpid()
        self.has_begun = False

    def heard(self, hint: Queued | Overruled) -> None:
        """Something happened to the store that concerns what runs here."""
        match hint:
            case Queued(route):
                self.engine.look(None if route is None else {route})
            case Overruled():
                self.runner.overruled()


class Openable(Protocol):
    """What may be open, and be left so."""

    def abandon(self) -> None:
        """Close without waiting, as the event loop was closed."""


#: All that are open in this process. They are kept alive here: whoever has lost them can no longer
#: close them, and what they hold (locks, connections) is no garbage that one may just drop.
_all: dict[Openable, Opened] = {}
_abandoning = threading.Lock()


def remember(jobs: Openable, opened: Opened) -> None:
    """These are open now."""
    _all[jobs] = opened


def forget(jobs: Openable) -> None:
    """These are closed, if they were open."""
    _all.pop(jobs, None)


def abandon_lost() -> None:
    """Give up those that nobody has closed, and nobody can close, before their event loop was.

    A test client without its app's lifespan leaves some in each loop that it is used in.
    """
    with _abandoning:
        for jobs, opened in list(_all.items()):
            if opened.loop.is_closed() and opened.process == os.getpid():
                try:
                    jobs.abandon()
                except Exception:
                    logger.exception("jobs that were left open cannot be closed")


atexit.register(abandon_lost)
