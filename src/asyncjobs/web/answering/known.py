"""Results that their clients have already: to tell them so takes no read of a body."""

from __future__ import annotations

from werkzeug.datastructures import ETags

from ...job import Job, Response
from ...jobs import Jobs
from ...store import Owner
from ..http.conditional import is_held
from .answers import tag_of

#: So many results are known at a time, of which the headers are kept.
KNOWN = 256


class Known:
    """Of the results that conditional polls have asked for last, all but the bodies.

    At one version of a job its result is the same for good, so that nobody needs to be told of a
    change: who asks has the job read, and with it the version.
    """

    def __init__(self) -> None:
        self._heads: dict[str, Response] = {}

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
        head = self._heads.get(tag_of(job))
        if head is not None and is_held(head.status, _tags_in(head, job), tags):
            return job, head
        job, response = await jobs.poll(job_id, owner=owner)
        if response is not None:
            self._remember(tag_of(job), response)
        return job, response

    def _remember(self, tag: str, response: Response) -> None:
        self._heads.pop(tag, None)
        self._heads[tag] = Response(response.status, response.headers)
        if len(self._heads) > KNOWN:
            del self._heads[next(iter(self._heads))]


def _tags_in(head: Response, job: Job) -> list[tuple[str, str]]:
    """The header of the tag that the answer has, which is the handler's own or ours."""
    own = [(name.decode(), value.decode()) for name, value in head.headers if name == b"etag"]
    return own or [("etag", f'"{tag_of(job)}"')]
