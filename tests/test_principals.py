"""A job knows who has asked for it: `principal=`, and quart-auth's `current_user`."""

from __future__ import annotations

import datetime
import enum
import logging
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import quart_auth
from quart import Quart, g, render_template_string, request
from quart import Response as QuartResponse
from quart_auth import AuthUser, QuartAuth, current_user
from quart_auth import login_required as needs_login

from apps.signals import Signals
from asyncjobs import Jobs, QuartJobs, current_job
from asyncjobs.errors import SetupError, Unstorable
from asyncjobs.web import auth
from asyncjobs.web.callers.principal import MAX_PRINCIPAL
from conftest import Serve
from server import count_jobs
from server import result as result_of
from server import submit as submit_over_http
from test_routes import poll, result, serving, submit

WAY_OUT = "have QuartJobs(app, principal=auth.user) keep who that is"


@pytest.fixture
def app(path: Path) -> Quart:
    app = Quart("principals")
    app.secret_key = "a secret of the tests"
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{path}"
    return app


def raised(caplog: pytest.LogCaptureFixture) -> list[BaseException]:
    """What the app has logged of exceptions."""
    return [record.exc_info[1] for record in caplog.records if record.exc_info]  # type: ignore[misc]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said to vanish."""
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("asyncjobs", logging.WARNING)
        and record.module == "vanishing"
    ]


# The principal.


def principal_of_header() -> Any:
    return {"user": request.headers["X-User"], "roles": ["reader", None, 7, 0.5, True]}


async def async_principal_of_header() -> Any:
    return principal_of_header()


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
@pytest.mark.parametrize("principal", [principal_of_header, async_principal_of_header])
async def test_a_job_knows_its_principal(
    app: Quart, store: str, principal: Callable[[], Any]
) -> None:
    """What `principal=` returns for a request, sync or async, is `current_job.principal` in its
    job: for async views, for sync ones and for functions called before them."""
    if store == "memory:":
        app.config["QUART_JOBS_STORE"] = store
    jobs = QuartJobs(app, principal=principal)

    @jobs.before_run
    async def before() -> None:
        g.seen_before = current_job.principal

    @app.post("/async")
    @jobs.background
    async def asynchronous() -> Any:
        return [g.seen_before, current_job.principal]

    @app.post("/sync")
    @jobs.background
    def synchronous() -> Any:
        return [g.seen_before, current_job.principal]

    async with serving(app) as client:
        for view in ("/async", "/sync"):
            for user in ("ann", "bob"):
                told = await result(client, view, "POST", headers={"X-User": user})
                assert told == [{"user": user, "roles": ["reader", None, 7, 0.5, True]}] * 2


async def test_there_is_no_principal_where_nobody_tells_one(app: Quart) -> None:
    """Without `principal=`, and if it returns None, `current_job.principal` is None."""
    apps = {app: QuartJobs(app)}
    other = Quart("other")
    other.config["QUART_JOBS_STORE"] = "memory:"
    apps[other] = QuartJobs(other, principal=lambda: None)
    for each, jobs in apps.items():

        @each.post("/who")
        @jobs.background
        async def who() -> Any:
            return [current_job.principal]

        async with serving(each) as client:
            assert await result(client, "/who", "POST") == [None]


async def test_functions_have_no_principal(path: Path) -> None:
    """In functions of `Jobs`, `current_job.principal` is None."""
    jobs = Jobs(store=f"sqlite:///{path}")

    @jobs.function
    async def who() -> Any:
        return [current_job.principal]

    async with jobs:
        job = await jobs.submit(who)
        assert await jobs.result(job.id) == [None]


class Role(enum.StrEnum):
    EDITOR = "editor"


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("x" * (MAX_PRINCIPAL - 1), f"has {MAX_PRINCIPAL + 1} bytes as JSON"),
        ({"users": ["é" * 20] * 300}, "and 8192 is the most"),
        (object(), "is no plain JSON"),
        (CYCLE, "contains itself"),
        ("\ud800", "is no text"),
        (float("nan"), "is no plain JSON"),
        ((1, 2), "is no plain JSON"),
        ({1: "one"}, "is no plain JSON"),
        (Role.EDITOR, "is no plain JSON"),
        ({"id": uuid.UUID(int=7)}, "is no plain JSON"),
        ([datetime.datetime(2026, 1, 1)], "is no plain JSON"),
        ({"token": "t"}, "has a key 'token'"),
        ({"user": {"sessions": [{"API_Key": "k"}]}}, "has a key 'sessions'"),
        ([{"a": [{"API_Key": "k"}]}], "has a key 'API_Key'"),
        ({"X_Trello_Webhook": "w"}, "has a key 'X_Trello_Webhook'"),
    ],
)
async def test_what_cannot_be_a_principal(
    app: Quart, path: Path, caplog: pytest.LogCaptureFixture, value: Any, why: str
) -> None:
    """A principal that is no JSON, has more than 8 KiB, or has keys in it, at any depth, that look
    like credentials: a 500 with one Unstorable in the log, which says why and what to do, and no
    job."""
    jobs = QuartJobs(app, principal=lambda: value)

    @app.post("/foo")
    @jobs.background
    async def foo() -> Any:
        return {}

    async with serving(app) as client:
        assert (await client.post("/foo")).status_code == 500
    (error,) = raised(caplog)
    assert isinstance(error, Unstorable)
    assert str(error).startswith(f"what principal= returned {why}") or why in str(error)
    assert "have it return what names the submitter" in str(error)
    assert count_jobs(path) == 0


