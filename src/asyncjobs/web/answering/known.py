"""Results that their clients have already: to tell them so takes no read of a body."""

from __future__ import annotations

from werkzeug.datastructures import ETags

from ...job import Job, Response
from ...jobs import Jobs
from ...store import Owner
from ..http.conditional import is_held
from .tags import etag_of

#: So many results are known at a time, of which the headers are kept.
KNOWN = 256


class Known:
    """Of the results that conditional polls have asked for last, all but the bodies.

    At one version of a job its result is the same for good, so that nobody needs to be told of a
    change: who asks has the job read, and with it the version.
    """

    def __init__(self) -> None:
        # By the job and its version.
        self._heads: dict[tuple[str, int], Response] = {}

    async def poll(
        self, jobs: Jobs, tags: ETags, job_id: str, owner: Owner
    ) -> tuple[Job, Response | None]:
        """As `Jobs.poll`; the response may have no body if it is one that the client has.

        Raises:
            JobNotFound, StoreUnavailable
        """
        job = await jobs.get(job_id, owner=owner)
        if not job.state.is_final:
            return job, None
        head = self._heads.get((job.id, job.version))
        if head is not None and is_held(head.status, etag_of(job, said=head.headers), tags):
            return job, head
        job, response = await jobs.poll(job_id, owner=owner)
        if response is not None:
            self._remember(job, response)
        return job, response

    def _remember(self, job: Job, response: Response) -> None:
        self._heads.pop((job.id, job.version), None)
        self._heads[job.id, job.version] = Response(response.status, response.headers)
        if len(self._heads) > KNOWN:
            del self._heads[next(iter(self._heads))]
