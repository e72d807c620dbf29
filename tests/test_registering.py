"""What is registered works, or is refused there and then: nothing fails only once it is used."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from typing import Any, ClassVar

import pytest
from quart import Blueprint, Quart, make_response, request
from quart import Response as QuartResponse
from quart.routing import QuartRule
from quart.typing import TestClientProtocol as Client
from quart.views import MethodView
from quart.views import View as ClassView
from quart_cors import route_cors
from quart_rate_limiter import RateLimit, RateLimiter
from werkzeug.routing import BaseConverter, ValidationError

from asyncjobs import Jobs, QuartJobs
from asyncjobs.errors import ConfigurationError, SetupError

DEADLINE = 30.0
SHOP = {"Origin": "https://shop.example"}
#: As the ids of jobs are.
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def app() -> Quart:
    app = Quart("registering")
    app.config["QUART_JOBS_STORE"] = "memory:"
    return app


@pytest.fixture
def jobs(app: Quart) -> QuartJobs:
    return QuartJobs(app)


async def plain(**view_args: Any) -> dict[str, Any]:
    return view_args


async def result(client: Client, path: str, method: str = "GET") -> Any:
    """What the job of a request comes to, as JSON."""
    submitted = await client.open(path, method=method)
    assert submitted.status_code == 202, await submitted.get_data(as_text=True)
    answer = await client.get(submitted.headers["Location"], headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    return await answer.get_json()


async def refused(app: Quart, match: str) -> None:
    """Neither a server nor a bare test client gets anything of such an app."""
    with pytest.raises(SetupError, match=match):
        await app.startup()
    with pytest.raises((SetupError, ExceptionGroup)) as raised:
        await app.test_client().get("/")
    assert re.search(match, str(only(raised.value)))


def only(error: BaseException) -> SetupError:
    """A SetupError that Quart 0.23 raises in the group of its connection's tasks."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, SetupError)
    return error


# Functions and views of all kinds.


def here() -> str:
    return threading.current_thread().name


async def double(x: int) -> list[Any]:
    return [2 * x, here()]


@wraps(double)
def wrapping(x: int) -> Any:
    return double(x)


def sync(x: int) -> list[Any]:
    return [2 * x, here()]


class Doubling:
    async def __call__(self, x: int) -> list[Any]:
        return await double(x)

    async def method(self, x: int) -> list[Any]:
        return await double(x)


class SyncDoubling:
    def __call__(self, x: int) -> list[Any]:
        return sync(x)


@dataclass
class NoHash(Doubling):
    """What has an equality of its own, and so no hash."""

    factor: int = 2


KINDS: dict[str, Callable[..., Any]] = {
    "sync": sync,
    "async": double,
    "sync wrapper of an async function": wrapping,
    "lambda that gives a coroutine": lambda x: double(x),
    "object with async __call__": Doubling(),
    "object with sync __call__": SyncDoubling(),
    "object without a hash": NoHash(),
    "bound method": Doubling().method,
    "partial of an async function": partial(double),
    "partial of a sync function": partial(sync),
    "partial of an object with async __call__": partial(Doubling()),
    "static method": staticmethod(double),
}
SYNC = {"sync", "object with sync __call__", "partial of a sync function"}
THREADED = {*SYNC, "sync wrapper of an async function", "lambda that gives a coroutine"}


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_can_be_called_is_a_function(kind: str) -> None:
    """Whatever gives JSON, or an awaitable of it, is run: in a thread if its call may block, else
    in the event loop, where all awaitables are awaited. It is submitted by its name and by itself.
    """
    jobs, function = Jobs(store="memory:"), KINDS[kind]
    assert jobs.function(name="double")(function) is function
    assert jobs.handlers["double"].threaded == (kind in THREADED)

    async with jobs:
        for submitted in ("double", function):
            job = await jobs.submit(submitted, 21)
            doubled, thread = await jobs.result(job.id, DEADLINE)
            assert doubled == 42
            assert thread.startswith("asyncjobs-") == (kind in SYNC)


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_can_be_called_is_a_view(app: Quart, jobs: QuartJobs, kind: str) -> None:
    """The same are views, under an endpoint where they have no name."""
    app.add_url_rule("/<int:x>", "double", jobs.background(KINDS[kind]))

    async with app.test_app() as running:
        async with app.app_context():
            assert jobs.jobs.handlers["double"].threaded == (kind in THREADED)
        assert (await result(running.test_client(), "/21"))[0] == 42


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith(("object", "partial"))])
async def test_what_has_no_name_needs_one(app: Quart, jobs: QuartJobs, kind: str) -> None:
    """A function without a name is refused with the hint to give it one, by all ways to register
    it; so is a view without one where its route has no endpoint of its own."""
    for functions in (Jobs(store="memory:"), jobs):
        for register in (functions.function, functions.function(timeout=1)):
            with pytest.raises(SetupError, match=r"has no name.*name="):
                register(KINDS[kind])

    with pytest.raises(SetupError, match=r"has no name.*endpoint="):
        app.route("/<int:x>")(jobs.background(KINDS[kind]))


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize("function", [generator, async_generator, partial(generator), Generating()])
def test_a_generator_is_no_function(function: Callable[..., Any]) -> None:
    """What a generator yields is no JSON: it is refused where it is registered."""
    jobs = Jobs(store="memory:")
    with pytest.raises(SetupError, match=r"is a generator.*return a list"):
        jobs.function(name="generator")(function)
    assert not jobs.handlers


