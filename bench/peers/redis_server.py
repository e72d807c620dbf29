"""A Redis of our own, on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence

from .processes import Processes, free_port


def version() -> str | None:
    """The version that is installed, or None."""
    if shutil.which("redis-server") is None:
        return None
    said = subprocess.run(["redis-server", "--version"], capture_output=True, check=True, text=True)
    return said.stdout.partition("v=")[2].split()[0]


def start(processes: Processes, options: Sequence[str]) -> dict[str, str]:
    """Its URL and the id of its process, as the environment that peers are run in."""
    port = free_port()
    pid = processes.start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", *options])

    processes.until(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
    return {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "REDIS_PID": str(pid)}
