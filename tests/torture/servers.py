"""Servers that are made to be killed: they start in milliseconds, and again at the same address.

Each is a real hypercorn in a process of its own. It is forked from a server of forks that has
imported everything and opened nothing, as a second of imports would be what kills wait for.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config

from .app import make_app
from .deaths import EXIT_CODES
from .failpoints import Failpoint
from .ledger import Ledger, Signalled

_FORKS = multiprocessing.get_context("forkserver")


class ServerFailed(Exception):
    """A server has ended by itself."""


class Server:
    """One server on the store in `folder`.

    Its listening socket outlives it: who connects while it is dead is answered by the next one.

    Args:
        bug: to be planted.

    Attributes:
        works: whether the process lives and does not stand still.
    """

    def __init__(self, folder: Path, bug: str | None = None) -> None:
        self._folder = folder
        self._bug = bug
        self._signals = Ledger(folder, Signalled)
        self.works = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self, failpoint: str | None = None, nth: int = 1) -> None:
        """Start the process; it dies when it passes `failpoint` for the `nth` time."""
        _FORKS.set_forkserver_preload([__name__])
        self._process = _FORKS.Process(
            target=_serve,
            args=(self._folder, self._listener, failpoint, nth, self._bug),
            daemon=True,
        )
        self._process.start()
        self.works = True

    async def ended(self) -> None:
        """Wait for the death of the process.

        Raises:
            ServerFailed: it did not die of a kill, nor of a job.
        """
        try:
            await end_of(self._process)
        finally:
            self.works = False
        self._process.join()
        if self._process.exitcode not in EXIT_CODES:
            raise ServerFailed(
                f"a server ended with {self._process.exitcode}; see {self._folder / LOG}"
            )

    def send(self, number: signal.Signals, kind: str) -> None:
        """Send a signal, after it was written down; a dead process gets none."""
        pid = self._process.pid
        if pid is not None and self._process.is_alive():
            self._signals.write(Signalled(pid, kind, time.monotonic()))
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            self.works = number == signal.SIGCONT

    def close(self) -> None:
        self._listener.close()


LOG = "server.log"


async def end_of(process: BaseProcess) -> None:
    """Wait until a process has ended."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process.sentinel, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(process.sentinel)


def _serve(
    folder: Path, listener: socket.socket, failpoint: str | None, nth: int, bug: str | None
) -> None:
    """The process. It ends when the harness does, if nobody kills it."""
    logging.basicConfig(
        filename=folder / LOG, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    app = make_app(folder, Failpoint(folder, failpoint, nth), bug)
    asyncio.run(serve(app, config, shutdown_trigger=_end_of_harness))


async def _end_of_harness() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(parent.sentinel, gone.set)
    await gone.wait()
