"""A job that starts at once, and one whose request was read from the store: their handlers cannot
tell which of them they are."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import quart
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from quart import Blueprint, Quart, current_app, g, request, session, url_for
from quart.views import MethodView, View
from werkzeug.routing import BaseConverter

from asyncjobs import QuartJobs, current_job
from asyncjobs.stores import SqliteStore
from stored_way import IS_ASKED_FOR, stored_way

#: What a handler has seen, for the test that waits for its job.
SEEN: list[dict[str, Any]] = []
# Two objects of one kind are no difference. Quart's contexts show their addresses as plain numbers.
_ADDRESS = re.compile(r"0x[0-9a-f]+|\b\d{9,}\b(?= of )")
# Which is random.
_NOT_COMPARED = {"id"}


def told(value: object) -> str:
    """A value and its type in words, without addresses; so those of all that is in it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{told(key)}: {told(item)}" for key, item in value.items())
        return f"{type(value)} {{{inner}}}"
    if type(value) in (list, tuple):
        return f"{type(value)} [{', '.join(map(told, value))}]"  # type: ignore[call-overload]
    return f"{type(value)} {_ADDRESS.sub('...', repr(value))}"


def outcome_of(call: Callable[[], object]) -> str:
    """What a call returns or raises."""
    try:
        return told(call())
    except Exception as error:
        return f"raises {type(error)} {error}"


def attributes_of(thing: object) -> dict[str, str]:
    """All that is public of it and neither a method nor something to be awaited."""
    found = {}
    for name in dir(thing):
        if name.startswith("_") or name in _NOT_COMPARED:
            continue
        try:
            value = getattr(thing, name)
        except Exception as error:
            value = f"raises {type(error)} {error}"
        if inspect.iscoroutine(value):
            value.close()
        elif not inspect.isroutine(value):
            found[name] = told(value)
    return found


LINKS: dict[str, Callable[[], str]] = {
    "static": lambda: url_for("static", filename="a b.txt"),
    "root": lambda: url_for("root", more="1"),
    "own": lambda: url_for(request.endpoint or "", **(request.view_args or {})),
    "of the blueprint": lambda: url_for(".sibling"),
    "external": lambda: url_for("root", _external=True),
    "by scheme": lambda: url_for("root", _scheme="https", _external=True),
    "anchor": lambda: url_for("root", _anchor="é"),
    "by method": lambda: url_for("classy", n=2, _method="PUT"),
    "nowhere": lambda: url_for("nowhere"),
}


