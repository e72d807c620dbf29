"""A dict or a list that a view returns becomes the response that the app would have made of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import quart
from quart import Quart, after_this_request
from quart.json.provider import DefaultJSONProvider
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs
from asyncjobs.job import Response
from test_contexts import KINDS, of_kind
from test_routes import poll, serving, submit


class OwnDict(dict[str, Any]):
    """Of a type that an app may have something of its own made of."""


class OwnProvider(DefaultJSONProvider):
    def response(self, *args: Any, **kwargs: Any) -> Any:
        return self._app.response_class("own", 201, mimetype="text/x-own")


class OwnDumps(DefaultJSONProvider):
    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps({"own": obj}, **kwargs)


class OwnResponse(quart.Response):
    default_status = 203
    default_mimetype = "text/x-own"


class OwnApp(Quart):
    async def make_response(self, result: Any) -> Any:
        response = await super().make_response(result)
        response.headers["X-Made"] = "by the app"
        return response


def make_response_instead(app: Quart) -> None:
    make = app.make_response

    async def instead(result: Any) -> Any:
        return await make(({"own": result}, 202) if isinstance(result, dict) else result)

    app.make_response = instead  # type: ignore[method-assign, assignment]


def set_on(name: str, **values: Any) -> Callable[[Quart], None]:
    """Sets these attributes of what the app has under a name, or of the app itself."""

    def change(app: Quart) -> None:
        for key, value in values.items():
            setattr(getattr(app, name) if name else app, key, value)

    return change


def in_debug_but_compact(app: Quart) -> None:
    set_on("", debug=True)(app)
    set_on("json", compact=True)(app)


APPS: dict[str, Callable[[Quart], None]] = {
    "as it is": lambda app: None,
    "debug": set_on("", debug=True),
    "debug, but compact": in_debug_but_compact,
    "spread": set_on("json", compact=False),
    "unsorted": set_on("json", sort_keys=False),
    "not ASCII": set_on("json", ensure_ascii=False),
    "another default": set_on("json", default=str),
    "another media type": set_on("json", mimetype="application/x-json"),
    "a provider with its own response": lambda app: setattr(app, "json", OwnProvider(app)),
    "a provider with its own dumps": lambda app: setattr(app, "json", OwnDumps(app)),
    "a response put into the provider": lambda app: setattr(
        app.json, "response", OwnProvider(app).response
    ),
    "its own class of responses": set_on("", response_class=OwnResponse),
    "its own make_response": make_response_instead,
}

RESULTS: dict[str, Any] = {
    "a dict": {"b": [1, 2.5, None, True], "a": {"é": "\N{SNOWMAN}"}},
    "an empty dict": {},
    "a list": [1, {"a": 1}],
    "an empty list": [],
    "numbers as keys": {2: "two", 1: "one"},
    "what the provider knows": {
        "id": uuid.UUID(int=7),
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    },
    "no JSON": {"a": object},
    "keys that cannot be sorted": {"a": 1, 2: 2},
    "nan": [float("nan")],
    "half of a character": ["\ud800"],
    "a dict of another type": OwnDict(a=1),
    "with a status": ({"a": 1}, 201),
    "with headers": ({"a": 1}, 200, {"X-Own": "yes"}),
}


@pytest.fixture
def app() -> Quart:
    return configured(Quart("plain"))


def configured(app: Quart) -> Quart:
    app.config |= {"QUART_JOBS_STORE": "memory:", "PROPAGATE_EXCEPTIONS": False}
    return app


async def outcome(app: Quart, jobs: QuartJobs, client: Client, path: str) -> Response:
    """What the job of a request to `path` comes to, as it is stored."""
    url = await submit(client, path)
    await poll(client, url)
    async with app.app_context():
        _, response = await jobs.jobs.poll(url.rpartition("/")[2])
    assert response is not None
    return response


async def assert_same_live_and_in_a_job(
    app: Quart, views: Mapping[str, Callable[[], Any]], kind: str
) -> None:
    """What each of the views returns is answered by a route, and comes to the same in a job."""
    jobs = QuartJobs(app)
    for path, view in views.items():
        app.get(f"/live/{path}", endpoint=f"live {path}")(of_kind(kind, view))
        app.get(f"/job/{path}", endpoint=f"job {path}")(jobs.background(of_kind(kind, view)))
    async with serving(app) as client:
        for path in views:
            live = await client.get(f"/live/{path}")
            stored = await outcome(app, jobs, client, f"/job/{path}")
            assert stored.status == live.status_code, path
            assert stored.body == await live.get_data(), path
            assert dict(stored.headers) == {
                name.lower().encode(): value.encode()
                for name, value in live.headers.items()
                if name != "Content-Length"
            }, path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", APPS)
async def test_a_plain_result_is_answered_as_the_app_has_it(
    app: Quart, change: str, kind: str
) -> None:
    """Status, headers and body are those of the app, however it makes JSON of what it is given."""
    APPS[change](app)
    views = {path: partial(RESULTS.__getitem__, path) for path in RESULTS}
    await assert_same_live_and_in_a_job(app, views, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_app_that_makes_responses_its_own_way(kind: str) -> None:
    """The same holds where a class of apps has a method of its own for that."""
    app = configured(OwnApp("plain"))
    await assert_same_live_and_in_a_job(app, {"dict": lambda: {"a": 1}}, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_view_wants_after_it_sees_the_response(app: Quart, kind: str) -> None:
    """A function that the view has given to after_this_request gets one of Quart's responses."""

    def view() -> Any:
        @after_this_request
        async def change(response: Any) -> Any:
            response.headers["X-Seen"] = f"{await response.get_data()!r}"
            return response

        return {"a": 1}

    await assert_same_live_and_in_a_job(app, {"dict": view}, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_result_has_a_limit(app: Quart, kind: str) -> None:
    """One of as many bytes as a result may have is stored; of one more byte, the job fails."""
    app.config["QUART_JOBS_MAX_RESPONSE"] = 1024
    jobs = QuartJobs(app)
    for size in (1024, 1025):
        result = {"a": "x" * (size - len('{"a":""}\n'))}
        view = of_kind(kind, partial(dict, result))
        app.get(f"/{size}", endpoint=f"{size}")(jobs.background(view))
    async with serving(app) as client:
        fits = await outcome(app, jobs, client, "/1024")
        assert (fits.status, len(fits.body)) == (200, 1024)
        too_large = await outcome(app, jobs, client, "/1025")
        assert too_large.status == 500
        assert b"over the limit of 1024 bytes" in too_large.body
