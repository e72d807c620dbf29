"""What views about jobs ask of their app: its jobs, who asks, where a job is told of, its 404."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from msgspec import UNSET, Raw, UnsetType
from quart import Quart, Request, Response
from werkzeug.exceptions import NotFound

from ...errors import AsyncJobsError, JobNotFound, SetupError
from ...given import text
from ...job import Job, State
from ...jobs import Jobs
from ...owner import ANYONE
from ..callers.operator import Right, right_of
from ..callers.principal import principal_to_json
from ..quart_side import current_request, handle_user_exception
from . import answers
from .answers import Links, Told
from .places import Places
from .retry_after import retry_after

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


class AppSide:
    """One app, as far as the requests about its jobs are concerned.

    Args:
        started: the app's jobs, started if need be.
        owner: tells whom the current request's jobs belong to, if they are told apart.
        principal: tells who has sent it, for its job, if that is to be known.
        operator: tells what who has sent it may do with the jobs of all, if anybody may.
        random: for jitter.

    Attributes:
        prefix: the path above the status documents, known once the app's configuration is.
        places: for the requests that are held.
    """

    prefix: str

    def __init__(
        self,
        app: Quart,
        started: Callable[[], Awaitable[Jobs]],
        owner: Callable[[], Any] | None,
        principal: Callable[[], Any] | None,
        operator: Callable[[], Any] | None,
        random: random.Random = random.Random(),  # noqa: B008 - one source for all is meant
    ) -> None:
        self.app = app
        self.started = started
        self.random = random
        self.places = Places()
        self._owner_of_request = owner
        self._principal_of_request = principal
        self._operator_of_request = operator

    @property
    def tells_callers_apart(self) -> bool:
        """Whether anybody may see jobs without knowing their ids."""
        return self._owner_of_request is not None or self._operator_of_request is not None

    async def seen(self, read: Callable[..., Awaitable[T]], job_id: str) -> tuple[T, Right | None]:
        """What `read` has of a job for who has sent the current request.

        Args:
            read: takes the id, and as `owner` whose it has to be.

        Returns:
            With it, what an operator may do; None where the job is the caller's own, and no
            operator was asked for.

        Raises:
            JobNotFound: there is none, or it is for others to see.
        """
        try:
            return await read(job_id, owner=await self.owner()), None
        except JobNotFound:
            right = await self.operator()
            if right is None:
                raise
        return await read(job_id, owner=ANYONE), right

    async def operator(self) -> Right | None:
        """What who has sent the current request may do with the jobs of all; None if nothing."""
        if self._operator_of_request is None:
            return None
        said = self._operator_of_request()
        return right_of(await said if inspect.isawaitable(said) else said)

    async def owner(self) -> str | None:
        """Whom the current request's jobs belong to; None if the app does not tell them apart."""
        if self._owner_of_request is None:
            return None
        owner = self._owner_of_request()
        if inspect.isawaitable(owner):
            owner = await owner
        return None if owner is None else text("the owner of a job", owner)

    async def principal(self) -> Raw | UnsetType:
        """Who has sent the current request, as JSON; `UNSET` if the app does not tell.

        Raises:
            Unstorable: the app tells what cannot be stored.
        """
        if self._principal_of_request is None:
            return UNSET
        principal = self._principal_of_request()
        if inspect.isawaitable(principal):
            principal = await principal
        return Raw(principal_to_json(principal))

    def links(self, job: Job, request: Request) -> Links:
        """Where the job is told of, for who has sent `request`."""
        return Links(job, request.root_path, self.prefix)

    async def told(self, jobs: Jobs, job: Job, links: Links, right: Right | None) -> Told:
        """The status document of a job, for who has that right as an operator, if it is one."""
        ahead = await jobs.ahead(job) if job.state is State.QUEUED else ...
        return answers.told(job, links, ahead, with_owner=right is not None)

    def again(self, jobs: Jobs, job: Job) -> int | None:
        """When to ask for the status of a job again, in seconds; None if it is final."""
        return None if job.state.is_final else retry_after(job, jobs.now(), self.random.random())

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


class OfApp(Protocol):
    """What has views that are about the jobs of an app."""

    side: AppSide


def answering_errors(view: Method) -> Method:
    """Have a view, a method, answer with a problem document where it raises one of our errors."""

    @wraps(view)
    async def answer(self: OfApp, *args: Any, **kwargs: Any) -> Any:
        try:
            return await view(self, *args, **kwargs)
        except JobNotFound:
            return await self.side.not_found()
        except SetupError:
            raise  # nothing that a client could do something about: the app's own 500
        except AsyncJobsError as error:
            return answers.refused(self.side.app, error, self.side.random.random())

    return cast("Method", answer)
