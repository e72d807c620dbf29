"""Every way to route a view: its poll route is there, and nobody else's route is in its way."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

import pytest
from quart import Blueprint, Quart, abort, g, redirect, request, url_for
from quart import Response as QuartResponse
from quart.typing import TestClientProtocol as Client
from quart.views import MethodView
from quart.views import View as ClassView
from werkzeug.routing import BaseConverter

from asyncjobs import QuartJobs
from asyncjobs.errors import SetupError
from server import count_jobs

View = Callable[..., Awaitable[Any]]
UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def app(store: Path) -> Quart:
    app = Quart("routes")
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{store}"
    return app


@pytest.fixture
def jobs() -> QuartJobs:
    """Not given to the app yet: each test says when."""
    return QuartJobs()


@asynccontextmanager
async def serving(app: Quart) -> AsyncIterator[Client]:
    async with app.test_app() as running:
        yield running.test_client()


async def submit(client: Client, path: str, method: str = "GET", **more: Any) -> str:
    """Have a request become a job; the address to poll."""
    answer = await getattr(client, method.lower())(path, **more)
    assert answer.status_code == 202, await answer.get_data(as_text=True)
    return str(answer.headers["Location"])


async def poll(client: Client, url: str, **headers: str) -> QuartResponse:
    """The answer to a poll that waits for the result."""
    answer = await client.get(url, headers={"Prefer": "wait=30", **headers})
    assert isinstance(answer, QuartResponse)
    return answer


async def result(client: Client, path: str, method: str = "GET", **more: Any) -> Any:
    """What the job of a request comes to, as JSON."""
    answer = await poll(client, await submit(client, path, method, **more))
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    return await answer.get_json()


# When.


@pytest.mark.parametrize("moment", ["before its views", "after its views", "between them"])
async def test_an_app_gets_its_jobs_whenever_it_likes(
    app: Quart, jobs: QuartJobs, moment: str
) -> None:
    """`init_app` before, after and between the app's views gives each of them a poll route."""
    if moment == "before its views":
        jobs.init_app(app)

    @app.route("/early")
    @jobs.background
    async def early() -> list[str]:
        return ["early"]

    first = Blueprint("first", __name__, url_prefix="/first")

    @first.route("/view")
    @jobs.background
    async def view() -> list[str]:
        return ["in the first blueprint"]

    app.register_blueprint(first)
    if moment == "between them":
        jobs.init_app(app)

    second = Blueprint("second", __name__, url_prefix="/second")
    second.add_url_rule("/view", "view", view)
    app.register_blueprint(second)

    @app.route("/late")
    @jobs.background
    async def late() -> list[str]:
        return ["late"]

    if moment == "after its views":
        jobs.init_app(app)

    async with serving(app) as client:
        assert await result(client, "/early") == ["early"]
        assert await result(client, "/first/view") == ["in the first blueprint"]
        assert await result(client, "/second/view") == ["in the first blueprint"]
        assert await result(client, "/late") == ["late"]


async def test_a_view_can_be_routed_when_the_app_has_started(app: Quart, jobs: QuartJobs) -> None:
    """A view that is routed once the app has started, such as by a plug-in, has jobs as well."""
    jobs.init_app(app)
    async with serving(app) as client:

        @app.route("/plugin")
        @jobs.background
        async def plugin() -> list[str]:
            return ["plugged in"]

        assert await result(client, "/plugin") == ["plugged in"]


async def test_one_decorator_serves_many_apps(tmp_path: Path, jobs: QuartJobs) -> None:
    """One `QuartJobs` and one view in two apps: each has its own jobs, and not the other's."""

    @jobs.background
    async def name() -> list[str]:
        return [request.headers["X-App"]]

    apps = [Quart("one"), Quart("two")]
    for number, app in enumerate(apps):
        app.config["QUART_JOBS_STORE"] = f"sqlite:///{tmp_path}/{number}.db"
        app.add_url_rule("/name", "name", name)
        jobs.init_app(app)

    async with serving(apps[0]) as one, serving(apps[1]) as two:
        of_one = await submit(one, "/name", headers={"X-App": "one"})
        of_two = await submit(two, "/name", headers={"X-App": "two"})

        assert await (await poll(one, of_one)).get_json() == ["one"]
        assert await (await poll(two, of_two)).get_json() == ["two"]
        assert (await two.get(of_one)).status_code == 404
        assert (await one.get(of_two)).status_code == 404


