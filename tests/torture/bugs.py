"""Planted bugs: a harness is worth something only if it finds them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from ..job import Job, Request
from ..stores.sqlite import SqliteStore, checkpoints, commits, file
from ..stores.sqlite.schema import connect

# --- power ---


class SynchronousOff(SqliteStore):
    """Nothing is ever flushed, neither by SQLite nor by the store."""

    async def __aenter__(self) -> Self:
        vars(file)["connect"] = vars(checkpoints)["connect"] = _connect_unsynchronised
        vars(commits)["sync_data"] = vars(checkpoints)["sync_data"] = lambda fd: None
        return await super().__aenter__()


def _connect_unsynchronised(path: Path, **options: Any) -> sqlite3.Connection:
    connection = connect(path, **options)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


class AckBeforeCommit(SqliteStore):
    """`add` answers while the job is still to be written."""

    async def add(self, job: Job, request: Request) -> Job:
        self._adding = asyncio.create_task(super().add(job, request))
        await asyncio.sleep(0)
        return job


class AckBeforeFlush(SqliteStore):
    """What was committed is acknowledged at once, and flushed a little later."""

    async def __aenter__(self) -> Self:
        vars(file)["Flusher"] = _LateFlusher
        return await super().__aenter__()


class _LateFlusher(commits.Flusher):
    def flush(self, done: Callable[[OSError | None], None]) -> None:
        self._loop.call_soon(done, None)
        super().flush(lambda error: None)


POWER_BUGS: Mapping[str, type[SqliteStore]] = {
    "synchronous-off": SynchronousOff,
    "ack-before-commit": AckBeforeCommit,
    "ack-before-flush": AckBeforeFlush,
}
