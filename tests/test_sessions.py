"""`quart.session` and `flash` in a job: nothing reads as empty that was not, nothing vanishes
without a word."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from quart import (
    Quart,
    Request,
    flash,
    get_flashed_messages,
    render_template_string,
    request,
    session,
)
from quart.sessions import SecureCookieSession, SessionInterface
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs
from test_principals import raised, warnings
from test_routes import poll, result, serving, submit


@pytest.fixture(params=["memory:", "sqlite"])
def app(request: pytest.FixtureRequest, path: Path) -> Quart:
    app = Quart("sessions")
    app.secret_key = "a secret of the tests"
    stores = {"memory:": "memory:", "sqlite": f"sqlite:///{path}"}
    app.config["QUART_JOBS_STORE"] = stores[request.param]

    @app.post("/fill")
    async def fill() -> Any:
        session["user"] = "ann"
        return {}

    return app


def route(app: Quart, do: Callable[[], Any], **options: Any) -> None:
    """The same as an async view and as a sync one."""
    jobs = QuartJobs(app, **options)

    @app.post("/async")
    @jobs.background
    async def asynchronous() -> Any:
        return [do()]

    @app.post("/sync")
    @jobs.background
    def synchronous() -> Any:
        return [do()]


async def fill(client: Client) -> None:
    """Have the client's session have data."""
    assert (await client.post("/fill")).status_code == 200


READS: dict[str, tuple[Callable[[], Any], Any]] = {
    "get": (lambda: session.get("user"), None),
    "get another": (lambda: session.get("other", 1), 1),
    "in": (lambda: "user" in session, False),
    "iteration": (lambda: list(session), []),
    "len": (lambda: len(session), 0),
    "bool": (lambda: bool(session), False),
    "dict": (lambda: dict(session), {}),
    "keys": (lambda: list(session.keys()), []),
    "values": (lambda: list(session.values()), []),
    "items": (lambda: list(session.items()), []),
    "equals": (lambda: session == {}, True),
    "unpacking": (lambda: {**session}, {}),
}


