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

from ...errors import StoreUnavailable
from ...job import Job, State
from ...job import Response as StoredResponse
from ...jobs import Jobs
from ..http.caching import kept_by_none
from ..http.idempotency import REPLAYED
from ..quart_side import ReadyHeaders
from . import answers
from .answers import Links

logger = logging.getLogger("asyncjobs")

# What is said in these goes for the 202 alone.
_OF_ACCEPTED = frozenset(
    {
        "content-digest",
        "content-encoding",
        "content-length",
        "content-location",
        "content-md5",
        "content-type",
        "digest",
        "etag",
        "job-state",
        "last-modified",
        "location",
        "refresh",
        "repr-digest",
        "retry-after",
        "signature",
        "signature-input",
    }
)
# What is said in these comes to what the handler has said, and in all others in its place.
_LISTED = frozenset({"link", "preference-applied", "server-timing", "set-cookie", "vary"})

_CHANGED = StoreUnavailable("the job's result cannot be read just now: repeat the request")


class Following:
    """The job of a submission, followed from here on until that is closed.

    Args:
        seconds: for so many it is waited for at most.
        is_new: whether it was just made; else it is that of an earlier request.
    """

    def __init__(self, jobs: Jobs, job: Job, seconds: float, *, is_new: bool) -> None:
        self.job_id = job.id
        self.is_new = is_new
        self.had_ended = job.state.is_final
        self._jobs = jobs
        self._job = job
        self._seconds = seconds
        self._followed = jobs.follow(job.id)
        self._follower = self._followed.__enter__()

    async def result(self) -> tuple[Job, StoredResponse | None]:
        """The job and its response, if it ends in time."""
        job = self._job
        # It may have come further before it was followed, unless it is we who have just started it.
        if job.state is not State.RUNNING or not self.is_new:
            job = await self._jobs.get(job.id)
        if await self._jobs.until_final(self._follower, job, self._seconds) is None:
            return job, None
        return await self._jobs.poll(job.id)

    def close(self) -> None:
        """Follow it no longer."""
        self._followed.__exit__(None, None, None)


class Submitted:
    """A job whose submitter waits for it.

    Args:
        links: where the job is told of.
        following: the job, followed since it was made.
        accepted: the 202 that is answered if the job takes longer, which says how long that is; an
            attribute as well.
        chance: as in `answers.refused`.
    """

    def __init__(
        self, app: Quart, links: Links, following: Following, accepted: Response, chance: float
    ) -> None:
        self._app = app
        self._links = links
        self._following = following
        self.accepted = accepted
        self._location = accepted.headers["location"]
        self._applied = accepted.headers.get("preference-applied")
        self._made = set(_folded(accepted))
        self._body = _body_of(accepted)
        self._chance = chance

    async def answer(self, said: ResponseTypes) -> ResponseTypes:
        """The result, if the job ends in time; else `said`, which the hooks have made of the 202.

        Whatever goes wrong meanwhile, the job is made, and a poll will tell of that.
        """
        if not (said is self.accepted and said.status_code == 202 and _body_of(said) == self._body):
            # Nothing was waited for then, and nothing may say so (RFC 7240, section 3).
            applied = said.headers.getlist("preference-applied")
            others = [each for each in applied if each != self._applied]
            said.headers.setlist("preference-applied", others)
            return said
        try:
            job, stored = await self._following.result()
            if stored is not None:
                return self._result(job, stored, said)
        except Exception:
            logger.exception("the result of job %s is not answered at once", self._following.job_id)
        if self._following.had_ended:  # by its state, that 202 would be taken for the result
            return answers.refused(self._app, _CHANGED, self._chance)
        return said

    def close(self) -> None:
        """Nobody waits any longer."""
        self._following.close()

    def _result(self, job: Job, stored: StoredResponse, said: Response) -> Response:
        result = answers.result(self._app, job, stored, self._links)
        result.headers = self._with_what_is_said([*result.headers], said)
        return result

    def _with_what_is_said(self, headers: list[tuple[str, str]], said: Response) -> Headers:
        """The headers of a result, as they are answered here and with what hooks have said."""
        # Who asks for the same URL again wants another job, however long this result is good.
        answered = ReadyHeaders(kept_by_none(headers))
        answered["content-location"] = self._location
        if self._applied is not None:
            answered["preference-applied"] = self._applied
        if not self._following.is_new:
            answered[REPLAYED] = "true"
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
