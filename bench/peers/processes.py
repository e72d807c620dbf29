"""The processes of one peer, and what they cost together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from . import processor

ROOT = Path(__file__).parents[2]
#: Seconds for a server to be there.
PATIENCE = 60.0
#: Seconds for it to be gone: it has nothing that is to be kept, and is killed then.
LEAVE = 3.0


class Processes:
    """Started in one folder, each in a session of its own; stopped in the opposite order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in reversed(self._started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE)
            with suppress(ProcessLookupError):  # of the children that are left too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self, command: Sequence[str], **environment: str) -> int:
        """The id of the process, which writes what it has to say into a file of the folder."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process.pid

    @property
    def log(self) -> Path:
        return self._folder / "log"

    def cpu(self) -> float:
        """Seconds of processor time of all of them and of their children."""
        return processor.of_sessions({process.pid for process in self._started})

    def until(self, ready: Callable[[], object]) -> None:
        """Wait until `ready` raises no OSError.

        Raises:
            RuntimeError: one of them has ended, or they are not ready in time: what they wrote.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError):
                ready()
                return
            if any(process.poll() is not None for process in self._started):
                break
            time.sleep(0.05)
        raise RuntimeError(f"it did not start: {self.log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
