"""The jobs of one Quart app, which live as long as the app serves."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from quart import Quart

from ..errors import ConfigurationError, ShuttingDown
from ..handler import Handler
from ..jobs import Jobs
from ..program import program_of
from ..settings import Settings, make_settings
from ..stores import SqliteStore, folder_for_store
from ..tasks import to_the_end
from .answering.polls import Views
from .background.replay import Replay
from .background.sync import takes_thread, use_our_threads
from .background.teardown import without_teardown_of_requests
from .callers.vanishing import Vanishing
from .http.headers import check_names
from .openapi.quart_schema import describe_jobs
from .routing.marks import Background, View
from .routing.routes import Decorated, PollRoutes
from .serving.environment import CONFIG, configured, key_of, unread
from .serving.server import Server

logger = logging.getLogger("asyncjobs")


class AppJobs:
    """What `QuartJobs.init_app` puts into an app.

    Args:
        options: settings that go before the app's configuration.
        owner, principal: as in `QuartJobs`.
        decorated: the views that are to be jobs; none of them should be routed without that.
        before_run: called before each view in the background.
        functions: register the functions that jobs can be made of, and whatever is added later.
    """

    def __init__(
        self,
        app: Quart,
        options: Mapping[str, Any],
        owner: Callable[[], Any] | None,
        principal: Callable[[], Any] | None,
        decorated: Decorated,
        before_run: list[View],
        functions: Mapping[str, Callable[[Jobs], object]],
    ) -> None:
        self._app = app
        self._options = options
        self._before_run = before_run
        self._functions = functions
        self._backgrounds: dict[str, Background] = {}
        self._jobs: Jobs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[Jobs] | None = None
        self._configured()
        self.views = Views(app, self.started, owner, principal)
        self.views.install()
        use_our_threads(app)
        without_teardown_of_requests(app)
        self._routes = PollRoutes(
            app, decorated, self.views.poll_route, self.views.own_routes, self._found
        )
        self._routes.install()
        describe_jobs(app, self._complete_routes)
        # The store is open before the first of the app's own functions is called, and nothing runs
        # before the last one has been, however late that was registered.
        app.before_serving_funcs.insert(0, self._open_with_app)
        self._startup = app.startup
        app.startup = self._start_with_app  # type: ignore[method-assign]
        # A test client without a lifespan starts nothing.
        self._are_routes_complete = False
        self._handle_request = app.handle_request
        app.handle_request = self._handle_first_request  # type: ignore[method-assign]

    @property
    def jobs(self) -> Jobs:
        """The jobs of the running app.

        Raises:
            RuntimeError: it does not run.
        """
        if self._jobs is None:
            raise RuntimeError("the app does not serve: its jobs are there only while it does")
        return self._jobs

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

    def add_function(self, register: Callable[[Jobs], object]) -> None:
        """Register a function that has come when the jobs may be open already."""
        if self._jobs is not None:
            register(self._jobs)

    def _complete_routes(self) -> None:
        """Nothing of the app is missing now: not its configuration, and none of its views."""
        options = self._configured()
        self._check_configured(options)
        self.views.prefix = options["prefix"]
        self._routes.complete(self.views.prefix)
        self._are_routes_complete = True

    async def _handle_first_request(self, request: Any) -> Any:
        """In the place of `Quart.handle_request`, until the routes are complete."""
        if not self._are_routes_complete:
            self._complete_routes()
        if self._app.handle_request == self._handle_first_request:  # and not wrapped by somebody
            self._app.handle_request = self._handle_request  # type: ignore[method-assign]
        return await self._handle_request(request)

    async def _start_with_app(self) -> None:
        """In the place of `Quart.startup`."""
        try:
            await self._startup()
            server = Server(self._app)
            server.survive_sigterm()  # before there is a job that a SIGTERM would take along
            await self.jobs.begin()
        except BaseException:
            await self._close_in_this_loop()
            raise
        # Quart waits for its background tasks before it closes what the handlers may be using.
        self._app.add_background_task(self._stop_with_app, self.jobs, server)

    async def _open_with_app(self) -> None:
        await self._close_in_this_loop()  # what a test client has opened before
        self._starting = asyncio.create_task(self._open())
        await self._starting

    async def _start(self) -> Jobs:
        jobs = await self._open()
        try:
            await jobs.begin()
        except BaseException:
            await self._close(jobs)
            raise
        return jobs

    async def _open(self) -> Jobs:
        self._complete_routes()
        options = self._configured()
        for warning in unread(os.environ, self._app.config, self._options):
            logger.warning("%s", warning)
        if options["store"] is None:
            options["store"] = SqliteStore(
                folder_for_store(Path(self._app.instance_path)) / "jobs.db"
            )
        if options["name"] is None:
            options["name"] = program_of(self._app.import_name)
        jobs = Jobs(**options)
        check_names(jobs.settings)
        for endpoint, background in self._backgrounds.items():
            jobs.register(self._handler(jobs, endpoint, background))
        for register in self._functions.values():
            register(jobs)
        await jobs.open()
        self._jobs = jobs
        self._loop = asyncio.get_running_loop()
        return jobs

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

    async def _close_in_this_loop(self) -> None:
        if self._jobs is not None and self._loop is asyncio.get_running_loop():
            await self._close(self._jobs)

    async def _close(self, jobs: Jobs) -> None:
        if jobs is self._jobs:
            self._jobs = None
        with suppress(asyncio.CancelledError):  # which it outlasts: Quart shall go on
            await jobs.__aexit__()

    def _configured(self) -> dict[str, Any]:
        """The settings from the app's configuration, and over them those given in code.

        Raises:
            ConfigurationError: the configuration has a name that is no setting.
        """
        names = [key_of(setting.name) for setting in fields(Settings)]
        for key in self._app.config:
            if key.startswith(CONFIG) and key not in names:
                raise ConfigurationError(
                    f"there is no setting {key!r} (in the environment QUART_{key}); the settings "
                    f"are: {', '.join(names)}"
                )
        said = {name: value for name, _, value in configured(self._app.config)}
        return {**said, **self._options}

    def _check_configured(self, options: Mapping[str, Any]) -> None:
        """Name the variable of a value that the configuration has wrong.

        Raises:
            ConfigurationError
        """
        for said in configured(self._app.config):
            if said.name in self._options:
                continue
            try:
                make_settings({said.name: options[said.name]})
            except ConfigurationError as error:
                raise ConfigurationError(f"{error} ({said.where})") from None

    def _found(self, endpoint: str, background: Background) -> None:
        self._backgrounds[endpoint] = background
        if self._jobs is not None:
            self._jobs.register(self._handler(self._jobs, endpoint, background))

    def _handler(self, jobs: Jobs, endpoint: str, background: Background) -> Handler:
        threaded = takes_thread(background.view, self._app.view_functions[endpoint])
        replay = Replay(
            self._app,
            endpoint,
            background.view,
            threaded,
            jobs.threads,
            self._before_run,
            jobs.settings.max_response,
            Vanishing(endpoint),
        )
        return background.settings.handler(endpoint, replay, jobs.settings, threaded=threaded)
