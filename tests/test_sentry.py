"""With `sentry_sdk.init` alone, what a job reports is as good as what a live request reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncjobs.web.background import sentry
from conftest import Serve
from server import Server, result, submit, until

VIEWS = {"async": "in_the_loop", "sync": "in_a_thread", "message": "message"}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events") / "events"


@pytest.fixture(scope="module")
def server(serve: Serve, events: Path) -> Any:
    return serve("apps.sentry:app", config={"EVENTS": str(events)})


def reported(events: Path, name: str) -> list[dict[str, Any]]:
    """The events of the request with this name in its URL."""
    lines = events.read_text().splitlines() if events.exists() else []
    all_events = [json.loads(line) for line in lines]
    return [event for event in all_events if f"/{name}?" in event.get("request", {}).get("url", "")]


@pytest.mark.parametrize("kind", VIEWS)
def test_an_event_of_a_job_says_what_it_is_about(
    server: Any, events: Path, name: str, kind: str
) -> None:
    """It has the URL, the method, the query, the transaction and the job's id, once; and what a
    view has tagged, in a thread as well. No header that is a credential is in it."""
    with server.client() as client:
        poll = submit(client, "GET", f"/{kind}/{name}?a=b", headers={"Cookie": "secret=1"})
        result(client, poll)
    (event,) = until(lambda: reported(events, name), "the report")
    assert event["request"]["url"] == f"{server.url}/{kind}/{name}?a=b"
    assert (event["request"]["method"], event["request"]["query_string"]) == ("GET", "a=b")
    assert event["transaction"] == VIEWS[kind]
    assert event["tags"] == {"name": name, "job_id": poll.rpartition("/")[2]}
    assert "secret=1" not in json.dumps(event)


def test_a_live_event_stays_as_it_was(server: Any, events: Path, name: str) -> None:
    """The library has no part in what live requests report, nor have earlier jobs."""
    with server.client() as client:
        result(client, submit(client, "GET", f"/async/{name}-before?a=b"))
        client.get(f"/live/{name}?a=b")
    (event,) = until(lambda: reported(events, name), "the report")
    assert event["transaction"] == "live"
    assert event["tags"] == {"name": name}


def test_a_job_that_is_retried_reports_its_last_failure(
    server: Any, events: Path, name: str
) -> None:
    """An attempt that is not the last one is no failure yet: it is logged, and not reported."""
    with server.client() as client:
        assert result(client, submit(client, "GET", f"/retried/{name}?a=b")).status_code == 500
    (event,) = until(lambda: reported(events, name), "the report")
    assert [value["value"] for value in event["exception"]["values"]] == ["attempt 2"]
    assert event["transaction"] == "retried"
    log = server.log()
    assert "LookupError: attempt 1" in log
    job_id = event["tags"]["job_id"]
    assert f"job {job_id} of 'retried': attempt 1 raised an exception" in log
    assert log.count(f"job {job_id} failed") == 1


@pytest.mark.parametrize(
    ("options", "transaction"),
    [({"transaction_style": "url"}, "/async/<name>"), (None, None)],
    ids=["by URL", "without the integration"],
)
def test_the_options_of_the_integration_are_kept_to(
    tmp_path: Path, name: str, options: dict[str, str] | None, transaction: str | None
) -> None:
    """A transaction is named as `transaction_style` says; where somebody has disabled the
    integration for Quart, events of jobs are left alone."""
    events = tmp_path / "events"
    config = {"EVENTS": str(events), "QUART_INTEGRATION": options}
    with Server("apps.sentry:app", tmp_path / "server", config=config) as server:
        with server.client() as client:
            result(client, submit(client, "GET", f"/async/{name}?a=b"))
        lines = until(lambda: events.exists() and events.read_text().splitlines(), "the report")
    assert json.loads(lines[0]).get("transaction") == transaction


def test_another_sentry_decides_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A module of that name that has none of these functions, as its first version had none, is
    told nothing: that is said once."""
    monkeypatch.setitem(sys.modules, "sentry_sdk", ModuleType("sentry_sdk"))
    sentry._warn_once.cache_clear()
    for _ in range(2):
        sentry.describe_to_sentry(None)  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "what jobs report to Sentry does not say which they are"
    ]
