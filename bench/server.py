"""A real hypercorn, and what it costs."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """hypercorn serving `app` of bench/apps.py on a free loopback port.

    Args:
        workers: hypercorn's ``--workers``.
        checkout: another one, with a .venv of its own, whose code is to be served.
        patience: seconds until it must answer.
        settings: put into the environment of the server.
    """

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        workers: int = 1,
        checkout: Path | None = None,
        patience: float = 20,
        **settings: str,
    ) -> None:
        python = sys.executable if checkout is None else str(checkout / ".venv" / "bin" / "python")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        config = folder / "hypercorn.toml"
        config.write_text("keep_alive_max_requests = 1000000\n")  # after 1,000 it would hang up
        self._process = subprocess.Popen(
            [
                *(python, "-m", "hypercorn", app),
                *("--bind", f"127.0.0.1:{self.port}", "--workers", str(workers)),
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

    def cpu(self) -> float:
        """Seconds of processor time that the server has used, all its processes together."""
        return sum((int(stat[11]) + int(stat[12])) / _TICKS for stat in self._stats())

    def memory(self) -> int:
        """Bytes of resident memory of the largest of its processes: the worker."""
        return max(int(stat[21]) * _PAGE for stat in self._stats())

    def _stats(self) -> list[list[str]]:
        """What /proc/PID/stat says of each process of the session, from the field `state` on."""
        stats = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                stat = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[3]) == self._process.pid:
                stats.append(stat)
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