@pytest.mark.parametrize("value", ["x" * (MAX_PRINCIPAL - 2), 2**70, {"cache_key": 1, "author": 2}])
async def test_what_just_can_be_a_principal(app: Quart, value: Any) -> None:
    """8 KiB are allowed, and keys that only look a little like credentials."""
    jobs = QuartJobs(app, principal=lambda: value)

    @app.post("/foo")
    @jobs.background
    async def foo() -> Any:
        return [current_job.principal == value]

    async with serving(app) as client:
        assert await result(client, "/foo", "POST") == [True]


def test_a_principal_is_a_function(app: Quart) -> None:
    """Something else as `principal=` is a SetupError at once."""
    with pytest.raises(SetupError, match="principal must be a function"):
        QuartJobs(app, principal="ann")  # type: ignore[arg-type]


@pytest.mark.parametrize("view", ["who", "sync-who"])
def test_the_principal_outlives_the_process(
    serve: Serve, signals: Signals, name: str, view: str
) -> None:
    """A job that is started again after a crash has the same principal and the same user, in
    whichever worker it runs."""
    server = serve("apps.principals:app", workers=2)
    with server.client() as client:
        assert client.post("/login/ann").status_code == 200
        job = submit_over_http(client, "PUT", f"/{view}/{name}")
    signals.wait(f"{name}-started-1")
    server.kill()
    signals.send(f"{name}-go-on")
    with server, server.client() as client:
        told = result_of(client, job).json()
    assert (told["attempt"], told["principal"], told["user"]) == (2, "ann", "ann")
    assert "the session cannot be read in the background" in told["cart"]


# quart-auth.


class User(AuthUser):
    """A user class of an app's own."""

    @property
    def name(self) -> str:
        return f"name of {self.auth_id}"


def log_in(app: Quart, mode: str = "cookie") -> Callable[[str], dict[str, str]]:
    """Give the app a login; what makes the headers of a user's request."""
    extension = QuartAuth(app, user_class=User, cookie_secure=False, mode=mode)  # type: ignore[arg-type]

    def headers(user: str) -> dict[str, str]:
        token = extension.dump_token(user, app)
        if mode == "bearer":
            return {"Authorization": f"Bearer {token}"}
        return {"Cookie": f"{extension.cookie_name}={token}"}

    return headers


def route_who(app: Quart, jobs: QuartJobs) -> None:
    """Views that tell who is logged in."""

    @app.post("/async")
    @jobs.background
    async def asynchronous() -> Any:
        kind = type(current_user._get_current_object()).__name__  # type: ignore[attr-defined]
        return [kind, current_user.auth_id, await current_user.is_authenticated]

    @app.post("/sync")
    @jobs.background
    def synchronous() -> Any:
        return [current_user.auth_id]

    @app.post("/guarded")
    @jobs.background
    @needs_login
    async def guarded() -> Any:
        return [current_user.name]  # type: ignore[attr-defined]

    @app.post("/template")
    @jobs.background
    async def template() -> Any:
        return await render_template_string("[{{ current_user.auth_id|tojson }}]")


