"""The app under torture: its handlers have effects, and keep a ledger of them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quart import Quart

from asyncjobs.running.current import current_job
from asyncjobs.store import Store
from asyncjobs.stores import SqliteStore
from asyncjobs.web import QuartJobs
from asyncjobs.web.answering import connection, outlasting

from .deaths import DEATHS, KIND, PATH
from .failpoints import IN_HANDLER, Failpoint, FailpointStore
from .history import HistoryStore
from .ledger import Effect, Ledger
from .poison_bugs import POISON_BUGS
from .server_bugs import SERVER_BUGS

STORE = "jobs.db"
#: What clients submit, each as likely as the others: method and path.
SUBMISSIONS = (
    ("POST", "/once"),
    ("POST", "/once"),
    ("PUT", "/again"),
    ("PUT", "/again"),
    ("POST", "/once/slow"),
    ("PUT", "/again/slow"),
    ("POST", "/once/thread"),
)
#: Jobs of which each takes every process down that runs it.
POISON = tuple(
    ("PUT", f"{PATH}/{where}/{how}") for where in ("loop", "thread") for how in sorted(DEATHS)
)
#: Seconds that such a job runs before, at most.
FUSE = 0.3

# So few that jobs queue, and are taken from the queue by other processes.
CONCURRENCY, THREADS = 5, 2
#: Seconds until a client is noticed that has gone: less than most jobs take.
UNNOTICED = 0.05


def from_environment() -> Quart:
    """The app for a server that is started by its command line."""
    folder = Path(os.environ["TORTURE_FOLDER"])
    failpoint = Failpoint(folder, linked=True)
    return make_app(folder, failpoint, os.environ.get("TORTURE_BUG"))


def make_app(folder: Path, failpoint: Failpoint, bug: str | None = None) -> Quart:
    """The app with its store and its ledgers in `folder`.

    Args:
        failpoint: where the process is to die.
        bug: one of `SERVER_BUGS` or `POISON_BUGS`, to be planted.
    """
    store: Store = SqliteStore(folder / STORE)
    if bug is not None:
        store = {**SERVER_BUGS, **POISON_BUGS}[bug](store, folder)
    store = FailpointStore(HistoryStore(store, folder), failpoint)
    connection.PATIENCE = outlasting.SEND_TIME = UNNOTICED
    app = Quart("torture")
    jobs = QuartJobs(
        app,
        store=store,
        concurrency=CONCURRENCY,
        threads=THREADS,
        keep_requests="always",  # the end compares them
    )
    work = Work(folder, failpoint)

    @app.post("/once")
    @jobs.background
    async def once() -> dict[str, Any]:
        return await work.do(0.0, 0.03, once=True)

    @app.put("/again")
    @jobs.background
    async def again() -> dict[str, Any]:
        return await work.do(0.0, 0.03, once=False)

    @app.post("/once/slow")
    @jobs.background
    async def once_slow() -> dict[str, Any]:
        return await work.do(0.1, 0.8, once=True)

    @app.put("/again/slow")
    @jobs.background
    async def again_slow() -> dict[str, Any]:
        return await work.do(0.1, 0.8, once=False)

    @app.post("/once/thread")
    @jobs.background
    def once_thread() -> dict[str, Any]:
        with work.effect(once=True):
            time.sleep(random.uniform(0.0, 0.05))
        return work.result()

    @app.put("/again/thread")
    @jobs.background
    def again_thread() -> dict[str, Any]:
        with work.effect(once=False):
            time.sleep(random.uniform(0.0, 0.3))
        return work.result()

    @app.put(f"{PATH}/loop/<how>")
    @jobs.background
    async def poison(how: str) -> dict[str, Any]:
        with work.effect(once=False):
            await asyncio.sleep(random.uniform(0.0, FUSE))
            work.die(how)
        return work.result()

    @app.put(f"{PATH}/thread/<how>")
    @jobs.background
    def poison_thread(how: str) -> dict[str, Any]:
        with work.effect(once=False):
            time.sleep(random.uniform(0.0, FUSE))
            work.die(how)
        return work.result()

    return app


class Work:
    """What handlers do, written down before it is done and after."""

    def __init__(self, folder: Path, failpoint: Failpoint) -> None:
        self._ledger = Ledger(folder, Effect, sync=True)
        self._failpoint = failpoint

    async def do(self, least: float, most: float, *, once: bool) -> dict[str, Any]:
        """Be busy for a while, in seconds, and tell who was."""
        with self.effect(once=once):
            await asyncio.sleep(random.uniform(least, most))
        return self.result()

    @contextmanager
    def effect(self, *, once: bool) -> Iterator[None]:
        self._write("begin", once)
        self._failpoint.passing(IN_HANDLER)
        try:
            yield
        except BaseException:
            self._write("cut", once)
            raise
        self._write("end", once)

    def die(self, how: str) -> None:
        """Take the process down."""
        self._failpoint.about_to_die(f"{KIND}{how}")
        DEATHS[how]()

    def result(self) -> dict[str, Any]:
        return {"id": current_job.id, "attempt": current_job.attempt, "pid": os.getpid()}

    def _write(self, what: str, once: bool) -> None:
        self._ledger.write(
            Effect(current_job.id, once, current_job.attempt, os.getpid(), what, time.monotonic())
        )
