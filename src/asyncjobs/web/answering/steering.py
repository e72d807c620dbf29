"""To cancel and to retry: who may, and from which pages, is the same for both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from quart import Request, Response

from ...errors import ViewOnly
from ...job import Job
from ...jobs import Jobs
from ..callers.operator import Right
from ..http.cross_site import refuse_cross_site
from ..quart_side import current_request
from ..routing.marks import RETRY_ENDPOINT
from ..routing.routes import OF_JOB, OwnRoute
from . import answers
from .app_side import AppSide, answering_errors
from .guards import answer_of_guards


class Steering:
    """Changes what becomes of the jobs of one app."""

    def __init__(self, side: AppSide) -> None:
        self.side = side

    @property
    def own_routes(self) -> list[OwnRoute]:
        """The route under the prefix; cancelling has none of its own."""
        path = f"{OF_JOB}/retry"
        return [OwnRoute(path, RETRY_ENDPOINT, self.retry, ["POST"], is_polled=False)]

    @answering_errors
    async def retry(self, job_id: str, **view_args: Any) -> Any:
        """The view that has a job run once more."""
        request = current_request()
        jobs = await self.side.started()
        job, right = await self.side.seen(jobs.get, job_id)
        answer = await answer_of_guards(self.side.app, jobs, job, request)
        if answer is not None:
            return answer
        return await self._steer(jobs.retry, jobs, job, request, right)

    async def cancel(self, jobs: Jobs, job: Job, request: Request, right: Right | None) -> Response:
        """The answer to who wants this job to be cancelled, and whom its guards let."""
        return await self._steer(jobs.cancel, jobs, job, request, right)

    async def _steer(
        self,
        step: Callable[[str], Awaitable[Job]],
        jobs: Jobs,
        job: Job,
        request: Request,
        right: Right | None,
    ) -> Response:
        refuse_cross_site(request, jobs.settings.trusted_origins)
        if right is Right.VIEW:
            raise ViewOnly(
                "you may look at the jobs of others, and not cancel or retry them: that is for "
                "their owners, and for operators who may steer"
            )
        job = await step(job.id)
        links = self.side.links(job, request)
        told = await self.side.told(jobs, job, links, right)
        again = self.side.again(jobs, job)
        return answers.status_document(self.side.app, job, links, told, again)