PRINCIPALS = [
    auth.user,
    lambda: current_user.auth_id,
    lambda: {"user": current_user.auth_id, "tenant": "acme"},
]


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
@pytest.mark.parametrize("principal", PRINCIPALS, ids=["auth.user", "its auth_id", "a dict"])
async def test_the_submitter_is_the_current_user(
    app: Quart, mode: str, principal: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """With `principal=` and `restore_user`, quart-auth's `current_user` is the submitter: of the
    app's own class, logged in, for what guards the view below the decorator and in templates too.
    An anonymous submitter stays anonymous. Nothing is warned of."""
    headers = log_in(app, mode)
    jobs = QuartJobs(app, principal=principal)
    jobs.before_run(auth.restore_user)
    route_who(app, jobs)

    async with serving(app) as client:
        for user in ("ann", "bob"):
            ask = {"headers": headers(user)}
            assert await result(client, "/async", "POST", **ask) == ["User", user, True]
            assert await result(client, "/sync", "POST", **ask) == [user]
            assert await result(client, "/guarded", "POST", **ask) == [f"name of {user}"]
            page = await poll(client, await submit(client, "/template", "POST", **ask))
            assert await page.get_data(as_text=True) == f'["{user}"]'

        assert await result(client, "/async", "POST") == ["User", None, False]
        refused = await poll(client, await submit(client, "/guarded", "POST"))
        assert refused.status_code == 401
    assert warnings(caplog) == []


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
@pytest.mark.parametrize("setup", ["nothing", "principal only", "restore_user only"])
async def test_nobody_is_silently_anonymous(
    app: Quart, caplog: pytest.LogCaptureFixture, mode: str, setup: str
) -> None:
    """Without `principal=`, without `restore_user`, or without both, access to `current_user` in a
    job raises and says the way out."""
    headers = log_in(app, mode)
    jobs = QuartJobs(app, principal=auth.user if setup == "principal only" else None)
    if setup == "restore_user only":
        jobs.before_run(auth.restore_user)
    route_who(app, jobs)

    @app.post("/truth")
    @jobs.background
    async def truth() -> Any:
        return ["somebody" if current_user else "nobody"]

    async with serving(app) as client:
        for view in ("/async", "/sync", "/guarded", "/template", "/truth"):
            caplog.clear()
            answer = await poll(client, await submit(client, view, "POST", headers=headers("ann")))
            assert answer.status_code == 500
            (error,) = raised(caplog)
            assert isinstance(error, RuntimeError)
            assert "current_user" in str(error)
            assert WAY_OUT in str(error)
            assert "jobs.before_run(auth.restore_user)" in str(error)


async def test_templates_that_do_not_ask_need_no_user(app: Quart) -> None:
    """quart-auth gives each template its `current_user`: one that does not ask for anything of it
    is rendered in a job without further ado."""
    log_in(app)
    jobs = QuartJobs(app)

    @app.post("/page")
    @jobs.background
    async def page() -> Any:
        return await render_template_string("a page")

    async with serving(app) as client:
        answer = await poll(client, await submit(client, "/page", "POST"))
        assert await answer.get_data(as_text=True) == "a page"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: current_user == "ann",
        lambda: current_user != "ann",
        lambda: current_user in ["ann", "bob"],
        lambda: hash(current_user),
        lambda: str(current_user),
        lambda: f"for {current_user}",
        lambda: bool(current_user),
    ],
    ids=["==", "!=", "in", "hash", "str", "format", "bool"],
)
async def test_nobody_is_compared_with_anybody(app: Quart, ask: Callable[[], Any]) -> None:
    """Nor does a user that the job does not know answer what every object answers."""
    log_in(app)
    jobs = QuartJobs(app)

    @app.post("/ask")
    @jobs.background
    async def asked() -> Any:
        with pytest.raises(RuntimeError, match=r"auth\.user"):
            ask()
        return {}

    async with serving(app) as client:
        assert await result(client, "/ask", "POST") == {}