async def test_one_app_has_one_quart_jobs(app: Quart, jobs: QuartJobs) -> None:
    """A second `QuartJobs` for the same app is an error that says so."""
    jobs.init_app(app)

    with pytest.raises(SetupError, match="has a QuartJobs already"):
        QuartJobs(app)


async def test_a_test_client_needs_no_test_app(app: Quart, jobs: QuartJobs) -> None:
    """`app.test_client()` alone, which never starts the app, submits and polls all the same."""
    app.config["QUART_JOBS_STORE"] = "memory:"  # as nothing tells that the app is not used any more
    jobs.init_app(app)

    @app.route("/foo")
    @jobs.background
    async def foo() -> list[str]:
        return ["foo"]

    assert await result(app.test_client(), "/foo") == ["foo"]


# Where.


async def test_a_blueprint_can_be_nested(app: Quart, jobs: QuartJobs) -> None:
    """A view of a blueprint in a blueprint is polled under the prefixes of both."""
    jobs.init_app(app)
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    outer = Blueprint("outer", __name__, url_prefix="/outer")

    @inner.route("/view/<int:number>")
    @jobs.background
    async def view(number: int) -> list[int]:
        return [number]

    outer.register_blueprint(inner)
    app.register_blueprint(outer)

    async with serving(app) as client:
        location = await submit(client, "/outer/inner/view/7")

        assert location.startswith("/outer/inner/view/7/")
        assert await (await poll(client, location)).get_json() == [7]


async def test_a_blueprint_can_be_registered_twice(app: Quart, jobs: QuartJobs) -> None:
    """A blueprint under two names: the jobs of each are polled under its own prefix only."""
    jobs.init_app(app)
    blueprint = Blueprint("blueprint", __name__)

    @blueprint.route("/view")
    @jobs.background
    async def view() -> list[str | None]:
        return [request.blueprint, request.endpoint]

    app.register_blueprint(blueprint, name="red", url_prefix="/red")
    app.register_blueprint(blueprint, name="blue", url_prefix="/blue")

    async with serving(app) as client:
        red = await submit(client, "/red/view")
        blue = await submit(client, "/blue/view")

        assert await (await poll(client, red)).get_json() == ["red", "red.view"]
        assert await (await poll(client, blue)).get_json() == ["blue", "blue.view"]
        assert (await client.get(red.replace("/red/", "/blue/"))).status_code == 404


async def test_a_url_prefix_can_have_arguments(app: Quart, jobs: QuartJobs) -> None:
    """Arguments in the prefix of a blueprint are arguments of the view, in the job too."""
    jobs.init_app(app)
    blueprint = Blueprint("blueprint", __name__)

    @blueprint.route("/bill/<int:year>")
    @jobs.background
    async def bill(tenant: str, year: int) -> list[Any]:
        return [tenant, year]

    app.register_blueprint(blueprint, url_prefix="/<tenant>")

    async with serving(app) as client:
        assert await result(client, "/acme/bill/2026") == ["acme", 2026]


class Colour(BaseConverter):
    """`ff0000` in the path is (255, 0, 0) in the view."""

    regex = "[0-9a-f]{6}"

    def to_python(self, value: str) -> tuple[int, ...]:
        return tuple(bytes.fromhex(value))

    def to_url(self, value: tuple[int, ...]) -> str:
        return bytes(value).hex()


@pytest.mark.parametrize(
    ("rule", "path", "seen"),
    [
        ("/", "/", {}),
        ("/slash/", "/slash/", {}),
        ("/int/<int:x>", "/int/42", {"x": 42}),
        ("/float/<float:x>", "/float/1.5", {"x": 1.5}),
        ("/str/<x>", "/str/a%20b", {"x": "a b"}),
        ("/length/<string(length=2):x>", "/length/ab", {"x": "ab"}),
        ("/any/<any(red, blue):x>", "/any/blue", {"x": "blue"}),
        ("/path/<path:x>", "/path/a/b/c", {"x": "a/b/c"}),
        ("/path/<path:x>/end", "/path/a/b/c/end", {"x": "a/b/c"}),
        ("/two/<x>/<int:y>", "/two/a/1", {"x": "a", "y": 1}),
        ("/mixed/<x>-<y>", "/mixed/a-b", {"x": "a", "y": "b"}),
        ("/colour/<colour:x>", "/colour/0000ff", {"x": [0, 0, 255]}),
        ("/<x>", f"/{UNKNOWN}", {"x": UNKNOWN}),
        ("/job/<job_id>", "/job/mine", {"job_id": "mine"}),
    ],
)
async def test_a_rule_can_have_any_converters(
    app: Quart, jobs: QuartJobs, rule: str, path: str, seen: dict[str, Any]
) -> None:
    """Whatever the arguments of a rule, the view gets them converted, and its result is polled
    below the path of the request."""
    app.url_map.converters["colour"] = Colour
    jobs.init_app(app)

    @app.route(rule)
    @jobs.background
    async def view(**arguments: Any) -> dict[str, Any]:
        return arguments

    async with serving(app) as client:
        location = await submit(client, path)

        assert location.startswith(f"{path.rstrip('/')}/")
        answer = await poll(client, location)
        assert answer.status_code == 200
        assert await answer.get_json() == seen


