"""A process that has a store open and does as it is told, and the traces that others leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from server import DEADLINE, SOURCE, TESTS

_PROGRAM = """
import asyncio, sys
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import REQUEST, a_job

async def main(path):
    async with SqliteStore(path) as store:
        print(store.worker, flush=True)
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if word == "add":
                print((await store.add(a_job(), REQUEST)).id, flush=True)

asyncio.run(main(sys.argv[1]))
"""


class Keeper:
    """A process that has the store at `path` open; used as a context manager, which kills it.

    Attributes:
        worker: what it is called there.
    """

    def __init__(self, path: Path, program: str = _PROGRAM) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(SOURCE)])},
        )
        self.pid = self._process.pid
        self.worker = self.says()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def add(self) -> str:
        """Have it add a job; the id, once that is acknowledged."""
        self.tell("add")
        return self.says()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def says(self) -> str:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        assert said, "the process has ended"
        return said

    def stop(self) -> None:
        """Have it close the store and end."""
        self._process.communicate("\n", DEADLINE)
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def killed(path: Path) -> str:
    """Leave a store as a process does that is killed, with its log; the id of the job in it."""
    with Keeper(path) as keeper:
        return keeper.add()


def stopped(path: Path) -> str:
    """Leave a store as a process does that is stopped; the id of the job in it."""
    with Keeper(path) as keeper:
        job_id = keeper.add()
        keeper.stop()
    return job_id


def footprint(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that there is in a folder, as far as anybody could leave traces."""
    return {
        str(file): (
            *(status.st_ino, status.st_mode, status.st_uid, status.st_gid),
            *(status.st_size, status.st_mtime_ns),
        )
        for file in (folder, *folder.rglob("*"))
        for status in [file.lstat()]
    }


def leaves_no_trace(folder: Path) -> Callable[[], None]:
    """Remember what there is; the function makes sure that it is the same."""
    before = footprint(folder)

    def check() -> None:
        assert footprint(folder) == before

    return check
