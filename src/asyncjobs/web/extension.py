"""`QuartJobs`: the decorator, and the jobs of each app that it is initialised with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, cast, get_args, overload

from quart import Quart, current_app
from quart import Response as QuartResponse
from quart.typing import ResponseTypes

from ..errors import ConfigurationError, SetupError
from ..functions import name_of_function
from ..handler import RouteOptions, RouteSettings
from ..job import Job
from ..jobs import Jobs
from ..settings import Options, Settings, check_names, make
from ..stores import place_of
from .app_jobs import AppJobs, Declared
from .routing.marks import Background, View, background_of, mark
from .routing.refusals import NAMELESS, check_view, name_of

V = TypeVar("V", bound=View)
OwnerOf = Callable[[], str | Awaitable[str | None] | None]
PrincipalOf = Callable[[], Any]
May = bool | Literal["view", "steer"] | None
OperatorOf = Callable[[], May | Awaitable[May]]
KeyOf = Callable[[], str | Awaitable[str | None] | None]
Mode = Literal["async", "prefer"]

_EXTENSION = "QUART_JOBS"


class QuartJobs:
    """Background jobs for Quart.

    ::

        app = Quart(__name__)
        jobs = QuartJobs(app)

        @app.route("/report")
        @jobs.background
        async def report():
            return {"pages": 3}

    Args:
        app: the app, or None to name it to `init_app` later.
        owner: a function without arguments, sync or async, that tells whose the current request is:
            a str, such as an id of theirs, or None for nobody in particular. It is called at each
            submission and at each request about a job; a job that is not of the same owner is a 404
            then, like one that does not exist. Anything else than a str or None is a TypeError, and
            so a 500. Unless given, whoever knows the id of a job may see it.
        principal: tells who has sent the current request, for its job: `current_job.principal`.
            May be async. JSON of 8 KiB at most, which is stored: what names somebody, and no
            credentials. `asyncjobs.web.auth.user` is one for quart-auth.
        operator: tells what who has sent the current request may do with the jobs of all owners:
            ``None`` or False if nothing, ``"view"`` if see them, ``"steer"`` or True if cancel and
            retry them as well. May be async. It is asked for the list of jobs, and where a job is
            not the caller's own; anything else is a TypeError, and so a 500. Like `owner` it may
            raise, such as an ``Unauthorized`` that leads to the login: that is the answer then.
        options: see `Settings`; each can be ``QUART_JOBS_<NAME>`` in the app's configuration too.

    For ``url_for``, and for hooks that look at ``request.endpoint``: the endpoints of the status
    document and of the result of a job are ``asyncjobs_status`` and ``asyncjobs_result``, that to
    retry it is ``asyncjobs_retry``, and all of them take its id as ``job_id``. That of the list is
    ``asyncjobs_list``, which there is with `owner` or `operator` only.

    Raises:
        ConfigurationError: an option is unknown, has the wrong type or is out of range. What the
            app's configuration has is looked at when the app starts.
        SetupError: `owner`, `principal` or `operator` is no function, or the app has a `QuartJobs`
            already.
    """

    def __init__(
        self,
        app: Quart | None = None,
        *,
        owner: OwnerOf | None = None,
        principal: PrincipalOf | None = None,
        operator: OperatorOf | None = None,
        **options: Unpack[Options],
    ) -> None:
        if owner is not None and not callable(owner):
            raise SetupError(f"owner must be a function that tells the owner, not {owner!r}")
        if principal is not None and not callable(principal):
            raise SetupError(
                f"principal must be a function that tells who has sent a request, not {principal!r}"
            )
        if operator is not None and not callable(operator):
            raise SetupError(
                f"operator must be a function that tells what an operator may do, not {operator!r}"
            )
        check_names(Settings, options, "owner", "principal", "operator")
        self._declared = Declared(options, owner, principal, operator)
        self._apps: list[Quart] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Give `app` its jobs: before or after its views and blueprints are registered.

        Raises:
            SetupError: the app has an extension of this kind already.
        """
        if _EXTENSION in app.extensions:
            raise SetupError("this app has a QuartJobs already: one is enough for all its views")
        app.extensions[_EXTENSION] = AppJobs(app, self._declared)
        self._apps.append(app)

    @overload
    def background(self, view: V, /) -> V: ...
    @overload
    def background(
        self,
        *,
        poll_route: bool = True,
        mode: Mode = "async",
        key: KeyOf | None = None,
        **options: Unpack[RouteOptions],
    ) -> Callable[[V], V]: ...
    def background(
        self,
        view: View | None = None,
        *,
        poll_route: bool = True,
        mode: Mode = "async",
        key: KeyOf | None = None,
        **options: Unpack[RouteOptions],
    ) -> Any:
        """Have a view run in the background; its route answers 202 at once. A decorator.

        It stands below ``@app.route``. What stands above it, and every hook, runs when the request
        arrives; what stands below it runs in the background. What a decorator above it adds to the
        call is stored with the request: see "What is stored" in docs/http.md.

        ::

            @app.post("/reports/<int:year>")
            @jobs.background(timeout=600, retries=2)
            async def report(year):
                return {"year": year}

        Args:
            poll_route: whether each of its rules gets a poll route, ``<rule>/<id>``. Its endpoint
                is that of the view with ``__job`` behind it, here ``report__job``, so that hooks of
                the view's blueprint run there as well; it takes what the rule takes, and the id as
                ``asyncjobs_id``. Without, ``Location`` leads to ``/jobs/<id>/result``.
            mode: what a submission is answered by if its client has said no preference: ``"async"``
                by the 202, at once; ``"prefer"`` by the result, or by the 202 where that takes
                longer than the setting `max_wait`. It is a durable job in either case.
            key: a function without arguments, sync or async, that is called in the context of each
                submission, and tells the key of it: while a job with that key is kept, and has not
                failed, been cancelled or interrupted, the same key of the same owner gives that
                job, and starts no other. None if it has no key.
            options: see `RouteSettings`.

        Raises:
            ConfigurationError: an option is unknown, has the wrong type or is out of range.
            SetupError: it decorates no view, or is there twice. What can be told only when all is
                there (it stands above ``@app.route``, two routes collide…) is raised at the start.
        """
        settings = make(RouteSettings, options, "poll_route", "mode", "key")
        if mode not in get_args(Mode):
            raise ConfigurationError(f"mode must be 'async' or 'prefer', not {mode!r}")
        if key is not None and not callable(key):
            raise ConfigurationError(f"key must be a function that tells the key, not {key!r}")
        if view is None:
            return partial(self.background, poll_route=poll_route, mode=mode, key=key, **options)
        check_view(view)
        if background_of(view) is not None:
            raise SetupError(f"the view {name_of(view)!r} has @jobs.background twice")

        @wraps(view)
        async def submit(*args: Any, **kwargs: Any) -> ResponseTypes:
            return await _jobs_of_current_app().submission.submit(args, kwargs)

        if not hasattr(view, "__name__"):  # a partial, for one
            submit.__name__ = NAMELESS
        background = Background(view, poll_route, mode == "prefer", key, settings)
        mark(submit, background)
        self._declared.views.all.append(background)
        return submit

    @overload
    def function(self, function: V, /) -> V: ...
    @overload
    def function(
        self, *, name: str | None = None, **options: Unpack[RouteOptions]
    ) -> Callable[[V], V]: ...
    def function(
        self,
        function: View | None = None,
        *,
        name: str | None = None,
        **options: Unpack[RouteOptions],
    ) -> Any:
        """Register a function of the app's, so that ``jobs.jobs.submit`` can have it run.

        A decorator, for each app that this is initialised with: see `Jobs.function`.

        Raises:
            ConfigurationError: an option is unknown, has the wrong type or is out of range.
            SetupError: the name is taken, or the function can never be run.
        """
        make(RouteSettings, options)
        if function is None:
            return partial(self.function, name=name, **options)
        route = name_of_function(function, name)
        if route in self._declared.functions:
            raise SetupError(f"there is a function called {route!r} already: give this one a name=")

        def register(jobs: Jobs) -> None:
            jobs.function(name=route, **options)(function)

        self._declared.functions[route] = register
        for app in self._apps:
            cast("AppJobs", app.extensions[_EXTENSION]).add_function(register)
        return function

    def before_run(self, function: V) -> V:
        """Call `function` before each view in the background, in its context. A decorator.

        For what views expect to find in `g`: the app's own hooks ran when the request arrived. It
        is sync or async, takes no arguments, and what it returns is not looked at. What it raises
        is as if the view had raised it. Several are called in the order in which they were given.
        `current_job.principal` tells it whose request that was.

        ::

            @jobs.before_run
            async def connect():
                g.locale = request.accept_languages.best
        """
        self._declared.before_run.append(function)
        return function

    async def poll(self, job_id: str) -> QuartResponse:
        """The answer to a poll, for a poll route written by hand.

        The 202 does not lead there, but to ``/jobs/<id>/result``, which answers as well: clients
        make the URL, of the ``TaskId``.

        ::

            @app.post("/foo")
            @jobs.background(poll_route=False)
            async def foo():
                return {"done": True}

            @app.get("/foo/<task_id>")
            async def foo_results(task_id):
                return await jobs.poll(task_id)

        It is the handler's own response once that is there, before that a 202; ``Prefer: wait=N``
        and ``If-None-Match`` of the current request are obeyed, so that it may be a 304. It is the
        app's own 404 if there is no such job, or it is somebody else's and the caller no operator.
        Any job of the app is answered for, whatever its route: compare the route of ``await
        jobs.jobs.get(task_id)`` if that matters.

        If a GET or HEAD without a body prefers to wait, and the job is not final, its context is
        left meanwhile: what this returns is not sent, and the view is called once more after the
        wait. It waits in here where calling it twice might do something twice (another method, a
        body, a job that the request itself has made), and where it is not called in the task of the
        request's view.
        """
        return await _jobs_of_current_app().polls.poll(job_id)

    async def check(self) -> list[Job]:
        """The queued jobs that no view of the current app can run: see `Jobs.check`.

        Raises:
            RuntimeError: outside of an app's context, or the app does not serve.
        """
        return await _jobs_of_current_app().jobs.check()

    async def health(self) -> QuartResponse:
        """The answer to a readiness probe, for a route written by hand: nothing is open by default.

        ::

            @app.get("/health")
            async def health():
                return await jobs.health()

        It is 200 while new jobs are accepted, else 503; its JSON tells the reason, or with a 200
        what was lost before this process started.
        """
        return await _jobs_of_current_app().polls.health()

    @property
    def jobs(self) -> Jobs:
        """The jobs of the current app, with no HTTP around them: a `Jobs` that is open.

        Raises:
            RuntimeError: outside of an app's context, or the app does not serve.
            SetupError: the current app has no `QuartJobs`.
        """
        return _jobs_of_current_app().jobs


def store_of(app: Quart) -> str | Path:
    """Where the jobs of `app` are kept, as its settings are now: the URL of its store, or the path
    of the file. The app is not started, and nothing is opened or made.

    Raises:
        SetupError: the app has no `QuartJobs`.
        ConfigurationError: the setting is wrong, or has a store that only the app can open.
    """
    jobs: AppJobs | None = app.extensions.get(_EXTENSION)
    if jobs is None:
        raise SetupError(f"the app {app.import_name!r} has no QuartJobs: call jobs.init_app(app)")
    store = jobs.store_setting
    return store if isinstance(store, Path) else place_of(store)


def _jobs_of_current_app() -> AppJobs:
    try:
        return cast("AppJobs", current_app.extensions[_EXTENSION])
    except KeyError:
        raise SetupError(
            f"the app {current_app.name!r} has no jobs: call QuartJobs(app), or init_app(app)"
        ) from None