async def test_a_rule_can_have_defaults(app: Quart, jobs: QuartJobs) -> None:
    """Arguments that a rule has defaults for are given to the view in the job as well."""
    jobs.init_app(app)

    @app.route("/pages", defaults={"page": 1})
    @app.route("/pages/<int:page>")
    @jobs.background
    async def pages(page: int) -> list[int]:
        return [page]

    async with serving(app) as client:
        assert await result(client, "/pages") == [1]
        assert await result(client, "/pages/2") == [2]


async def test_a_view_can_have_many_rules(app: Quart, jobs: QuartJobs) -> None:
    """A job is polled below the rule that it was submitted to, and below no other of its view."""
    jobs.init_app(app)

    @app.route("/one")
    @app.route("/two")
    @jobs.background
    async def view() -> list[str]:
        return [request.path]

    async with serving(app) as client:
        one = await submit(client, "/one")

        assert await (await poll(client, one)).get_json() == ["/one"]
        assert await result(client, "/two") == ["/two"]
        assert (await client.get(one.replace("/one/", "/two/"))).status_code == 404


async def test_a_view_can_be_bound_to_a_host(store: Path, jobs: QuartJobs) -> None:
    """With host matching, a job is polled at the host that it was submitted to."""
    app = Quart("hosts", host_matching=True, static_host="a.example")
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{store}"
    jobs.init_app(app)

    @app.route("/foo", host="a.example")
    @jobs.background
    async def foo() -> list[str]:
        return [request.host]

    async with serving(app) as client:
        location = await submit(client, "/foo", headers={"Host": "a.example"})

        answer = await poll(client, location, Host="a.example")
        assert await answer.get_json() == ["a.example"]
        assert (await client.get(location, headers={"Host": "b.example"})).status_code == 404


async def test_a_view_can_be_bound_to_a_subdomain(store: Path, jobs: QuartJobs) -> None:
    """With subdomain matching, a job is polled at the subdomain that it was submitted to."""
    app = Quart("subdomains", subdomain_matching=True)
    app.config["SERVER_NAME"] = "a.example"
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{store}"
    jobs.init_app(app)

    @app.route("/foo", subdomain="<tenant>")
    @jobs.background
    async def foo(tenant: str) -> list[str]:
        return [tenant]

    async with serving(app) as client:
        location = await submit(client, "/foo", headers={"Host": "acme.a.example"})

        answer = await poll(client, location, Host="acme.a.example")
        assert await answer.get_json() == ["acme"]


async def test_a_class_can_be_a_view(app: Quart, jobs: QuartJobs) -> None:
    """Class-based views take the decorator where they take any."""
    jobs.init_app(app)

    class Things(MethodView):
        decorators = [jobs.background]  # noqa: RUF012 - as Quart declares it

        async def get(self, name: str) -> list[str]:
            return ["got", name]

        async def post(self, name: str) -> list[str]:
            return ["posted", name]

    app.add_url_rule("/things/<name>", view_func=Things.as_view("things"))

    async with serving(app) as client:
        assert await result(client, "/things/x") == ["got", "x"]
        assert await result(client, "/things/x", "POST") == ["posted", "x"]


def here() -> str:
    """The thread that runs this."""
    return threading.current_thread().name


class Sync(MethodView):
    def get(self) -> list[str]:
        return [here()]


class Mixed(Sync):
    async def post(self) -> list[str]:
        return [here()]


class Once(Sync):
    init_every_request = False


