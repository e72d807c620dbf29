"""What keeps a process from ending: never our threads; those of the program are named."""

from __future__ import annotations

import asyncio.base_events
import asyncio.runners
import concurrent.futures.thread
import re
import signal
import subprocess
import sys
import threading

import pytest

from apps.signals import Signals
from asyncjobs.running.exits import Call, Running, waited_for
from conftest import Serve
from server import until

APP = Call("app.py", 1, "work")
BOOT = Call(threading.__file__, 3, "_bootstrap")
WORKER = Call(concurrent.futures.thread.__file__, 5, "_worker")
LIVES = [APP]
EXITS = [Call(threading.__file__, 7, "_shutdown")]
CLOSES = [Call("selectors.py", 9, "select"), Call(asyncio.runners.__file__, 9, "close")]

BUSY = Running("busy", False, [APP, WORKER, BOOT])
BUSY_DAEMON = Running("busy-daemon", True, [APP, WORKER, BOOT])
IDLE = Running("idle", False, [WORKER, BOOT])
OWN = Running("own", False, [APP, BOOT])
DAEMON = Running("daemon", True, [APP, BOOT])
ASYNCIO = Running(
    "asyncio", False, [BOOT, Call(asyncio.base_events.__file__, 1, "_do_shutdown"), BOOT]
)
ALL = [BUSY, BUSY_DAEMON, IDLE, OWN, DAEMON]


def test_a_process_that_goes_on_waits_for_nothing() -> None:
    """While the program runs on, whatever threads it has, there is nothing to say."""
    assert waited_for(LIVES, ALL) == []


def test_a_loop_that_closes_waits_for_its_executor() -> None:
    """asyncio waits for the busy threads of executors when a loop is closed, in any thread."""
    assert waited_for(CLOSES, ALL) == [BUSY, BUSY_DAEMON]
    assert waited_for(LIVES, [*ALL, ASYNCIO]) == [BUSY, BUSY_DAEMON]


def test_an_interpreter_that_ends_waits_for_all_but_daemons() -> None:
    """At last the interpreter waits for the program's own threads as well, but for no daemon."""
    assert waited_for(EXITS, [*ALL, ASYNCIO]) == [BUSY, BUSY_DAEMON, OWN]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["to_thread", "thread"])
def test_threads_of_the_app_that_hold_the_exit_are_named(
    serve: Serve, signals: Signals, name: str, kind: str, workers: int
) -> None:
    """A server that was told to stop, and waits for a thread of the app, says after a while in one
    line which it is and where. It is left to end by itself."""
    server = serve("apps.exits:app", workers=workers)
    with server.client() as client:
        assert client.get(f"/{kind}/{name}").text == "begun"
    signals.wait(f"{name}-started")
    server.signal(signal.SIGTERM)
    until(lambda: "cannot end" in server.log(), "the word about the thread")
    signals.send(f"{name}-go-on")
    assert server.wait() == 0
    (line,) = re.findall(r".*cannot end.*", server.log())
    assert re.search(r"(asyncio_\d+|of-the-app) at \S*/signals.py:\d+ in wait < ", line)
    assert "asyncjobs-" not in line


def test_a_program_that_ends_at_once_says_nothing() -> None:
    """A program that waits for nothing ends without a word, though a handler is stuck."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], check=True, capture_output=True, text=True, timeout=60
    )
    assert "cannot end" not in ended.stderr


STUCK = """
import asyncio, threading
from asyncjobs import Jobs

jobs = Jobs(store="memory:", drain_time=0)
started = threading.Event()

@jobs.function
def stuck():
    started.set()
    threading.Event().wait()

async def main():
    async with jobs:
        await jobs.submit(stuck)
        while not started.is_set():
            await asyncio.sleep(0.005)

asyncio.run(main())
"""
