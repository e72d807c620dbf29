"""What guards a blueprint guards every URL of its jobs, also those that are not below its own."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UNSET
from quart import Quart, Request
from quart.routing import QuartRule
from werkzeug.exceptions import HTTPException
from werkzeug.routing import ValidationError

from ...errors import JobNotFound, JobUnreadable
from ...job import Job
from ...jobs import Jobs
from ..context import Context, context_from_json
from ..quart_side import error_handler_of
from ..routing.marks import background_at, poll_endpoint, poll_rule
from ..routing.matching import known_of, preprocess, rule_of, rules_of, values_for


async def answer_of_guards(app: Quart, jobs: Jobs, job: Job, request: Request) -> Any:
    """What the blueprints of the job's route answer in its place, or None if it may be seen.

    `request` is one to the job's own URL from then on, for all that looks at it: for the hooks that
    come before, and for those that come after, so that both have run, or neither.

    Raises:
        JobNotFound: nobody can be asked any more.
    """
    if "." not in job.route:
        return None  # a route of no blueprint, as most are
    names = _blueprints_of(app, jobs, job)
    if not _have_hooks(app, names) or _has_asked(app, request, job):
        return None
    known = Context(view_args={})
    if not _is_fixed(app, job):
        known = await _known_of(app, jobs, job, request)
    _become_poll(app, request, job, known)
    return await _ask(app, request, names)


async def lets_in(app: Quart, jobs: Jobs, job: Job, request: Request) -> bool:
    """Whether who has sent `request`, which is to no URL of the job, would be let in at one.

    It is one to the job's own URL meanwhile, and what it was afterwards. What the guards have taken
    is given back by the functions that tear down the requests of their blueprints, as those of the
    next job may take it once more.

    Raises:
        Exception: a guard has raised it, and the app has no answer to it.
    """
    rule, view_args = request.url_rule, request.view_args
    error: Exception | None = None
    try:
        return await answer_of_guards(app, jobs, job, request) is None
    except (JobNotFound, JobUnreadable):
        return False
    except Exception as raised:
        error = raised
        if not _is_answered(app, error, request):
            raise
        return False
    finally:
        if request.url_rule is not rule:
            await _tear_down(app, request, error)
            request.url_rule, request.view_args = rule, view_args
            await asyncio.sleep(0)  # neither guards nor stores need ever have a reason to wait


def _blueprints_of(app: Quart, jobs: Jobs, job: Job) -> list[str]:
    """Outermost first."""
    parts = job.route.split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts))]
    if job.route in app.view_functions:
        return names  # of which some may be none, but only dots in a name
    if job.route in jobs.handlers:
        return []  # a function, whose name has dots as well
    if job.path == f"/{job.route}" and names[0] not in app.blueprints:
        return []  # one that is gone
    if any(name not in app.blueprints for name in names):
        raise JobNotFound("the blueprint of the job's route is gone, and with it its guards")
    return names


def _have_hooks(app: Quart, names: list[str]) -> bool:
    return any(
        app.before_request_funcs[name] or app.url_value_preprocessors[name] for name in names
    )


def _has_asked(app: Quart, request: Request, job: Job) -> bool:
    """Whether Quart has asked them already, with all that they would be asked with: of rules that
    match the same URL it may have taken another one, and there is more to a job than its path."""
    here, polls = request.url_rule, rules_of(app, poll_endpoint(job.route))
    if here is None or len(polls) != 1 or polls[0] is not here:
        return False
    elsewhere = f"{here.host or ''}{here.subdomain or ''}"
    return "<" not in elsewhere and not any(rule.defaults for rule in rules_of(app, job.route))


def _is_fixed(app: Quart, job: Job) -> bool:
    """Whether the path of the job is that of a rule of its route, to the letter."""
    return any(rule.rule == job.path and not rule.arguments for rule in rules_of(app, job.route))


async def _known_of(app: Quart, jobs: Jobs, job: Job, request: Request) -> Context:
    """What is known of the job's URL.

    Raises:
        JobNotFound: nothing, although it takes something.
    """
    if job.matched is not None:
        return context_from_json(job.matched.encode())
    # An older version has accepted it.
    try:
        stored = await jobs.request(job.id)
    except JobNotFound:  # erased
        return _matched_anew(app, job, request, _methods_of(app, job.route))
    known = context_from_json(stored.context)
    if known.view_args is not UNSET:
        return known
    return _matched_anew(app, job, request, [stored.method])


def _methods_of(app: Quart, endpoint: str) -> list[str]:
    return sorted({method for rule in rules_of(app, endpoint) for method in rule.methods or ()})


def _matched_anew(app: Quart, job: Job, request: Request, methods: list[str]) -> Context:
    """What the path of the job leads to today.

    Raises:
        JobNotFound: it leads elsewhere, or there was more to its URL.
    """
    adapter: Any = app.create_url_adapter(request)
    for method in methods:
        try:
            rule, values = adapter.match(job.path, method, return_rule=True)
        except HTTPException:
            continue
        # What is variable in the host would be that of this request.
        if rule.endpoint == job.route and "<" not in f"{rule.host or ''}{rule.subdomain or ''}":
            return known_of(app, rule, values)
    if all(rule.arguments for rule in rules_of(app, job.route)):
        raise JobNotFound("the URL of the job is not known any more, which its guards may ask for")
    return Context(view_args={})


def _become_poll(app: Quart, request: Request, job: Job, known: Context) -> None:
    rule = rule_of(app, job.route, known, request.method)
    try:
        values = values_for(rule, known)
    except ValidationError:  # its URL has become another one
        values = {} if known.view_args is UNSET else dict(known.view_args)
    background = background_at(app, job.route)
    if background is None or background.poll_route:
        values["asyncjobs_id"] = job.id
        rule = _poll_rule_of(app, job, rule)
    request.url_rule, request.view_args = rule, values


def _poll_rule_of(app: Quart, job: Job, rule: QuartRule) -> QuartRule:
    endpoint, path = poll_endpoint(job.route), poll_rule(rule.rule)
    polls = rules_of(app, endpoint)
    return next((poll for poll in polls if poll.rule == path), QuartRule(path, endpoint=endpoint))


async def _ask(app: Quart, request: Request, names: list[str]) -> Any:
    preprocess(app, request, names)
    for name in names:
        for function in app.before_request_funcs[name]:
            answer = await app.ensure_async(function)()
            if answer is not None:
                return answer
    return None


def _is_answered(app: Quart, error: Exception, request: Request) -> bool:
    if isinstance(error, HTTPException):
        return True
    return error_handler_of(app, error, request.blueprints) is not None


async def _tear_down(app: Quart, request: Request, error: Exception | None) -> None:
    for name in request.blueprints:
        for function in reversed(app.teardown_request_funcs[name]):
            await app.ensure_async(function)(error)
