"""Tells which threads of the program keep the process from ending, after our jobs have stopped.

Ours never do. But Python waits for all that are no daemons, and for those of `asyncio.to_thread`
and other executors, however long they take; they are not ours to end.
"""

from __future__ import annotations

import asyncio.base_events
import asyncio.runners
import concurrent.futures.thread
import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NamedTuple

from ..daemons import start_daemon
from ..errors import SetupError

logger = logging.getLogger("asyncjobs")

#: Seconds that the end of a process may take before it is told what it waits for.
EXIT_GRACE = 2.0
#: How often it is looked whether the process ends, in seconds.
LOOK_INTERVAL = 0.25
#: A program that does not begin to end in so many seconds goes on without jobs.
WATCH_TIME = 60.0
#: How many of the innermost frames of a thread are told.
FRAMES = 3
#: The name of the thread that looks.
WATCH = "asyncjobs-exit-watch"


class Call(NamedTuple):
    """A frame of a stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Running(NamedTuple):
    """A thread that is not the main one; its stack is told innermost frame first."""

    name: str
    daemon: bool
    stack: Sequence[Call]

    def __str__(self) -> str:
        return f"{self.name} at {' < '.join(map(str, self.stack[:FRAMES]))}"


_newest = threading.Event()


def watch_exit() -> None:
    """Tell in the log if the process begins to end soon, and then waits for threads.

    Looks from a thread, which that of the next call relieves.
    """
    global _newest
    _newest.set()
    _newest = threading.Event()
    with suppress(SetupError):  # where no thread is to be had, nothing is told
        start_daemon(WATCH, _watch, _newest)


def waited_for(main: Sequence[Call], others: Sequence[Running]) -> list[Running]:
    """The threads that a process waits for which is on its way out: none, if it is not.

    A loop waits for the threads of its executor when it is closed, and the interpreter at last for
    those of all executors, and for all that are no daemons.
    """
    exits = _is_in(main, threading.__file__, "_shutdown")
    # asyncio does it in a thread; other loops do not show it, but are closed by asyncio's runner.
    loop_closes = _is_in(main, asyncio.runners.__file__, "close") or any(
        _is_in(other.stack, asyncio.base_events.__file__, "_do_shutdown") for other in others
    )
    return [
        other
        for other in others
        if (_works_in_executor(other) and (exits or loop_closes))
        or (_is_own(other) and exits and not other.daemon)
    ]


def _watch(relieved: threading.Event) -> None:
    began = time.monotonic()
    waits_since = None
    told: set[str] = set()
    while not relieved.wait(LOOK_INTERVAL):
        now = time.monotonic()
        untold = [other for other in waited_for(*_stacks()) if other.name not in told]
        if not untold:
            waits_since = None
            if now - began > WATCH_TIME:
                return
        elif waits_since is None:
            waits_since = now
        elif now - waits_since > EXIT_GRACE:
            told.update(other.name for other in untold)
            logger.warning(
                "the process cannot end: it waits for threads that the program has started, and "
                "not asyncjobs. Nobody waits for what runs in a sync handler. They are: %s",
                "; ".join(map(str, untold)),
            )


def _stacks() -> tuple[Sequence[Call], list[Running]]:
    frames = sys._current_frames()
    main = threading.main_thread()
    others = [
        Running(thread.name, thread.daemon, _stack_of(frames.get(thread.ident or 0)))
        for thread in threading.enumerate()
        if thread is not main
    ]
    return _stack_of(frames.get(main.ident or 0)), others


def _stack_of(frame: FrameType | None) -> Sequence[Call]:
    stack = []
    while frame is not None:
        stack.append(Call(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return stack


def _works_in_executor(thread: Running) -> bool:
    executor = concurrent.futures.thread.__file__
    if not _is_in(thread.stack, executor, "_worker"):
        return False
    innermost = thread.stack[0]  # of an idle one, which ends at once: `_worker` itself
    return (innermost.file, innermost.function) != (executor, "_worker")


def _is_own(thread: Running) -> bool:
    """Whether the program has started this thread itself."""
    return not (
        _is_in(thread.stack, concurrent.futures.thread.__file__, "_worker")
        or _is_in(thread.stack, asyncio.base_events.__file__, "_do_shutdown")
    )


def _is_in(stack: Sequence[Call], file: str, function: str) -> bool:
    return any(call.file == file and call.function == function for call in stack)
