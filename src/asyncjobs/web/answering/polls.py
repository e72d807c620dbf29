"""The views that answer for jobs: submission, poll, status, cancel."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, cast

from msgspec import UNSET, Raw, UnsetType, structs
from quart import Quart, Request, Response, session
from werkzeug.exceptions import NotFound

from ...errors import AsyncJobsError, JobNotFound, SetupError
from ...given import text
from ...job import UNKNOWN, Job
from ...job import Response as StoredResponse
from ...jobs import Jobs
from ..background.added import callee_of, context_of_call
from ..background.replay import freeze
from ..callers.principal import principal_to_json
from ..callers.session import has_data
from ..context import Context
from ..http.body import body_of, read_body
from ..http.cross_site import refuse_cross_site
from ..http.preferences import wait_preference
from ..quart_side import current_request, handle_user_exception, options_response
from ..routing.hosts import answer_bad_hosts
from ..routing.marks import JOB_ENDPOINTS, background_at, background_of, poll_endpoint
from ..routing.matching import matched, rules_of
from ..routing.routes import JobIdConverter, OwnRoute
from . import answers
from .answers import Links
from .connection import outlasting_clients
from .guards import answer_of_guards
from .waiting import left_to_connection, waiting_outside

View = TypeVar("View", bound=Callable[..., Awaitable[Any]])


def answering_errors(view: View) -> View:
    """Have a view of `Views` answer with a problem document where it raises one of our errors."""

    @wraps(view)
    async def answer(self: Views, *args: Any, **kwargs: Any) -> Any:
        try:
            return await view(self, *args, **kwargs)
        except JobNotFound:
            return await self.not_found()
        except SetupError:
            raise  # nothing that a client could do something about: the app's own 500
        except AsyncJobsError as error:
            return answers.refused(self.app, error)

    return cast("View", answer)


class Views:
    """Answers the requests of one app that are about jobs.

    Args:
        started: the app's jobs, started if need be.
        owner: tells whom the current request's jobs belong to.
        principal: tells who has sent it, for its job.
        prefix: the path above the status documents, known once the app's configuration is.
    """

    prefix: str

    def __init__(
        self,
        app: Quart,
        started: Callable[[], Awaitable[Jobs]],
        owner: Callable[[], Any] | None,
        principal: Callable[[], Any] | None,
    ) -> None:
        self.app = app
        self._started = started
        self._owner_of_request = owner or _nobody
        self._principal_of_request = principal or _unknown

    def install(self) -> None:
        """Have the bodies of jobs read in any case, and their ids told from other names."""
        self.app.url_map.converters["asyncjobs_id"] = JobIdConverter
        connection_class = outlasting_clients(self.app.asgi_http_class)
        self.app.asgi_http_class = waiting_outside(connection_class)
        answer_bad_hosts(self.app)
        # The first of all hooks: one that parses a form would leave nothing of the raw body.
        self.app.before_request_funcs[None].insert(0, self.read_body)

    @property
    def own_routes(self) -> list[OwnRoute]:
        """The routes under the prefix, for each host and subdomain that has jobs."""
        views, methods = (self.status, self.result), ["GET", "DELETE"]
        return [
            OwnRoute(suffix, endpoint, view, methods)
            for view, (suffix, endpoint) in zip(views, JOB_ENDPOINTS.items(), strict=True)
        ]

    @answering_errors
    async def read_body(self) -> Response | None:
        """The hook that reads the body of a request that is to be a job."""
        request = current_request()
        if (
            request.method in ("HEAD", "OPTIONS")
            or background_at(self.app, request.endpoint) is None
        ):
            return None
        settings = (await self._started()).settings
        limit = min(settings.max_body, self.app.config["MAX_CONTENT_LENGTH"] or settings.max_body)
        await read_body(request, limit=limit, timeout=settings.body_timeout)
        return None

    @answering_errors
    async def submit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Response:
        """The view of every marked route: make the current request a job, and answer 202.

        It is called with these arguments, some of which are from the URL.
        """
        request = current_request()
        if request.method == "HEAD":
            return answers.nothing_started(self.app)
        if request.method == "OPTIONS":  # from a decorator that answers it, but not this one
            return await options_response(self.app)
        jobs = await self._started()
        endpoint = request.endpoint or ""
        if endpoint not in jobs.handlers:
            raise SetupError(
                f"the view of {endpoint!r} does not show that it is a background job: use "
                "functools.wraps in each decorator that stands above @jobs.background"
            )
        added = self._context_of_call(request, endpoint, args, kwargs)
        context = structs.replace(
            matched(self.app, request),
            arguments=added.arguments,
            without=added.without,
            principal=await self._principal(),
            session=has_data(session),
        )
        frozen = freeze(request, body_of(request), context, jobs.settings)
        job = await jobs.accept(endpoint, frozen, owner=await self._owner())
        links = self._links(job, request)
        return answers.accepted(self.app, job, links, has_poll_route=_has_poll_route(self.app, job))

    @answering_errors
    async def poll(self, job_id: str) -> Response:
        """The answer to a poll by the current request, whatever its path."""
        request = current_request()
        jobs = await self._started()
        job, response = await jobs.poll(job_id, owner=await self._owner())
        # The route is the app's own, and its own hooks go on with it.
        rule, view_args = request.url_rule, request.view_args
        try:
            answer = await answer_of_guards(self.app, jobs, job, request)
        finally:
            request.url_rule, request.view_args = rule, view_args
        if answer is not None:
            return cast("Response", await self.app.make_response(answer))
        return await self._answer_poll(jobs, job, response, request)

    @answering_errors
    async def poll_route(self, asyncjobs_id: str, **view_args: Any) -> Any:
        """The view of every poll route: below the path that the job was submitted to, only."""
        request = current_request()
        jobs = await self._started()
        job, response = await jobs.poll(asyncjobs_id, owner=await self._owner())
        if not (_is_polled_at(job, request) and self._is_polled_where(job, request)):
            return await self.not_found()
        return await self._answer_for(jobs, job, response, request)

    @answering_errors
    async def result(self, job_id: str, **view_args: Any) -> Any:
        """The view of the results, each at an address that no other route of the app changes."""
        request = current_request()
        jobs = await self._started()
        job, response = await jobs.poll(job_id, owner=await self._owner())
        return await self._answer_for(jobs, job, response, request)

    @answering_errors
    async def status(self, job_id: str, **view_args: Any) -> Any:
        """The view of the status documents."""
        request = current_request()
        jobs = await self._started()
        job = await jobs.get(job_id, owner=await self._owner())
        answer = await answer_of_guards(self.app, jobs, job, request)
        if answer is not None:
            return answer
        if request.method == "DELETE":
            return await self._cancel(jobs, job, request)
        links = self._links(job, request)
        return answers.status_document(self.app, job, links, time.time())

    @answering_errors
    async def health(self) -> Response:
        """The answer to a readiness probe."""
        jobs = await self._started()
        return answers.health(self.app, await jobs.health())

    async def not_found(self) -> Response:
        """The app's own 404, as if no rule had matched: a blueprint's would tell that one did."""
        request = current_request()
        rule, request.url_rule = request.url_rule, None
        try:
            answer = await handle_user_exception(self.app, NotFound())
            response = cast("Response", await self.app.make_response(answer))
            # A cache may keep a 404 for as long as it likes, and who asks next may be the owner.
            response.headers.setdefault("Cache-Control", "no-store")
            return response
        finally:
            request.url_rule = rule  # the hooks that ran before get their counterparts after

    async def _answer_for(
        self, jobs: Jobs, job: Job, response: StoredResponse | None, request: Request
    ) -> Any:
        """What is answered for the job at the URLs of its result, if its guards let it."""
        answer = await answer_of_guards(self.app, jobs, job, request)
        if answer is not None:
            return answer
        if request.method == "DELETE":
            return await self._cancel(jobs, job, request)
        return await self._answer_poll(jobs, job, response, request)

    def _is_polled_where(self, job: Job, request: Request) -> bool:
        """Whether the poll routes of the job's view are at this host and subdomain.

        Not which of them this is: two views with one rule, for GET and for POST, have one as well.
        """
        if job.route == UNKNOWN or request.url_rule is None:
            return True
        polls = rules_of(self.app, poll_endpoint(job.route))
        here = request.url_rule.host, request.url_rule.subdomain
        return any((rule.host, rule.subdomain) == here for rule in polls)

    async def _answer_poll(
        self, jobs: Jobs, job: Job, stored: StoredResponse | None, request: Request
    ) -> Response:
        wait: float | None = wait_preference(request)
        if wait is not None:
            wait = min(wait, jobs.settings.max_wait)
            until_final = partial(jobs.wait, job.id, wait)
            if stored is None and wait > 0 and not left_to_connection(request, job, until_final):
                await until_final()
                job, stored = await jobs.poll(job.id)
        links = self._links(job, request)
        if stored is None:
            response = answers.pending(self.app, job, links, time.time())
        else:
            response = answers.result(self.app, job, stored, links)
        if wait is not None:
            response.headers["Preference-Applied"] = f"wait={math.ceil(wait)}"
        return response

    async def _cancel(self, jobs: Jobs, job: Job, request: Request) -> Response:
        refuse_cross_site(request, jobs.settings.trusted_origins)
        job = await jobs.cancel(job.id)
        return answers.status_document(self.app, job, self._links(job, request), time.time())

    def _context_of_call(
        self, request: Request, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Context:
        routed = self.app.view_functions[endpoint]
        background = background_of(routed)
        assert background is not None
        callee = callee_of(routed, background.view, endpoint, request.method)
        return context_of_call(callee, request.view_args or {}, args, kwargs)

    async def _owner(self) -> str | None:
        owner = self._owner_of_request()
        if inspect.isawaitable(owner):
            owner = await owner
        return None if owner is None else text("the owner of a job", owner)

    async def _principal(self) -> Raw | UnsetType:
        principal = self._principal_of_request()
        if inspect.isawaitable(principal):
            principal = await principal
        return principal if principal is UNSET else Raw(principal_to_json(principal))

    def _links(self, job: Job, request: Request) -> Links:
        return Links(job, request.root_path, self.prefix)


def _nobody() -> None:
    """The owner of all jobs, if the app does not tell them apart."""


def _unknown() -> UnsetType:
    """The principal of all jobs, if the app tells none."""
    return UNSET


def _has_poll_route(app: Quart, job: Job) -> bool:
    background = background_at(app, job.route)
    return background is not None and background.poll_route


def _is_polled_at(job: Job, request: Request) -> bool:
    """Whether the job was submitted to the path that this is a poll of.

    Where the store has lost it, nobody can tell: such a job has nothing to show but that.
    """
    return job.path == UNKNOWN or request.path == f"{job.path.rstrip('/')}/{job.id}"
