"""Several workers of one hypercorn, on one store: any of them answers for any job.

Nothing in these servers looks now and then for what it was not told of: see `apps.processes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from server import DEADLINE, Server, until

WORKERS = 4
#: A poll that is held for longer than anything here may take.
LONG = {"Prefer": "wait=60"}
CONFIG = {"QUART_JOBS_MAX_WAIT": 60}


class Workers:
    """A client for each worker of a server: a connection stays with who has accepted it."""

    def __init__(self, server: Server, clients: ExitStack) -> None:
        self._server = server
        self._clients = clients
        self._of_worker: dict[str, httpx.Client] = {}
        until(self._are_found, "an answer of each worker")
        self.names = list(self._of_worker)

    def request(self, number: int, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer of the worker with this number."""
        worker = self.names[number]
        answer = self._of_worker[worker].request(method, path, **options)
        assert answer.headers["X-Worker"] == worker
        return answer

    def submit(self, number: int, method: str, path: str) -> str:
        """Have this worker make a job; the address to poll."""
        answer = self.request(number, method, path)
        assert answer.status_code == 202, answer.text[:1000]
        return answer.headers["Location"]

    def ask_all(self, method: str, path: str, **options: Any) -> list[httpx.Response]:
        """The answers of all workers, which are asked at the same time."""

        def ask(number: int) -> httpx.Response:
            return self.request(number, method, path, **options)

        with ThreadPoolExecutor(WORKERS) as threads:
            return list(threads.map(ask, range(WORKERS)))

    def _are_found(self) -> bool:
        client = self._clients.enter_context(
            httpx.Client(
                base_url=self._server.url,
                timeout=DEADLINE,
                verify=False,
                limits=httpx.Limits(keepalive_expiry=None),
            )
        )
        self._of_worker.setdefault(client.get("/").headers["X-Worker"], client)
        return len(self._of_worker) == WORKERS


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """Workers with plenty of room."""
    return serve("apps.processes:app", config=CONFIG, workers=WORKERS)


@pytest.fixture(scope="module")
def narrow(serve: Serve) -> Server:
    """Workers that run one job each at a time."""
    config = {**CONFIG, "QUART_JOBS_CONCURRENCY": 1}
    return serve("apps.processes:app", config=config, workers=WORKERS)


@pytest.fixture
def workers(server: Server) -> Iterator[Workers]:
    with ExitStack() as clients:
        yield Workers(server, clients)


@pytest.fixture
def narrow_workers(narrow: Server) -> Iterator[Workers]:
    with ExitStack() as clients:
        yield Workers(narrow, clients)


def test_any_worker_answers_polls(workers: Workers, signals: Signals, name: str) -> None:
    """While a job runs every worker answers that it does, and then its result."""
    poll = workers.submit(0, "GET", f"/wait/{name}")
    signals.wait(f"{name}.started")

    running = workers.ask_all("GET", poll)
    signals.send(f"{name}.go")
    finished = workers.ask_all("GET", poll, headers=LONG)

    task_id = poll.rpartition("/")[2]
    assert [answer.json() for answer in running] == [{"TaskID": task_id}] * WORKERS
    assert [answer.json() for answer in finished] == [
        {"waited": name, "worker": int(workers.names[0])}
    ] * WORKERS


def test_any_worker_knows_the_status(workers: Workers, signals: Signals, name: str) -> None:
    """The status documents of all workers are the same."""
    poll = workers.submit(0, "GET", f"/wait/{name}")
    status = f"/jobs/{poll.rpartition('/')[2]}"
    signals.wait(f"{name}.started")

    running = workers.ask_all("GET", status)
    signals.send(f"{name}.go")
    workers.request(1, "GET", poll, headers=LONG)
    finished = workers.ask_all("GET", status)

    for answers, state in ((running, "running"), (finished, "succeeded")):
        assert [answer.json()["state"] for answer in answers] == [state] * WORKERS
        assert len({answer.content for answer in answers}) == 1


