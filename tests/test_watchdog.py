"""A blocked event loop is told of, with the place where it is."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from asyncjobs import Jobs
from asyncjobs.running import watchdog
from asyncjobs.running.watchdog import Watchdog
from asyncjobs.testing import FakeClock


async def test_a_handler_that_blocks_the_loop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a handler blocks the event loop the log says so while it does, once, and names it."""
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.1)
    jobs = Jobs(store="memory:")
    heard: list[str] = []

    @jobs.function
    async def greedy() -> None:
        end = time.monotonic() + 20
        while "greedy" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)  # noqa: ASYNC251 - that is the mistake
        heard.append(caplog.text)
        time.sleep(0.2)  # noqa: ASYNC251

    async with jobs:
        job = await jobs.submit(greedy)
        await jobs.result(job.id, 30)
    assert "the event loop has been blocked for" in heard[0]
    assert "in greedy" in heard[0]
    assert caplog.text.count("has been blocked") == 1


async def test_a_stopped_process_is_not_a_blocked_loop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all of the process stood still, nobody is told that the loop was blocked."""
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.02)
    clock = FakeClock()
    async with Watchdog(clock=clock):
        clock.advance(3600)
        await asyncio.sleep(0.1)
    assert "blocked" not in caplog.text


def test_a_closed_loop_is_not_a_blocked_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that was closed with nobody having left the watchdog is not watched any more."""
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.02)
    others = set(threading.enumerate())
    with asyncio.Runner() as runner:
        runner.run(Watchdog().__aenter__())
        (watching,) = set(threading.enumerate()) - others
    watching.join(20)
    assert not watching.is_alive()
    assert "blocked" not in caplog.text
