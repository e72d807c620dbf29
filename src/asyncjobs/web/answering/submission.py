"""A request becomes a job: its body is read first of all, and the view of its route answers 202."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

from msgspec import structs
from quart import Quart, Request, Response
from quart.typing import ResponseTypes

from ...errors import SetupError
from ...job import Job
from ..background.added import callee_of, context_of_call
from ..background.replay import freeze
from ..callers.session import has_data
from ..context import Context, context_to_json
from ..http.body import body_of, read_body
from ..http.cancel_after import cancel_after
from ..http.idempotency import IDEMPOTENCY_KEY, REPLAYED
from ..quart_side import current_context, current_request, options_response, session_of
from ..routing.marks import Background, View, background_at, background_of
from ..routing.matching import matched
from . import answers
from .app_side import AppSide, answering_errors
from .repeats import key_of
from .submitted import Following, Submitted
from .waiting import leave_submission, say_applied, seconds_wanted


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
        endpoint = request.endpoint or ""
        if endpoint not in jobs.handlers:
            raise SetupError(
                f"the view of {endpoint!r} does not show that it is a background job: use "
                "functools.wraps in each decorator that stands above @jobs.background"
            )
        routed = app.view_functions[endpoint]
        background = background_of(routed)
        assert background is not None
        added = _context_of_call(routed, background, request, endpoint, args, kwargs)
        known = matched(app, request)
        context = structs.replace(
            known,
            arguments=added.arguments,
            without=added.without,
            principal=await self.side.principal(),
            session=has_data(session_of(current_context())),
        )
        frozen = freeze(request, body_of(request), context, jobs.settings)
        owner = await self.side.owner()
        key = job_id = cancel_at = None
        if background.key is not None or IDEMPOTENCY_KEY in dict(request.scope["headers"]):
            key = await key_of(request, frozen, background.key, program=jobs.name, owner=owner)
            job_id = uuid4().hex
        if b"cancel-after" in dict(request.scope["headers"]):
            cancel_at = jobs.now() + cancel_after(request)
        job = await jobs.accept(
            endpoint,
            frozen,
            owner=owner,
            # For the guards of its blueprints, who may be asked when the request is erased.
            matched=context_to_json(known).decode() if "." in endpoint else None,
            key=key,
            job_id=job_id,
            cancel_at=cancel_at,
        )
        is_repeat = job_id is not None and job.id != job_id
        links = self.side.links(job, request)
        accepted = answers.accepted(app, job, links, has_poll_route=_has_poll_route(app, job))
        if is_repeat:
            accepted.headers[REPLAYED] = "true"
        seconds = seconds_wanted(request, jobs.settings)
        if seconds is None:
            return accepted
        say_applied(accepted, seconds)
        if not (seconds or job.state.is_final):  # which the job of a repeat may be
            return accepted
        following = Following(jobs, job, seconds, is_new=not is_repeat)
        submitted = Submitted(app, links, following, accepted)
        if leave_submission(request, submitted):
            return accepted
        with closing(submitted):
            return await submitted.answer(accepted)


def _context_of_call(
    routed: View,
    background: Background,
    request: Request,
    endpoint: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Context:
    callee = callee_of(routed, background.view, endpoint, request.method)
    return context_of_call(callee, request.view_args or {}, args, kwargs)


def _has_poll_route(app: Quart, job: Job) -> bool:
    background = background_at(app, job.route)
    return background is not None and background.poll_route
