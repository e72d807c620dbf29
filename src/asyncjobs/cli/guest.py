"""A command at a store: it comes as a guest, and goes cleanly whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..control import Control
from ..errors import AsyncJobsError
from ..store import Store
from ..stores import open_as_guest
from ..watch import Watch
from .exits import Exit, Failure, code_of

T = TypeVar("T")


class Guest(NamedTuple):
    """A store that is open to see and to steer.

    Attributes:
        store: for what a guest alone wants to know.
        control: of its jobs.
    """

    store: Store
    control: Control


def visit(place: str | Path, ask: Callable[[Guest], Awaitable[T]]) -> T:
    """What `ask` returns, which is given the store at `place`.

    Raises:
        Failure: the store cannot be opened or read, or does not do what it was asked to; or what is
            printed cannot be written.
        SystemExit: somebody wants us to end, or reads no more of what is printed.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # what its encoding has not is written out
        sys.stdout.reconfigure(errors="backslashreplace")
    ends: list[signal.Signals] = []
    try:
        return asyncio.run(_visit(place, ask, ends))
    except AsyncJobsError as error:
        raise Failure(code_of(error), str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    except asyncio.CancelledError:
        raise SystemExit(128 + ends[0]) from None
    except OSError as error:  # of what we write: what a store has met is a `StoreError`
        # Nobody is to write there any more, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # whoever read us has enough
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise Failure(Exit.UNAVAILABLE, f"the output cannot be written: {error}") from None


async def _visit(
    place: str | Path, ask: Callable[[Guest], Awaitable[T]], ends: list[signal.Signals]
) -> T:
    task = asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        ends.append(number)
        task.cancel()

    # As Ctrl-C does: what was drawn on a terminal is to be put in order.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            asyncio.get_running_loop().add_signal_handler(number, end, number)
    async with open_as_guest(place) as store, Watch(store) as watch:
        return await ask(Guest(store, Control(store, watch)))
