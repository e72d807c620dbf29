"""Fixtures that several modules share."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from apps.signals import Signals
from asyncjobs.stores import SqliteStore
from server import Server
from stored_way import IS_ASKED_FOR, take_for_good

Serve = Callable[..., Server]

if IS_ASKED_FOR:
    take_for_good()

# The others on the machine decide how long an example takes.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are processors: most tests wait, for disks and for other processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def signals_end_children() -> None:
    """Processes that tests start are ended by signals, however this one was started.

    Under nohup, and behind the & of a script, some are ignored, which all that is started there
    inherits. A handler is not inherited, and does as little.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store is, or shall be."""
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    async with SqliteStore(path) as store:
        yield store


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Signals:
    """Signals between the module's tests and the handlers of its servers."""
    return Signals(tmp_path_factory.mktemp("signals"))


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, signals: Signals) -> Iterator[Serve]:
    """Starts servers that all tests of the module share. They end with it."""
    with ExitStack() as servers:

        def serve(app: str, *, config: dict[str, Any] | None = None, **options: Any) -> Server:
            shared = {"SIGNALS": str(signals.folder), **(config or {})}
            folder = tmp_path_factory.mktemp("server")
            return servers.enter_context(Server(app, folder, config=shared, **options))

        yield serve


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses: for signals, and for paths."""
    return f"{request.node.name}".translate(str.maketrans("[]/ ", "____"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped because something is missing is a failure."""
    report = yield
    if report.skipped and "ASYNCJOBS_NO_SKIPS" in os.environ:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"
    return report
