"""The views that answer for the jobs there are: poll, status; and the health of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from quart import Request, Response
from werkzeug.datastructures import ETags

from ...job import UNKNOWN, Job
from ...job import Response as StoredResponse
from ...jobs import Jobs
from ..callers.operator import Right
from ..http.conditional import IF_NONE_MATCH, may_change, tags_held
from ..http.event_stream import wants_events
from ..http.preferences import preferences_of
from ..quart_side import current_request
from ..routing.marks import RESULT_ENDPOINT, STATUS_ENDPOINT, poll_endpoint
from ..routing.matching import rules_of
from ..routing.routes import OF_JOB, OwnRoute
from . import answers
from .app_side import AppSide, answering_errors
from .exchange import Held, Wait, hold
from .guards import answer_of_guards
from .known import Known
from .preferred import granted_to_poll
from .retry_after import retry_after
from .steering import Steering
from .tags import etag_of
from .watching import Watching

_Found = tuple[Job, StoredResponse | None]


class Polls:
    """Answers the requests of one app about the jobs that it has."""

    def __init__(self, side: AppSide, steering: Steering) -> None:
        self.side = side
        self._steering = steering
        self._watching = Watching(side)
        self._known = Known()

    @property
    def own_routes(self) -> list[OwnRoute]:
        """The routes under the prefix, for each host and subdomain that has jobs."""
        methods = ["GET", "DELETE"]
        return [
            OwnRoute(OF_JOB, STATUS_ENDPOINT, self.status, methods),
            OwnRoute(f"{OF_JOB}/result", RESULT_ENDPOINT, self.result, methods),
        ]

    @answering_errors
    async def poll(self, job_id: str) -> Response:
        """The answer to a poll by the current request, whatever its path."""
        request = current_request()
        jobs = await self.side.started()
        poll, tags = self._asked(jobs, request)
        (job, response), _ = await self.side.seen(poll, job_id)
        # The route is the app's own, and its own hooks go on with it.
        rule, view_args = request.url_rule, request.view_args
        try:
            answer = await answer_of_guards(self.side.app, jobs, job, request)
        finally:
            request.url_rule, request.view_args = rule, view_args
        if answer is not None:
            return cast("Response", await self.side.app.make_response(answer))
        return await self._answer_poll(jobs, (job, response), tags, request)

    @answering_errors
    async def poll_route(self, asyncjobs_id: str, **view_args: Any) -> Any:
        """The view of every poll route: below the path that the job was submitted to, only."""
        request = current_request()
        jobs = await self.side.started()
        poll, tags = self._asked(jobs, request)
        found, right = await self.side.seen(poll, asyncjobs_id)
        job, _ = found
        if not (_is_polled_at(job, request) and self._is_polled_where(job, request)):
            return await self.side.not_found()
        return await self._answer_for(jobs, found, tags, request, right)

    @answering_errors
    async def result(self, job_id: str, **view_args: Any) -> Any:
        """The view of the results, each at an address that no other route of the app changes."""
        request = current_request()
        jobs = await self.side.started()
        poll, tags = self._asked(jobs, request)
        found, right = await self.side.seen(poll, job_id)
        return await self._answer_for(jobs, found, tags, request, right)

    @answering_errors
    async def status(self, job_id: str, **view_args: Any) -> Any:
        """The view of the status documents."""
        request = current_request()
        jobs = await self.side.started()
        job, right = await self.side.seen(jobs.get, job_id)
        answer = await answer_of_guards(self.side.app, jobs, job, request)
        if answer is not None:
            return answer
        if request.method == "DELETE":
            return await self._steering.cancel(jobs, job, request, right)
        if wants_events(request):
            links = self.side.links(job, request)
            told = partial(self.side.told, jobs, links=links, right=right)
            return self._watching.answer(jobs, job, links, request, told)
        return await self._answer_status(jobs, job, request, right)

    @answering_errors
    async def health(self) -> Response:
        """The answer to a readiness probe."""
        jobs = await self.side.started()
        return answers.health(self.side.app, await jobs.health())

    async def _answer_for(
        self,
        jobs: Jobs,
        found: _Found,
        tags: ETags | None,
        request: Request,
        right: Right | None,
    ) -> Any:
        """What is answered for the job at the URLs of its result, if its guards let it."""
        job, _ = found
        answer = await answer_of_guards(self.side.app, jobs, job, request)
        if answer is not None:
            return answer
        if request.method == "DELETE":
            return await self._steering.cancel(jobs, job, request, right)
        return await self._answer_poll(jobs, found, tags, request)

    def _asked(
        self, jobs: Jobs, request: Request
    ) -> tuple[Callable[..., Awaitable[_Found]], ETags | None]:
        """`Jobs.poll`, or what takes less where the client may have the result; and the tags of the
        answers that it has, if it says so."""
        tags = tags_held(request) if IF_NONE_MATCH in dict(request.scope["headers"]) else None
        return jobs.poll if tags is None else partial(self._known.poll, jobs, tags), tags

    def _is_polled_where(self, job: Job, request: Request) -> bool:
        """Whether the poll routes of the job's view are at this host and subdomain.

        Not which of them this is: two views with one rule, for GET and for POST, have one as well.
        """
        if job.route == UNKNOWN or request.url_rule is None:
            return True
        endpoint = poll_endpoint(job.route)
        if request.url_rule.endpoint == endpoint:  # it is one of them
            return True
        polls = rules_of(self.side.app, endpoint)
        here = request.url_rule.host, request.url_rule.subdomain
        return any((rule.host, rule.subdomain) == here for rule in polls)

    async def _answer_poll(
        self, jobs: Jobs, found: _Found, tags: ETags | None, request: Request
    ) -> Response:
        side, (job, stored) = self.side, found
        granted = granted_to_poll(preferences_of(request), jobs.settings.max_wait)
        if granted.seconds and stored is None and may_change(etag_of(job), tags):
            wait = Wait(jobs, job, granted.seconds, is_for_change=tags is not None)
            held = await hold(request, wait, side.places)
            if held is Held.FULL:
                granted = granted.at_once()
            elif held is Held.OVER:
                job, stored = await jobs.poll(job.id)
        links = side.links(job, request)
        if stored is None:
            again = retry_after(job, jobs.now(), side.random.random())
            response = answers.pending(side.app, job, links, again, tags)
        else:
            response = answers.result(side.app, job, stored, links, tags)
        if granted.applied is not None:
            response.headers["preference-applied"] = granted.applied
        return response

    async def _answer_status(
        self, jobs: Jobs, job: Job, request: Request, right: Right | None
    ) -> Response:
        side, links, tags = self.side, self.side.links(job, request), tags_held(request)
        told = await side.told(jobs, job, links, right)
        granted = granted_to_poll(preferences_of(request), jobs.settings.max_wait)
        if granted.seconds and not job.state.is_final and may_change(told.etag, tags):
            wait = Wait(jobs, job, granted.seconds, is_for_change=tags is not None)
            held = await hold(request, wait, side.places)
            if held is Held.FULL:
                granted = granted.at_once()
            elif held is Held.OVER:
                job = await jobs.get(job.id)
                told = await side.told(jobs, job, links, right)
        again = side.again(jobs, job)
        response = answers.status_document(side.app, job, links, told, again, tags)
        if granted.applied is not None:
            response.headers["preference-applied"] = granted.applied
        return response


def _is_polled_at(job: Job, request: Request) -> bool:
    """Whether the job was submitted to the path that this is a poll of.

    Where the store has lost it, nobody can tell: such a job has nothing to show but that.
    """
    return job.path == UNKNOWN or request.path == f"{job.path.rstrip('/')}/{job.id}"
