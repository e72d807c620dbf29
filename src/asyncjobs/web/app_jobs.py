"""All that one Quart app gets: what is put into it, in order, and what its jobs are made of."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quart import Quart

from ..handler import Handler
from ..jobs import Jobs
from ..program import program_of
from ..settings import make_settings
from ..store import Store
from ..stores import SqliteStore, folder_for_store
from .answering.app_side import AppSide
from .answering.lists import Lists
from .answering.polls import Polls
from .answering.steering import Steering
from .answering.submission import Submission
from .answering.waiting import connection_class_of
from .around import around
from .background.replay import Replay
from .background.sync import takes_thread, use_our_threads
from .background.teardown import without_teardown_of_requests
from .callers.vanishing import Vanishing
from .http.headers import check_names
from .openapi.quart_schema import describe_jobs
from .routing.hosts import answer_bad_hosts
from .routing.marks import Background, View
from .routing.routes import Decorated, JobIdConverter, PollRoutes
from .serving.environment import check_configured, settings_said, unread
from .serving.lifespan import Lifespan

logger = logging.getLogger("asyncjobs")


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """What one `QuartJobs` was told, whatever apps that is for; all but the first four grows.

    Attributes:
        options: settings that go before an app's configuration.
        owner, principal, operator: as in `QuartJobs`.
        views: those that are to be jobs; none of them should be routed without that.
        before_run: called before each view in the background.
        functions: register the functions that jobs can be made of.
    """

    options: Mapping[str, Any]
    owner: Callable[[], Any] | None
    principal: Callable[[], Any] | None
    operator: Callable[[], Any] | None
    views: Decorated = field(default_factory=Decorated)
    before_run: list[View] = field(default_factory=list)
    functions: dict[str, Callable[[Jobs], object]] = field(default_factory=dict)


class AppJobs:
    """What `QuartJobs.init_app` puts into an app."""

    def __init__(self, app: Quart, declared: Declared) -> None:
        self._app = app
        self._declared = declared
        self._backgrounds: dict[str, Background] = {}
        self._held: set[str] = set()
        settings_said(app.config, declared.options)
        self._lifespan = Lifespan(app, self._open)
        self._side = AppSide(
            app, self._lifespan.started, declared.owner, declared.principal, declared.operator
        )
        steering = Steering(self._side)
        self.submission, self.polls = Submission(self._side), Polls(self._side, steering)
        own = [each for of in (self.polls, steering, Lists(self._side)) for each in of.own_routes]
        self._routes = PollRoutes(app, declared.views, self.polls.poll_route, own, self._found)
        self._are_routes_complete = False
        self._install(app)

    def _install(self, app: Quart) -> None:
        """All that the app gets, in this order."""
        app.url_map.converters["asyncjobs_id"] = JobIdConverter
        app.asgi_http_class = connection_class_of(
            app.asgi_http_class, self._lifespan.now, self._held
        )
        answer_bad_hosts(app)
        # The first of all hooks: one that parses a form would leave nothing of the raw body.
        app.before_request_funcs[None].insert(0, self.submission.read_body)
        use_our_threads(app)
        without_teardown_of_requests(app)
        self._routes.install()
        describe_jobs(app, self._complete_routes, lambda: float(self._setting("max_wait")))
        self._lifespan.install()
        # A test client without a lifespan starts nothing.
        self._give_back = around(app, "handle_request", self._handle_first_request)

    @property
    def jobs(self) -> Jobs:
        """The jobs of the running app.

        Raises:
            RuntimeError: it does not run.
        """
        return self._lifespan.jobs

    @property
    def store_setting(self) -> str | Store | Path:
        """The store that the app would open if it started now, or the path of its file.

        Raises:
            ConfigurationError: the setting is wrong.
        """
        store: str | Store | None = self._setting("store")
        return self._default_store if store is None else store

    @property
    def _default_store(self) -> Path:
        return Path(self._app.instance_path) / "jobs.db"

    def _setting(self, name: str) -> Any:
        said = settings_said(self._app.config, self._declared.options)[name]
        return getattr(make_settings({name: said}), name)

    def add_function(self, register: Callable[[Jobs], object]) -> None:
        """Register a function that has come when the jobs may be open already."""
        if self._lifespan.has_jobs:
            register(self.jobs)

    def _complete_routes(self) -> None:
        """Nothing of the app is missing now: not its configuration, and none of its views."""
        options = settings_said(self._app.config, self._declared.options)
        check_configured(self._app.config, self._declared.options)
        self._side.prefix = options["prefix"]
        self._routes.complete(self._side.prefix)
        self._are_routes_complete = True

    async def _handle_first_request(self, handle: Callable[[Any], Any], request: Any) -> Any:
        """Around `Quart.handle_request`, until the routes are complete."""
        if not self._are_routes_complete:
            self._complete_routes()
        self._give_back()
        return await handle(request)

    async def _open(self) -> Jobs:
        self._complete_routes()
        options = settings_said(self._app.config, self._declared.options)
        for warning in unread(os.environ, self._app.config, self._declared.options):
            logger.warning("%s", warning)
        if options["store"] is None:
            path = self._default_store
            folder_for_store(path.parent)
            options["store"] = SqliteStore(path)
        if options["name"] is None:
            options["name"] = program_of(self._app.import_name)
        jobs = Jobs(**options)
        check_names(jobs.settings)
        for endpoint, background in self._backgrounds.items():
            jobs.register(self._handler(jobs, endpoint, background))
        for register in self._declared.functions.values():
            register(jobs)
        await jobs.open()
        return jobs

    def _found(self, endpoint: str, background: Background) -> None:
        self._backgrounds[endpoint] = background
        if background.is_held:
            self._held.add(endpoint)
        if self._lifespan.has_jobs:
            self.jobs.register(self._handler(self.jobs, endpoint, background))

    def _handler(self, jobs: Jobs, endpoint: str, background: Background) -> Handler:
        threaded = takes_thread(background.view, self._app.view_functions[endpoint])
        replay = Replay(
            self._app,
            endpoint,
            background.view,
            threaded,
            jobs.threads,
            self._declared.before_run,
            jobs.settings.max_response,
            Vanishing(endpoint),
        )
        return background.settings.handler(endpoint, replay, jobs.settings, threaded=threaded)
