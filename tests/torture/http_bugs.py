"""Bugs to be planted in an app's answers: in what it is made of, and around it.

Each is put around what is there, at the edges that stay: hooks, the ASGI app, and `Jobs`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from quart import Quart, Response, g, has_request_context, request

from asyncjobs.errors import JobNotFound
from asyncjobs.job import Job
from asyncjobs.job import Response as StoredResponse
from asyncjobs.jobs import Jobs
from asyncjobs.store import ANYONE, Owner

from .http_asks import ENDLESS, mark_of
from .http_stream_bugs import HTTP_STREAM_BUGS
from .http_surface_bugs import SURFACE_BUGS
from .one_request_bugs import (
    cancel_at_hang_up,
    changes_told,
    make_another_job,
    tell_anothers,
)

Guard = Callable[[], Awaitable[Any]]

_ID = re.compile("[0-9a-f]{32}")


def lets_in(condition: Callable[[], bool]) -> Callable[[Quart], None]:
    """A bug: nobody asks whose job it is where `condition` holds of the request."""

    def plant(app: Quart) -> None:
        get, poll = Jobs.get, Jobs.poll

        def whose(owner: Owner) -> Owner:
            return ANYONE if has_request_context() and condition() else owner

        async def careless_get(self: Jobs, job_id: str, *, owner: Owner = ANYONE) -> Job:
            return await get(self, job_id, owner=whose(owner))

        async def careless_poll(
            self: Jobs, job_id: str, *, owner: Owner = ANYONE
        ) -> tuple[Job, StoredResponse | None]:
            return await poll(self, job_id, owner=whose(owner))

        Jobs.get, Jobs.poll = careless_get, careless_poll  # type: ignore[method-assign]

    return plant


def _is_status() -> bool:
    return request.method != "DELETE" and re.fullmatch("/jobs/[^/]*", request.path) is not None


def _is_result() -> bool:
    return request.method != "DELETE" and not _is_status()


def _is_cancel() -> bool:
    return request.method == "DELETE"


def in_process(plant: Callable[[], None]) -> Callable[[Quart], None]:
    """A bug that is in all apps of the process."""
    return lambda app: plant()


def answers_otherwise(change: Callable[[Response], None]) -> Callable[[Quart], None]:
    """A bug: the 404 for somebody else's job is another one than that for no job."""

    def plant(app: Quart) -> None:
        @app.after_request
        async def tell(response: Response) -> Response:
            found = _ID.search(request.path)
            if response.status_code == 404 and found is not None:
                try:
                    await app.extensions["QUART_JOBS"].jobs.get(found.group())
                except JobNotFound:
                    pass
                else:
                    change(response)
            return response

    return plant


def _body(response: Response) -> None:
    response.set_data("not yours")


def _header(response: Response) -> None:
    response.headers["X-Reason"] = "not yours"


def before(function: Callable[[], Awaitable[Any]]) -> Callable[[Quart], None]:
    """A bug in a hook that comes before all views."""

    def plant(app: Quart) -> None:
        app.before_request(function)

    return plant


async def _read_origin() -> None:
    """Nobody has thought of an Origin that is none."""
    if request.method == "DELETE":
        urlsplit(request.headers.get("Origin", ""))


async def _read_preference() -> None:
    """Nor of a wait that is no number."""
    if "wait=" in request.headers.get("Prefer", ""):
        int(request.headers["Prefer"].split("wait=")[1])


async def _log_preference() -> None:
    """What is not understood has a traceback in the log."""
    try:
        _, _ = request.headers.get("Prefer", "wait=1").split("=")
    except ValueError:
        logging.getLogger("asyncjobs").exception("a preference that is none")


async def _die_of_length() -> None:
    """A process that cannot go on."""
    if len(request.headers.get("Prefer", "")) > 2000:
        os._exit(1)


def trust_other_sites(app: Quart) -> None:
    """Whatever page a request comes from, it is taken for one's own."""

    @app.before_request
    async def forget() -> None:
        for name in ("Origin", "Sec-Fetch-Site"):
            request.headers.pop(name, None)


def show_tracebacks(app: Quart) -> None:
    """The page for an error is made for its developers."""

    @app.errorhandler(Exception)
    async def show(error: Exception) -> Any:
        if (code := getattr(error, "code", 500)) != 500:
            return error, code
        return "".join(traceback.format_exception(error)), 500


def share_results(app: Quart) -> None:
    """A cache of results knows their paths, and not who asks."""
    cached: dict[str, tuple[bytes, int, dict[str, str]]] = {}

    @app.before_request
    async def from_cache() -> Any:
        return cached.get(request.path) if request.method == "GET" else None

    @app.after_request
    async def into_cache(response: Response) -> Response:
        if response.headers.get("Job-State") == "succeeded":
            body = await response.get_data(as_text=False)
            cached[request.path] = body, response.status_code, dict(response.headers)
        return response