@pytest.mark.parametrize("what", [5, "double"])
def test_what_cannot_be_called_is_no_function(what: Any) -> None:
    """What is no function is refused where it is registered, also under a name."""
    jobs = Jobs(store="memory:")
    with pytest.raises(SetupError, match="registers a function, not"):
        jobs.function(name="what")(what)
    assert not jobs.handlers


async def test_a_method_is_registered_from_its_object() -> None:
    """A method that was registered in its class has no `self` in a job: to submit it is an error
    that says how to register it."""
    jobs = Jobs(store="memory:")

    class Mail:
        @jobs.function
        async def send(self, to: str) -> str:
            return to

    async with jobs:
        with pytest.raises(SetupError, match=r"Mail.send.*no `self`.*jobs.function\(object.method"):
            await jobs.submit(Mail().send, "anne")


# Functions of an app.


async def test_an_app_has_functions(app: Quart, jobs: QuartJobs) -> None:
    """`QuartJobs.function` registers a function where it is defined, before there is any app that
    serves, and in each that does; also when one does already."""

    @jobs.function
    async def early(x: int) -> int:
        return x + 1

    other = Quart("other")
    other.config["QUART_JOBS_STORE"] = "memory:"
    jobs.init_app(other)

    for each in (app, other):
        async with each.test_app(), each.app_context():
            job = await jobs.jobs.submit(early, 1)
            assert await jobs.jobs.result(job.id, DEADLINE) == 2

    async with app.test_app(), app.app_context():

        @jobs.function(name="late", timeout=5)
        def late(x: int) -> int:
            return x + 2

        for function in (late, "late"):
            job = await jobs.jobs.submit(function, 1)
            assert await jobs.jobs.result(job.id, DEADLINE) == 3
        assert jobs.jobs.handlers["late"].timeout == 5


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("taken", {}, SetupError, "'taken' already"),
        (5, {}, ConfigurationError, "must be a str"),
        ("free", {"timeout": -1}, ConfigurationError, "timeout"),
    ],
)
def test_a_function_of_an_app_is_checked_at_once(
    jobs: QuartJobs, name: Any, options: Any, error: type[Exception], says: str
) -> None:
    """What is wrong with a function is said where it is defined, not when the app starts."""
    jobs.function(name="taken")(double)
    with pytest.raises(error, match=says):
        jobs.function(name=name, **options)(sync)


# What is no view.


async def test_a_class_is_no_view(jobs: QuartJobs) -> None:
    """A class that is decorated as a whole is refused, with the way that works."""

    class Things(MethodView):
        async def get(self) -> str:
            return "never"

    for decorate in (jobs.background, jobs.background()):
        with pytest.raises(SetupError, match=r"not a class.*decorators = \[jobs.background\]"):
            decorate(Things)


