"""A real hypercorn, and what it costs."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """hypercorn serving `app` of bench/apps.py on a free loopback port.

    Args:
        workers: hypercorn's ``--workers``.
        worker_class: its ``--worker-class``; uvloop has to be installed for that of this name.
        checkout: another one, with a .venv of its own, whose code is to be served.
        python: the interpreter to serve with, in whose environment asyncjobs is installed.
        patience: seconds until it must answer.
        settings: put into the environment of the server.
    """

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        workers: int = 1,
        worker_class: str = "asyncio",
        checkout: Path | None = None,
        python: Path | None = None,
        patience: float = 20,
        **settings: str,
    ) -> None:
        if python is None:
            python = Path(sys.executable if checkout is None else checkout / ".venv/bin/python")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        config = folder / "hypercorn.toml"
        # It would hang up after 1,000 requests. For so many seconds it keeps all that there was of
        # a connection, also if its client has closed it.
        config.write_text("keep_alive_max_requests = 1000000\nkeep_alive_timeout = 10\n")
        self._process = subprocess.Popen(
            [
                *(python.absolute(), "-m", "hypercorn", app),  # a link, in a .venv
                *("--bind", f"127.0.0.1:{self.port}", "--workers", str(workers)),
                *("--worker-class", worker_class),
                *("--log-level", "warning", "--config", str(config)),
            ],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(checkout or Path(__file__).parent.parent),
                **settings,
            },
            start_new_session=True,
        )
        self._await_answer(patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def kill(self) -> None:
        """End it here and now, as a crash does."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def cpu(self) -> float:
        """Seconds of processor time that the server has used: all threads that it has, of all its
        processes together."""
        nanoseconds = 0
        for process in self._stats():
            for thread in Path(f"/proc/{process}/task").glob("*/schedstat"):
                with suppress(FileNotFoundError, ProcessLookupError):
                    nanoseconds += int(thread.read_text().split()[0])
        return nanoseconds / 1e9

    def memory(self) -> int:
        """Bytes of resident memory of the largest of its processes: the worker."""
        return max(int(stat[21]) * _PAGE for stat in self._stats().values())

    def _stats(self) -> dict[int, list[str]]:
        """What /proc/PID/stat says of each process of the session, from the field `state` on."""
        stats = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                stat = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[3]) == self._process.pid:
                stats[int(path.parent.name)] = stat
        return stats

    def _await_answer(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            try:
                connection.request("GET", "/")
                connection.getresponse()
                return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
            finally:
                connection.close()
        raise RuntimeError("the server did not start")
