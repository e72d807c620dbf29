"""Quart's own tests pass as often with our class for connections as with its own.

No package of Quart's has them. The variable ``QUART_SOURCE`` names a checkout of Quart, at the tag
of the version that is installed; without it there is nothing to run here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server import SOURCE, TESTS

QUART_SOURCE = os.environ.get("QUART_SOURCE")


def outcomes(source: Path, folder: Path, connections: str) -> dict[str, Any]:
    """The outcome of each of the tests in ``source/tests``, by its name."""
    told = folder / "outcomes.json"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(SOURCE)]),
        "CONNECTIONS": connections,
        "OUTCOMES": str(told),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "quarts_own", "-p", "no:randomly"]
    options = ["-p", "no:cacheprovider", "-n", "0", "-o", "addopts=", "-o", "asyncio_mode=auto"]
    ran = subprocess.run(
        [*command, *options, "--rootdir", source, source / "tests"],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.exists(), ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(told.read_text())
    told.unlink()
    return found


if QUART_SOURCE is not None:

    @pytest.mark.parametrize("connections", ["ours", "ours at once"])
    def test_quarts_own_tests_tell_no_difference(tmp_path: Path, connections: str) -> None:
        """Each has the outcome that it has with Quart's own class, and most pass."""
        source = Path(QUART_SOURCE)
        expected = outcomes(source, tmp_path, "Quart's")

        assert outcomes(source, tmp_path, connections) == expected
        passed = [outcome for outcome in expected.values() if outcome == "passed"]
        assert len(passed) > len(expected) / 2


# Whether the way it is done can tell a difference.

SAMPLE = """
import asyncio
from quart import Quart, request
from quart.asgi import ASGIHTTPConnection

def test_the_class_that_is_in_use_is_ours():
    assert Quart.asgi_http_class is ASGIHTTPConnection
    assert ASGIHTTPConnection.__module__ == "quart.asgi"

async def test_a_request():
    app = Quart("sample")

    @app.post("/")
    async def echo():
        return await request.get_data()

    answer = await app.test_client().post("/", data="a body")
    assert await answer.get_data() == b"a body"

async def test_a_request_is_handled_in_the_task_that_brings_it():
    app, tasks = Quart("sample"), []
    handle = app.asgi_app

    async def noted(*call):
        tasks.append(asyncio.current_task())
        await handle(*call)

    app.asgi_app = noted

    @app.post("/")
    async def note():
        tasks.append(asyncio.current_task())
        return ""

    await app.test_client().post("/", data="a body")
    brings, handles = tasks
    assert brings is handles
"""


@pytest.mark.parametrize("connections", ["Quart's", "ours", "ours at once"])
def test_a_test_of_quarts_meets_our_class(tmp_path: Path, connections: str) -> None:
    """What is run like this has our class in the place of Quart's, and can be told to have it."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sample.py").write_text(SAMPLE)

    found = outcomes(tmp_path, tmp_path, connections)

    is_quarts = "passed" if connections == "Quart's" else "failed"
    is_direct = "passed" if connections == "ours at once" else "failed"
    assert list(found.values()) == [is_quarts, "passed", is_direct]
