"""All that an open store holds: opened together, closed together."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .alone import alone
from .checkpoints import Checkpointer
from .commits import Flusher, GroupCommit
from .locks import FileLock
from .peers import Peers
from .schema import connect, create_or_check, explained, prepare_path


class OpenFile:
    """The database file at `path`, opened for one process.

    Raises:
        StoreError: from the constructor, with everything closed again.
    """

    commits: GroupCommit
    checkpointer: Checkpointer
    peers: Peers

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        settled: Callable[[list[str]], None],
        random: random.Random,
    ) -> None:
        with explained(path), ExitStack() as opened:
            prepare_path(path)
            opened.enter_context(alone(path))
            self._lock = FileLock(Path(f"{path}-lock"))
            opened.callback(self._lock.close)
            self._lock.acquire()
            opened.callback(self._lock.release)

            # One for reads and writes, which take turns on the loop: a second one would drop all
            # the pages that it has read at each commit of the first.
            self._connection = connect(path, limit=limit)
            opened.callback(self._connection.close)
            create_or_check(self._connection, path)

            self.peers = Peers(Path(f"{path}-procs"))
            self.peers.join()
            opened.callback(self.peers.leave)

            flusher = Flusher(_open_wal(self._connection, path, opened))
            opened.callback(flusher.close)
            self.commits = GroupCommit(
                path, self._connection, self._lock, flusher, settled=settled, random=random
            )
            self.checkpointer = Checkpointer(path, limit=limit)
            self._lock.release()
            self._close = opened.pop_all().close

    def close(self) -> None:
        """Close the file, and checkpoint it if nobody else has it open."""
        self.checkpointer.close()
        # Closing the last connection is a checkpoint too: it must not race another's commit.
        self._lock.acquire()
        self._close()

    def read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows. To the end always: an unfinished cursor pins the snapshot of later reads."""
        return self._connection.execute(sql, values).fetchall()

    def read_one(self, sql: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """The row, if there is one."""
        rows = self.read(sql, values)
        return rows[0] if rows else None

    def data_version(self) -> int:
        """A number that changes when another process commits, and not when this one does."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def _open_wal(connection: sqlite3.Connection, path: Path, opened: ExitStack) -> int:
    """An own descriptor of the write-ahead log, which is made if it is missing.

    The log alone may be opened past SQLite: to close the database's file would drop its locks.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    fd = os.open(f"{path}-wal", os.O_RDWR)  # Windows flushes nothing that is open for reading
    opened.callback(os.close, fd)
    _sync_folder(path.parent)
    return fd


def _sync_folder(folder: Path) -> None:
    """Make the names of new files durable as well (fsync(2), NOTES).

    Windows opens no folders.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