def look(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a sync handler can see."""
    real: Any = request
    seen = attributes_of(real._get_current_object())
    context = getattr(quart.globals, "request_ctx", None) or quart.globals.app_ctx
    return {
        "called with": told([args, kwargs]),
        "request": seen,
        "headers": told(list(request.headers.items())),
        "scope": {key: told(value) for key, value in request.scope.items()},
        "args": told(list(request.args.items(multi=True))),
        "repr": outcome_of(lambda: repr(request)),
        "adapter": attributes_of(context.url_adapter),
        "matched": outcome_of(lambda: context.url_adapter.match(return_rule=True)),
        "g": told(dict.fromkeys(g) | {name: g.get(name) for name in g}),
        "session": told([type(session._get_current_object()), dict(session)]),  # type: ignore[attr-defined]
        "flashes": outcome_of(lambda: quart.get_flashed_messages()),
        "links": {name: outcome_of(link) for name, link in LINKS.items()},
        "app": current_app._get_current_object() is APP[0],  # type: ignore[attr-defined]
        "variables": {var.name: type(value) for var, value in contextvars.copy_context().items()},
        "job": attributes_of(current_job._get_current_object()),  # type: ignore[attr-defined]
    }


async def look_and_await(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What an async handler can see, in an order in which reading one thing hides no other."""
    seen = look(args, kwargs)
    for name, ask in {
        "bytes": lambda: request.get_data(),
        "text": lambda: request.get_data(as_text=True),
        "body": lambda: request.body,
        "json": lambda: request.get_json(),
        "json anyhow": lambda: request.get_json(force=True, silent=True, cache=False),
        "form": lambda: request.form,
        "files": lambda: request.files,
        "values": lambda: request.values,
        "parts": parts,
        "push": lambda: request.send_push_promise("/pushed"),
    }.items():
        try:
            seen[name] = told(await ask())
        except Exception as error:
            seen[name] = f"raises {type(error)} {error}"
    files = await request.files
    seen["in files"] = [(name, file.read()) for name, file in files.items(multi=True)]
    return seen


async def parts() -> list[bytes]:
    return [part async for part in request.body]


async def saw(*args: Any, **kwargs: Any) -> dict[str, Any]:
    SEEN.append(await look_and_await(args, kwargs))
    return {}


def saw_in_a_thread(*args: Any, **kwargs: Any) -> dict[str, Any]:
    SEEN.append(look(args, kwargs))
    return {}


class ListConverter(BaseConverter):
    """Of values that a handler may change."""

    def to_python(self, value: str) -> list[str]:
        return value.split("+")

    def to_url(self, value: Any) -> str:
        return "+".join(value)


class Counted(SqliteStore):
    """Counts the requests that are read."""

    requests_read = 0

    async def request(self, job_id: str) -> Any:
        self.requests_read += 1
        return await super().request(job_id)


ANY = ["GET", "POST", "PUT", "DELETE", "PATCH", "QUERY"]
DEADLINE = 30.0
#: The app that is served, where a handler sees whether it is its own.
APP: list[Quart] = []


def an_app(kind: str, store: Counted) -> tuple[Quart, QuartJobs]:
    """An app with a route of each sort, all of which are jobs."""
    app = Quart("both-ways", subdomain_matching=kind == "subdomains")
    app.url_map.converters["list"] = ListConverter
    if kind == "subdomains":
        app.config["SERVER_NAME"] = "jobs.test"
    if kind != "without sessions":
        app.secret_key = "a secret of the tests"
    if kind == "with a look at arguments":
        app.url_value_preprocessor(take_size_away)
    jobs = QuartJobs(app, store=store, owner=lambda: "ann", principal=lambda: {"name": "ann"})
    jobs.before_run(fill_g)
    app.before_request(change_what_came)
    add_rules(app, jobs)
    return app, jobs


def add_rules(app: Quart, jobs: QuartJobs) -> None:
    job = jobs.background
    rules = {
        "root": ["/"],
        "numbered": ["/int/<int(signed=True):n>", "/float/<float(signed=True):x>"],
        "text": ["/text/<text>"],
        "path": ["/path/<path:text>"],
        "any": ["/any/<any(red, blue):which>"],
        "id": ["/id/<uuid:which>"],
        "list": ["/list/<list:all>"],
        "of-size": ["/size/<int:size>/<name>"],
        "slashed": ["/slashed/"],
    }
    for endpoint, paths in rules.items():
        for prefix, view in (("", saw), ("/sync", saw_in_a_thread)):
            marked = job(as_new(view))
            for path in paths:
                app.add_url_rule(prefix + path, endpoint + prefix, marked, methods=ANY)
    pages = job(as_new(saw))
    app.add_url_rule("/pages/", "pages", pages, defaults={"page": 1, "tags": None}, methods=ANY)
    app.add_url_rule("/pages/<int:page>", "pages", pages, methods=ANY)
    app.add_url_rule("/given/<int:n>", "given", giving(job(as_new(saw))), methods=ANY)
    app.add_url_rule("/class/<int:n>", "classy", job(Methods.as_view("classy")))
    app.add_url_rule("/dispatch/<n>", "dispatch", job(Dispatches.as_view("dispatch")), methods=ANY)
    app.add_url_rule("/sub/<text>", "sub", job(as_new(saw)), methods=ANY, subdomain="<who>")
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule("/<int:n>", "child", job(as_new(saw)), methods=ANY)
    inner.add_url_rule("/sibling", "sibling", job(as_new(saw)), methods=ANY)
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")


def as_new(view: Callable[..., Any]) -> Callable[..., Any]:
    """The same once more, as each function becomes one job's handler only."""
    if inspect.iscoroutinefunction(view):

        async def again(*args: Any, **kwargs: Any) -> Any:
            return await view(*args, **kwargs)

        return again
    return lambda *args, **kwargs: view(*args, **kwargs)


def giving(view: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A decorator that stands above, and adds arguments."""

    @wraps(view)
    async def give(n: int) -> Any:
        return await view({"n": n}, kept=[n, "é"])

    return give


class Methods(MethodView):
    async def get(self, **kwargs: Any) -> Any:
        return await saw(**kwargs)

    def post(self, **kwargs: Any) -> Any:
        return saw_in_a_thread(**kwargs)

    async def put(self, n: int) -> Any:
        return await saw(n)


class Dispatches(View):
    async def dispatch_request(self, **kwargs: Any) -> Any:  # type: ignore[override]
        return await saw(**kwargs)


def take_size_away(endpoint: str | None, values: dict[str, Any] | None) -> None:
    g.size = None if values is None else values.pop("size", None)


async def fill_g() -> None:
    g.language = request.accept_languages.best
    g.seen = [current_job.principal, dict(request.view_args or {})]


async def change_what_came() -> None:
    """What hooks do to a request, if its client asks for that."""
    match request.headers.get("X-Change"):
        case "scheme":
            request.scheme = "https"
        case "path":
            request.path = "/elsewhere"
        case "root":
            request.root_path = "/mounted"
        case "variables" if request.view_args:
            request.view_args["n"] = 8
        case "session" if current_app.secret_key:
            session["user"] = "ann"
        case "g":
            g.user = "ann"


@dataclass(frozen=True)
class Asked:
    """A request as a server hands it on."""

    path: str
    method: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    scheme: str
    root_path: str
    http_version: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None

    @property
    def scope(self) -> dict[str, Any]:
        path = self.root_path + self.path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": self.method,
            "scheme": self.scheme,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": self.query,
            "root_path": self.root_path,
            "http_version": self.http_version,
            "headers": list(self.headers),
            "client": self.client,
            "server": self.server,
            "extensions": {"http.response.push": {}},
        }


# Letters of every sort, but none that ends the path, or a part of it.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\n\r\\"), min_size=1)
NUMBER = st.integers(-(10**6), 10**6)
BASIC = st.one_of(
    st.sampled_from(["/", "/slashed/"]),
    NUMBER.map(lambda n: f"/int/{n}"),
    NUMBER.map(lambda n: f"/int/{n:09}"),
    st.floats(-1e6, 1e6).map(lambda x: f"/float/{x:.3f}"),
    TEXT.map(lambda text: f"/text/{text}"),
    st.lists(TEXT, min_size=1).map(lambda parts: "/path/" + "/".join(parts)),
    st.sampled_from(["/any/red", "/any/blue", "/any/green"]),
    st.uuids().map(lambda which: f"/id/{which}"),
    st.lists(TEXT, min_size=1).map(lambda parts: "/list/" + "+".join(parts)),
    st.tuples(st.integers(0, 9), TEXT).map(lambda each: f"/size/{each[0]}/{each[1]}"),
)
#: All of those are for two views.
PATHS = st.one_of(
    BASIC,
    BASIC.map(lambda path: f"/sync{path}"),
    st.sampled_from(["/pages/", "/outer/inner/sibling", "//int/1", "/nowhere"]),
    st.integers(0, 9).map(lambda n: f"/pages/{n}"),
    st.integers(0, 9).map(lambda n: f"/given/{n}"),
    st.integers(0, 9).map(lambda n: f"/class/{n}"),
    TEXT.map(lambda text: f"/dispatch/{text}"),
    TEXT.map(lambda text: f"/sub/{text}"),
    st.integers(0, 9).map(lambda n: f"/outer/inner/{n}"),
)
QUERIES = st.one_of(
    st.lists(st.tuples(TEXT, TEXT)).map(
        lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    ),
    st.sampled_from([b"", b"a", b"a=1&a=2&=3&&", b"a=%ff%c3%a9&b=%zz", b"a=\xc3\xa9", b"a=+%20;b"]),
    st.text(st.characters(max_codepoint=0xFF), max_size=9).map(str.encode),  # not percent-encoded
)
NAMES = st.sampled_from(
    [
        "x-tag",
        "x-tag",
        "accept",
        "accept-language",
        "user-agent",
        "cookie",
        "authorization",
        "x-forwarded-for",
        "referer",
        "if-none-match",
        "if-modified-since",
        "range",
        "date",
        "cache-control",
        "te",
        "connection",
        "x-api-key",
        "X-Mixed",
        "x-forwarded-host",
        "origin",
        "forwarded",
        "expect",
    ]
)
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"])),
    st.sampled_from(["de, en;q=0.5", "session=abc; other=1", "http://u:p@h/p?q#f", "Basic YTpi"]),
)
HOSTS = ["localhost", "localhost:80", "Example.COM:5000", "a.b", "u@h", "[::1]:80", "", None]
HOSTS_BY_KIND = {"subdomains": ["jobs.test", "a.jobs.test", "A.jobs.test:80", "other.test", None]}
CHANGES = st.sampled_from(["", "", "", "scheme", "path", "root", "variables", "session", "g"])
TYPES = st.sampled_from(
    [
        "application/json",
        "application/problem+json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=cut",
        "text/plain; charset=latin-1",
        "no type",
    ]
)
BODIES = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"",
            b'{"a": [1, "\xc3\xa9"]}',
            b"a=1&a=2&name=Zo%C3%AB&empty=",
            b'--cut\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n--cut\r\n'
            b'Content-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n\x00\xff\r\n'
            b"--cut--\r\n",
        ]
    ),
)


@st.composite
def requests(draw: st.DrawFn, kind: str) -> Asked:
    """Requests to the routes of an app of this kind; most of them become jobs."""
    body, hosts = draw(BODIES), HOSTS_BY_KIND.get(kind, HOSTS)
    headers = [
        *draw(st.lists(st.tuples(NAMES, VALUES), max_size=6)),
        ("x-change", draw(CHANGES)),
        ("content-type", draw(TYPES)),
        *draw(st.sampled_from([[], [("content-length", str(len(body)))]])),
        *draw(st.sampled_from(hosts).map(lambda host: [] if host is None else [("host", host)])),
    ]
    return Asked(
        path=draw(PATHS),
        method=draw(st.sampled_from(ANY)),
        query=draw(QUERIES),
        headers=tuple(
            (name.encode(), value.encode("latin-1"))
            for name, value in draw(st.permutations(headers))
        ),
        body=body,
        scheme=draw(st.sampled_from(["http", "https"])),
        root_path=draw(st.sampled_from(["", "", "/mnt", "/a b/c"])),
        http_version=draw(st.sampled_from(["1.0", "1.1", "2", "3"])),
        client=draw(st.sampled_from([None, ("192.0.2.1", 80), ("::1", 1)])),
        server=draw(st.sampled_from([None, ("192.0.2.2", 80), ("/run/socket", None)])),
    )


async def answer(app: Quart, asked: Asked) -> tuple[int, dict[str, str]]:
    """Status and headers of the app's answer, as a server gets them."""
    parts = [(asked.body[:7], True), (asked.body[7:], False)]
    starts: list[dict[str, Any]] = []
    is_sent = asyncio.Event()

    async def receive() -> Any:
        if not parts:
            await is_sent.wait()
            return {"type": "http.disconnect"}
        body, more = parts.pop(0)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            starts.append(message)
        elif not message.get("more_body"):
            is_sent.set()

    await app(asked.scope, receive, send)
    headers = {name.decode().lower(): value.decode() for name, value in starts[0]["headers"]}
    return starts[0]["status"], headers


async def seen_by_job(app: Quart, jobs: QuartJobs, asked: Asked) -> Any:
    """What the handler of a request has seen; the status of the answer if there is no job."""
    SEEN.clear()
    status, headers = await answer(app, asked)
    if status != 202:
        return status
    async with app.app_context():
        job = await jobs.jobs.wait(headers["location"].split("?")[0].rpartition("/")[2], DEADLINE)
    return job.state, job.reason, job.status, [*SEEN]


async def seen_by_job_at_once(app: Quart, jobs: QuartJobs, store: Counted, asked: Asked) -> Any:
    """The same for one that has read nothing: while the engine starts, it has to look first."""
    for _ in range(20):
        before = store.requests_read
        seen = await seen_by_job(app, jobs, asked)
        if store.requests_read == before or IS_ASKED_FOR:
            return seen
    raise AssertionError("no job has started at once")


KINDS = ["as most", "without sessions", "subdomains", "with a look at arguments"]


@pytest.fixture(params=KINDS)
async def running(
    request: pytest.FixtureRequest, path: Path
) -> AsyncIterator[tuple[str, Quart, QuartJobs, Counted]]:
    store = Counted(path)
    app, jobs = an_app(request.param, store)
    APP[:] = [app]
    async with app.test_app():
        yield request.param, app, jobs, store


@pytest.mark.filterwarnings("ignore:Current server name")
@given(data=st.data())
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_a_handler_sees_the_same_in_a_job_that_starts_at_once(
    running: tuple[str, Quart, QuartJobs, Counted], data: st.DataObject
) -> None:
    """All that is public of request, g, session, current_app, current_job and the context's
    variables, all links, and what it is called with, are equal in a job that starts at once and in
    one whose request is read from the store; and the one has read nothing from there."""
    kind, app, jobs, store = running
    asked = data.draw(requests(kind))
    at_once = await seen_by_job_at_once(app, jobs, store, asked)
    before = store.requests_read
    with stored_way():
        stored = await seen_by_job(app, jobs, asked)
    assert at_once == stored
    is_job = not isinstance(stored, int)
    event(f"a job that ends as {stored[2]}" if is_job else f"{stored}")
    assert store.requests_read - before == is_job
