"""What decorators above `@jobs.background` add to a call reaches the view, in any process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from quart import Quart

from apps.signals import Signals
from asyncjobs import QuartJobs
from asyncjobs.annotations import hints_of
from asyncjobs.credentials import is_credential
from asyncjobs.web.context import Context, context_from_json
from conftest import Serve
from server import Server, count_jobs, result, submit

DUE = "due=datetime.date(2026, 1, 2)"
ID = "UUID('00000000-0000-0000-0000-000000000005')"
TODO = f"(task='wash', {DUE}, owner={ID}, tags=['a'])"
SENT = {"task": "wash", "due": "2026-01-02", "tags": ["a"]}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.added:app")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def done(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The JSON that a job comes to."""
    answer = result(client, submit(client, method, path, **options))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_quart_schema_has_validated(client: httpx.Client) -> None:
    """The validated body reaches the view as what it is: a dataclass, a pydantic model that knows
    which of its fields were sent, a struct; in async and in sync views, beside the URL's own."""
    for path, name in [("dataclass", "Todo"), ("struct", "TodoStruct"), ("model", "TodoModel")]:
        answer = done(client, "PUT", f"/{path}/3", json=SENT)
        assert answer.pop("set", None) in (None, ["due", "tags", "task"])
        assert answer == {"data": f"{name}{TODO}", "number": 3}
    assert client.put("/dataclass/3", json={}).status_code == 400


def test_several_validators_above_and_one_below(client: httpx.Client) -> None:
    """Query and headers reach the view as the body does, and a validator below still works."""
    answer = done(client, "POST", "/all?since=2026-01-02", json=SENT, headers={"X-Tenant": "acme"})
    assert answer == {
        "data": f"Todo{TODO}",
        "query_args": "Search(since=datetime.date(2026, 1, 2), limit=10)",
        "headers": "Headers(x_tenant='acme')",
    }
    assert done(client, "POST", "/below", json=SENT) == {"data": f"Todo{TODO}"}


def test_what_webargs_has_parsed(client: httpx.Client) -> None:
    """What webargs passes by position reaches the view, and what it passes by name."""
    sent = {"due": "2026-01-02", "owner": str(UUID(int=5))}
    parsed = f"{{'due': {date(2026, 1, 2)!r}, 'owner': {ID}}}"
    answer = done(client, "POST", "/use_args/3", json=sent)
    assert answer == {"data": parsed, "number": 3}
    answer = done(client, "POST", "/use_kwargs", json=sent)
    assert answer == {"data": repr(date(2026, 1, 2)), "more": f"{{'owner': {ID}}}"}


def test_variables_of_the_url_that_are_replaced(client: httpx.Client) -> None:
    """A decorator may put a document in the place of its id, another value in the place of one, or
    take one away. What it leaves alone is from the URL, whatever it is called."""
    doc = f"Todo(task='doc', due=None, owner={ID}, tags=[])"
    assert done(client, "GET", "/docs/3/intro") == {"data": doc, "part": "intro"}
    assert done(client, "GET", "/other/3/intro") == {"data": "None", "part": "intro"}
    assert done(client, "GET", "/gone/3") == {"data": "7"}
    assert done(client, "GET", "/token/hush") == {"data": "'hush'", "tenant": 5}
    assert done(client, "GET", "/anything/x") == {
        "data": "(1,)",
        "kwargs": "{'name': 'x', 'tenant': {'id': [1, 2.5, None]}}",
    }


def test_class_based_views(client: httpx.Client) -> None:
    """The annotations are those of the method that the request leads to, async or sync."""
    todo = f"Todo(task='view', due=None, owner={ID}, tags=[])"
    assert done(client, "GET", "/methods") == {"data": todo, "method": "get"}
    assert done(client, "POST", "/methods") == {"data": todo, "method": "post"}
    assert done(client, "POST", "/one") == {"data": repr(date(2026, 1, 2))}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_between(serve: Serve, signals: Signals, name: str, workers: int) -> None:
    """After the server was killed, the process that runs the job again calls the view with what was
    validated then."""
    server = serve("apps.added:app", workers=workers)
    with server.client() as client:
        poll = submit(client, "PUT", f"/crash/{name}", json=SENT)
        signals.wait(f"{name}-started")
    server.kill()
    signals.send(f"{name}-go-on")
    with server, server.client() as client:
        answer = result(client, poll)
    assert answer.json() == {"data": f"Todo{TODO}"}