def results_for_all_caches(app: Quart) -> None:
    """What a handler says of caches goes for the results of owners, too."""

    @app.after_request
    async def say(response: Response) -> Response:
        if "Job-State" in response.headers and "no-store" not in response.headers["Cache-Control"]:
            response.headers["Cache-Control"] = "public, max-age=43200"
        return response


def tells_otherwise(
    condition: Callable[[Response], bool], change: Callable[[Response], Awaitable[None]]
) -> Callable[[Quart], None]:
    """A bug: an answer about a job is another one than it should be where `condition` holds."""

    def plant(app: Quart) -> None:
        @app.after_request
        async def tell(response: Response) -> Response:
            if "Job-State" in response.headers and condition(response):
                await change(response)
            return response

    return plant


def _is_of_one_in_four(response: Response) -> bool:
    found = _ID.search(request.path)
    is_result = response.headers["Job-State"] == "succeeded" and not _is_status()
    return is_result and found is not None and found.group() < "4"


async def _cut(response: Response) -> None:
    """As many bytes of the body as a mark has."""
    body = await response.get_data(as_text=False)
    response.set_data(body[: len(mark_of(None))])


def _leads_on(response: Response) -> bool:
    return response.status_code == 302


async def _leave_relative(response: Response) -> None:
    response.headers["Location"] = response.headers["Location"].rpartition("/")[2]


def _has_own_state(response: Response) -> bool:
    return response.status_code == 404


async def _let_state_through(response: Response) -> None:
    response.headers["Job-State"] = "running"


def _is_to_be_retried(response: Response) -> bool:
    return "Retry-After" in response.headers


async def _retry_later(response: Response) -> None:
    response.headers["Retry-After"] = "3000"


def unguarded(condition: Callable[[], bool]) -> Callable[[Quart], None]:
    """A bug: no guard is asked where `condition` holds of the request."""

    async def careless(guard: Guard) -> Any:
        return None if condition() else await guard()

    return guarded_by(careless)


def _is_result_below_prefix() -> bool:
    return request.path.startswith("/jobs/") and not _is_status()


def _has_preference() -> bool:
    return "Prefer" in request.headers


def _is_head() -> bool:
    return request.method == "HEAD"


def _is_options() -> bool:
    return request.method == "OPTIONS"


def _was_asked() -> bool:
    """Whoever has seen the request, as one to the URL that it came to, has seen enough."""
    was_asked: bool = g.get("was_asked", False)
    g.was_asked = True
    return was_asked


