"""hypercorn as its operators start it: by its command line, with so many workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .ledger import GONE, Joined, Ledger, Signalled, read_ledger
from .servers import LOG, ServerFailed

#: Seconds that all workers have to start, and a server to end. A worker imports for a second.
PATIENCE = 60.0
APP = "asyncjobs.torture.app:from_environment()"


class HypercornCommand:
    """One server on the store in `folder`, started again and again at the same address.

    Args:
        workers: hypercorn's ``--workers``.
        bug: to be planted.
        app: what it serves.

    Attributes:
        port: of its address.
        pids: of the workers that are there, by their order in the ledger.
    """

    def __init__(
        self, folder: Path, workers: int, bug: str | None = None, *, app: str = APP
    ) -> None:
        self._folder = folder
        self._app = app
        self._workers = workers
        self._signals = Ledger(folder, Signalled)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "TORTURE_FOLDER": str(folder)}
        if bug is not None:
            self._environment["TORTURE_BUG"] = bug
        self._process: asyncio.subprocess.Process | None = None
        self._begun = 0.0
        self.pids: list[int] = []

    async def start(self, *, mortal: bool = False) -> None:
        """Start it, and wait for its workers.

        Args:
            mortal: whether it may have ended before all of them are there.

        Raises:
            ServerFailed: they are not there after a long while.
        """
        self._begun = time.monotonic()
        fd = self._listener.fileno()
        with (self._folder / LOG).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hypercorn", self._app),
                *("--bind", f"fd://{fd}", "--workers", str(self._workers)),
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[fd],
                start_new_session=True,
            )
        await self._started(mortal=mortal)

    async def reloaded(self) -> None:
        """Tell the master to let its workers end, and wait for the new ones."""
        self._begun = time.monotonic()
        self.send(signal.SIGHUP, "hup")
        old = self.pids
        await self._started()
        self._note(GONE, old)

    async def _started(self, *, mortal: bool = False) -> None:
        """Wait for as many workers as there shall be, of those that have begun since then.

        Raises:
            ServerFailed: there are not, after a long while.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._find_workers()
            if len(self.pids) == self._workers or (mortal and self.has_ended):
                return
            await asyncio.sleep(0.05)
        raise ServerFailed(f"{len(self.pids)} of {self._workers} workers run; see {self._log}")

    @property
    def has_ended(self) -> bool:
        """Whether it was started once, and has ended."""
        return self._process is not None and self._process.returncode is not None

    async def ended(self) -> None:
        """Wait until the server has ended, with all of its workers.

        Raises:
            ServerFailed: it has not, after a long while.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self.end()
        except TimeoutError:
            raise ServerFailed(f"the server does not end; see {self._log}") from None

    async def stop(self) -> None:
        """Tell it to stop, as its operator would, and wait until it has ended.

        Raises:
            ServerFailed: it has not, after a long while.
        """
        self.send(signal.SIGTERM, "term")
        await self.ended()

    async def end(self) -> None:
        """Wait until the server has ended, however long it works."""
        assert self._process is not None
        await self._process.wait()
        self._find_workers()
        self._note(GONE, self.pids)

    def _find_workers(self) -> None:
        joined = read_ledger(self._folder, Joined)
        self.pids = [worker.pid for worker in joined if worker.at >= self._begun]

    def send(self, number: signal.Signals, kind: str, *, group: bool = False) -> None:
        """Send the master, or all its processes, a signal that concerns all workers."""
        assert self._process is not None
        self._note(kind, self.pids)
        if group:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def send_workers(self, pids: Sequence[int], number: signal.Signals, kind: str) -> None:
        """Send some workers a signal."""
        self._note(kind, pids)
        if number == signal.SIGKILL:
            self._note("term", self.pids)  # which is what hypercorn does about it
        for pid in pids:
            os.kill(pid, number)

    async def close(self) -> None:
        """End it, whatever it does."""
        self._listener.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def _note(self, kind: str, pids: Sequence[int]) -> None:
        now = time.monotonic()
        self._signals.write(*(Signalled(pid, kind, now) for pid in pids))

    @property
    def _log(self) -> Path:
        return self._folder / LOG
