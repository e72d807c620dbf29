"""A request becomes a job: its body is read first of all, and the view of its route answers 202."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs
from quart import Quart, Request, Response
from quart.typing import ResponseTypes

from ...errors import SetupError
from ...job import Job
from ...jobs import Jobs
from ..background.added import callee_of, context_of_call
from ..background.replay import freeze
from ..callers.session import has_data
from ..context import context_to_json
from ..http.body import body_of, read_body
from ..http.cancel_after import CANCEL_AFTER, cancel_after
from ..http.idempotency import IDEMPOTENCY_KEY, REPLAYED
from ..http.preferences import preferences_of
from ..quart_side import current_context, current_request, options_response, session_of
from ..routing.marks import Background, background_at
from ..routing.matching import matched
from . import answers
from .app_side import AppSide, answering_errors
from .exchange import exchange_of
from .preferred import granted_to_submission
from .repeats import key_of
from .submitted import Following, Submitted


class Submission:
    """Makes jobs of the requests to the marked routes of one app."""

    def __init__(self, side: AppSide) -> None:
        self.side = side

    @answering_errors
    async def read_body(self) -> Response | None:
        """The hook that reads the body of a request that is to be a job."""
        app, request = self.side.app, current_request()
        if request.method in ("HEAD", "OPTIONS") or background_at(app, request.endpoint) is None:
            return None
        settings = (await self.side.started()).settings
        limit = min(settings.max_body, app.config["MAX_CONTENT_LENGTH"] or settings.max_body)
        await read_body(request, limit=limit, timeout=settings.body_timeout)
        return None

    @answering_errors
    async def submit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ResponseTypes:
        """The view of every marked route: make the current request a job, and answer 202.

        It is called with these arguments, some of which are from the URL.
        """
        app, request = self.side.app, current_request()
        if request.method == "HEAD":
            return answers.nothing_started(app)
        if request.method == "OPTIONS":  # from a decorator that answers it, but not this one
            return await options_response(app)
        jobs = await self.side.started()
        job, is_new = await self._accept(jobs, request, args, kwargs)
        links, background = self.side.links(job, request), _background_of(app, job.route)
        accepted = answers.accepted(app, job, links, has_poll_route=background.poll_route)
        if not is_new:
            accepted.headers[REPLAYED] = "true"
        granted = granted_to_submission(
            preferences_of(request), jobs.settings.max_wait, is_held=background.is_held
        )
        if not granted.result:
            if granted.applied is not None:
                accepted.headers["preference-applied"] = granted.applied
            return accepted
        with exchange_of(request) as exchange:
            places, most = self.side.places, jobs.settings.max_waiting
            if granted.seconds and not exchange.take_place(places, most):
                granted = granted.at_once()
            if granted.applied is not None:
                accepted.headers["preference-applied"] = granted.applied
            if not (granted.seconds or job.state.is_final):
                return accepted
            following = Following(jobs, job, granted.seconds, is_new=is_new)
            chance = self.side.random.random()
            return await exchange.answer(Submitted(app, links, following, accepted, chance))

    async def _accept(
        self, jobs: Jobs, request: Request, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Job, bool]:
        """The job of the request, and whether it is a new one."""
        app, endpoint = self.side.app, request.endpoint or ""
        if endpoint not in jobs.handlers:
            raise SetupError(
                f"the view of {endpoint!r} does not show that it is a background job: use "
                "functools.wraps in each decorator that stands above @jobs.background"
            )
        background = _background_of(app, endpoint)
        callee = callee_of(app.view_functions[endpoint], background.view, endpoint, request.method)
        added = context_of_call(callee, request.view_args or {}, args, kwargs)
        known = matched(app, request)
        context = structs.replace(
            known,
            arguments=added.arguments,
            without=added.without,
            principal=await self.side.principal(),
            session=has_data(session_of(current_context())),
        )
        frozen = freeze(request, body_of(request), context, jobs.settings)
        owner, said = await self.side.owner(), dict(request.scope["headers"])
        key = cancel_at = None
        if background.key is not None or IDEMPOTENCY_KEY in said:
            key = await key_of(request, frozen, background.key, program=jobs.name, owner=owner)
        if CANCEL_AFTER in said:
            cancel_at = jobs.now() + cancel_after(request)
        return await jobs.accept(
            endpoint,
            frozen,
            owner=owner,
            # For the guards of its blueprints, who may be asked when the request is erased.
            matched=context_to_json(known).decode() if "." in endpoint else None,
            key=key,
            cancel_at=cancel_at,
        )


def _background_of(app: Quart, endpoint: str) -> Background:
    background = background_at(app, endpoint)
    assert background is not None
    return background
