"""What guards a blueprint guards every URL of its jobs, wherever that is in the app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart, abort, g, request
from quart import Response as QuartResponse

from asyncjobs import Job, Jobs, QuartJobs, SqliteStore
from asyncjobs.job import Request as StoredRequest
from test_routes import UNKNOWN, poll, serving, submit

KEY = {"X-Key": "open sesame"}


@pytest.fixture
def app(tmp_path: Path) -> Quart:
    app = Quart("guards")
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{tmp_path}/jobs.db"
    return app


@pytest.fixture(params=[True, False], ids=["with a poll route", "without"])
def poll_route(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def refuse() -> None:
    """A guard."""
    if request.headers.get("X-Key") != KEY["X-Key"]:
        abort(401)


def secret_app(
    app: Quart, jobs: QuartJobs, outer: Blueprint, inner: Blueprint, *, poll_route: bool
) -> None:
    """A view in a blueprint in a blueprint, and a poll route outside of them."""

    @inner.route("/secret/<int:number>")
    @jobs.background(poll_route=poll_route)
    async def secret(number: int) -> list[str]:
        return ["the secret"]

    @app.route("/mine/<job_id>", methods=["GET"])
    async def mine(job_id: str) -> QuartResponse:
        return await jobs.poll(job_id)

    outer.register_blueprint(inner)
    app.register_blueprint(outer)


@pytest.fixture
def outer() -> Blueprint:
    return Blueprint("outer", __name__, url_prefix="/outer")


@pytest.fixture
def inner() -> Blueprint:
    return Blueprint("inner", __name__, url_prefix="/inner")


def urls_of(location: str) -> Iterator[tuple[str, str]]:
    """Each URL of a job with each method."""
    job_id = next(part for part in location.split("/") if len(part) == 32)
    for method in ("GET", "DELETE"):
        yield method, location
        yield method, f"/jobs/{job_id}"
        yield method, f"/jobs/{job_id}/result"
    yield "POST", f"/jobs/{job_id}/retry"
    yield "GET", f"/mine/{job_id}"


@pytest.mark.parametrize("depth", ["inner", "outer"])
async def test_a_guard_guards_every_url_of_the_jobs(
    app: Quart, outer: Blueprint, inner: Blueprint, depth: str, poll_route: bool
) -> None:
    """Whom a before_request hook of the route's blueprint, or of one around it, refuses, is refused
    with its answer on each URL of the job, and whom it lets in is let in."""
    jobs = QuartJobs(app)
    (inner if depth == "inner" else outer).before_request(refuse)
    secret_app(app, jobs, outer, inner, poll_route=poll_route)
    async with serving(app) as client:
        location = await submit(client, "/outer/inner/secret/7", headers=KEY)
        for method, url in urls_of(location):
            refused = await client.open(url, method=method)
            assert (refused.status_code, "Job-State" in refused.headers) == (401, False), url
        final = await poll(client, location, **KEY)
        assert await final.get_json() == ["the secret"]
        for method, url in urls_of(location):
            answer = await client.open(url, method=method, headers=KEY)
            assert answer.status_code == (200 if method == "GET" else 409), url


async def test_the_owner_is_asked_first(
    app: Quart, outer: Blueprint, inner: Blueprint, poll_route: bool
) -> None:
    """Somebody else's job is unknown, to the byte, before its guards are asked: what they would
    answer tells that there is one."""
    jobs = QuartJobs(app, owner=lambda: request.headers.get("X-User"))
    asked: list[str | None] = []

    @inner.before_request
    async def guard() -> None:
        asked.append(request.headers.get("X-User"))

    secret_app(app, jobs, outer, inner, poll_route=poll_route)
    async with serving(app) as client:
        location = await submit(client, "/outer/inner/secret/7", headers={"X-User": "alice"})
        asked.clear()
        for method, url in urls_of(location):
            if url == location and poll_route:
                continue  # the guards of its own route are asked of whatever comes
            theirs = await client.open(url, method=method, headers={"X-User": "mallory"})
            job_id = next(part for part in url.split("/") if len(part) == 32)
            nobodys = await client.open(
                url.replace(job_id, UNKNOWN), method=method, headers={"X-User": "mallory"}
            )
            assert theirs.status_code == 404
            assert await theirs.get_data() == await nobodys.get_data()
            assert list(theirs.headers) == list(nobodys.headers)
    assert asked == []


async def test_guards_see_the_polls_endpoint_and_the_arguments(
    app: Quart, outer: Blueprint, inner: Blueprint, poll_route: bool
) -> None:
    """They are asked outermost first, and see a request to the job's own poll route, or where it
    has none to its submission, with the arguments of the URL, of their types. What they answer is
    the answer; what runs after the request runs as well."""
    jobs = QuartJobs(app)
    calls: list[Any] = []

    @app.url_value_preprocessor
    def number(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.number = (values or {}).get("number")

    for blueprint in (outer, inner):

        @blueprint.before_request
        async def before(name: str = blueprint.name) -> None:
            calls.append((name, request.endpoint, dict(request.view_args or {})))

        @blueprint.after_request
        async def after(response: QuartResponse, name: str = blueprint.name) -> QuartResponse:
            calls.append(f"after {name}")
            return response

        @blueprint.teardown_request
        async def teardown(error: BaseException | None, name: str = blueprint.name) -> None:
            calls.append(f"teardown {name}")

    @inner.before_request
    async def answer() -> tuple[str, int] | None:
        return ("closed", 451) if "X-Closed" in request.headers else None

    secret_app(app, jobs, outer, inner, poll_route=poll_route)
    endpoint = "outer.inner.secret__job" if poll_route else "outer.inner.secret"
    async with serving(app) as client:
        location = await submit(client, "/outer/inner/secret/7")
        await poll(client, location)
        job_id = next(part for part in location.split("/") if len(part) == 32)
        seen = {"number": 7, **({"asyncjobs_id": job_id} if poll_route else {})}
        for url in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
            for headers, status in (({}, 200), ({"X-Closed": "1"}, 451)):
                calls.clear()
                reply = await client.get(url, headers=headers)
                assert reply.status_code == status
                assert calls[:2] == [("outer", endpoint, seen), ("inner", endpoint, seen)]
                assert calls[2:] == [
                    *("after inner", "after outer", "teardown inner", "teardown outer")
                ]


async def test_a_guard_that_raises_is_answered_by_its_blueprint(
    app: Quart, outer: Blueprint, inner: Blueprint
) -> None:
    """The blueprint's own error handlers answer for its guards, as on its own URLs."""
    jobs = QuartJobs(app)
    inner.before_request(refuse)

    @inner.errorhandler(401)
    async def explain(error: Exception) -> tuple[str, int]:
        return "the inner door is shut", 401

    secret_app(app, jobs, outer, inner, poll_route=True)
    async with serving(app) as client:
        location = await submit(client, "/outer/inner/secret/7", headers=KEY)
        for method, url in urls_of(location):
            if not url.startswith("/mine"):
                answer = await client.open(url, method=method)
                assert await answer.get_data(as_text=True) == "the inner door is shut"


