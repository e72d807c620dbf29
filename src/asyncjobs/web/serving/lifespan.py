"""The jobs of one app live as long as it serves: they start and stop with it.

A test client without a lifespan starts nothing: there they start with the first request that asks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from quart import Quart

from ...errors import ShuttingDown
from ...jobs import Jobs
from ...tasks import to_the_end
from ..around import around
from .server import Server


class Lifespan:
    """Starts and stops the jobs of `app`.

    Args:
        opened: makes them, with their store open; nothing runs yet.
    """

    def __init__(self, app: Quart, opened: Callable[[], Awaitable[Jobs]]) -> None:
        self._app = app
        self._opened = opened
        self._jobs: Jobs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[Jobs] | None = None

    def install(self) -> None:
        """Have the store open before the first of the app's own functions is called, and nothing
        run before the last one has been, however late that was registered."""
        self._app.before_serving_funcs.insert(0, self._open_with_app)
        around(self._app, "startup", self._start_with_app)

    @property
    def jobs(self) -> Jobs:
        """The jobs of the running app.

        Raises:
            RuntimeError: it does not run.
        """
        if self._jobs is None:
            raise RuntimeError("the app does not serve: its jobs are there only while it does")
        return self._jobs

    @property
    def has_jobs(self) -> bool:
        return self._jobs is not None

    def now(self) -> float:
        """The time as the jobs of this loop tell it; before that of any job, if they are not there
        yet."""
        if self._jobs is None or self._loop is not asyncio.get_running_loop():
            return -math.inf
        return self._jobs.now()

    async def started(self) -> Jobs:
        """The jobs; starts them if the app has no lifespan, as with a bare test client.

        Raises:
            StoreError: the message says what is wrong with the store.
            ShuttingDown: they are at their end.
        """
        loop = asyncio.get_running_loop()
        if self._jobs is not None and self._loop is loop:
            return self._jobs
        if self._starting is None or self._starting.get_loop() is not loop or self._has_failed():
            self._starting = loop.create_task(self._start())
        await asyncio.shield(self._starting)
        if self._jobs is None:
            raise ShuttingDown("the server is stopping: try again soon")
        return self._jobs

    def _has_failed(self) -> bool:
        """Whether the last try to start has failed, and what was wrong may be mended."""
        starting = self._starting
        return (
            starting is not None
            and starting.done()
            and (starting.cancelled() or starting.exception() is not None)
        )

    async def _start(self) -> Jobs:
        jobs = await self._open()
        try:
            await jobs.begin()
        except BaseException:
            await self._close(jobs)
            raise
        return jobs

    async def _open_with_app(self) -> None:
        await self._close_in_this_loop()  # what a test client has opened before
        self._starting = asyncio.create_task(self._open())
        await self._starting

    async def _start_with_app(self, startup: Callable[[], Awaitable[Any]]) -> None:
        """Around `Quart.startup`."""
        try:
            await startup()
            server = Server(self._app)
            server.survive_sigterm()  # before there is a job that a SIGTERM would take along
            await self.jobs.begin()
        except BaseException:
            await self._close_in_this_loop()
            raise
        # Quart waits for its background tasks before it closes what the handlers may be using.
        self._app.add_background_task(self._stop_with_app, self.jobs, server)

    async def _stop_with_app(self, jobs: Jobs, server: Server) -> None:
        try:
            with suppress(asyncio.CancelledError):
                await server.about_to_stop()
                # Quart cancels its background tasks after a while. The drain has a limit of its
                # own, and what users close after it, their handlers may still be using.
                await to_the_end(asyncio.create_task(jobs.drain()))
                await server.stopped()
        finally:
            await self._close(jobs)

    async def _open(self) -> Jobs:
        jobs = await self._opened()
        self._jobs, self._loop = jobs, asyncio.get_running_loop()
        return jobs

    async def _close_in_this_loop(self) -> None:
        if self._jobs is not None and self._loop is asyncio.get_running_loop():
            await self._close(self._jobs)

    async def _close(self, jobs: Jobs) -> None:
        if jobs is self._jobs:
            self._jobs = None
        with suppress(asyncio.CancelledError):  # which it outlasts: Quart shall go on
            await jobs.__aexit__()