class Dispatching(ClassView):
    methods: ClassVar[list[str]] = ["GET"]

    def dispatch_request(self) -> list[str]:  # type: ignore[override]
        return [here()]


class Generating(MethodView):
    def get(self) -> Iterator[str]:
        yield f'["{here()}"]'


@pytest.mark.parametrize("decorated", ["in the class", "around its view"])
@pytest.mark.parametrize("kind", [Sync, Mixed, Once, Dispatching, Generating])
async def test_sync_methods_of_a_class_run_in_threads_of_ours(
    app: Quart, jobs: QuartJobs, kind: type[ClassView], decorated: str
) -> None:
    """A class-based view's sync methods run in our threads, as sync views do, and its async ones
    in the event loop; its jobs take the slot of a thread if any method is sync."""
    jobs.init_app(app)
    if decorated == "in the class":
        kind = type("Decorated", (kind,), {"decorators": [jobs.background]})
        view: Any = kind.as_view("things")
    else:
        view = jobs.background(kind.as_view("things"))
    app.add_url_rule("/things", view_func=view)

    async with serving(app) as client:
        answer = await poll(client, await submit(client, "/things"))
        assert (await answer.get_data(as_text=True)).startswith('["asyncjobs-')
        async with app.app_context():
            assert jobs.jobs.handlers["things"].threaded
        if kind.methods is not None and "POST" in kind.methods:
            assert await result(client, "/things", "POST") == [here()]


async def test_all_that_is_sync_in_the_job_of_a_thread(app: Quart, jobs: QuartJobs) -> None:
    """What else is sync in the job of a sync view, such as `before_run` and error handlers, runs in
    its thread; what is sync beside it, as in a request that is no job, runs where Quart has it."""
    jobs.init_app(app)
    threads: dict[str, str] = {}

    @jobs.before_run
    def before_run() -> None:
        threads["before_run"] = here()

    @app.get("/view")
    @jobs.background
    def view() -> None:
        raise ValueError

    @app.errorhandler(ValueError)
    def on_error(error: ValueError) -> tuple[str, int]:
        threads["on_error"] = here()
        return "", 200

    @app.get("/no-job")
    def no_job() -> list[str]:
        return [here()]

    async with serving(app) as client:
        await poll(client, await submit(client, "/view"))
        assert set(threads) == {"before_run", "on_error"}
        assert all(name.startswith("asyncjobs-") for name in threads.values())
        (name,) = await (await client.get("/no-job")).get_json()
        assert name.startswith("asyncio")


async def test_only_the_methods_of_the_rule_make_jobs(
    app: Quart, jobs: QuartJobs, store: Path
) -> None:
    """A method that the rule does not have is a 405, and makes no job."""
    jobs.init_app(app)

    @app.post("/foo")
    @jobs.background
    async def foo() -> list[str]:
        return ["foo"]

    async with serving(app) as client:
        assert await result(client, "/foo", "POST") == ["foo"]
        for refused in (client.get, client.head, client.put, client.delete):
            assert (await refused("/foo")).status_code == 405
        assert count_jobs(store) == 1


# Neighbours.


@pytest.mark.parametrize("first", ["the job's rule first", "the other rule first"])
@pytest.mark.parametrize("rule", ["/<path:name>", "/<x>/<name>"])
async def test_rules_with_converters_keep_their_paths(
    app: Quart, jobs: QuartJobs, rule: str, first: str
) -> None:
    """A rule that matches whatever there is keeps all that is no job's id."""
    jobs.init_app(app)

    @jobs.background
    async def foo() -> list[str]:
        return ["foo"]

    async def named(name: str, x: str = "foo") -> list[str]:
        return ["named", name.removeprefix("foo/")]

    rules: list[tuple[str, View]] = [("/foo", foo), (rule, named)]
    for path, view in rules if first == "the job's rule first" else reversed(rules):
        app.add_url_rule(path, view_func=view)

    async with serving(app) as client:
        for name in ("bar", UNKNOWN[1:], f"{UNKNOWN}0", UNKNOWN.upper()):
            assert await (await client.get(f"/foo/{name}")).get_json() == ["named", name]
        assert await result(client, "/foo") == ["foo"]
        assert (await client.get(f"/foo/{UNKNOWN}")).status_code == 404


