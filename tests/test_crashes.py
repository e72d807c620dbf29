"""What becomes of jobs whose process is killed: as the method says, or the route."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from apps.signals import Signals
from conftest import Serve
from server import Server, result, submit

IDEMPOTENT, AT_MOST_ONCE = "rerun", "interrupted"


@pytest.fixture(scope="module")
def survivor(serve: Serve) -> Server:
    """A server that stays, on the store of those that are killed."""
    return serve("apps.deploys:app")


@pytest.fixture
def victim(serve: Serve, survivor: Server) -> Server:
    return serve("apps.deploys:app", config={"QUART_JOBS_STORE": f"sqlite:///{survivor.store}"})


@pytest.mark.parametrize(
    ("method", "path", "policy"),
    [
        ("GET", "/work", IDEMPOTENT),
        ("POST", "/work", AT_MOST_ONCE),
        ("POST", "/sworn", IDEMPOTENT),
        ("GET", "/once", AT_MOST_ONCE),
    ],
)
def test_another_process_takes_over(
    survivor: Server,
    victim: Server,
    signals: Signals,
    name: str,
    method: str,
    path: str,
    policy: str,
) -> None:
    """A job whose process was killed is run again elsewhere if its method, or its route, says that
    it may be; any other is interrupted, and says that it may have had effects."""
    with victim.client() as client:
        poll = submit(client, method, f"{path}/{name}")
    signals.wait(f"{name}-started-1")
    victim.kill()
    signals.send(f"{name}-go-on")
    with survivor.client() as client:
        answer = result(client, poll)
    if policy == IDEMPOTENT:
        assert (answer.status_code, answer.json()["attempt"]) == (200, 2)
    else:
        assert answer.headers["Job-State"] == "interrupted"
        assert answer.json()["type"] == "urn:asyncjobs:problem:interrupted"
        assert "may have had effects" in answer.json()["detail"]
        assert not signals.is_sent(f"{name}-started-2")


def test_the_next_start_takes_over(serve: Serve, signals: Signals, name: str) -> None:
    """Jobs of a killed server that were running or queued are looked after by its next start."""
    server = serve("apps.deploys:app", config={"QUART_JOBS_CONCURRENCY": 1})
    with server.client() as client:
        polls = [submit(client, "GET", f"/work/{name}-{number}") for number in range(3)]
    signals.wait(f"{name}-0-started-1")
    server.kill()
    for number in range(3):
        signals.send(f"{name}-{number}-go-on")
    with server, server.client() as client:
        attempts = [result(client, poll).json()["attempt"] for poll in polls]
    assert attempts == [2, 1, 1]


def test_a_worker_that_is_told_to_stop_while_it_starts(
    serve: Serve, signals: Signals, name: str
) -> None:
    """A worker takes up the jobs of its predecessor only when a SIGTERM does not kill it any more:
    whenever it comes, they come to their end, and nobody is to blame."""
    server = serve("apps.deploys:app", config={"QUART_JOBS_CONCURRENCY": 1})
    with server.client() as client:
        submit(client, "GET", f"/work/{name}")
        poll = submit(client, "GET", f"/told/{name}")  # which waits for the other one
    signals.wait(f"{name}-started-1")
    server.kill()
    signals.send(f"{name}-go-on")
    server.start()
    server.wait()
    with server, server.client() as client:
        assert result(client, poll).json() == {"attempt": 1}


def test_a_job_that_kills_its_process(serve: Serve, signals: Signals, name: str) -> None:
    """A job whose process dies under it five times is taken to be the reason, and set aside."""
    server = serve("apps.deploys:app")
    with server.client() as client:
        poll = submit(client, "GET", f"/poison/{name}")
    signals.send(f"{name}-go-on")
    signals.wait(f"{name}-started-1")
    for attempt in (2, 3, 4, 5):
        server.kill()
        server.start()
        signals.wait(f"{name}-started-{attempt}")
    server.kill()
    with server, server.client() as client:
        answer = result(client, poll)
        assert answer.headers["Job-State"] == "interrupted"
        assert "died 5 times" in answer.json()["detail"]
        assert client.get(answer.links["status"]["url"]).json()["crashes"] == 5
        # The others do not suffer from it.
        signals.send(f"{name}-fine-go-on")
        assert result(client, submit(client, "POST", f"/work/{name}-fine")).status_code == 200
    with closing(sqlite3.connect(server.store)) as connection:
        (row,) = connection.execute("SELECT attempt, crashes FROM jobs WHERE crashes > 0")
    assert row == (5, 5)
