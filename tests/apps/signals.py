"""Signals between a test and the handlers that it watches: empty files in a common folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

#: A signal that is not sent within so many seconds will not be.
DEADLINE = 30.0


class Signals:
    """The signals in one folder. A signal that was sent stays sent."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def send(self, name: str) -> None:
        (self.folder / name).touch()

    def is_sent(self, name: str) -> bool:
        return (self.folder / name).exists()

    def wait(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Block until the signal is sent. `meanwhile` is called again and again."""
        end = time.monotonic() + DEADLINE
        while not self.is_sent(name):
            if time.monotonic() > end:
                raise TimeoutError(f"nobody has sent {name!r}")
            meanwhile()
            time.sleep(0.005)

    async def arrive(self, name: str) -> None:
        """Wait until the signal is sent."""
        end = time.monotonic() + DEADLINE
        while not self.is_sent(name):
            if time.monotonic() > end:
                raise TimeoutError(f"nobody has sent {name!r}")
            await asyncio.sleep(0.005)
