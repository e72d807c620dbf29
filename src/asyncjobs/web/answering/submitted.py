"""The result in one request: what is answered to who has made a job, and prefers to wait for it.

The app's hooks have run around the 202 by then, and what they had taken is given back. What they
have said in its headers stands on the result as well; if they have put something else in its place,
that is sent.
"""

from __future__ import annotations

import logging

from quart import Quart, Response
from quart.typing import ResponseTypes
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers

from ...job import Job, State
from ...jobs import Jobs
from ..http.caching import kept_by_none
from ..quart_side import ReadyHeaders
from . import answers
from .answers import Links
from .waiting import Wait

logger = logging.getLogger("asyncjobs")

# What is said in these goes for the 202 alone.
_OF_ACCEPTED = frozenset(
    {
        "content-digest",
        "content-length",
        "content-md5",
        "content-type",
        "digest",
        "etag",
        "job-state",
        "last-modified",
        "location",
        "repr-digest",
        "retry-after",
    }
)
# What is said in these comes to what the handler has said, and in all others in its place.
_LISTED = frozenset({"link", "server-timing", "set-cookie", "vary"})


class Submitted:
    """A job whose submitter waits for it.

    Args:
        links: where the job is told of.
        wait: begun by now.
        accepted: the 202 that is answered if the job takes longer.
    """

    def __init__(
        self, app: Quart, jobs: Jobs, job: Job, links: Links, wait: Wait, accepted: Response
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._job = job
        self._links = links
        self._wait = wait
        self._accepted = accepted
        self._location = accepted.headers["location"]
        accepted.headers["preference-applied"] = wait.applied
        self._made = set(_folded(accepted))
        self._body = _body_of(accepted)

    async def answer(self, said: ResponseTypes) -> ResponseTypes:
        """The result, if the job ends in time; else `said`, which the hooks have made of the 202.

        Whatever goes wrong meanwhile, the job is made, and a poll will tell of that.
        """
        if not (
            said is self._accepted and said.status_code == 202 and _body_of(said) == self._body
        ):
            return said
        try:
            return await self._result(said) or said
        except Exception:
            logger.exception("the result of job %s is not answered at once", self._job.id)
            return said

    async def _result(self, said: Response) -> Response | None:
        job = self._job
        if self._wait.seconds <= 0:
            return None
        if job.state is not State.RUNNING:  # somebody may have run it before it was followed
            job = await self._jobs.get(job.id)
        if await self._wait.until_final(job) is None:
            return None
        job, stored = await self._jobs.poll(job.id)
        if stored is None:  # it was retried since
            return None
        result = answers.result(self._app, job, stored, self._links)
        result.headers = self._with_what_is_said([*result.headers], said)
        return result

    def _with_what_is_said(self, headers: list[tuple[str, str]], said: Response) -> Headers:
        """The headers of a result, as they are answered here and with what hooks have said."""
        # Who asks for the same URL again wants another job, however long this result is good.
        answered = ReadyHeaders(kept_by_none(headers))
        answered["content-location"] = self._location
        answered["preference-applied"] = self._wait.applied
        by_hooks = [
            (name, value)
            for name, value in _folded(said)
            if (name, value) not in self._made and name not in _OF_ACCEPTED
        ]
        for name in {name for name, _ in by_hooks} - _LISTED:
            answered.remove(name)
        answered.extend(by_hooks)
        return answered


def _folded(response: Response) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in response.headers]


def _body_of(response: Response) -> bytes | None:
    """The body, if it is in memory: who only looks at it may put the same in its place."""
    return response.response.data if isinstance(response.response, DataBody) else None
