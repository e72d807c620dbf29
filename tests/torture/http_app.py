"""The app that is attacked over HTTP: routes of every kind, with owners, and guards on some."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quart import Blueprint, Quart, Response, g, redirect, request, send_file
from werkzeug.exceptions import Unauthorized

from asyncjobs.jobs import Jobs
from asyncjobs.running.current import current_job
from asyncjobs.stores import SqliteStore
from asyncjobs.web import QuartJobs

from .app import STORE
from .history import HistoryStore
from .http_asks import (
    BY_HAND,
    DOOR,
    FINE,
    GUARDED,
    HELD,
    IN_VAIN,
    LINE,
    MARK,
    MAX_BODY,
    MAX_HEADERS,
    MAX_QUEUED,
    MAX_QUEUED_PER_OWNER,
    MAX_WATCHING,
    ONCE,
    ONCE_KEY,
    OPEN,
    OPERATOR,
    OWNER,
    PLAIN,
    PREFERS,
    SHUT,
    STEER,
    STEPS,
    STRANGER,
    VIEW,
    Deliberate,
    mark_of,
)
from .http_bugs import HTTP_BUGS

#: Seconds that a body may take, so that those that never end hold up nobody for long.
BODY_TIMEOUT = 1.0
#: Longer than anybody has patience for: a poll that is held so long has been forgotten.
MAX_WAIT = 300.0
#: Seconds that a job takes for which others have to wait.
IN_LINE = 0.03
#: Seconds that one takes for each step that it tells of, and how many there are.
STEP, STEPS_TOLD = 0.07, 5


def from_environment() -> Quart:
    """The app for a server that is started by its command line."""
    return make_app(Path(os.environ["TORTURE_FOLDER"]), os.environ.get("TORTURE_BUG"))


def make_app(folder: Path, bug: str | None = None) -> Quart:
    """The app with its store in `folder`.

    Args:
        bug: one of `HTTP_BUGS`, to be planted.
    """
    app = Quart("torture_http")
    jobs = QuartJobs(
        app,
        owner=owner_of_request,
        operator=operator_of_request,
        store=HistoryStore(SqliteStore(folder / STORE), folder),
        threads=4,
        max_body=MAX_BODY,
        max_headers=MAX_HEADERS,
        max_queued=MAX_QUEUED,
        max_queued_per_owner=MAX_QUEUED_PER_OWNER,
        body_timeout=BODY_TIMEOUT,
        max_wait=MAX_WAIT,
        max_watching=MAX_WATCHING,
        keep_requests="always",  # the end compares them
    )
    add_jobs(app, jobs, folder)
    add_repeated_routes(app, jobs)
    add_watched_jobs(app, jobs)
    add_guarded_routes(app, jobs)
    requests: dict[object, str] = {}
    add_plain_routes(app, jobs, requests)
    if bug is not None:
        HTTP_BUGS[bug](app)
    keep_list(app, requests)
    return app


def owner_of_request() -> str | None:
    """Nobody is an owner as well."""
    return request.headers.get(OWNER) or None


async def operator_of_request() -> Any:
    """What an operator says to be is believed; who is none of ours has to say who it is."""
    said = request.headers.get(OPERATOR)
    if said == STRANGER:
        raise Unauthorized
    return said if said in (VIEW, STEER) else None


def mark() -> str:
    """That of the owner whose job this is."""
    return mark_of(owner_of_request())


async def answer_to_body() -> tuple[dict[str, Any], int, dict[str, str]]:
    """The handler's own status and headers, and what it has got."""
    body = await request.get_data()
    return {"mark": mark(), "size": len(body)}, 201, {MARK: mark(), "Location": "made"}


async def parts() -> AsyncIterator[str]:
    """A result that takes its time."""
    yield mark()
    for number in range(5):
        await asyncio.sleep(0.03)
        yield f" {number}"


def add_jobs(app: Quart, jobs: QuartJobs, folder: Path) -> None:
    """The routes that answer 202; `http_asks.ROUTES` lists them."""
    app.post("/upload", endpoint="upload")(jobs.background(answer_to_body))

    @app.put("/things/<name>")
    @jobs.background
    def thing(name: str) -> Response:
        time.sleep(0.01)
        headers = {
            MARK: mark(),
            "ETag": '"own"',
            "Cache-Control": "max-age=60",
            "X-Name": quote(name),
        }
        return Response(f"{mark()} {request.query_string!r}", headers=headers)

    @app.get("/slow")
    @jobs.background
    async def slow() -> Any:
        return parts(), {MARK: mark()}

    @app.post("/missing")
    @jobs.background
    async def missing() -> tuple[str, int, dict[str, str]]:
        return mark(), 404, {MARK: mark(), "Job-State": "running"}

    @app.get("/moved")
    @jobs.background
    async def moved() -> Any:
        response = redirect("done")
        response.headers[MARK] = mark()
        return response

    @app.get("/file")
    @jobs.background
    async def file() -> Response:
        path = folder / f"{mark()}.txt"
        path.write_text(mark())
        response = await send_file(path, cache_timeout=43200)
        response.headers["Cache-Control"] = "public, max-age=43200, s-maxage=43200"
        return response

    @app.route("/fails", methods=["GET", "POST"])
    @jobs.background
    async def fails() -> str:
        raise Deliberate(mark())

    @app.get("/endless")
    @jobs.background
    async def endless() -> str:
        await asyncio.Event().wait()
        return mark()