async def test_other_methods_below_the_rule_keep_their_paths(app: Quart, jobs: QuartJobs) -> None:
    """`POST /foo/<name>` is the app's own, also where `<name>` looks like a job's id."""
    jobs.init_app(app)

    @app.route("/foo")
    @jobs.background
    async def foo() -> list[str]:
        return ["foo"]

    @app.post("/foo/<name>")
    async def change(name: str) -> list[str]:
        return ["changed", name]

    async with serving(app) as client:
        location = await submit(client, "/foo")

        for path in (location, f"/foo/{UNKNOWN}", "/foo/bar"):
            answer = await client.post(path)
            assert await answer.get_json() == ["changed", path.removeprefix("/foo/")]
        assert await (await poll(client, location)).get_json() == ["foo"]


async def test_a_job_route_below_a_job_route_keeps_its_paths(app: Quart, jobs: QuartJobs) -> None:
    """Two views with jobs, one of which has its rule where the other would be polled."""
    jobs.init_app(app)

    @app.route("/foo")
    @jobs.background(poll_route=False)
    async def foo() -> list[str]:
        return ["foo"]

    @app.route("/foo/<name>")
    @jobs.background
    async def named(name: str) -> list[str]:
        return ["named", name]

    async with serving(app) as client:
        assert (await client.get("/foo")).status_code == 202
        assert await result(client, "/foo/bar") == ["named", "bar"]
        assert await result(client, f"/foo/{UNKNOWN}") == ["named", UNKNOWN]


async def test_one_rule_has_a_view_for_each_method(app: Quart, jobs: QuartJobs) -> None:
    """Where GET and POST of a rule are two views with jobs, those of both are polled."""
    jobs.init_app(app)

    @app.get("/foo")
    @jobs.background
    async def read() -> list[str]:
        return ["read"]

    @app.post("/foo")
    @jobs.background
    async def write() -> list[str]:
        return ["written"]

    async with serving(app) as client:
        assert await result(client, "/foo") == ["read"]
        assert await result(client, "/foo", "POST") == ["written"]


async def test_rules_that_match_one_path_are_polled_there(app: Quart, jobs: QuartJobs) -> None:
    """Where the rules of two views with jobs match the same paths, each by its own methods, the
    jobs of both are polled."""
    jobs.init_app(app)

    @app.get("/foo/<int:number>")
    @jobs.background
    async def read(number: int) -> list[int]:
        return [number]

    @app.post("/foo/<name>")
    @jobs.background
    async def write(name: str) -> list[str]:
        return [name]

    async with serving(app) as client:
        assert await result(client, "/foo/5") == [5]
        assert await result(client, "/foo/5", "POST") == ["5"]


# Decorators, hooks and preprocessors.