# Guards that look at the endpoint and at the arguments.


async def test_a_guard_that_goes_by_the_endpoint(app: Quart, inner: Blueprint) -> None:
    """Of two views at one path, the one public and the other not, it is told which the job is of,
    whichever poll route has matched."""
    jobs = QuartJobs(app)

    @inner.before_request
    async def guard() -> None:
        if str(request.endpoint).startswith("inner.secret"):
            refuse()

    inner.add_url_rule("/reports", "public", jobs.background(_nothing))
    inner.add_url_rule("/reports", "secret", jobs.background(_a_secret), methods=["POST"])
    app.register_blueprint(inner)
    async with serving(app) as client:
        location = await submit(client, "/inner/reports", "POST", headers=KEY)
        await poll(client, location, **KEY)
        for method, url in urls_of(location):
            if not url.startswith("/mine"):
                assert (await client.open(url, method=method)).status_code == 401, url
        location = await submit(client, "/inner/reports")
        assert (await poll(client, location)).status_code == 200


@pytest.mark.parametrize("taken_by", ["view_args", "blueprint", "app"])
async def test_a_guard_that_goes_by_the_arguments(
    app: Quart, inner: Blueprint, taken_by: str
) -> None:
    """It is told those of the job, also where a preprocessor takes them away, and in a poll route
    by hand whose own arguments are others."""
    jobs = QuartJobs(app)

    def take(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.org = (values or {}).pop("org", None)

    if taken_by == "blueprint":
        inner.url_value_preprocessor(take)
    elif taken_by == "app":
        app.url_value_preprocessor(take)

    @inner.before_request
    async def guard() -> None:
        org = request.view_args["org"] if taken_by == "view_args" else g.org  # type: ignore[index]
        if org != request.headers["X-Org"]:
            abort(403)

    @inner.route("/of/<org>")
    @jobs.background
    async def secret(**view_args: str) -> list[str]:
        return ["the secret"]

    @inner.route("/of/<org>/tasks/<job_id>", methods=["GET"])
    async def by_hand(job_id: str, **view_args: str) -> QuartResponse:
        return await jobs.poll(job_id)

    app.register_blueprint(inner)
    async with serving(app) as client:
        location = await submit(client, "/inner/of/acme", headers={"X-Org": "acme"})
        assert (await poll(client, location, **{"X-Org": "acme"})).status_code == 200
        job_id = location.rpartition("/")[2]
        for org, status in (("evil", 403), ("acme", 200)):
            for url in (
                *(location, f"/jobs/{job_id}", f"/jobs/{job_id}/result"),
                f"/inner/of/{org}/tasks/{job_id}",
            ):
                answer = await client.get(url, headers={"X-Org": org})
                assert answer.status_code == status, url


@pytest.mark.parametrize("poll_route", [True, False])
async def test_a_guard_is_told_what_the_rule_has_passed(
    app: Quart, inner: Blueprint, poll_route: bool
) -> None:
    """Of several rules of one endpoint it is told the values of the one that the job came by: its
    defaults, and what its converters make."""
    jobs = QuartJobs(app)
    seen: list[Any] = []

    @inner.before_request
    async def guard() -> None:
        values = {**(request.view_args or {})}
        values.pop("asyncjobs_id", None)
        seen.append(values)

    view = jobs.background(poll_route=poll_route)(_with_anything)
    for rule, defaults in (
        ("/open/<int:n>", {"visible": "public"}),
        ("/closed/<int:n>", {"visible": "private"}),
        ("/named/<n>", {}),
    ):
        inner.add_url_rule(rule, "view", view, defaults=defaults)
    app.register_blueprint(inner)
    async with serving(app) as client:
        for path, expected in (
            ("/inner/open/7", {"n": 7, "visible": "public"}),
            ("/inner/closed/7", {"n": 7, "visible": "private"}),
            ("/inner/named/12", {"n": "12"}),
        ):
            location = await submit(client, path)
            await poll(client, location)
            job_id = next(part for part in location.split("/") if len(part) == 32)
            for url in (location, f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
                seen.clear()
                assert (await client.get(url)).status_code == 200
                assert seen[-1] == expected, url


async def test_a_guard_is_told_the_subdomain(path: Path) -> None:
    """A job that was submitted at one tenant's subdomain is none of another one's."""
    app = Quart("guards", subdomain_matching=True)  # type: ignore[call-arg]
    app.config["SERVER_NAME"] = "example.com"
    jobs = QuartJobs(app, store=f"sqlite:///{path}")
    inner = Blueprint("inner", __name__, subdomain="<tenant>")

    @inner.before_request
    async def guard() -> None:
        if (request.view_args or {})["tenant"] != request.headers["X-Tenant"]:
            abort(403)

    inner.add_url_rule("/r", "r", jobs.background(_with_anything))
    app.register_blueprint(inner)

    def at(tenant: str) -> dict[str, str]:
        return {"Host": f"{tenant}.example.com", "X-Tenant": tenant}

    async with serving(app) as client:
        location = await submit(client, "/r", headers=at("a"))
        assert (await poll(client, location, **at("a"))).status_code == 200
        job_id = location.rpartition("/")[2]
        for url in (location, f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
            assert (await client.get(url, headers=at("b"))).status_code == 403, url


async def test_a_guard_that_is_a_preprocessor(app: Quart, inner: Blueprint) -> None:
    """A blueprint whose preprocessor refuses is asked like one whose hook does."""
    jobs = QuartJobs(app)

    @inner.url_value_preprocessor
    def guard(endpoint: str | None, values: dict[str, Any] | None) -> None:
        refuse()

    inner.add_url_rule("/secret", "secret", jobs.background(_nothing))
    app.register_blueprint(inner)
    async with serving(app) as client:
        location = await submit(client, "/inner/secret", headers=KEY)
        for method, url in urls_of(location):
            if not url.startswith("/mine"):
                assert (await client.open(url, method=method)).status_code == 401, url


@pytest.mark.parametrize("moved", [False, True], ids=["in its place", "moved"])
async def test_jobs_that_an_older_version_has_stored(
    app: Quart, path: Path, inner: Blueprint, moved: bool
) -> None:
    """What an older version has not stored of the URL is taken from the path; if that leads nowhere
    by now, nobody could ask the guards rightly, and the job is unknown."""
    jobs = QuartJobs(app)

    @inner.before_request
    async def guard() -> None:
        if (request.view_args or {}).get("org") not in (None, request.headers["X-Org"]):
            abort(403)

    rule = "/moved/<org>" if moved else "/of/<org>"
    inner.add_url_rule(rule, "secret", jobs.background(_with_anything))
    app.register_blueprint(inner)
    job = Job(UNKNOWN, "inner.secret", "/inner/of/acme", created=1e9, due=1e9, program="guards")
    async with SqliteStore(path) as store:
        await store.add(job, StoredRequest("GET", job.path))
    async with serving(app) as client:
        for url in (f"/jobs/{UNKNOWN}", f"/jobs/{UNKNOWN}/result"):
            for org, status in (("evil", 403), ("acme", 200)):
                answer = await poll(client, url, **{"X-Org": org})
                assert answer.status_code == (404 if moved else status)


async def test_an_endpoint_with_a_dot_need_be_in_no_blueprint(app: Quart) -> None:
    """An app may give its endpoints what names it likes."""
    jobs = QuartJobs(app)
    app.add_url_rule("/r", "api.v1", jobs.background(_nothing))
    async with serving(app) as client:
        location = await submit(client, "/r")
        assert (await poll(client, location)).status_code == 200
        job_id = location.rpartition("/")[2]
        for url in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
            assert (await client.get(url)).status_code == 200


@pytest.mark.parametrize("rule", ["/secret", "/inner.secret"])
async def test_jobs_of_a_route_that_is_gone_stay_guarded(tmp_path: Path, rule: str) -> None:
    """Where a deploy has taken the view away, the blueprint's guards still guard its jobs; where it
    has taken the blueprint away, nobody can be asked, and its jobs are unknown."""
    job_id = None
    # Without the blueprint, the second is not told from the job of a function by its path.
    releases = ["whole", "no view", "no blueprint"][: 3 if rule == "/secret" else 2]
    for release in releases:
        app = Quart("guards")
        jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")
        inner = Blueprint("inner", __name__)
        inner.before_request(refuse)
        if release == "whole":
            inner.add_url_rule(rule, "secret", jobs.background(_nothing))
        if release != "no blueprint":
            app.register_blueprint(inner)
        async with serving(app) as client:
            if job_id is None:
                location = await submit(client, rule, headers=KEY)
                await poll(client, location, **KEY)
                job_id = location.rpartition("/")[2]
            for url in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
                known = release != "no blueprint"
                assert (await client.get(url)).status_code == (401 if known else 404)
                assert (await client.get(url, headers=KEY)).status_code == (200 if known else 404)


async def test_guards_cost_no_look_at_the_body(
    app: Quart, inner: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the URL of a job has no variables, its guards have all that they need: nobody reads the
    whole request, which may be large, at each look."""
    jobs = QuartJobs(app)
    inner.before_request(refuse)
    inner.add_url_rule("/secret", "secret", jobs.background(_nothing), methods=["POST"])
    app.register_blueprint(inner)
    async with serving(app) as client:
        location = await submit(client, "/inner/secret", "POST", headers=KEY)
        await poll(client, location, **KEY)
        monkeypatch.delattr(Jobs, "request")
        job_id = location.rpartition("/")[2]
        for url in (location, f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
            assert (await client.get(url)).status_code == 401
            assert (await client.get(url, headers=KEY)).status_code == 200


async def test_jobs_of_functions_have_no_blueprint(app: Quart) -> None:
    """The dots in the names of functions are none of blueprints, although one is called the same:
    their jobs can be seen by who has their ids."""
    jobs = QuartJobs(app)
    package = Blueprint("package", __name__)
    package.before_request(refuse)
    app.register_blueprint(package)

    async def add(a: int, b: int) -> int:
        return a + b

    async with serving(app) as client, app.app_context():
        jobs.jobs.function(name="package.module.add")(add)
        job = await jobs.jobs.submit(add, 1, 2)
        answer = await poll(client, f"/jobs/{job.id}/result")
        assert (answer.status_code, await answer.get_json()) == (200, 3)
        assert (await client.get(f"/jobs/{job.id}")).status_code == 200


async def _nothing() -> str:
    return ""


async def _a_secret() -> str:
    return "the secret"


async def _with_anything(**view_args: Any) -> str:
    return ""