def test_any_worker_lists(workers: Workers, signals: Signals, name: str) -> None:
    """Each worker lists the jobs of all of them."""
    names = [f"{name}{number}" for number in range(WORKERS)]
    polls = [workers.submit(number, "GET", f"/wait/{each}") for number, each in enumerate(names)]
    paths = {f"/wait/{each}" for each in names}
    for each in names:
        signals.wait(f"{each}.started")

    while_they_run = workers.ask_all("GET", "/running")
    for each, poll in zip(names, polls, strict=True):
        signals.send(f"{each}.go")
        workers.request(0, "GET", poll, headers=LONG)
    after = workers.ask_all("GET", "/running")

    assert [paths & set(answer.json()) for answer in while_they_run] == [paths] * WORKERS
    assert [paths & set(answer.json()) for answer in after] == [set()] * WORKERS


def test_a_long_wait_ends_with_the_job(workers: Workers, signals: Signals, name: str) -> None:
    """A poll that waits in one worker ends as soon as the job ends in another."""
    poll = workers.submit(0, "GET", f"/wait/{name}")
    signals.wait(f"{name}.started")

    with ThreadPoolExecutor(WORKERS) as threads:
        held = [
            threads.submit(
                *(workers.request, number, "GET", poll),
                headers={**LONG, "X-Arrival": f"{name}.{number}"},
            )
            for number in range(WORKERS)
        ]
        for number in range(WORKERS):
            signals.wait(f"{name}.{number}")
        signals.send(f"{name}.go")
        answers = [each.result(DEADLINE) for each in held]

    assert [answer.status_code for answer in answers] == [200] * WORKERS


def test_any_worker_cancels(workers: Workers, signals: Signals, name: str) -> None:
    """A job that runs in one worker is cancelled through another, at once."""
    poll = workers.submit(0, "GET", f"/wait/{name}")
    signals.wait(f"{name}.started")

    assert workers.request(1, "DELETE", poll).status_code == 200
    signals.wait(f"{name}.cancelled")

    answers = workers.ask_all("GET", poll, headers=LONG)
    assert [answer.status_code for answer in answers] == [410] * WORKERS


def test_any_worker_cancels_what_is_queued(
    narrow_workers: Workers, signals: Signals, name: str
) -> None:
    """A queued job is cancelled through another worker than the one that it was submitted to."""
    workers = narrow_workers
    running = [workers.submit(0, "GET", f"/wait/{name}-{number}") for number in range(WORKERS)]
    for number in range(WORKERS):
        signals.wait(f"{name}-{number}.started")
    queued = workers.submit(0, "GET", f"/wait/{name}")

    assert workers.request(1, "DELETE", queued).json()["state"] == "cancelled"

    assert [answer.status_code for answer in workers.ask_all("GET", queued)] == [410] * WORKERS
    for number, poll in enumerate(running):
        signals.send(f"{name}-{number}.go")
        assert workers.request(2, "GET", poll, headers=LONG).status_code == 200
    assert not signals.is_sent(f"{name}.started")


def test_idle_workers_take_the_jobs_of_a_busy_one(
    narrow_workers: Workers, signals: Signals, name: str
) -> None:
    """Jobs that queue where they were submitted are started by the workers that have room."""
    workers = narrow_workers
    polls = [workers.submit(0, "GET", f"/wait/{name}-{number}") for number in range(WORKERS)]
    for number in range(WORKERS):
        signals.wait(f"{name}-{number}.started")
    for number in range(WORKERS):
        signals.send(f"{name}-{number}.go")

    results = [workers.request(1, "GET", poll, headers=LONG).json() for poll in polls]

    assert {str(result["worker"]) for result in results} == set(workers.names)


def test_each_job_is_run_by_exactly_one(narrow_workers: Workers, signals: Signals) -> None:
    """However many workers look at the queue, each job in it is run once."""
    workers = narrow_workers
    polls = [workers.submit(0, "POST", "/work") for _ in range(100)]

    results = [workers.request(1, "GET", poll, headers=LONG).json() for poll in polls]

    runs = Counter((signals.folder / "ledger").read_text().split())
    assert runs == {poll.rpartition("/")[2]: 1 for poll in polls}
    assert len({result["worker"] for result in results}) > 1
