"""What guards a blueprint guards every URL of its jobs, also those that are not below its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart, Request
from werkzeug.routing import ValidationError

from ..errors import JobNotFound
from ..job import Job
from .matching import rule_of, values_for
from .routes import POLL_SUFFIX, background_of


def guards_of(app: Quart, job: Job) -> list[str]:
    """The blueprints of the job's route, outermost first.

    Raises:
        JobNotFound: one of them is gone, and with it what has guarded the job.
    """
    if "." not in job.route or _is_call(app, job):
        return []
    parts = job.route.split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts))]
    if any(name not in app.blueprints for name in names):
        raise JobNotFound("the blueprint of the job's route is gone")
    return names


def have_hooks(app: Quart, names: list[str]) -> bool:
    """Whether any of these blueprints would see a request to a view of it."""
    return any(app.before_request_funcs[name] for name in names)


def become_poll(app: Quart, request: Request, job: Job, variables: Mapping[str, str]) -> None:
    """Make `request` one to the job's own URL, for all that looks at it from now on: hooks that
    come before and those that come after, so that both have run, or neither."""
    background = background_of(app.view_functions.get(job.route))
    if background is not None and not background.poll_route:
        endpoint, more = job.route, {}
    else:
        endpoint, more = f"{job.route}{POLL_SUFFIX}", {"asyncjobs_id": job.id}
    rule = rule_of(app, endpoint, {**variables, **more}, "GET")
    try:
        values = values_for(rule, variables)
    except ValidationError:  # its URL has become another one
        values = dict(variables)
    request.url_rule, request.view_args = rule, {**values, **more}


async def answer_of(app: Quart, request: Request, names: list[str]) -> Any:
    """What the guards answer in place of the job, or None if it may be seen."""
    for name in names:
        for preprocess in app.url_value_preprocessors[name]:
            preprocess(request.endpoint, request.view_args)
    for name in names:
        for function in app.before_request_funcs[name]:
            answer = await app.ensure_async(function)()
            if answer is not None:
                return answer
    return None


def _is_call(app: Quart, job: Job) -> bool:
    """Whether it is one of a function, whose names have dots as well: those are in no blueprint."""
    return job.route not in app.view_functions and job.path == f"/{job.route}"