async def test_a_coroutine_is_no_view(jobs: QuartJobs) -> None:
    """A view that was called is refused, without a word of Python's about what was not awaited."""
    with pytest.raises(SetupError, match="'plain' was called"):
        jobs.background(plain())  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["get", "delete", "dispatch_request"])
@pytest.mark.parametrize("on", ["the app", "a blueprint"])
async def test_a_method_of_a_class_is_no_view(
    app: Quart, jobs: QuartJobs, name: str, on: str
) -> None:
    """`@jobs.background` on a method of a class-based view stops the start, and the error says
    what works; also if the method is inherited."""

    async def method(self: Any) -> str:
        return "never"

    base = ClassView if name == "dispatch_request" else MethodView
    parent = type("Parent", (base,), {name: jobs.background(method), "methods": ["GET"]})
    view = type("Things", (parent,), {}).as_view("things")  # type: ignore[attr-defined]
    if on == "the app":
        app.add_url_rule("/things", view_func=view)
    else:
        blueprint = Blueprint("blueprint", __name__)
        blueprint.add_url_rule("/things", view_func=view)
        app.register_blueprint(blueprint)

    await refused(app, rf"Things.{name}.*decorators = \[jobs.background\]")


async def test_a_function_of_a_class_is_no_method(app: Quart, jobs: QuartJobs) -> None:
    """A method that was decorated in its class, and is routed from an object, is refused; decorated
    from the object, it works."""

    class Things:
        async def list(self) -> list[str]:
            return ["thing"]

        @jobs.background
        async def decorated(self) -> list[str]:
            return ["never"]

    things = Things()
    with pytest.raises(SetupError, match=r"no `self`.*jobs.background\(object.decorated\)"):
        app.add_url_rule("/decorated", view_func=things.decorated)
    app.view_functions.pop("decorated")

    other = Quart("other")
    other.config["QUART_JOBS_STORE"] = "memory:"
    jobs.init_app(other)
    other.add_url_rule("/list", view_func=jobs.background(things.list))
    async with other.test_app() as running:
        assert await result(running.test_client(), "/list") == ["thing"]


async def test_a_class_with_decorators_is_a_view(app: Quart, jobs: QuartJobs) -> None:
    """`decorators = [jobs.background]` has every method of a class run in the background, and
    OPTIONS is answered at once, as for any view."""

    class Things(MethodView):
        decorators: ClassVar[list[Any]] = [jobs.background]  # type: ignore[misc]

        async def get(self) -> list[str]:
            return ["got"]

        async def post(self) -> list[str]:
            return ["posted"]

    app.add_url_rule("/things", view_func=Things.as_view("things"))

    async with app.test_app() as running:
        client = running.test_client()
        assert await result(client, "/things") == ["got"]
        assert await result(client, "/things", "POST") == ["posted"]
        options = await client.options("/things")
        assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


# Rules that make no jobs.


