"""What a view returns bit by bit is read as long as its job runs, and closed where it was read.

Each iterator of the app tells of the moment that it is closed in: in which thread, with which
request and which job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from server import Server, result, submit, until

#: Two threads: what kept one for ever would soon be seen by the tests that come after it.
CONFIG = {"QUART_JOBS_MAX_RESPONSE": 4096, "QUART_JOBS_THREADS": 2}

SYNC = [
    "a_generator",
    "a_generator_in_a_tuple",
    "a_generator_in_a_response",
    "a_generator_of_an_async_view",
    "a_generator_in_a_response_of_an_async_view",
    "a_generator_of_run_sync",
    "a_generator_below_others",
    "an_iterator",
    "a_werkzeug_response",
    "an_error_handlers_generator",
]
ASYNC = [
    "an_async_generator",
    "an_async_generator_in_a_response",
    "an_async_generator_of_a_sync_view",
    "an_async_iterator",
]
#: Python itself leaves what is below Quart's wrapper to the loop, which closes it in a moment.
LATER = ["an_async_generator_with_context"]
EACH_KIND = pytest.mark.parametrize("kind", [*SYNC, *ASYNC, *LATER])


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.draining:app", config=CONFIG)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def id_of(poll: str) -> str:
    return poll.rpartition("/")[2]


def closed(signals: Signals, job_id: str) -> list[dict[str, Any]]:
    """What was said when the iterator of this job was closed, each time that it was."""
    if not signals.is_sent(f"{job_id}.closed"):
        return []
    return [
        json.loads(line) for line in (signals.folder / f"{job_id}.closed").read_text().splitlines()
    ]


def assert_closed(signals: Signals, poll: str, kind: str) -> None:
    """It was closed once, in the context of its own job, and in the thread that has read it."""
    if kind in LATER:
        signals.wait(f"{id_of(poll)}.closed")
    (where,) = closed(signals, id_of(poll))
    assert where["path"] == poll.rpartition("/")[0]
    assert where["job"] == id_of(poll)
    assert where["read in"] == [where["closed in"]]
    assert where["closed in"].startswith("asyncjobs-" if kind in SYNC else "MainThread")


@EACH_KIND
def test_an_iterator_that_is_read_to_its_end_is_closed(
    client: httpx.Client, signals: Signals, kind: str
) -> None:
    """The items of any iterator are the result, and it is closed by then."""
    poll = submit(client, "GET", f"/{kind}/done")

    answer = result(client, poll)

    assert (answer.status_code // 100, answer.text) == (2, "one two three")
    assert_closed(signals, poll, kind)


@EACH_KIND
def test_an_iterator_over_the_limit_is_closed_at_once(
    client: httpx.Client, signals: Signals, kind: str
) -> None:
    """Over `max_response` the result says so, and the iterator is closed by then: its `finally`
    does not run in the next job of its thread, nor in another context."""
    poll = submit(client, "GET", f"/{kind}/limit")

    answer = result(client, poll)

    assert answer.status_code == 500
    assert answer.json()["type"].endswith("response-too-large"), answer.text
    assert_closed(signals, poll, kind)


@EACH_KIND
def test_an_endless_iterator_ends_with_its_time(
    client: httpx.Client, signals: Signals, kind: str
) -> None:
    """An iterator that has no end is read until its job's time-out, and closed by the job's end;
    one that never awaits anything likewise."""
    poll = submit(client, "GET", f"/{kind}_in_time/endless")

    answer = result(client, poll)

    assert answer.status_code == 504
    assert answer.json()["type"].endswith("timeout")
    assert_closed(signals, poll, kind)
    until(lambda: client.get("/all-threads-free").json()["free"], "the end of all reading")


@EACH_KIND
def test_an_endless_iterator_ends_when_its_job_is_cancelled(
    client: httpx.Client, signals: Signals, kind: str
) -> None:
    """An iterator that has no end is read until its job is cancelled, and closed by its end."""
    poll = submit(client, "GET", f"/{kind}/endless")
    signals.wait(f"{id_of(poll)}.started")

    assert client.delete(poll).status_code == 200

    assert result(client, poll).headers["Job-State"] == "cancelled"
    assert_closed(signals, poll, kind)
    until(lambda: client.get("/all-threads-free").json()["free"], "the end of all reading")


@EACH_KIND
@pytest.mark.parametrize("end", ["raises", "no-bytes"])
def test_an_iterator_that_fails_is_closed(
    client: httpx.Client, signals: Signals, kind: str, end: str
) -> None:
    """An exception of the iterator, or an item that is neither text nor bytes, makes a 500, and
    the iterator is closed by then."""
    poll = submit(client, "GET", f"/{kind}/{end}")

    answer = result(client, poll)

    assert answer.status_code == 500
    assert "half of it" not in answer.text
    assert_closed(signals, poll, kind)


@pytest.mark.parametrize("kinds", [SYNC, [*ASYNC, *LATER]], ids=["sync", "async"])
def test_endless_iterators_end_with_the_server(
    tmp_path: Path, signals: Signals, kinds: list[str]
) -> None:
    """A server that stops does not read on: each iterator is closed before the process has ended,
    however many are read."""
    config = {
        **CONFIG,
        "QUART_JOBS_THREADS": len(kinds),
        "QUART_JOBS_CONCURRENCY": len(kinds),
        "QUART_JOBS_DRAIN_TIME": 0,
        "SIGNALS": str(signals.folder),
    }
    with Server("apps.draining:app", tmp_path / "server", config=config) as server:
        with server.client() as client:
            polls = {kind: submit(client, "GET", f"/{kind}/endless") for kind in kinds}
        for poll in polls.values():
            signals.wait(f"{id_of(poll)}.started")

        assert server.stop() == 0

    for kind, poll in polls.items():
        assert closed(signals, id_of(poll)), kind
        assert_closed(signals, poll, kind)


@pytest.mark.parametrize("kind", ["a_generator", "a_generator_of_an_async_view"])
def test_an_iterator_that_was_given_up_is_closed_when_it_comes_back(
    client: httpx.Client, signals: Signals, kind: str
) -> None:
    """An item that takes too long is waited for no longer than a handler that does not stop. When
    it comes, it is the last one: the iterator is closed in its own thread and context."""
    poll = submit(client, "GET", f"/{kind}_in_time/stuck")
    assert result(client, poll).status_code == 504
    assert not closed(signals, id_of(poll))

    signals.send(f"{id_of(poll)}.go-on")

    signals.wait(f"{id_of(poll)}.closed")
    until(lambda: client.get("/all-threads-free").json()["free"], "the end of the reading")
    assert_closed(signals, poll, kind)


@pytest.mark.parametrize(
    "view", ["finally_raises", "async_finally_raises", "will_not_end", "async_will_not_end"]
)
def test_what_goes_wrong_in_closing_does_not_hide_why_it_was_closed(
    client: httpx.Client, server: Server, view: str
) -> None:
    """An iterator that raises when it is closed, or refuses to be, leaves its job's result as it
    is; the log has the traceback."""
    poll = submit(client, "GET", f"/{view}")

    answer = result(client, poll)

    assert answer.json()["type"].endswith("response-too-large"), answer.text
    assert f"what job {id_of(poll)} has returned could not be closed" in server.log()


@pytest.mark.parametrize("view", ["good_but_badly_closed", "good_but_cancelled_when_closed"])
def test_what_goes_wrong_in_closing_does_not_spoil_a_result(
    client: httpx.Client, server: Server, view: str
) -> None:
    """A response that was read to its end is the result, whatever its iterator says when it is
    closed."""
    poll = submit(client, "GET", f"/{view}")

    answer = result(client, poll)

    assert (answer.status_code, answer.text) == (200, "one two three")
    assert f"what job {id_of(poll)} has returned could not be closed" in server.log()


def test_a_close_that_blocks_its_thread_ends_with_the_time_of_its_job(
    client: httpx.Client, signals: Signals
) -> None:
    """An iterator that takes for ever to close does not keep its job from its time-out."""
    poll = submit(client, "GET", "/close-blocks")

    assert result(client, poll).status_code == 504

    signals.send(f"{id_of(poll)}.go-on")
    signals.wait(f"{id_of(poll)}.closed")
    until(lambda: client.get("/all-threads-free").json()["free"], "the end of the reading")
    assert_closed(signals, poll, "a_generator")


def test_a_close_that_waits_for_ever_ends_with_the_time_of_its_job(client: httpx.Client) -> None:
    """An async generator that awaits for ever in its `finally` is cancelled there in time."""
    poll = submit(client, "GET", "/aclose-blocks")

    assert result(client, poll).status_code == 504


@pytest.mark.parametrize("end", ["done", "limit"])
def test_a_file_in_a_response_is_closed(client: httpx.Client, end: str) -> None:
    """An open file that a view returns in a response is closed by the end of its job."""
    poll = submit(client, "GET", f"/an-open-file/{end}")

    answer = result(client, poll)

    assert answer.status_code == (200 if end == "done" else 500)
    assert client.get(f"/is-closed/{id_of(poll)}").json() == {"closed": True}


def test_a_response_in_memory_takes_no_thread(client: httpx.Client, signals: Signals) -> None:
    """An async view whose response is there already has its result while every thread is stuck."""
    stuck = [submit(client, "GET", "/a_generator/stuck") for _ in range(2)]
    for poll in stuck:
        signals.wait(f"{id_of(poll)}.started")
    try:
        assert result(client, submit(client, "GET", "/nothing-in-a-response")).status_code == 204
    finally:
        for poll in stuck:
            client.delete(poll)
            signals.send(f"{id_of(poll)}.go-on")
    until(lambda: client.get("/all-threads-free").json()["free"], "the end of the reading")
