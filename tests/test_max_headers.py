"""`max_headers`: how large the headers of a request may be that becomes a job."""

from __future__ import annotations

import json
import socket

import pytest

from asyncjobs.errors import HeadersTooLarge
from asyncjobs.settings import Settings
from asyncjobs.web.http.headers import storable_request_headers
from conftest import Serve
from server import Server, count_jobs, received

LIMIT = 2048
HYPERCORNS = 16 * 1024


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.contract:app", config={"QUART_JOBS_MAX_HEADERS": LIMIT})


def asked(connection: socket.socket, path: str, size: int) -> tuple[bytes, bytes]:
    """Head and body of the answer to a request whose headers have so many bytes."""
    headers = {"host": "x", "connection": "close", "cookie": ""}
    used = sum(len(name) + len(value) for name, value in headers.items())
    headers["cookie"] = "c" * (size - used)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head, _, body = received(connection).partition(b"\r\n\r\n")
    return head.lower(), body


def test_as_many_bytes_as_the_limit_are_taken(server: Server) -> None:
    """Names and values may have as many bytes as the limit, those that are not stored as well."""
    with server.connect() as connection:
        head, body = asked(connection, "/foo", LIMIT)
    assert head.startswith(b"http/1.1 202")
    assert "TaskId" in json.loads(body)


def test_one_byte_more_is_a_431_and_makes_no_job(server: Server) -> None:
    """With one byte more it is 431, a `headers-too-large` problem, and there is no job."""
    before = count_jobs(server.store)
    with server.connect() as connection:
        head, body = asked(connection, "/foo", LIMIT + 1)
    problem = json.loads(body)
    assert head.startswith(b"http/1.1 431")
    assert b"content-type: application/problem+json" in head
    assert problem["type"] == "urn:asyncjobs:problem:headers-too-large"
    assert problem["status"] == 431
    assert str(LIMIT) in problem["detail"]
    assert count_jobs(server.store) == before


def test_requests_that_become_no_jobs_have_no_such_limit(server: Server) -> None:
    """What becomes no job, such as a status that is asked for, is the server's affair."""
    with server.connect() as connection:
        head, _ = asked(connection, f"/jobs/{'0' * 32}", LIMIT + 1)
    assert head.startswith(b"http/1.1 404")


def test_hypercorns_own_limit_is_a_431_without_a_body(server: Server) -> None:
    """Of a head that is still not there after 16 KiB hypercorn reads no more: it answers 431
    itself, without a body."""
    with server.connect() as connection:
        connection.sendall(b"GET /foo HTTP/1.1\r\nhost: x\r\ncookie: " + b"c" * HYPERCORNS)
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.lower().startswith(b"http/1.1 431")
    assert body == b""


@pytest.mark.parametrize("size", [99, 100, 101])
def test_every_pair_counts(size: int) -> None:
    """Each name and each value of several counts, without what is between them."""
    pairs = [(b"a", b"1" * 48), (b"cookie", b"2" * 30), (b"if-match", b""), (b"b", b"")]
    used = sum(len(name) + len(value) for name, value in pairs)
    pairs[-1] = (b"b", b"3" * (size - used))
    if size > 100:
        with pytest.raises(HeadersTooLarge, match="100 bytes"):
            storable_request_headers(pairs, b"", Settings(max_headers=100))
    else:
        storable_request_headers(pairs, b"", Settings(max_headers=100))
