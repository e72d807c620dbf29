"""hypercorn in a forked process: it starts at once, which pays for whoever starts many."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import socket
from multiprocessing.process import BaseProcess
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config

from .http_app import make_app
from .servers import LOG, end_of

_FORKS = multiprocessing.get_context("forkserver")


class ForkedServer:
    """What `HypercornCommand` is with one worker, as far as one life of it goes.

    Args:
        bug: to be planted.
    """

    def __init__(self, folder: Path, bug: str | None = None) -> None:
        self._folder = folder
        self._bug = bug
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._process: BaseProcess | None = None

    @property
    def pids(self) -> list[int]:
        """Of the one process."""
        assert self._process is not None
        assert self._process.pid is not None
        return [self._process.pid]

    async def start(self) -> None:
        """Start it: whoever connects before it listens has to wait."""
        _FORKS.set_forkserver_preload([__name__])
        self._process = _FORKS.Process(
            target=_serve, args=(self._folder, self._listener, self._bug), daemon=True
        )
        self._process.start()

    async def end(self) -> None:
        """Wait until it has ended."""
        assert self._process is not None
        await end_of(self._process)

    async def stop(self) -> None:
        """Have it end."""
        self._kill()

    async def close(self) -> None:
        """End it, whatever it does."""
        self._listener.close()
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _serve(folder: Path, listener: socket.socket, bug: str | None) -> None:
    logging.basicConfig(filename=folder / LOG, format="%(asctime)s %(levelname)s %(message)s")
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    asyncio.run(serve(make_app(folder, bug), config))