REFUSED = {
    "/user": "the argument 'user' of 'of_user' cannot be stored: user is a User, and what would",
    "/unannotated": "'data' of 'unannotated' cannot be stored: data is no JSON but a Todo, and no",
    "/positional": "the argument 'api_key' of 'positional' is not stored: by its name it is a cred",
    "/keyword": "the argument 'current_user_token' of 'keyword' is not stored: by its name",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_stored(serve: Serve, signals: Signals, path: str) -> None:
    """An argument that cannot be stored, or looks like a credential, is the app's own 500 with one
    error in the log that names it and the way out. There is no job."""
    server = serve("apps.added:app")
    with server.client() as client:
        answer = client.get(path)
        assert (answer.status_code, b"Internal Server Error" in answer.content) == (500, True)
        assert "hush" not in server.log()
        (line,) = [line for line in server.log().splitlines() if "errors.Unstorable: " in line]
        assert REFUSED[path] in line
        assert line.endswith("below @jobs.background, where it runs in the job")
        assert server.log().count("Traceback") == 1
        assert submit(client, "GET", "/token/a")
    assert count_jobs(server.store) == 1
    assert not signals.is_sent(f"{path[1:]}-ran")


def stored_context(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        (context,) = connection.execute("SELECT context FROM requests").fetchone()
    return bytes(context or b"")


@pytest.mark.parametrize(
    "context",
    [
        b"\xff",
        b"[]",
        b'{"arguments": null}',
        b'{"arguments": {"args": 5, "kwargs": {}}}',
        b'{"without": 5}',
        b'{"arguments": {"args": [], "kwargs": {"a": 1}, "forms": {"kwargs": {"a": "typed"}}}}',
    ],
)
async def test_a_stored_context_that_is_damaged(path: Path, context: bytes) -> None:
    """A job whose stored arguments cannot be read any more fails with a word that says so, without
    calling the view, and harms no other."""
    called = []
    app = Quart(__name__)
    jobs = QuartJobs(app, store=f"sqlite:///{path}", keep_requests="always")

    @app.get("/f")
    @jobs.background
    async def f(a: date | None = None) -> dict[str, int]:
        called.append(a)
        return {}

    client = app.test_client()
    good = await client.get("/f")
    async with app.app_context():
        request = await jobs.jobs._opened.store.request((await good.get_json())["TaskId"])
        bad, _ = await jobs.jobs.accept("f", replace(request, context=context))
        answer = await client.get(f"/f/{bad.id}", headers={"Prefer": "wait=20"})
        assert answer.status_code == 500
        assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:job-unreadable"
        answer = await client.get(good.headers["Location"], headers={"Prefer": "wait=20"})
        assert answer.status_code == 200
    assert called == [None]


async def test_a_route_that_nothing_is_added_to(path: Path) -> None:
    """Nothing is stored of a call whose arguments are all from the URL, and nobody looks at the
    view's annotations."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store=f"sqlite:///{path}", keep_requests="always")

    @app.get("/f/<int:a>/<b>")
    @jobs.background
    async def f(a: int, b: str) -> dict[str, Any]:
        return {"a": a, "b": b}

    hints_of.cache_clear()
    client = app.test_client()
    submitted = await client.get("/f/1/x")
    answer = await client.get(submitted.headers["Location"], headers={"Prefer": "wait=20"})
    assert await answer.get_json() == {"a": 1, "b": "x"}
    assert context_from_json(stored_context(path)).arguments == Context().arguments
    assert hints_of.cache_info().misses == 0


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("api_key", True), ("key", True), ("userToken", True), ("X_JFROG_ART_API", True),
        ("PASSWORD", True), ("db_pass", True), ("idempotency_key", False), ("data", False),
        ("author", False), ("keyword", False), ("user_id", False), ("partition_key", False),
    ],
)  # fmt: skip
def test_names_of_arguments_that_look_like_credentials(name: str, is_one: bool) -> None:
    """Names are judged by the list that headers are, in which `_` is as good as `-`."""
    assert is_credential(name) is is_one
    assert is_credential(name.upper()) is is_one
    assert is_credential(name.replace("_", "-")) is is_one
