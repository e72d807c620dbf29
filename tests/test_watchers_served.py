"""Event streams over a real server: that they come one by one, and how they end."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from server import DEADLINE, Server, received, result, submit

EVENTS = {"Accept": "text/event-stream"}
#: As many as the handler reports.
STEPS = 3
LARGE = 8 * 2**20
#: Who takes nothing of a large result.
CLIENTS = 16


class Watcher:
    """A client that reads the events of a job, one by one. A context manager."""

    def __init__(self, client: httpx.Client, status: str, **headers: str) -> None:
        self._stream = client.stream("GET", status, headers={**EVENTS, **headers})

    def __enter__(self) -> Self:
        self.answer = self._stream.__enter__()
        self._lines = self.answer.iter_lines()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.__exit__(*exc_info)  # type: ignore[arg-type]

    def fields(self) -> dict[str, str]:
        """Those of the next event; none at the end of the stream."""
        fields = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        return fields

    def document(self) -> dict[str, Any]:
        """That of the next event that has one."""
        while "data" not in (fields := self.fields()):
            assert fields, "the stream has ended"
        document: dict[str, Any] = json.loads(fields["data"])
        return document

    def rest(self) -> Iterator[dict[str, str]]:
        while fields := self.fields():
            yield fields


def status_of(server: Server, path: str) -> str:
    """Where the job is told of that is made of a request to this path."""
    with server.client() as client:
        url: str = client.get(path).links["status"]["url"]
    return url


def client_of(server: Server, version: str) -> httpx.Client:
    """One with a connection of its own."""
    options: Any = {"http1": False, "http2": True} if version == "HTTP/2" else {}
    return httpx.Client(base_url=server.url, timeout=DEADLINE, verify=False, **options)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_events_come_as_they_happen(
    serve: Serve, signals: Signals, name: str, workers: int, version: str
) -> None:
    """Each state is there before the next one is brought about, at every client, whichever worker
    it has come to, and the connection can be used again at the end."""
    server = serve("apps.watching:app", workers=workers)
    status = status_of(server, f"/steps/{name}")
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(server, version)) for _ in range(6)]
        watchers = [stack.enter_context(Watcher(client, status)) for client in clients]
        assert {watcher.answer.http_version for watcher in watchers} == {version}
        for watcher in watchers:
            assert watcher.document()["state"] == "running"
        for step in range(1, STEPS + 1):
            signals.send(f"{name}.{step}")
            for watcher in watchers:
                assert watcher.document()["progress"]["current"] == step
        signals.send(f"{name}.go")
        for watcher in watchers:
            assert watcher.document()["state"] == "succeeded"
            assert list(watcher.rest()) == []
        for client in clients:
            assert client.get("/plain").text == "plain"
            again = client.get(status, headers={**EVENTS, "Last-Event-ID": "99"})
            assert (again.status_code, again.content) == (204, b"")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_stop_ends_streams_as_they_should_end(
    serve: Serve, signals: Signals, name: str, workers: int, version: str
) -> None:
    """Who watches when the server stops is told when to come back, and has the end of the answer;
    nobody waits for him, and the log has no traceback."""
    server = serve("apps.watching:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": DEADLINE})
    status = status_of(server, f"/steps/{name}")
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(server, version)) for _ in range(4)]
        watchers = [stack.enter_context(Watcher(client, status)) for client in clients]
        for watcher in watchers:
            assert watcher.document()["state"] == "running"
        server.signal(signal.SIGTERM)
        for watcher in watchers:
            (last,) = [fields for fields in watcher.rest() if list(fields) != [""]]
            assert 1_000 <= int(last["retry"]) <= 5_000
    for step in ("1", "2", "3", "go"):
        signals.send(f"{name}.{step}")
    assert server.wait() == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_client_that_goes_leaves_no_trace(
    serve: Serve, signals: Signals, name: str, workers: int, version: str
) -> None:
    """Not in the log either, whether it says so or is just gone when something is sent."""
    server = serve("apps.watching:app", workers=workers)
    status = status_of(server, f"/steps/{name}")
    for _ in range(4):
        with client_of(server, version) as client, Watcher(client, status) as watcher:
            watcher.document()
    with reset(server, status), reset(server, status):
        pass
    with server.client() as client, Watcher(client, status) as watcher:
        watcher.document()
        for step in ("1", "2", "3", "go"):
            signals.send(f"{name}.{step}")
        assert [*watcher.rest()][-1]["event"] == "status"
    assert server.stop() == 0
    assert [
        line for line in server.log().splitlines() if "Traceback" in line or "rror" in line
    ] == []


def reset(server: Server, status: str) -> socket.socket:
    """A connection over which somebody watches, and which is reset when it is closed."""
    connection = server.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    head = f"GET {status} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


# Who takes nothing.


def test_slow_clients_of_a_large_result_share_it(serve: Serve) -> None:
    """Many who take nothing of a large result have it in memory once, not each a copy, and are in
    nobody's way; who goes on reading has all of it."""
    server = serve("apps.watching:app")
    with server.client() as client, ExitStack() as stack:
        poll = submit(client, "GET", f"/large/{LARGE}")
        expected = result(client, poll).content
        (worker,) = server.workers()
        before = resident(worker)
        slow = [stack.enter_context(asking(server, poll)) for _ in range(CLIENTS)]
        for connection in slow:
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert client.get("/plain").text == "plain"
        assert client.get(poll).content == expected
        assert resident(worker) - before < CLIENTS * LARGE / 4
        answer = received(slow[-1])
    assert len(expected) == LARGE
    assert digest(answer.partition(b"\r\n\r\n")[2]) == digest(expected)
    assert server.stop() == 0
    assert "socket.send()" not in server.log(), "those who have gone were sent the rest"


def asking(server: Server, path: str) -> socket.socket:
    """A connection over which something is asked, with next to no room for the answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(DEADLINE)
    connection.connect(("127.0.0.1", server.port))
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 256, 10 * 2**20])
def test_a_large_result_is_whole(serve: Serve, version: str, size: int) -> None:
    """In however many pieces it is sent: its length is said, and HEAD says the same."""
    server = serve("apps.watching:app")
    with server.client() as client:
        poll = submit(client, "GET", f"/large/{size}")
        result(client, poll)
    with client_of(server, version) as client:
        answer, head = client.get(poll), client.head(poll)
        assert answer.content == bytes(range(256)) * (size // 256)
        assert answer.headers["Content-Length"] == head.headers["Content-Length"] == str(size)
        assert head.content == b""
