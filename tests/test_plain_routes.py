"""Routes that are no jobs, in an app that has jobs, on a real hypercorn: as they are without."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from server import Server, received

PIECES = (b"one", b"two", b"three")


@pytest.fixture(scope="module")
def without_jobs(serve: Serve) -> Server:
    return serve("apps.plain:app", config={"WITH_JOBS": False})


@pytest.fixture(scope="module")
def with_jobs(serve: Serve) -> Server:
    return serve("apps.plain:app", config={"WITH_JOBS": True})


@pytest.fixture(params=["with jobs", "without jobs"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of the two, whose log is read at the end: no client's going is an error."""
    server: Server = request.getfixturevalue(request.param.replace(" ", "_"))
    before = len(server.log())
    yield server
    assert "Traceback" not in server.log()[before:]


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    version: Any = {"http1": request.param == "HTTP/1.1", "http2": request.param == "HTTP/2"}
    with httpx.Client(base_url=server.url, timeout=30, verify=False, **version) as client:
        yield client


def head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes, up to this."""
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/number/1", "/unmeasured", "/nowhere", "/broken"])
def test_the_bytes_of_an_answer_are_the_same(
    with_jobs: Server, without_jobs: Server, method: str, path: str
) -> None:
    """Not one byte over HTTP/1.1 tells whether an app has jobs, but for the time."""
    request = head(method, path, "Connection: close")
    answers = [server.exchange(request).splitlines(True) for server in (with_jobs, without_jobs)]
    ours, quarts = ([_comparable(line) for line in lines] for lines in answers)

    assert ours == quarts
    assert ours[0].startswith(b"HTTP/1.1 ")


def _comparable(line: bytes) -> bytes:
    """A line without the time, or an order that is that of a set."""
    name, _, value = line.partition(b": ")
    if name == b"date":
        return name
    return name + b", ".join(sorted(value.strip().split(b", ")))


def test_a_client_is_told_to_go_on(server: Server, signals: Signals, name: str) -> None:
    """Who asks by ``Expect: 100-continue`` whether its body is wanted is told so, and answered."""
    asked = head("POST", f"/read/{name}", "Expect: 100-continue", "Content-Length: 3")
    with server.connect() as connection:
        connection.sendall(asked)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.sendall(b"one")

        assert b'{"body":"one"}' in read_until(connection, b'{"body":"one"}\n')


def test_a_body_may_come_in_pieces(client: httpx.Client, signals: Signals, name: str) -> None:
    """A view has each piece of a body when it comes, and not only when all have."""

    def pieces() -> Iterator[bytes]:
        length = 0
        for piece in PIECES:
            yield piece
            length += len(piece)
            signals.wait(f"{name}.{length}")

    answer = client.post(f"/read/{name}", content=pieces())

    assert answer.json() == {"body": "onetwothree"}


def test_an_answer_may_be_streamed(client: httpx.Client, signals: Signals, name: str) -> None:
    """A client has the first part of an answer while its view makes the second."""
    with client.stream("GET", f"/stream/{name}") as answer:
        parts = answer.iter_bytes()
        assert next(parts) == b"one"
        signals.send(f"{name}.go")
        assert b"".join(parts) == b"two"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["slow", "stream"])
def test_a_client_that_goes_is_noticed(
    server: Server, signals: Signals, name: str, path: str, method: str
) -> None:
    """The view of a client that goes over HTTP/1.1, or what streams its answer, is cancelled."""
    body = b"abc" if method == "POST" else b""
    with server.connect() as connection:
        connection.sendall(head(method, f"/{path}/{name}", f"Content-Length: {len(body)}") + body)
        signals.wait(f"{name}.begun")

    signals.wait(f"{name}.cancelled")


@pytest.mark.parametrize("how", ["resets its stream", "closes the connection"])
@pytest.mark.parametrize("path", ["slow", "stream"])
def test_a_client_that_goes_over_http_2_is_noticed(
    server: Server, signals: Signals, name: str, path: str, how: str
) -> None:
    """So is that of one that takes back its request over HTTP/2, or closes the connection."""
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    protocol.initiate_connection()
    names = {":method": "GET", ":path": f"/{path}/{name}", ":scheme": "http"}
    protocol.send_headers(1, [*names.items(), (":authority", "localhost")], end_stream=True)
    with server.connect() as connection:
        connection.sendall(protocol.data_to_send())
        signals.wait(f"{name}.begun")
        if how == "resets its stream":
            protocol.reset_stream(1)
            connection.sendall(protocol.data_to_send())
            signals.wait(f"{name}.cancelled")

    signals.wait(f"{name}.cancelled")


def test_requests_may_come_all_at_once(server: Server) -> None:
    """Requests that are sent before the first is answered are answered one by one, in order."""
    paths = [f"/number/{number}" for number in range(5)]
    requests = [head("GET", path) for path in paths[:-1]]
    with server.connect() as connection:
        connection.sendall(b"".join(requests) + head("GET", paths[-1], "Connection: close"))
        answers = received(connection)

    assert answers.count(b"HTTP/1.1 200") == 5
    found = [answers.index(b'{"number":%d}' % number) for number in range(5)]
    assert found == sorted(found)


def test_a_connection_is_kept_for_the_next_request(client: httpx.Client) -> None:
    """One connection serves many requests, also after answers that were errors."""
    for path, status in [("/number/1", 200), ("/nowhere", 404), ("/number/2", 200)] * 3:
        assert client.get(path).status_code == status


@pytest.mark.parametrize("has_jobs", [True, False], ids=["with jobs", "without jobs"])
def test_a_server_that_stops_waits_for_no_view(
    tmp_path: Path, signals: Signals, name: str, has_jobs: bool
) -> None:
    """A view that still waits when the grace of a shutdown is over, or its client has gone, is
    cancelled, and the server ends."""
    config = {"WITH_JOBS": has_jobs, "SIGNALS": str(signals.folder)}
    with (
        Server("apps.plain:app", tmp_path, config=config) as server,
        closing(server.connect()) as connection,
    ):
        connection.sendall(head("GET", f"/slow/{name}"))
        signals.wait(f"{name}.begun")
        server.signal(signal.SIGTERM)
        if sys.version_info >= (3, 12):  # hypercorn waits there until its connections are closed
            connection.close()
        signals.wait(f"{name}.cancelled")
        assert server.wait() == 0
        assert "Error in ASGI Framework" not in server.log()
        assert "Exception on request" not in server.log()
