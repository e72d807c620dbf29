"""A job belongs to its endpoint: a deploy that gives it another URL changes nothing for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from werkzeug.routing import BaseConverter

from asyncjobs import Job, QuartJobs
from asyncjobs.job import Request
from asyncjobs.stores import SqliteStore
from asyncjobs.web.context import Context, context_to_json
from test_routes import poll, serving, submit

ID = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


class Reversed(BaseConverter):
    """Its value is not what is written in the URL."""

    def to_python(self, value: str) -> str:
        return value[::-1]

    def to_url(self, value: str) -> str:
        return super().to_url(value[::-1])


def make_app(
    store: Path, rule: str, seen: list[Any], prepare: Callable[[Quart], None] = lambda app: None
) -> Quart:
    """One release of an app, whose endpoint has this rule."""
    app = Quart("renames")
    app.url_map.converters["reversed"] = Reversed
    prepare(app)
    jobs = QuartJobs(app, store=f"sqlite:///{store}", keep_requests="always")

    @app.route(rule, endpoint="report", methods=["GET", "PUT"])
    @jobs.background
    async def report(**view_args: Any) -> Any:
        seen.append(view_args)
        return {"args": repr(sorted(view_args.items()))}

    return app


async def queue(store: Path, rule: str, url: str, method: str = "GET") -> str:
    """The id of a job that a release with this rule has accepted, and has not started."""
    return await queue_again(store, make_app(store, rule, []), url, method)


async def queue_again(store: Path, app: Quart, url: str, method: str = "GET") -> str:
    """The same for any app, which has run another job of the same request."""
    async with serving(app) as client:
        location = await submit(client, url, method)
        await poll(client, location)
        job_id = location.rpartition("/")[2]
        async with app.app_context():
            request = await app.extensions["QUART_JOBS"].jobs.request(job_id)
    async with SqliteStore(store) as opened:
        await opened.add(Job(ID, "report", request.path, created=1e9, due=1e9), request)
    return job_id


@pytest.mark.parametrize(
    ("old", "url", "new", "expected"),
    [
        ("/old", "/old", "/new", {}),
        ("/old/<int:n>", "/old/7", "/new/<int:n>", {"n": 7}),
        ("/old/<n>", "/old/7", "/new/<int:n>", {"n": 7}),
        ("/<int:n>/old", "/7/old", "/<int:n>", {"n": 7}),
        ("/old/<uuid:n>", f"/old/{uuid.UUID(ID)}", "/new/<uuid:n>", {"n": uuid.UUID(ID)}),
        ("/old/<path:n>", "/old/a/b%20c%2Fd%3F", "/new/<path:n>", {"n": "a/b c/d?"}),
        ("/old/<float:n>", "/old/1.5", "/new/<float:n>", {"n": 1.5}),
        ("/old/<reversed:n>", "/old/abc%C3%A9", "/new/<reversed:n>", {"n": "\xe9cba"}),
        ("/old/<a>/<b>", "/old/x/y", "/<b>/new/<a>", {"a": "x", "b": "y"}),
        ("/old/<a>/<b>", "/old/x/y", "/new/<b>", None),
        ("/old/<a>/<b>", "/old/x/y", "/old/<b>/<a>", {"a": "x", "b": "y"}),
        ("/old/<int:n>", "/old/7", "/<a>/<b>", None),
        ("/old/7", "/old/7", "/<a>/<b>", None),
        ("/old/<int:n>", "/old/7", "/old/<n>", {"n": "7"}),
        ("/old/<int:n>", "/old/7", "/new/<int(fixed_digits=3):n>", {"n": 7}),
        ("/old/<int:n>", "/old/7", "/old/<uuid:x>/<int:n>", None),
        ("/old/<n>", "/old/x", "/new/<int:n>", None),
    ],
)
async def test_a_queued_job_runs_with_the_arguments_that_it_came_with(
    store: Path, old: str, url: str, new: str, expected: dict[str, Any] | None
) -> None:
    """It runs with the variables of its old URL, each as the new rule makes a value of it; where
    that wants others, it fails as gone, and is not called with less than it needs."""
    await queue(store, old, url)
    seen: list[Any] = []
    async with serving(make_app(store, new, seen)) as client:
        answer = await poll(client, f"/jobs/{ID}/result")
        status = await (await client.get(f"/jobs/{ID}")).get_json()
    if expected is None:
        assert (answer.status_code, seen) == (500, [])
        assert (await answer.get_json())["type"].endswith("handler-gone")
    else:
        assert (answer.status_code, seen) == (200, [expected])
        assert status["state"] == "succeeded"


async def test_an_old_url_that_leads_elsewhere_by_now(store: Path) -> None:
    """A job runs its own view, not that which another route has put at its URL."""
    await queue(store, "/old", "/old")
    seen: list[Any] = []

    def prepare(app: Quart) -> None:
        @app.route("/old")
        async def other() -> str:
            seen.append("the other")
            return ""

    async with serving(make_app(store, "/new", seen, prepare)) as client:
        assert (await poll(client, f"/jobs/{ID}/result")).status_code == 200
    assert seen == [{}]


async def test_variables_that_have_changed_their_places(store: Path) -> None:
    """A job does not take its variables from a URL that means something else by now."""
    await queue(store, "/move/<source>/<target>", "/move/a/b")
    seen: list[Any] = []
    async with serving(make_app(store, "/move/<target>/<source>", seen)) as client:
        assert (await poll(client, f"/jobs/{ID}/result")).status_code == 200
    assert seen == [{"source": "a", "target": "b"}]


async def test_defaults_of_a_rule_go_with_the_job(store: Path) -> None:
    """What the rule has passed to the view besides is passed again, whichever rules there are by
    now."""

    def both(under: str, seen: list[Any]) -> Quart:
        app = Quart("renames")
        jobs = QuartJobs(app, store=f"sqlite:///{store}", keep_requests="always")

        async def report(**view_args: Any) -> dict[str, str]:
            seen.append(view_args)
            return {}

        view = jobs.background(report)
        for name in ("public", "private"):
            rule = f"{under}/{name}/<int:n>"
            app.add_url_rule(rule, "report", view, defaults={"visible": name})
        return app

    seen: list[Any] = []
    await queue_again(store, both("", seen), "/private/7")
    async with serving(both("/v2", seen)) as client:
        assert (await poll(client, f"/jobs/{ID}/result")).status_code == 200
    assert seen == [{"n": 7, "visible": "private"}] * 2


async def test_methods_that_the_endpoint_no_longer_has(store: Path) -> None:
    """A job of a method that its endpoint has given up runs all the same."""
    await queue(store, "/old", "/old", "PUT")
    app = Quart("renames")
    jobs = QuartJobs(app, store=f"sqlite:///{store}", keep_requests="always")

    @app.route("/old", endpoint="report", methods=["GET"])
    @jobs.background
    async def report() -> str:
        return "done"

    async with serving(app) as client:
        assert await (await poll(client, f"/jobs/{ID}/result")).get_data() == b"done"


async def test_preprocessors_that_take_variables_away(store: Path) -> None:
    """What a preprocessor takes out of the arguments is there for it again."""

    def prepare(app: Quart) -> None:
        @app.url_value_preprocessor
        def take(endpoint: str | None, values: dict[str, Any] | None) -> None:
            if values and "lang" in values:
                taken.append(values.pop("lang"))

    taken: list[str] = []
    seen: list[Any] = []
    await queue_again(store, make_app(store, "/<lang>/old/<int:n>", seen, prepare), "/fr/old/7")
    taken.clear()
    seen.clear()
    async with serving(make_app(store, "/new/<lang>/<int:n>", seen, prepare)) as client:
        assert (await poll(client, f"/jobs/{ID}/result")).status_code == 200
    assert seen == [{"n": 7}]
    assert taken == ["fr"]


async def test_a_finished_result_outlives_its_url(store: Path) -> None:
    """The `links.result` of the status document leads to the result, whatever becomes of the URL
    that it was submitted to: the same answer as at the poll URL, to the byte."""
    async with serving(make_app(store, "/old/<n>", [])) as client:
        location = await submit(client, "/old/7")
        before = await poll(client, location)
        job_id = location.rpartition("/")[2]
        links = (await (await client.get(f"/jobs/{job_id}")).get_json())["links"]
        same = await poll(client, links["result"])
        assert await same.get_data() == await before.get_data()
        assert list(same.headers) == list(before.headers)
    async with serving(make_app(store, "/new/<n>", [])) as client:
        assert (await client.get(location)).status_code == 404
        after = await client.get(links["result"])
        assert (after.status_code, await after.get_data()) == (200, await before.get_data())


async def test_a_route_without_a_poll_route_is_polled_at_its_result(store: Path) -> None:
    """The Location of its submission is `/jobs/<id>/result`, where it can be cancelled, too."""
    app = Quart("renames")
    jobs = QuartJobs(app, store=f"sqlite:///{store}", keep_requests="always")

    @app.route("/docs", methods=["POST"])
    @jobs.background(poll_route=False)
    async def make() -> tuple[str, int]:
        return "made", 201

    @app.route("/docs/<doc_id>")
    async def doc(doc_id: str) -> str:
        return f"document {doc_id}"

    async with serving(app) as client:
        location = await submit(client, "/docs", "POST")
        job_id = location.split("/")[2]
        assert location == f"/jobs/{job_id}/result"
        assert (await poll(client, location)).status_code == 201
        assert await (await client.get(f"/docs/{job_id}")).get_data() == b"document %b" % (
            job_id.encode()
        )
        assert (await client.delete(location)).status_code == 409


async def test_what_is_damaged_in_the_context(store: Path) -> None:
    """A job whose stored context cannot be read fails, and says so; the others run."""
    await queue(store, "/old", "/old")
    bad = Request("GET", "/report", context=b"{")
    good = Request("GET", "/report", context=context_to_json(Context(view_args={"n": "7"})))
    async with SqliteStore(store) as opened:
        for job_id, request in (("b" * 32, bad), ("c" * 32, good)):
            await opened.add(Job(job_id, "report", "/report", created=1e9, due=1e9), request)
    seen: list[Any] = []
    async with serving(make_app(store, "/new/<int:n>", seen)) as client:
        failed = await poll(client, f"/jobs/{'b' * 32}/result")
        assert (failed.status_code, failed.headers["Job-State"]) == (500, "failed")
        assert (await failed.get_json())["type"].endswith("job-unreadable")
        assert (await poll(client, f"/jobs/{'c' * 32}/result")).status_code == 200
    assert {"n": 7} in seen