@pytest.mark.parametrize("order", ["@websocket above", "@websocket below"])
@pytest.mark.parametrize("on", ["the app", "a blueprint", "a nested blueprint"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_websocket_is_no_job(app: Quart, order: str, on: str, moment: str) -> None:
    """A websocket with `@jobs.background` is refused, whatever it is routed on, and in whatever
    order its decorators stand."""
    jobs, blueprint, outer = QuartJobs(), Blueprint("inner", "inner"), Blueprint("outer", "outer")
    routes: Any = app if on == "the app" else blueprint

    async def socket() -> None:
        """Never called."""

    async def module() -> None:
        if moment == "before":
            jobs.init_app(app)
        if order == "@websocket above":
            routes.websocket("/socket")(jobs.background(socket))
        else:
            jobs.background(routes.websocket("/socket")(socket))
        if on == "a blueprint":
            app.register_blueprint(blueprint)
        elif on == "a nested blueprint":
            outer.register_blueprint(blueprint)
            app.register_blueprint(outer)
        if moment == "after":
            jobs.init_app(app)
        await app.startup()

    with pytest.raises(SetupError, match="the websocket '/socket' cannot be a background job"):
        await module()


@pytest.mark.parametrize("methods", [["OPTIONS"], ["GET", "OPTIONS"], ["post", "options"]])
async def test_options_is_no_job(app: Quart, jobs: QuartJobs, methods: list[str]) -> None:
    """OPTIONS among the methods of a marked route would never be a job: it is refused."""
    with pytest.raises(SetupError, match="OPTIONS on '/foo' cannot be a background job"):
        app.add_url_rule("/foo", "foo", jobs.background(plain), methods=methods)


async def test_a_class_that_answers_options_is_no_view(app: Quart, jobs: QuartJobs) -> None:
    """So is a method `options` of a class whose methods are jobs."""

    class Things(MethodView):
        decorators: ClassVar[list[Any]] = [jobs.background]  # type: ignore[misc]

        async def get(self) -> str:
            return "never"

        async def options(self) -> str:
            return "never"

    with pytest.raises(SetupError, match="OPTIONS on '/things'"):
        app.add_url_rule("/things", view_func=Things.as_view("things"))


async def test_options_that_a_decorator_above_answers(app: Quart, jobs: QuartJobs) -> None:
    """A decorator above may answer OPTIONS itself, as quart-cors's for a single route does (its own
    answer fails in Quart 0.23, as of version 0.8)."""
    view = jobs.background(plain)

    @wraps(view)
    async def shared(**view_args: Any) -> QuartResponse:
        answer = "" if request.method == "OPTIONS" else await view(**view_args)
        response = await make_response(answer)
        response.headers["Access-Control-Allow-Origin"] = SHOP["Origin"]
        return response

    shared.required_methods = {"OPTIONS"}  # type: ignore[attr-defined]
    shared.provide_automatic_options = False  # type: ignore[attr-defined]
    app.add_url_rule("/foo", "foo", shared)

    async with app.test_app() as running:
        client = running.test_client()
        asked = {**SHOP, "Access-Control-Request-Method": "GET"}
        preflight = await client.options("/foo", headers=asked)
        submission = await client.get("/foo", headers=SHOP)
        assert (preflight.status_code, submission.status_code) == (200, 202)
        for answer in (preflight, submission):
            assert answer.headers["Access-Control-Allow-Origin"] == SHOP["Origin"]
        assert await result(client, "/foo") == {}


async def test_options_that_a_decorator_below_would_answer(app: Quart, jobs: QuartJobs) -> None:
    """Below it would never get one: the error says where it belongs."""

    async def foo() -> None:
        """Never called."""

    view = jobs.background(route_cors(allow_origin=SHOP["Origin"])(foo))
    with pytest.raises(SetupError, match="as route_cors does, belongs above"):
        app.add_url_rule("/foo", "foo", view)


async def test_options_that_a_decorator_passes_on(app: Quart, jobs: QuartJobs) -> None:
    """One that keeps OPTIONS from Quart, and does not answer it, makes no job: the methods are
    told, as for any route."""
    view = jobs.background(plain)
    view.required_methods = {"OPTIONS"}  # type: ignore[attr-defined]
    view.provide_automatic_options = False  # type: ignore[attr-defined]
    app.add_url_rule("/foo", "foo", view)

    async with app.test_app() as running:
        answer = await running.test_client().options("/foo")
        assert answer.status_code == 200
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        assert "Job-State" not in answer.headers


@pytest.mark.parametrize("methods", [["HEAD"], []])
async def test_a_route_has_a_method_that_makes_jobs(
    app: Quart, jobs: QuartJobs, methods: list[str]
) -> None:
    """HEAD starts no job: a route of nothing else is refused."""
    with pytest.raises(SetupError, match="no request to '/foo' would ever be a job"):
        app.add_url_rule("/foo", "foo", jobs.background(plain), methods=methods)


@pytest.mark.parametrize("provide", [True, False, None])
async def test_automatic_options_are_the_apps(
    app: Quart, jobs: QuartJobs, provide: bool | None
) -> None:
    """OPTIONS that Quart answers, or does not, are no hindrance."""
    view = jobs.background(plain)
    app.add_url_rule("/foo", "foo", view, provide_automatic_options=provide)

    async with app.test_app() as running:
        client = running.test_client()
        assert await result(client, "/foo") == {}
        assert (await client.options("/foo")).status_code == (200 if provide is None else 405)


# One function, and several routes.


@pytest.mark.parametrize("order", ["plain first", "background first"])
@pytest.mark.parametrize("on", ["the app", "a blueprint"])
async def test_a_function_is_routed_plainly_and_in_the_background(
    app: Quart, jobs: QuartJobs, order: str, on: str
) -> None:
    """One function may answer at once on one route, and in the background on another."""
    blueprint = Blueprint("blueprint", __name__)
    routes: Any = app if on == "the app" else blueprint

    async def report() -> list[str]:
        return [request.path]

    if order == "plain first":
        routes.route("/plain", endpoint="plain")(report)
    routes.route("/background")(jobs.background(report))
    if order == "background first":
        routes.route("/plain", endpoint="plain")(report)
    if on == "a blueprint":
        app.register_blueprint(blueprint)

    async with app.test_app() as running:
        client = running.test_client()
        assert await (await client.get("/plain")).get_json() == ["/plain"]
        assert await result(client, "/background") == ["/background"]


async def test_the_wrong_order_is_found_through_other_decorators(
    app: Quart, jobs: QuartJobs
) -> None:
    """`@jobs.background` above another decorator above `@app.route`."""

    def checked(view: Any) -> Any:
        @wraps(view)
        async def check(**view_args: Any) -> Any:
            return await view(**view_args)

        return check

    @jobs.background
    @checked
    @app.route("/report")
    async def report() -> str:
        return "never"

    await refused(app, "report.*put @app.route above")


async def test_a_view_may_come_after_its_rule(app: Quart, jobs: QuartJobs) -> None:
    """Rules whose views come later (`@app.endpoint`), rules that are added to the map itself, and
    views that are exchanged have jobs as well."""
    app.add_url_rule("/later", endpoint="later")
    app.url_map.add(QuartRule("/map", endpoint="map", methods={"GET"}))
    app.add_url_rule("/exchanged", "exchanged", plain)

    @app.endpoint("later")
    @jobs.background
    async def later() -> list[str]:
        return ["later"]

    app.view_functions["map"] = jobs.background(plain)
    app.view_functions["exchanged"] = jobs.background(app.view_functions["exchanged"])

    async with app.test_app() as running:
        client = running.test_client()
        assert await result(client, "/later") == ["later"]
        assert await result(client, "/map") == {}
        assert await result(client, "/exchanged") == {}


async def test_an_endpoint_of_ours_is_taken(app: Quart, jobs: QuartJobs) -> None:
    """Where the app has an endpoint of the name that a route of ours needs, the error names it."""
    app.add_url_rule("/taken", "foo__job", plain)
    app.add_url_rule("/status", "asyncjobs_status", plain)
    with pytest.raises(SetupError, match=r"asyncjobs cannot be added.*foo__job.*another"):
        app.add_url_rule("/foo", "foo", jobs.background(plain))
    app.view_functions.pop("foo__job")

    await refused(app, r"asyncjobs cannot be added.*asyncjobs_status.*another")


async def test_a_variable_of_ours_is_taken(app: Quart, jobs: QuartJobs) -> None:
    """A variable of the name that our poll routes give to the id is an error that names it."""
    with pytest.raises(SetupError, match=r"'/<asyncjobs_id>/.* cannot be added.*'asyncjobs_id'"):
        app.add_url_rule("/<asyncjobs_id>", "foo", jobs.background(plain))


# Routes in each other's place.


class Slug(BaseConverter):
    regex = "[a-z][a-z0-9-]*"


class ObjectId(BaseConverter):
    """Checks what it is given only once it has matched."""

    def to_python(self, value: str) -> str:
        if len(value) != 24:
            raise ValidationError
        return value


class Known(BaseConverter):
    """Looks further than can be looked where there is no request."""

    def to_python(self, value: str) -> Any:
        return request.args[value]


@pytest.fixture(params=["with the route first", "with the job first"])
def route(request: pytest.FixtureRequest, app: Quart, jobs: QuartJobs) -> Callable[..., None]:
    """Has a plain view and a marked one, in this order or the other."""
    app.url_map.converters.update(slug=Slug, object_id=ObjectId, known=Known)

    def add(other: str, marked: str, *, methods: Any = None, **options: Any) -> None:
        rules: list[tuple[str, str, Any, Any]] = [
            (other, "other", plain, methods),
            (marked, "marked", jobs.background(**options)(plain), ["POST"]),
        ]
        for rule, endpoint, view, of in rules[:: 1 if "route" in request.param else -1]:
            app.add_url_rule(rule, endpoint, view, methods=of)

    return add


@pytest.mark.parametrize(
    ("other", "marked"),
    [
        ("/docs/<doc_id>", "/docs"),
        ("/docs/<doc_id>", "/docs/"),
        ("/docs/<doc_id>/", "/docs/"),
        ("//docs//<doc_id>", "/docs"),
        ("/docs/<string:doc_id>", "/docs"),
        ("/docs/<string(length=32):doc_id>", "/docs"),
        ("/docs/<path:doc>", "/docs"),
        ("/docs/<slug:doc>", "/docs"),
        ("/docs/<known:doc>", "/docs"),
        ("/docs/<object_id:doc>", "/docs"),
        ("/<page>", "/"),
        ("/<path:page>", "/"),
        ("/<lang>/docs/<doc_id>", "/<language>/docs"),
        ("/<lang>/docs/<doc_id>", "/<int:number>/docs"),
        ("/<path:folder>/files/<name>", "/<path:folder>/files"),
        ('/<any("a/b", c):part>/<name>', '/<any("a/b", c):part>'),
    ],
)
async def test_a_poll_route_and_a_route_of_the_app_collide(
    app: Quart, route: Callable[..., None], other: str, marked: str
) -> None:
    """A route of the app that matches the poll URLs of a marked one stops the start, whichever came
    first: the error names both, and the way out."""
    route(other, marked)

    await refused(app, r"'other'.*'marked__job'.*@jobs.background\(poll_route=False\).*/jobs/<id>/")


@pytest.mark.parametrize(
    ("other", "marked"),
    [
        ("/<path:page>", "/docs"),
        ("/<folder>/<name>", "/docs"),
        ("/docs/<int:doc_id>", "/docs"),
        ("/docs/<float:doc_id>", "/docs"),
        ("/docs/<uuid:doc_id>", "/docs"),
        ("/docs/<any(red, blue):doc_id>", "/docs"),
        ("/docs/<string(length=8):doc_id>", "/docs"),
        ("/docs/<string(maxlength=31):doc_id>", "/docs"),
        ("/docs/<doc_id>.json", "/docs"),
        ("/docs/<doc_id>/pages", "/docs"),
        ("/docs/<path:doc>/edit", "/docs"),
        ("/docs/overview", "/docs"),
        ("/documents/<doc_id>", "/docs"),
        ("/docs<doc_id>", "/docs"),
        ("/<lang>/docs/<doc_id>", "/docs"),
    ],
)
async def test_other_routes_do_not_collide(
    app: Quart, route: Callable[..., None], other: str, marked: str
) -> None:
    """What matches no id, or gives way to others because less of it is fixed, is no collision."""
    route(other, marked)

    async with app.test_app() as running:
        assert await result(running.test_client(), marked, "POST") == {}


@pytest.mark.parametrize(
    ("methods", "collide"),
    [
        (["GET"], True),
        (["HEAD"], True),
        (["DELETE"], True),
        (["PUT", "DELETE"], True),
        (["OPTIONS"], True),
        (["POST"], False),
        (["PUT", "PATCH"], False),
    ],
)
async def test_routes_collide_by_their_methods(
    app: Quart, route: Callable[..., None], methods: list[str], collide: bool
) -> None:
    """Only a route that has a method of the poll route is in its place."""
    route("/docs/<doc_id>", "/docs", methods=methods)

    if collide:
        await refused(app, "'other'.*'marked__job'")
    else:
        async with app.test_app() as running:
            client = running.test_client()
            assert await result(client, "/docs", "POST") == {}
            answer = await client.open(f"/docs/{ID}", method=methods[0])
            assert await answer.get_json() == {"doc_id": ID}


async def test_without_a_poll_route_nothing_collides(
    app: Quart, route: Callable[..., None]
) -> None:
    """The way out that the error names: the route keeps all its paths."""
    route("/docs/<doc_id>", "/docs", poll_route=False)

    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.post("/docs")).status_code == 202
        assert await (await client.get(f"/docs/{ID}")).get_json() == {"doc_id": ID}


async def test_polls_below_a_variable(app: Quart, route: Callable[..., None]) -> None:
    """Where a marked rule begins with a variable, no collision is found with one that has text in
    its place: the app's own view answers the polls there, and the result is beside the status."""
    route("/users/<uid>", "/<kind>")

    async with app.test_app() as running:
        client = running.test_client()
        assert await result(client, "/docs", "POST") == {"kind": "docs"}
        poll = (await client.post("/users")).headers["Location"]
        job_id = poll.removeprefix("/users/")
        assert await (await client.get(poll)).get_json() == {"uid": job_id}
        answer = await client.get(f"/jobs/{job_id}/result", headers={"Prefer": "wait=30"})
        assert await answer.get_json() == {"kind": "users"}


async def test_a_websocket_is_in_nobodys_place(app: Quart, jobs: QuartJobs) -> None:
    """A websocket below a marked route does not collide with its poll route."""
    app.add_url_rule("/docs", "docs", jobs.background(plain))
    app.websocket("/docs/<doc_id>")(plain)

    async with app.test_app() as running:
        assert await result(running.test_client(), "/docs") == {}


@pytest.mark.parametrize("rule", ["/jobs/<name>", "/jobs/<path:name>", "/jobs/<name>/"])
async def test_the_prefix_collides_with_a_route_of_the_app(
    app: Quart, route: Callable[..., None], rule: str
) -> None:
    """A route of the app's own under the prefix stops the start, and the error names it, ours, and
    `prefix=`."""
    route(rule, "/docs")

    await refused(app, r"'other'.*/jobs/<id>' \('asyncjobs_status'\).*prefix=")


async def test_the_prefix_collides_with_a_poll_route(app: Quart, jobs: QuartJobs) -> None:
    """A marked route at the prefix itself would be polled where the status is: that stops the
    start as well."""
    app.add_url_rule("/jobs", "jobs", jobs.background(plain), methods=["POST"])

    await refused(app, r"'jobs__job'.*'asyncjobs_status'.*prefix=")


@pytest.mark.parametrize(
    "rule", ["/jobs/overview", "/jobs", "/jobs/", "/jobs/<int:number>", "/<path:page>", "/<x>/<y>"]
)
async def test_the_prefix_is_shared_with_what_is_no_id(
    app: Quart, route: Callable[..., None], rule: str
) -> None:
    """A route of the app under the prefix that matches no id is fine."""
    route(rule, "/docs")

    async with app.test_app() as running:
        assert await result(running.test_client(), "/docs", "POST") == {}


async def test_a_route_that_comes_late_collides(app: Quart, jobs: QuartJobs) -> None:
    """A route that is added when the app has started is refused there."""
    app.add_url_rule("/docs", "docs", jobs.background(plain), methods=["POST"])
    async with app.test_app():
        with pytest.raises(SetupError, match=r"'late'.*'docs__job'"):
            app.add_url_rule("/docs/<doc_id>", "late", plain)


# The prefix.


@pytest.mark.parametrize("served", ["by a server", "to a bare test client"])
async def test_the_prefix_may_be_configured_late(app: Quart, jobs: QuartJobs, served: str) -> None:
    """`QUART_JOBS_PREFIX` in the configuration counts until the app starts, as all settings do: the
    status is there, and what is at `/jobs/` is the app's own."""
    app.add_url_rule("/docs", "docs", jobs.background(plain))
    app.add_url_rule("/jobs/<name>", "job", plain)
    app.config["QUART_JOBS_PREFIX"] = "/tasks"

    async def check(client: Client) -> None:
        submitted = await client.get("/docs")
        link = submitted.headers["Link"]
        assert link.startswith("</tasks/")
        status = link.partition("<")[2].partition(">")[0]
        assert (await client.get(status)).status_code == 200
        assert await (await client.get(f"/jobs/{ID}")).get_json() == {"name": ID}

    if served == "by a server":
        async with app.test_app() as running:
            await check(running.test_client())
    else:
        await check(app.test_client())


async def test_the_first_request_may_be_for_a_status(app: Quart, jobs: QuartJobs) -> None:
    """A bare test client finds the status route with its very first request."""
    answer = await app.test_client().get(f"/jobs/{ID}")
    assert answer.status_code == 404
    assert answer.headers["Cache-Control"] == "no-store"  # which only ours says


# Rate limits.


@pytest.mark.parametrize("blueprint", [False, True])
async def test_polls_are_exempt_from_rate_limits(
    app: Quart, jobs: QuartJobs, blueprint: bool
) -> None:
    """quart-rate-limiter's default limits count submissions, and no poll, status or cancellation:
    these are what we ask clients for."""
    RateLimiter(app, default_limits=[RateLimit(2, timedelta(hours=1))])
    routes: Any = Blueprint("blueprint", __name__) if blueprint else app
    routes.add_url_rule("/docs", "docs", jobs.background(plain))
    if blueprint:
        app.register_blueprint(routes)

    async with app.test_app() as running:
        client = running.test_client()
        submitted = await client.get("/docs")
        status = submitted.headers["Link"].partition("<")[2].partition(">")[0]
        for _ in range(10):
            assert (await client.get(submitted.headers["Location"])).status_code in (200, 202)
            assert (await client.get(status)).status_code == 200
            assert (await client.delete(status)).status_code in (200, 409)
        assert (await client.get("/docs")).status_code == 202
        assert (await client.get("/docs")).status_code == 429


async def test_who_wraps_the_app_later_is_called_for_each_request(app: Quart) -> None:
    """What others put around `handle_request` after us stays there, also with a bare test client,
    whose first request completes the routes."""
    jobs = QuartJobs(app)
    app.get("/foo")(jobs.background(a_view))
    handle_request, seen = app.handle_request, []

    async def wrapped(request: Any) -> Any:
        seen.append(request.path)
        return await handle_request(request)

    app.handle_request = wrapped  # type: ignore[method-assign]
    client = app.test_client()
    for path in ("/a", "/foo", "/b"):
        await client.get(path)
    assert seen == ["/a", "/foo", "/b"]


async def a_view() -> str:
    return ""


class OfModel(BaseConverter):
    """One that cannot be subclassed just so, nor be made for another map."""

    def __init_subclass__(cls, *, model: str) -> None:
        cls.model = model

    def __init__(self, url_map: Any, *args: Any) -> None:
        super().__init__(url_map, *args)
        self.known = url_map.known


class OfUsers(OfModel, model="user"):
    regex = "[A-Z]+"


@pytest.mark.parametrize("path", ["/docs/<user:name>", "/docs/<short:name>"])
async def test_converters_of_all_kinds(app: Quart, path: str) -> None:
    """Whatever an app has for converters, only what they match counts."""
    app.url_map.known = {}  # type: ignore[attr-defined]
    app.url_map.converters["user"] = OfUsers
    app.url_map.converters["short"] = partial(BaseConverter)  # type: ignore[assignment]
    jobs = QuartJobs(app)
    app.post("/docs")(jobs.background(a_view))
    app.add_url_rule(path, "doc", plain)
    if "short" in path:
        await refused(app, "take requests from each other")
    else:
        async with app.test_app() as running:
            assert (await running.test_client().get("/docs/ANN")).status_code == 200
