"""Stops and restarts of a real hypercorn: nothing that was accepted is cut silently."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from apps.signals import Signals
from conftest import Serve
from server import Server, has_socket, listener_at, result, submit, until

EACH_WAY_TO_STOP = pytest.mark.parametrize(
    ("workers", "number"),
    [(1, signal.SIGTERM), (4, signal.SIGTERM), (4, signal.SIGINT)],
    ids=["1-TERM", "4-TERM", "4-INT"],
)


def submit_and_start(server: Server, signals: Signals, method: str, path: str) -> str:
    """Have a job started over a connection of its own: any worker may get it; its poll URL."""
    with server.client() as client:
        poll = submit(client, method, path)
    signals.wait(f"{path.rpartition('/')[2]}-started-1")
    return poll


@EACH_WAY_TO_STOP
def test_jobs_that_end_in_time_have_their_results(
    serve: Serve, signals: Signals, name: str, workers: int, number: signal.Signals
) -> None:
    """A server that is told to stop lets its running jobs end, in each of its workers."""
    server = serve("apps.deploys:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 30})
    names = [f"{name}-{index}" for index in range(2)]  # others are idle, and exit first
    polls = [submit_and_start(server, signals, "POST", f"/work/{each}") for each in names]
    server.signal(number)
    until(lambda: "running jobs have" in server.log(), "the drain")
    until(lambda: len(server.workers()) <= len(names), "the end of the idle workers")
    for each in names:
        signals.send(f"{each}-go-on")
    assert server.wait() == 0
    with server, server.client() as client:
        for poll in polls:
            answer = result(client, poll)
            assert (answer.status_code, answer.json()["attempt"]) == (200, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_waits_for_less_than_the_drain_time(
    serve: Serve, signals: Signals, name: str, workers: int, tmp_path: Path
) -> None:
    """When the server itself gives up first, what still runs is given back or interrupted."""
    config = tmp_path / "hypercorn.toml"
    config.write_text("shutdown_timeout = 0.5")
    server = serve(
        "apps.deploys:app",
        workers=workers,
        config={"QUART_JOBS_DRAIN_TIME": 30},
        options=["--config", str(config)],
    )
    again = submit_and_start(server, signals, "GET", f"/work/{name}-again")
    once = submit_and_start(server, signals, "POST", f"/work/{name}-once")
    server.stop()
    signals.send(f"{name}-again-go-on")
    with server, server.client() as client:
        assert result(client, again).json()["attempt"] == 2
        interrupted = result(client, once)
        assert interrupted.headers["Job-State"] == "interrupted"
        assert "ended while" in interrupted.json()["detail"]


@EACH_WAY_TO_STOP
def test_jobs_that_take_too_long_are_given_back(
    serve: Serve, signals: Signals, name: str, workers: int, number: signal.Signals
) -> None:
    """What does not end in time runs again at the next start, or says that it was interrupted."""
    server = serve("apps.deploys:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 0.2})
    indexes = range(workers)
    again = [
        submit_and_start(server, signals, "GET", f"/work/{name}-again-{index}") for index in indexes
    ]
    once = [
        submit_and_start(server, signals, "POST", f"/work/{name}-once-{index}") for index in indexes
    ]
    server.signal(number)
    assert server.wait() == 0
    with server, server.client() as client:
        for poll, index in zip(again, indexes, strict=True):
            signals.send(f"{name}-again-{index}-go-on")
            answer = result(client, poll)
            # More than once again, if another worker took it before that one was told to stop.
            assert answer.status_code == 200
            assert answer.json()["attempt"] > 1
        for poll in once:
            answer = result(client, poll)
            assert answer.headers["Job-State"] == "interrupted"
            assert "the server was stopped while the job ran" in answer.json()["detail"]
    assert server.log().count("interrupted with") == workers


def test_a_worker_that_is_terminated_alone(serve: Serve, signals: Signals, name: str) -> None:
    """A SIGTERM to one of the workers lets its jobs end, and then ends the server, as ever."""
    server = serve("apps.deploys:app", workers=4, config={"QUART_JOBS_DRAIN_TIME": 30})
    poll = submit_and_start(server, signals, "POST", f"/work/{name}")
    (by,) = signals.folder.glob(f"{name}-by-*")
    os.kill(int(by.name.rpartition("-")[2]), signal.SIGTERM)
    until(lambda: "running jobs have" in server.log(), "the drain")
    signals.send(f"{name}-go-on")
    server.wait()
    with server, server.client() as client:
        assert result(client, poll).json()["attempt"] == 1


def test_a_long_poll_is_answered_when_the_server_stops(
    serve: Serve, signals: Signals, name: str
) -> None:
    """Who waits for a job is told at once that it is not there yet, and may still ask again."""
    server = serve("apps.deploys:app", config={"QUART_JOBS_DRAIN_TIME": 30})
    poll = submit_and_start(server, signals, "GET", f"/work/{name}")
    with server.connect() as connection:
        connection.sendall(f"GET {poll} HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\n\r\n".encode())
        with server.client() as client:
            client.get("/pid")  # by then the server has begun with the long poll
        server.signal(signal.SIGTERM)
        assert connection.recv(1000).startswith(b"HTTP/1.1 202")
    signals.send(f"{name}-go-on")
    assert server.wait() == 0


@pytest.mark.parametrize(("drain_time", "attempt"), [(30, 1), (0.2, 2)], ids=["drained", "back"])
def test_a_submission_that_waits_is_answered_when_the_server_stops(
    serve: Serve, signals: Signals, name: str, drain_time: float, attempt: int
) -> None:
    """With the 202, at once: its job is drained, or given back, as any other, and the next server
    answers the polls for it."""
    server = serve("apps.deploys:app", config={"QUART_JOBS_DRAIN_TIME": drain_time})
    with server.connect() as connection:
        connection.sendall(
            f"GET /work/{name} HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\n\r\n".encode()
        )
        signals.wait(f"{name}-started-1")
        server.signal(signal.SIGTERM)
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 202")
    if attempt == 1:
        signals.send(f"{name}-go-on")
    assert server.wait() == 0
    signals.send(f"{name}-go-on")
    (poll,) = re.findall(rb"\r\nlocation: (\S+)", answer)
    with server, server.client() as client:
        assert result(client, poll.decode()).json()["attempt"] == attempt


@pytest.mark.parametrize(("workers", "busy"), [(1, 1), (2, 2)], ids=["one", "two-busy"])
def test_a_new_connection_hangs_while_all_workers_drain(
    serve: Serve, signals: Signals, name: str, workers: int, busy: int
) -> None:
    """The system takes it and nobody answers; it is reset once the first worker has ended, and from
    then on connections are refused."""
    server = serve("apps.deploys:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 30})
    jobs = keep_busy(server, signals, name, busy)
    processes, listener = server.workers(), listener_at(server.port)
    server.signal(signal.SIGTERM)
    until(lambda: not any(has_socket(pid, listener) for pid in processes), "the stop")
    with server.connect() as connection:
        connection.sendall(b"POST /work/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        signals.send(f"{jobs.pop()}-go-on")
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    for job in jobs:
        signals.send(f"{job}-go-on")
    assert server.wait() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_connection_is_refused_while_jobs_drain(
    serve: Serve, signals: Signals, name: str, workers: int
) -> None:
    """So it is without workers, and with several of which one has ended, as it had no jobs."""
    server = serve("apps.deploys:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 30})
    (job,) = keep_busy(server, signals, name, 1)
    server.signal(signal.SIGTERM)
    until(lambda: listener_at(server.port) is None, "the end of the socket")
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    assert "running jobs have" in server.log()
    signals.send(f"{job}-go-on")
    assert server.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_death_of_a_worker_ends_the_server_with_0(
    serve: Serve, signals: Signals, name: str, workers: int
) -> None:
    """The others drain; to its service manager that is a success, so it has to restart always."""
    server = serve("apps.deploys:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 30})
    (job,) = keep_busy(server, signals, name, 1)
    (by,) = signals.folder.glob(f"{job}-by-*")
    victims = set(server.workers()) - {int(by.name.rpartition("-")[2])} or server.workers()
    os.kill(min(victims), signal.SIGKILL)
    if workers > 1:
        until(lambda: "running jobs have" in server.log(), "the drain")
    signals.send(f"{job}-go-on")
    assert server.wait() == 0


def keep_busy(server: Server, signals: Signals, name: str, workers: int) -> list[str]:
    """Have so many workers run a job each, that waits to be told to go on; the jobs' names."""
    jobs: dict[str, str] = {}
    for index in count():
        job = f"{name}-{index}"
        submit_and_start(server, signals, "POST", f"/work/{job}")
        (by,) = signals.folder.glob(f"{job}-by-*")
        if by.name.rpartition("-")[2] in jobs:
            signals.send(f"{job}-go-on")
        jobs.setdefault(by.name.rpartition("-")[2], job)
        if len(jobs) == workers:
            break
    return list(jobs.values())