def see_as_it_came(*names: str) -> Callable[[Quart], None]:
    """A bug: guards see a request to the URL that it came to, and not one for the job.

    Args:
        names: of attributes of `request`, and of `g`.
    """

    def values() -> dict[str, Any]:
        return {name: copy(getattr(_holder(name), name)) for name in names}

    def see(values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(_holder(name), name, value)

    async def remember() -> None:
        g.as_it_came = values()

    async def deceived(guard: Guard) -> Any:
        rightly = values()
        see(g.as_it_came)
        try:
            return await guard()
        finally:
            see(rightly)

    def plant(app: Quart) -> None:
        app.before_request(remember)
        guarded_by(deceived)(app)

    return plant


def _holder(name: str) -> Any:
    return g if name == "team" else request


async def _forget_defaults(guard: Guard) -> Any:
    """The arguments that guards see are those that are written in the URL."""
    values = request.view_args or {}
    secret = values.pop("secret", None)
    try:
        return await guard()
    finally:
        if secret is not None:
            values["secret"] = secret


def guarded_by(ask: Callable[[Guard], Awaitable[Any]]) -> Callable[[Quart], None]:
    """A bug in how the guards of blueprints are asked: `ask` is given each of them."""

    def plant(app: Quart) -> None:
        for name in app.blueprints:
            guards = app.before_request_funcs[name]
            guards[:] = [partial(ask, guard) for guard in guards]  # type: ignore[arg-type]

    return plant


def forget_jobs(app: Quart) -> None:
    """One in eight jobs is never found again."""
    poll = Jobs.poll

    async def forgetful(
        self: Jobs, job_id: str, *, owner: Owner = ANYONE
    ) -> tuple[Job, StoredResponse | None]:
        if job_id.startswith(("0", "1")):
            raise JobNotFound(job_id)
        return await poll(self, job_id, owner=owner)

    Jobs.poll = forgetful  # type: ignore[method-assign]


def on_disconnect(what: Callable[[Any, bool], Awaitable[Any]]) -> Callable[[Quart], None]:
    """A bug in what becomes of a request whose client has gone.

    Args:
        what: is given the scope, and whether the body was all there, and returns what is said of
            that in the place of the truth; None for the truth.
    """

    def plant(app: Quart) -> None:
        inner = app.asgi_app

        async def plain(scope: Any, receive: Any, send: Any) -> None:
            arrived = False
            left: Any = None

            async def hear() -> Any:
                nonlocal arrived, left
                message = left or await receive()
                if message["type"] == "http.request":
                    arrived = not message.get("more_body", False)
                elif left is None:
                    left = message
                    return await what(scope, arrived) or message
                return message

            await inner(scope, hear if scope["type"] == "http" else receive, send)

        app.asgi_app = plain  # type: ignore[method-assign]

    return plant


async def _is_the_end(scope: Any, arrived: bool) -> Any:
    """Whoever says nothing more has said all."""
    return None if arrived else {"type": "http.request", "body": b"", "more_body": False}


async def _is_not_heard(scope: Any, arrived: bool) -> None:
    """A poll that is held stays so."""
    if scope["method"] == "GET" and scope["path"].startswith((f"{ENDLESS}/", "/jobs/", "/hand/")):
        await asyncio.Event().wait()


async def _submitter_is_not_heard(scope: Any, arrived: bool) -> None:
    """Who has submitted a job, and waits, waits on."""
    if scope["path"] == ENDLESS:
        await asyncio.Event().wait()


def _prefers_nonsense(response: Response) -> bool:
    """Whether a job was made of a request that has a preference, and wants no wait."""
    is_submission = response.status_code == 202 and _ID.search(request.path) is None
    preference = request.headers.get("Prefer", "wait=0")
    return is_submission and re.search(r"wait=\d", preference, re.IGNORECASE) is None


async def _refuse(response: Response) -> None:
    response.status_code = 400


def _let_be_kept(response: Response) -> None:
    response.headers["Cache-Control"] = "max-age=60"


def _lead_nowhere(response: Response) -> None:
    del response.headers["Content-Location"]


#: By its name: what plants the bug in an app.
HTTP_BUGS: Mapping[str, Callable[[Quart], None]] = {
    "status-for-anyone": lets_in(_is_status),
    "result-for-anyone": lets_in(_is_result),
    "cancel-for-anyone": lets_in(_is_cancel),
    "foreign-has-own-body": answers_otherwise(_body),
    "foreign-has-own-header": answers_otherwise(_header),
    "unguarded-status": unguarded(_is_status),
    "unguarded-result": unguarded(_is_result_below_prefix),
    "unguarded-if-preferred": unguarded(_has_preference),
    "unguarded-head": unguarded(_is_head),
    "unguarded-cancel": unguarded(_is_cancel),
    "unguarded-options": unguarded(_is_options),
    "guards-are-asked-once": unguarded(_was_asked),
    "guards-see-matched-endpoint": see_as_it_came("url_rule"),
    "guards-see-matched-arguments": see_as_it_came("view_args"),
    "guards-see-matched-team": see_as_it_came("team"),
    "guards-see-no-defaults": guarded_by(_forget_defaults),
    "shared-results": share_results,
    "results-for-all-caches": results_for_all_caches,
    "other-sites-cancel": trust_other_sites,
    "origin-raises": before(_read_origin),
    "preference-raises": before(_read_preference),
    "traceback-in-body": show_tracebacks,
    "traceback-in-log": before(_log_preference),
    "dies-of-a-header": before(_die_of_length),
    "half-a-body": on_disconnect(_is_the_end),
    "wait-for-nobody": on_disconnect(_is_not_heard),
    "forgets-jobs": forget_jobs,
    "results-are-cut": tells_otherwise(_is_of_one_in_four, _cut),
    "location-unresolved": tells_otherwise(_leads_on, _leave_relative),
    "state-of-the-handlers": tells_otherwise(_has_own_state, _let_state_through),
    "retry-in-an-hour": tells_otherwise(_is_to_be_retried, _retry_later),
    "told-anothers-result": in_process(tell_anothers),
    "told-to-be-kept": in_process(changes_told(_let_be_kept)),
    "told-without-place": in_process(changes_told(_lead_nowhere)),
    "job-made-again-by-wait": in_process(make_another_job),
    "hang-up-cancels": in_process(cancel_at_hang_up),
    "submitter-is-not-heard": on_disconnect(_submitter_is_not_heard),
    "junk-preference-refused": tells_otherwise(_prefers_nonsense, _refuse),
    **SURFACE_BUGS,
    **HTTP_STREAM_BUGS,
}