def recorded(calls: list[str], call: str) -> Callable[[View], View]:
    """A decorator as anybody would write it."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def recording(*args: Any, **kwargs: Any) -> Any:
            calls.append(f"{call} before")
            answer = await view(*args, **kwargs)
            calls.append(f"{call} after")
            return answer

        return recording

    return decorate


async def test_what_stands_outside_runs_at_submission(app: Quart, jobs: QuartJobs) -> None:
    """A decorator above ours sees the request and our 202; one below runs with the view, in the
    background."""
    jobs.init_app(app)
    calls: list[str] = []

    @app.route("/foo")
    @recorded(calls, "outermost")
    @recorded(calls, "outside")
    @jobs.background
    @recorded(calls, "inside")
    async def foo() -> list[str]:
        calls.append("view")
        return ["foo"]

    async with serving(app) as client:
        location = await submit(client, "/foo")
        outside = [call for call in calls if call.startswith("out")]
        assert outside == ["outermost before", "outside before", "outside after", "outermost after"]

        assert await (await poll(client, location)).get_json() == ["foo"]
        assert [call for call in calls if call not in outside] == [
            "inside before",
            "view",
            "inside after",
        ]
        assert len(calls) == 7


async def test_what_stands_outside_can_refuse(app: Quart, jobs: QuartJobs, store: Path) -> None:
    """A decorator above ours that answers itself, or aborts, keeps a job from being made."""
    jobs.init_app(app)

    def members_only(view: View) -> View:
        @wraps(view)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            member = request.headers.get("X-Member")
            if member == "no":
                abort(403)
            return await view(*args, **kwargs) if member == "yes" else redirect("/login")

        return checked

    @app.route("/foo")
    @members_only
    @jobs.background
    async def foo() -> list[str]:
        return ["foo"]

    async with serving(app) as client:
        assert (await client.get("/foo")).status_code == 302
        assert (await client.get("/foo", headers={"X-Member": "no"})).status_code == 403
        assert count_jobs(store) == 0
        assert await result(client, "/foo", headers={"X-Member": "yes"}) == ["foo"]


async def test_hooks_run_at_submission_and_at_each_poll_and_not_in_the_job(
    app: Quart, jobs: QuartJobs
) -> None:
    """before_request and after_request hooks of app and blueprint run for each request that a
    client makes, and for nothing else."""
    jobs.init_app(app)
    calls: list[str] = []
    blueprint = Blueprint("blueprint", __name__)

    @app.before_request
    async def before_app() -> None:
        calls.append("before app")

    @blueprint.before_request
    async def before() -> None:
        calls.append("before blueprint")

    @blueprint.after_request
    async def after(response: QuartResponse) -> QuartResponse:
        calls.append("after blueprint")
        response.headers.add("X-After", request.path)
        return response

    @blueprint.route("/foo")
    @jobs.background
    async def foo() -> list[str]:
        calls.append("view")
        return ["foo"]

    app.register_blueprint(blueprint)

    hooks = ["before app", "before blueprint", "after blueprint"]
    async with serving(app) as client:
        location = await submit(client, "/foo")
        first = await poll(client, location)
        calls.remove("view")
        assert calls == hooks * 2
        second = await poll(client, location)
        assert calls == hooks * 3

    for answer in (first, second):
        assert answer.headers.getlist("X-After") == [location]


@pytest.mark.parametrize("depth", ["of its blueprint", "of the blueprint around it"])
async def test_a_guard_of_the_blueprint_guards_the_poll(
    app: Quart, jobs: QuartJobs, store: Path, depth: str
) -> None:
    """A before_request hook of a blueprint that refuses a request refuses polls and cancellations
    of its jobs as well, those of nested blueprints included."""
    jobs.init_app(app)
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    outer = Blueprint("outer", __name__, url_prefix="/outer")

    @(inner if depth == "of its blueprint" else outer).before_request
    async def guard() -> None:
        if request.headers.get("X-Key") != "open sesame":
            abort(401)

    @inner.route("/secret")
    @jobs.background
    async def secret() -> list[str]:
        return ["the secret"]

    outer.register_blueprint(inner)
    app.register_blueprint(outer)

    key = {"X-Key": "open sesame"}
    async with serving(app) as client:
        assert (await client.get("/outer/inner/secret")).status_code == 401
        assert count_jobs(store) == 0
        location = await submit(client, "/outer/inner/secret", headers=key)
        assert await (await poll(client, location, **key)).get_json() == ["the secret"]

        assert (await client.get(location)).status_code == 401
        assert (await client.delete(location)).status_code == 401
        assert (await client.get(location, headers={"X-Key": "please"})).status_code == 401


@pytest.mark.parametrize("of", ["the app", "the blueprint"])
async def test_preprocessors_may_take_arguments_away(app: Quart, jobs: QuartJobs, of: str) -> None:
    """A url_value_preprocessor that moves an argument into `g` does so in the job as well, and
    does not hinder the poll."""
    jobs.init_app(app)
    blueprint = Blueprint("blueprint", __name__, url_prefix="/<language>")

    def take_language(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.language = (values or {}).pop("language", None)

    if of == "the app":
        app.url_value_preprocessor(take_language)
    else:
        blueprint.url_value_preprocessor(take_language)

    @blueprint.route("/greet/<name>")
    @jobs.background
    async def greet(name: str) -> list[str]:
        return [g.language, name, request.path]

    app.register_blueprint(blueprint)

    async with serving(app) as client:
        location = await submit(client, "/fr/greet/anne")

        assert location.startswith("/fr/greet/anne/")
        answer = await poll(client, location)
        assert await answer.get_json() == ["fr", "anne", "/fr/greet/anne"]


async def test_url_for_works_in_a_job(app: Quart, jobs: QuartJobs) -> None:
    """A view builds the same URLs in the background that it would build for its client."""
    jobs.init_app(app)
    blueprint = Blueprint("blueprint", __name__, url_prefix="/b")

    @blueprint.route("/foo")
    @jobs.background
    async def foo() -> list[str]:
        return [url_for(".foo"), url_for("blueprint.foo", _external=True)]

    app.register_blueprint(blueprint)

    async with serving(app) as client:
        assert await result(client, "/b/foo", headers={"Host": "shop.example"}) == [
            "/b/foo",
            "http://shop.example/b/foo",
        ]


# A poll route written by hand.


async def test_a_poll_route_can_be_written_by_hand(app: Quart, jobs: QuartJobs) -> None:
    """`poll_route=False` adds none, and `await jobs.poll(id)` answers in one of the app's own,
    wherever that is: 202 first, then the result, and 404 for what is no job's id."""
    jobs.init_app(app)

    @app.route("/foo")
    @jobs.background(poll_route=False)
    async def foo() -> tuple[list[str], int]:
        return ["foo"], 201

    @app.route("/results/<task_id>")
    async def foo_results(task_id: str) -> QuartResponse:
        return await jobs.poll(task_id)

    async with serving(app) as client:
        task_id = (await (await client.get("/foo")).get_json())["TaskId"]

        answer = await poll(client, f"/results/{task_id}")

        assert answer.status_code == 201
        assert await answer.get_json() == ["foo"]
        assert (await client.get(f"/foo/{task_id}")).status_code == 404
        nowhere = await (await client.get("/nowhere")).get_data()
        spaced = "%20".join(task_id[at : at + 2] for at in range(0, 32, 2))
        for no_id in (UNKNOWN, "nonsense", task_id.upper(), task_id[:-1], spaced):
            miss = await client.get(f"/results/{no_id}")
            assert miss.status_code == 404
            assert await miss.get_data() == nowhere