async def test_a_request_keeps_its_user(app: Quart) -> None:
    """The request that starts the jobs of an app without lifespan, and is there while its own job
    runs, has its user before and after."""
    app.config["QUART_JOBS_STORE"] = "memory:"
    headers = log_in(app)
    jobs = QuartJobs(app)

    @app.post("/foo")
    @jobs.background
    async def foo() -> Any:
        return {}

    @app.after_request
    async def tell(response: QuartResponse) -> QuartResponse:
        if response.status_code == 202:
            job = response.headers["Location"].rpartition("/")[2]
            await jobs.jobs.result(job)
            response.headers["X-User"] = current_user.auth_id
        return response

    client = app.test_client()
    for user in ("ann", "bob"):
        answer = await client.post("/foo", headers=headers(user))
        assert (answer.status_code, answer.headers["X-User"]) == (202, user)


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
async def test_credentials_that_are_kept_tell_the_user(app: Quart, mode: str) -> None:
    """Where `keep_headers` has the credentials stored, quart-auth finds the user in them."""
    headers = log_in(app, mode)
    jobs = QuartJobs(app, keep_headers=["Cookie", "Authorization"])
    route_who(app, jobs)

    async with serving(app) as client:
        told = await result(client, "/async", "POST", headers=headers("ann"))
        assert told == ["User", "ann", True]


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
async def test_an_app_logs_the_submitter_in_itself(
    app: Quart, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """A `before_run` function of the app's own may call `login_user`, in the place of
    `restore_user`, and nothing is warned of."""
    headers = log_in(app, mode)
    jobs = QuartJobs(app, principal=lambda: {"number": current_user.auth_id})

    @jobs.before_run
    async def log_the_submitter_in() -> None:
        quart_auth.login_user(User(current_job.principal["number"]), remember=True)

    route_who(app, jobs)

    async with serving(app) as client:
        told = await result(client, "/async", "POST", headers=headers("ann"))
        assert told == ["User", "ann", True]
    assert warnings(caplog) == []


async def test_several_extensions(app: Quart) -> None:
    """Of several extensions, `restore_user` restores the user that `current_user` is of; the user
    of another one is not known, until a `before_run` function logs it in."""
    headers = log_in(app)
    admins = QuartAuth(
        app,
        singleton=False,
        attribute_name="admin",
        cookie_name="ADMIN",
        salt="admins",
        cookie_secure=False,
    )
    jobs = QuartJobs(app, principal=auth.user)
    jobs.before_run(auth.restore_user)
    seen = []

    @jobs.before_run
    async def log_an_admin_in() -> None:
        if request.path == "/with":
            admins.login_user(AuthUser("root"))

    @app.post("/<which>")
    @jobs.background
    async def who(which: str) -> Any:
        seen.append(current_user.auth_id)
        return [current_user.auth_id, admins.load_user().auth_id]

    async with serving(app) as client:
        ask = {"headers": headers("ann")}
        assert await result(client, "/with", "POST", **ask) == ["ann", "root"]
        answer = await poll(client, await submit(client, "/without", "POST", **ask))
        assert answer.status_code == 500
    assert seen == ["ann", "ann"]


async def test_a_principal_without_a_user(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """`restore_user` with a principal that names no user is a SetupError that says what to return,
    not an anonymous user."""
    headers = log_in(app)
    jobs = QuartJobs(app, principal=lambda: {"tenant": "acme"})
    jobs.before_run(auth.restore_user)
    route_who(app, jobs)

    async with serving(app) as client:
        answer = await poll(client, await submit(client, "/sync", "POST", headers=headers("ann")))
        assert answer.status_code == 500
    (error,) = raised(caplog)
    assert isinstance(error, SetupError)
    assert 'a dict with that as its "user"' in str(error)


async def test_restore_user_needs_quart_auth(app: Quart, caplog: pytest.LogCaptureFixture) -> None:
    """`restore_user` in an app that has no QuartAuth is a SetupError that says so."""
    jobs = QuartJobs(app, principal=lambda: "ann")
    jobs.before_run(auth.restore_user)

    @app.post("/foo")
    @jobs.background
    async def foo() -> Any:
        return {}

    async with serving(app) as client:
        assert (await poll(client, await submit(client, "/foo", "POST"))).status_code == 500
    (error,) = raised(caplog)
    assert isinstance(error, SetupError)
    assert "restore_user needs a QuartAuth(app)" in str(error)


@pytest.mark.parametrize("restored", [True, False], ids=["restored", "not restored"])
@pytest.mark.parametrize("deed", ["log in", "log out", "renew"])
async def test_a_login_in_a_job_vanishes(
    app: Quart, caplog: pytest.LogCaptureFixture, deed: str, restored: bool
) -> None:
    """A job that logs in or out, or renews a login, goes on with that user; but its cookie is never
    sent, which is warned of once for each route."""
    headers = log_in(app)
    jobs = QuartJobs(app, principal=auth.user)
    if restored:
        jobs.before_run(auth.restore_user)

    def do() -> Any:
        if deed == "log in":
            quart_auth.login_user(User("eve"))
            return [current_user.auth_id]
        if deed == "log out":
            quart_auth.logout_user()
            return [current_user.auth_id]
        quart_auth.renew_login()
        return ["renewed"]

    @app.post("/async")
    @jobs.background
    async def asynchronous() -> Any:
        return do()

    @app.post("/sync")
    @jobs.background
    def synchronous() -> Any:
        return do()

    done = {"log in": ["eve"], "log out": [None], "renew": ["renewed"]}[deed]
    async with serving(app) as client:
        for view in ("/async", "/async", "/sync", "/sync"):
            assert await result(client, view, "POST", headers=headers("ann")) == done
    said = warnings(caplog)
    assert len(said) == 2
    for warning, endpoint in zip(said, ("asynchronous", "synchronous"), strict=True):
        assert f"a job of '{endpoint}' logs in or out" in warning
        assert "vanishes" in warning


def test_nothing_of_quart_auth_is_needed() -> None:
    """Without `asyncjobs.web.auth` nothing imports quart-auth: it need not be installed."""
    program = "import sys, asyncjobs; sys.exit('quart_auth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