@pytest.mark.parametrize("name", READS)
async def test_an_empty_session_reads_as_empty(
    app: Quart, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """If there was nothing in the session of the request, it reads as empty in the job."""
    read, empty = READS[name]
    route(app, read)
    async with serving(app) as client:
        for view in ("/async", "/sync"):
            assert await result(client, view, "POST") == [empty]
    assert warnings(caplog) == []


MORE_READS: dict[str, Callable[[], Any]] = {
    "[]": lambda: session["user"],
    "setdefault": lambda: session.setdefault("cart", []),
    "popitem": lambda: session.popitem(),
    "pop": lambda: session.pop("user"),
    "pop with a default": lambda: session.pop("user", None),
    "copy": lambda: session.copy(),
    "|": lambda: session | {},
}


@pytest.mark.parametrize("name", [*READS, *MORE_READS])
async def test_a_session_with_data_cannot_be_read(
    app: Quart, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """If there was something in it, reading anything raises, says why and what to do."""
    route(app, MORE_READS[name] if name in MORE_READS else READS[name][0])
    async with serving(app) as client:
        await fill(client)
        for view in ("/async", "/sync"):
            caplog.clear()
            answer = await poll(client, await submit(client, view, "POST"))
            assert answer.status_code == 500
            (error,) = raised(caplog)
            assert isinstance(error, RuntimeError)
            assert "it belongs to the cookies of the request, which are never stored" in str(error)
            assert "Read it above @jobs.background" in str(error)
            assert "principal=" in str(error)


async def test_what_a_hook_puts_in_counts(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """Data that a hook of the submission itself has put into an empty session are data."""

    @app.before_request
    def put() -> None:
        session["user"] = "ann"

    route(app, lambda: session.get("user"))
    async with serving(app) as client:
        assert (await poll(client, await submit(client, "/async", "POST"))).status_code == 500
    assert "the session cannot be read" in str(raised(caplog)[0])


async def test_what_is_no_data(app: Quart) -> None:
    """That a session is permanent, or has a message for the next page, is nothing that a job would
    look for: there is nothing else in it, and it reads so."""

    @app.before_request
    async def make_permanent() -> None:
        session.permanent = True
        await flash("hello")

    route(app, lambda: dict(session))
    async with serving(app) as client:
        assert await result(client, "/async", "POST") == [{}]


def _modify() -> None:
    session.modified = True


def _make_permanent() -> None:
    session.permanent = True


WRITES: dict[str, Callable[[], Any]] = {
    "[]": lambda: session.__setitem__("user", "bob"),
    "update": lambda: session.update(user="bob"),
    "clear": lambda: session.clear(),
    "modified": _modify,
    "permanent": _make_permanent,
}
# Of a key that an empty session does not have.
WRITES_OF_DATA: dict[str, Callable[[], Any]] = {
    "del": lambda: session.__delitem__("user"),
}


@pytest.mark.parametrize(
    ("name", "filled"),
    [
        *((name, filled) for name in WRITES for filled in (True, False)),
        *((name, True) for name in WRITES_OF_DATA),
    ],
)
async def test_writes_vanish_with_a_word(
    app: Quart, caplog: pytest.LogCaptureFixture, name: str, filled: bool
) -> None:
    """Whatever a job writes to the session, empty or not, is warned of, once for each route, and
    fails no job."""
    write = {**WRITES, **WRITES_OF_DATA}[name]
    route(app, lambda: write() and None)
    async with serving(app) as client:
        if filled:
            await fill(client)
        for view in ("/async", "/async", "/sync", "/sync"):
            assert await result(client, view, "POST") == [None]
    said = warnings(caplog)
    assert len(said) == 2
    for warning, endpoint in zip(said, ("asynchronous", "synchronous"), strict=True):
        assert f"a job of '{endpoint}' writes to the session or flashes a message" in warning
        assert "vanishes" in warning


@pytest.mark.parametrize("filled", [True, False], ids=["with data", "empty"])
async def test_a_job_reads_what_it_has_written(app: Quart, filled: bool) -> None:
    """As long as the job runs, its session has what the job itself has put in."""

    def do() -> Any:
        session["cart"] = ["pear"]
        session.permanent = True
        told = [session["cart"], session.get("cart"), "cart" in session, session.permanent]
        return [*told, session.pop("cart"), session.pop("cart", "gone")]

    route(app, do)
    async with serving(app) as client:
        if filled:
            await fill(client)
        for view in ("/async", "/sync"):
            told = await result(client, view, "POST")
            assert told == [[["pear"], ["pear"], True, True, ["pear"], "gone"]]


@pytest.mark.parametrize("filled", [True, False], ids=["with data", "empty"])
async def test_flashed_messages(app: Quart, caplog: pytest.LogCaptureFixture, filled: bool) -> None:
    """`flash` in a job is warned of once, and fails nothing; there are no messages of others in a
    job, and to look for some is no reason for a warning."""
    jobs = QuartJobs(app)

    @app.post("/look")
    @jobs.background
    async def look() -> Any:
        page = await render_template_string("{{ get_flashed_messages()|tojson }}")
        return [page, get_flashed_messages(), session.permanent]

    @app.post("/hello")
    @jobs.background
    async def hello() -> Any:
        await flash("hello")
        await flash("hello again")
        return [get_flashed_messages()]

    async with serving(app) as client:
        if filled:
            await fill(client)
        assert await result(client, "/look", "POST") == ["[]", [], False]
        assert warnings(caplog) == []
        for _ in range(2):
            assert await result(client, "/hello", "POST") == [["hello", "hello again"]]
    (warning,) = warnings(caplog)
    assert "a job of 'hello' writes to the session or flashes a message" in warning


async def test_the_cookie_of_the_client_stays(app: Quart) -> None:
    """What a job writes does not reach its client: the session is what it was."""
    route(app, lambda: session.clear())

    @app.get("/live")
    async def live() -> Any:
        return [session.get("user")]

    async with serving(app) as client:
        await fill(client)
        await result(client, "/async", "POST")
        assert await (await client.get("/live")).get_json() == ["ann"]


async def test_without_a_secret_key(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """An app without a secret key has no sessions: in a job, too, they read as empty, and writing
    raises what Quart raises."""
    app.secret_key = None
    jobs = QuartJobs(app)

    @app.post("/read")
    @jobs.background
    async def read() -> Any:
        return [session.get("user"), dict(session)]

    @app.post("/write")
    @jobs.background
    async def write() -> Any:
        session["user"] = "ann"

    async with serving(app) as client:
        assert await result(client, "/read", "POST") == [None, {}]
        answer = await poll(client, await submit(client, "/write", "POST"))
        assert answer.status_code == 500
    (error,) = raised(caplog)
    assert "no secret key was set" in str(error)
    assert warnings(caplog) == []


async def test_a_kept_cookie_has_its_session(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """Where `keep_headers` has the cookies stored, the session is there; what is written to it
    vanishes all the same."""

    def do() -> Any:
        user = session["user"]
        session["user"] = "bob"
        return user

    route(app, do, keep_headers=["Cookie"])
    async with serving(app) as client:
        await fill(client)
        assert await result(client, "/async", "POST") == ["ann"]
    (warning,) = warnings(caplog)
    assert "writes to the session" in warning


class HeaderSessions(SessionInterface):
    """Sessions on the server, by a header."""

    def __init__(self) -> None:
        self.saved: dict[str, dict[str, Any]] = {}

    async def open_session(self, app: Quart, of: Any) -> SecureCookieSession | None:
        return SecureCookieSession(self.saved.get(of.headers.get("X-Session", ""), {}))

    async def save_session(self, app: Quart, session: Any, response: Any) -> None:
        self.saved[request.headers.get("X-Session", "")] = dict(session)


async def test_sessions_of_another_kind(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """A session interface of the app's own is no exception: a job neither takes somebody's session
    for an empty one, nor writes to it."""
    interface = HeaderSessions()
    app.session_interface = interface
    route(app, lambda: session.get("user"))
    async with serving(app) as client:
        ask = {"headers": {"X-Session": "of-ann"}}
        await client.post("/fill", **ask)
        answer = await poll(client, await submit(client, "/async", "POST", **ask))
        assert answer.status_code == 500
        assert await result(client, "/async", "POST", headers={"X-Session": "new"}) == [None]
    assert "the session cannot be read" in str(raised(caplog)[0])
    assert interface.saved["of-ann"] == {"user": "ann"}


class CookiesByHeader(Request):
    """Requests of clients that can set no cookies."""

    @property
    def cookies(self) -> Any:  # type: ignore[override]
        return {"session": self.headers.get("X-Visit")}


async def test_cookies_of_another_kind(app: Quart) -> None:
    """Nor is a class of requests that finds its cookies elsewhere: the session of a header that is
    stored is there."""
    app.request_class = CookiesByHeader
    route(app, lambda: session.get("user"))
    async with serving(app) as client:
        answer = await client.post("/fill")
        (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
        ask = {"headers": {"X-Visit": cookie.value}}
        assert await result(client, "/async", "POST", **ask) == ["ann"]
