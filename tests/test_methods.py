"""Methods: `QUERY`, which is a safe one with a body, and `DELETE`, which may be repeated."""

from __future__ import annotations

import pytest

from apps.signals import Signals
from asyncjobs.handler import RouteSettings
from asyncjobs.job import Request
from asyncjobs.outcome import Outcome
from asyncjobs.settings import Settings
from conftest import Serve
from server import Server, result, submit


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two workers"])
def server(serve: Serve, request: pytest.FixtureRequest) -> Server:
    return serve("apps.values:app", workers=request.param)


async def nothing(request: Request) -> Outcome:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("method", "repeatable"),
    [
        ("GET", True),
        ("HEAD", True),
        ("OPTIONS", True),
        ("TRACE", True),
        ("QUERY", True),
        ("PUT", True),
        ("DELETE", True),
        ("POST", False),
        ("PATCH", False),
        ("query", False),  # methods are case-sensitive
        ("WHATEVER", False),
    ],
)
def test_the_methods_that_may_be_repeated(method: str, repeatable: bool) -> None:
    """The job of a request that is idempotent by its method, as safe ones are, may run again after
    a crash; the route says otherwise if it does."""
    for said, expected in ((None, repeatable), (True, True), (False, False)):
        settings = RouteSettings(idempotent=said)
        handler = settings.handler("job", nothing, Settings(), threaded=False)
        assert handler.is_repeatable(Request(method, "/job")) == expected


def test_a_query_is_a_job_with_its_body(server: Server) -> None:
    """`QUERY` on a route that has it is answered 202, its handler finds method and body, and its
    result is polled by GET."""
    with server.client() as client:
        poll = submit(client, "QUERY", "/job", content=b"select=all")
        assert result(client, poll).json() == {"method": "QUERY", "body": "select=all"}
        assert client.request("QUERY", poll).status_code == 405


def test_a_job_that_is_being_cancelled_can_be_cancelled_again(
    server: Server, signals: Signals, request: pytest.FixtureRequest
) -> None:
    """As long as the handler has not stopped, every DELETE is a 200 that says so, by whichever
    process it is answered; once the job is final it is a 409."""
    name = f"again-{request.node.callspec.indices['server']}"
    with server.client() as client:
        poll = submit(client, "GET", f"/stubborn/{name}")
        signals.wait(f"{name}.started")
        for url in (poll, f"/jobs/{poll[-32:]}", poll, poll, poll, poll):
            with server.client() as another:  # two workers take connections by turns, or by chance
                answer = another.delete(url)
            assert (answer.status_code, answer.json()["state"]) == (200, "running")
            assert answer.json()["cancel_requested"]
        signals.wait(f"{name}.told")
        signals.send(f"{name}.go")
        assert result(client, poll).status_code == 410
        for url in (poll, f"/jobs/{poll[-32:]}"):
            assert client.delete(url).status_code == 409
