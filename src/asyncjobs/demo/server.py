"""A real hypercorn with the app of the demo, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import httpx

#: Seconds that the server has to answer for the first time.
START_TIMEOUT = 20.0
#: Seconds that it has to end, once it was told to.
STOP_TIMEOUT = 10.0


class ServerFailed(Exception):
    """The server did not start, or ended by itself."""


class Server:
    """A server that answers at `url`."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url
        self._process = process

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            ServerFailed: it has ended by itself.
        """
        status = await self._process.wait()
        raise ServerFailed(f"the server ended by itself, with exit status {status}")


@asynccontextmanager
async def running_server(folder: Path, log: IO[bytes]) -> AsyncIterator[Server]:
    """A server on a free port of this machine, while the context lasts.

    Args:
        folder: where it works, and keeps its store.
        log: where its words go.

    Raises:
        ServerFailed: it does not start.
    """
    # The server inherits a socket that listens already: no other process can take its port, and a
    # client that comes too early waits in the backlog, or is cut off if the server does not start.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = "http://{}:{}".format(*listener.getsockname())
        process = await _start(folder, log, listener)
    try:
        await _answer(url)
        yield Server(url, process)
    finally:
        await _stop(process)


async def _start(folder: Path, log: IO[bytes], listener: socket.socket) -> Process:
    fd = listener.fileno()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hypercorn", "asyncjobs.demo.app:app"),
        *("--workers", "0", "--bind", f"fd://{fd}"),
        cwd=folder,
        # It finds what we find, also where PYTHONPATH has relative paths.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        stdin=DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[fd],
        process_group=0,  # Ctrl-C is for us; we tell the server to stop
    )


async def _answer(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=START_TIMEOUT) as client:
        try:
            await client.get(url)
        except httpx.HTTPError as error:
            raise ServerFailed(f"the server did not start: {error!r}") from error


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        pass
    finally:  # also if we are interrupted for a second time
        if process.returncode is None:
            process.kill()
            await process.wait()