def test_the_next_server_takes_over(serve: Serve, signals: Signals, name: str) -> None:
    """In a rolling restart the new server runs what the old one could not end in time."""
    old = serve("apps.deploys:app", workers=4, config={"QUART_JOBS_DRAIN_TIME": 0.2})
    poll = submit_and_start(old, signals, "GET", f"/work/{name}")
    new = serve(
        "apps.deploys:app", workers=4, config={"QUART_JOBS_STORE": f"sqlite:///{old.store}"}
    )
    old.signal(signal.SIGTERM)
    signals.wait(f"{name}-started-2")
    signals.send(f"{name}-go-on")
    with new.client() as client:
        assert result(client, poll).json()["attempt"] == 2
    assert old.wait() == 0


@pytest.mark.parametrize("kind", ["stuck", "stubborn"])
def test_no_handler_holds_the_exit(serve: Serve, signals: Signals, name: str, kind: str) -> None:
    """A handler that hears nothing, in a thread or not, does not keep the server from ending."""
    server = serve("apps.deploys:app", workers=1, config={"QUART_JOBS_DRAIN_TIME": 0.2})
    poll = submit_and_start(server, signals, "GET", f"/{kind}/{name}")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    with server, server.client() as client:
        answer = client.get(poll)
        assert answer.headers["Job-State"] in ("queued", "running")  # it is being run again


def test_an_embedded_program_keeps_its_signals(tmp_path: Path) -> None:
    """`Jobs` in somebody's asyncio program touches no signal, a child process's neither."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    printed = subprocess.run(
        [sys.executable, str(program)], check=True, capture_output=True, text=True, timeout=60
    )
    assert printed.stdout.split() == ["same", "same"]


PROGRAM = """
import asyncio, multiprocessing, signal
from asyncjobs import Jobs

def handlers():
    return [signal.getsignal(number) for number in sorted(signal.valid_signals())]

async def main():
    jobs = Jobs(store="memory:")
    before = handlers()
    async with jobs:
        await asyncio.sleep(0)
        print("same" if handlers() == before else "changed", flush=True)

def run():
    asyncio.run(main())

if __name__ == "__main__":
    run()
    child = multiprocessing.get_context("spawn").Process(target=run)
    child.start()
    child.join()
"""