def add_repeated_routes(app: Quart, jobs: QuartJobs) -> None:
    """Those whose jobs are no job of their own, or have to wait for others."""

    @app.post(ONCE)
    @jobs.background(key=lambda: request.headers.get(ONCE_KEY))
    async def once() -> Any:
        if (await request.body).startswith(IN_VAIN):
            raise Deliberate(mark())
        return await answer_to_body()

    @app.post(LINE)
    @jobs.background(concurrency=1)
    async def line() -> Any:
        await asyncio.sleep(IN_LINE)
        return await answer_to_body()


def add_watched_jobs(app: Quart, jobs: QuartJobs) -> None:
    """Those that tell how far they are, and those that are mostly answered with their results."""

    @app.post(STEPS)
    @jobs.background
    async def steps() -> Any:
        for number in range(STEPS_TOLD):
            current_job.progress(number, STEPS_TOLD, mark())
            await asyncio.sleep(STEP)
        return await answer_to_body()

    @app.post(PREFERS)
    @jobs.background(mode="prefer")
    async def prefers() -> Any:
        await asyncio.sleep(IN_LINE)
        return await answer_to_body()


def add_guarded_routes(app: Quart, jobs: QuartJobs) -> None:
    """Those behind a door, each of another kind; `http_asks.GUARDED_ROUTES` lists them."""
    for blueprint in (guarded(jobs), reports(jobs), files(jobs), orgs(jobs), teams(jobs)):
        app.register_blueprint(blueprint)

    @app.url_value_preprocessor
    def take_team(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.team = (values or {}).pop("team", None)


def refusal(key: str | None) -> tuple[str, int] | None:
    """What a guard answers to who does not send `key`."""
    return None if key is None or request.headers.get(DOOR) == key else (SHUT, 403)


def guarded(jobs: QuartJobs) -> Blueprint:
    """All are behind one door."""
    blueprint = Blueprint("guarded", "torture_http", url_prefix=GUARDED)
    blueprint.post("/upload", endpoint="upload")(jobs.background(answer_to_body))

    @blueprint.before_request
    async def door() -> Any:
        return refusal(OPEN)

    @blueprint.get("/rooms/<int:number>")
    @jobs.background
    async def room(number: int) -> Any:
        return parts(), {MARK: mark()}

    return blueprint


def reports(jobs: QuartJobs) -> Blueprint:
    """One path with two endpoints, of which one is behind a door."""
    blueprint = Blueprint("reports", "torture_http")
    blueprint.get("/reports", endpoint="read")(jobs.background(answer_to_body))

    @blueprint.post("/reports", endpoint="write")
    @jobs.background
    async def write() -> Any:
        return await answer_to_body()

    @blueprint.before_request
    async def door() -> Any:
        return refusal(OPEN if (request.endpoint or "").startswith("reports.write") else None)

    return blueprint


def files(jobs: QuartJobs) -> Blueprint:
    """One endpoint with two paths, of which one is behind a door: they differ by a default."""
    blueprint = Blueprint("files", "torture_http")

    @blueprint.post("/files", defaults={"secret": False})
    @blueprint.post("/secrets", defaults={"secret": True})
    @jobs.background
    async def file(secret: bool) -> Any:
        return await answer_to_body()

    @blueprint.before_request
    async def door() -> Any:
        return refusal(OPEN if (request.view_args or {}).get("secret") else None)

    return blueprint


def orgs(jobs: QuartJobs) -> Blueprint:
    """Each has a door of its own."""
    blueprint = Blueprint("orgs", "torture_http", url_prefix="/org/<org>")

    @blueprint.post("/upload")
    @jobs.background
    async def upload(org: str) -> Any:
        return await answer_to_body()

    @blueprint.get("/tasks/<job_id>")
    async def task(org: str, job_id: str) -> Any:
        return await jobs.poll(job_id)

    @blueprint.before_request
    async def door() -> Any:
        return refusal((request.view_args or {}).get("org"))

    return blueprint


def teams(jobs: QuartJobs) -> Blueprint:
    """The same, where the views do not see which it is."""
    blueprint = Blueprint("teams", "torture_http", url_prefix="/team/<team>")
    blueprint.post("/upload", endpoint="upload")(jobs.background(answer_to_body))

    @blueprint.get("/tasks/<job_id>")
    async def task(job_id: str) -> Any:
        return await jobs.poll(job_id)

    @blueprint.before_request
    async def door() -> Any:
        return refusal(g.team)

    return blueprint


def add_plain_routes(app: Quart, jobs: QuartJobs, requests: dict[object, str]) -> None:
    """What is no job.

    Args:
        requests: those that are being answered.
    """

    @app.get(f"{BY_HAND}/<job_id>")
    async def by_hand(job_id: str) -> Any:
        return await jobs.poll(job_id)

    @app.get(PLAIN)
    async def plain() -> str:
        return FINE

    @app.get(HELD)
    async def held() -> dict[str, Any]:
        others = [each for each in requests.values() if HELD not in each]
        held = {"requests": others, "waits": waits(jobs.jobs), "streams": streams(app)}
        return {"pid": os.getpid(), **held}


def waits(jobs: Jobs) -> int:
    """How many jobs are waited for in this process."""
    return len(jobs._here("wait").watch._followed)


def streams(app: Quart) -> int:
    """How many streams of events are open in this process."""
    return len(app.extensions["QUART_JOBS"].polls._watching._open)


ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


def keep_list(app: Quart, requests: dict[object, str]) -> None:
    """Have `requests` be those that somebody is at work at."""
    inner: ASGIApp = app.asgi_app

    async def listed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await inner(scope, receive, send)
        key = object()
        requests[key] = f"{scope['method']} {scope['path']} HTTP/{scope['http_version']}"
        try:
            await inner(scope, receive, send)
        finally:
            del requests[key]

    app.asgi_app = listed  # type: ignore[method-assign]