async def test_the_seeds_own_poll_route_works(app: Quart, jobs: QuartJobs) -> None:
    """The article's `/foo` and `/foo/<task_id>`, with its hand-written poll at the usual place."""
    jobs.init_app(app)

    @app.route("/foo")
    @jobs.background(poll_route=False)
    def foo() -> dict[str, bool]:
        return {"Result": True}

    @app.route("/foo/<task_id>", methods=["GET"])
    async def foo_results(task_id: str) -> QuartResponse:
        return await jobs.poll(task_id)

    async with serving(app) as client:
        assert await result(client, "/foo") == {"Result": True}


async def test_a_poll_by_hand_shows_nobody_elses_job(app: Quart) -> None:
    """`jobs.poll` is a 404 for the id of another owner's job."""
    jobs = QuartJobs(app, owner=lambda: request.headers.get("X-User"))

    @app.route("/foo")
    @jobs.background(poll_route=False)
    async def foo() -> list[str]:
        return ["foo"]

    @app.route("/foo/<task_id>")
    async def foo_results(task_id: str) -> QuartResponse:
        return await jobs.poll(task_id)

    async with serving(app) as client:
        location = await submit(client, "/foo", headers={"X-User": "alice"})

        assert (await poll(client, location, **{"X-User": "alice"})).status_code == 200
        assert (await poll(client, location, **{"X-User": "mallory"})).status_code == 404
        assert (await poll(client, location)).status_code == 404


@pytest.mark.parametrize("kind", ["function", "object"])
async def test_a_decorator_that_hides_the_mark(app: Quart, jobs: QuartJobs, kind: str) -> None:
    """A decorator above ours that does not use functools.wraps is found at start, and the error
    says what to do."""
    jobs.init_app(app)

    class Wrapper:
        def __init__(self, view: Any) -> None:
            self.view = view

        async def __call__(self) -> Any:
            return await self.view()

    def careless(view: Any) -> Any:
        async def wrapper() -> Any:
            return await view()

        return wrapper if kind == "function" else Wrapper(view)

    @careless
    @jobs.background
    async def foo() -> str:
        return "foo"

    app.add_url_rule("/foo", "foo", foo)
    with pytest.raises(SetupError, match=r"the view of '/foo' .* use functools\.wraps"):
        await app.startup()


async def test_a_mark_that_cannot_be_found(
    app: Quart, jobs: QuartJobs, caplog: pytest.LogCaptureFixture
) -> None:
    """Where that cannot be seen at start, the log says it at each request."""
    jobs.init_app(app)

    @jobs.background
    async def foo() -> str:
        return "foo"

    hidden = {"foo": foo}

    async def find() -> Any:
        return await hidden["foo"]()

    app.add_url_rule("/foo", "foo", find)

    async with serving(app) as client:
        assert (await client.get("/foo")).status_code == 500
    assert "use functools.wraps in each decorator" in caplog.text
