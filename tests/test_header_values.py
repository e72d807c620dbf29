"""No value of a header ends in a 500: of no request, at no URL of a job."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quart import Quart, request, session, url_for

from asyncjobs import QuartJobs
from conftest import Serve
from server import DEADLINE, Server, received, result, submit

NAMES = """
    Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers
    Access-Control-Request-Method Authorization Cache-Control Connection Content-Encoding
    Content-Length Content-Type Cookie Date Expect Forwarded From Host If-Match If-Modified-Since
    If-None-Match If-Range Max-Forwards Origin Pragma Prefer Range Referer Remote-Addr
    Sec-Fetch-Site TE Trailer Transfer-Encoding Upgrade User-Agent Via X-Forwarded-For
    X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto X-Original-URL
"""

VALUES = [
    b"",
    b"http://[",
    b"http://[x]",
    b"http://]",
    b"http://\xef\xbc\xa1",
    b"[::1",
    b"a..b",
    b".",
    b"a" * 64,
    b"xn--\xff",
    b"xn--a",
    b"a:99999",
    b"a:b:c",
    b"me@x",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"9" * 4400,
    b"-1",
    b"\xb2",
    b"1e5",
    b"nan",
    b"*",
    b'"',
    b'W/"\xff',
    b"bytes=9-1,x",
    b"wait=\xff; wait*=''%",
    b"text/plain; charset=junk",
    b"text/plain; charset*=utf-8''%ff",
    b"application/json; charset=\xff",
    b"application/x-www-form-urlencoded; charset=utf-7",
    b"multipart/form-data",
    b'multipart/form-data; boundary="',
    b"session=\xff; a=b;;=",
    b"session=.eJw.x.y",
    b"Basic \xff",
    b"Basic =",
    b"Bearer \xff",
    b'Digest x="',
    b"text/html;q=inf, */*;q=\xff",
    b"gzip, chunked",
    b"100-continue",
    b"websocket",
    b"Thu, 99 Foo 99999 99:99:99 GMT",
    b'for="[',
]


def an_app() -> Quart:
    """An app that looks at what it is sent, for sessions and owners, and handles bad requests."""
    app = Quart("values")
    app.config["SECRET_KEY"] = "for tests alone"
    jobs = QuartJobs(app, store="memory:", owner=lambda: session.get("user"))

    @app.errorhandler(400)
    async def bad_request(error: Exception) -> tuple[str, int]:
        return f"bad; see {url_for('plain')}", 400

    @app.get("/plain")
    async def plain() -> str:
        return request.host

    @app.route("/job", methods=["GET", "POST"])
    @jobs.background
    async def job() -> dict[str, Any]:
        return {"host": request.host, "form": dict(await request.form), "args": dict(request.args)}

    return app


async def answer(app: Quart, target: str, name: bytes, value: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a request with that header, straight by ASGI."""
    method, path = target.split()
    messages: list[Any] = [{"type": "http.request", "body": b"a=b", "more_body": False}]
    sent: list[Any] = []
    answered = asyncio.Event()

    async def receive() -> Any:
        if not messages:
            await answered.wait()
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name, value), *([(b"host", b"localhost")] if name != b"host" else [])],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }
    async with asyncio.timeout(DEADLINE):
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def check(app: Quart, name: bytes, values: Iterable[bytes]) -> None:
    """Whatever the header says, each URL of a job is answered by no 5xx, and so is a plain one; a
    job that was made comes to its end, and to no 5xx either."""
    _, body = await answer(app, "POST /job", b"accept", b"*/*")
    known = json.loads(body)["TaskId"]
    urls = ("POST /job", "GET /job", f"GET /job/{known}", f"GET /jobs/{known}", "GET /plain")
    for value in values:
        for target in (*urls, f"DELETE /job/{known}", f"DELETE /jobs/{known}"):
            status, body = await answer(app, target, name, value)
            assert 200 <= status < 500, (target, name, value, body)
            if status == 202 and b"TaskId" in body:
                made = json.loads(body)["TaskId"]
                status, body = await answer(app, f"GET /job/{made}", b"prefer", b"wait=30")
                assert status == 200, (target, name, value, body)


@pytest.mark.parametrize("name", NAMES.split())
async def test_junk(name: str) -> None:
    """No value that is known to have confused a parser somewhere is an error of ours."""
    app = an_app()
    async with app.test_app():
        await check(app, name.lower().encode(), VALUES)


BYTES = st.binary(max_size=20).map(lambda value: bytes(set(value) - set(b"\r\n\0")))
TEXT = st.text("aAz09.:;,=\"'[]()<>/\\@*%-_ \xff\xed", max_size=30).map(
    lambda value: value.encode("latin-1")
)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(NAMES.split()), st.lists(BYTES | TEXT, min_size=1, max_size=5))
def test_any_value(name: str, values: list[bytes]) -> None:
    """Nor is any other value."""

    async def run() -> None:
        app = an_app()
        async with app.test_app():
            await check(app, name.lower().encode(), values)

    asyncio.run(run())


@pytest.mark.parametrize("host", ["a..b", ".", "a" * 64, f"x.{'a' * 64}:80"])
async def test_a_host_that_nothing_can_be_made_of(host: str) -> None:
    """It is the app's own 400, also at routes that are no jobs, and makes no job."""
    app = an_app()
    async with app.test_app():
        for target in ("GET /job", "POST /job", "GET /plain", f"DELETE /jobs/{'0' * 32}"):
            status, body = await answer(app, target, b"host", host.encode())
            assert (status, body) == (400, b"bad; see /plain")


# Over the wire.

PARSED = """
    Connection Content-Length Content-Type Cookie Expect Host If-None-Match Origin Prefer Range
    Sec-Fetch-Site Transfer-Encoding Upgrade X-Forwarded-For X-Forwarded-Host
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.values:app")


@pytest.mark.parametrize("name", PARSED.split())
def test_junk_over_the_wire(server: Server, name: str) -> None:
    """Whatever the header says, hypercorn answers, and by no 5xx, but for a transfer coding that it
    does not know; and no traceback is in the log."""
    logged = len(server.log())
    with server.client() as client:
        done = submit(client, "POST", "/job", content=b"abc")
        result(client, done)
    targets = ["POST /job", f"DELETE {done}", f"GET {done}", f"DELETE /jobs/{done[-32:]}"]
    for number, value in enumerate(VALUES):
        target = targets[number % len(targets)]
        said = exchange(server, target, name, value)
        assert said[:9] == b"HTTP/1.1 ", (target, value, said)
        if name != "Transfer-Encoding" or said[9:12] != b"501":
            assert said[9:10] != b"5", (target, value, said)
    assert "Traceback" not in server.log()[logged:]


def exchange(server: Server, target: str, name: str, value: bytes) -> bytes:
    """The answer to a request with that header; it has a body if it is a POST."""
    lines = [f"{target} HTTP/1.1".encode(), name.encode() + b": " + value, b"Connection: close"]
    if name != "Host":
        lines.append(b"Host: localhost")
    if target.startswith("POST") and name not in ("Content-Length", "Transfer-Encoding"):
        lines.append(b"Content-Length: 3")
    with server.connect() as connection:
        connection.sendall(b"\r\n".join([*lines, b"", b"abc" if b"POST" in lines[0] else b""]))
        if name in ("Content-Length", "Transfer-Encoding"):
            connection.shutdown(socket.SHUT_WR)  # the server may wait for more
        return received(connection)
