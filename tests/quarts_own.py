"""A pytest plugin: Quart's own tests, with our class for connections in the place of Quart's.

``CONNECTIONS`` says which is in use: Quart's, "ours", or "ours at once". With the last, Quart's
test client talks to the app as hypercorn does, with a queue, so that a request can be seen to be
there in full. ``OUTCOMES`` names the file that the outcome of each test is written to.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import quart.asgi
from quart import Quart
from quart.testing.connections import TestHTTPConnection

from asyncjobs import QuartJobs

_outcomes: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    connections = os.environ["CONNECTIONS"]
    if connections != "Quart's":
        app = Quart("connections")
        QuartJobs(app, store="memory:")
        quart.asgi.ASGIHTTPConnection = Quart.asgi_http_class = app.asgi_http_class
    if connections == "ours at once":
        TestHTTPConnection._asgi_receive = property(_receive)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(_outcomes))


def _receive(connection: Any) -> Any:
    return connection._send_queue.get
