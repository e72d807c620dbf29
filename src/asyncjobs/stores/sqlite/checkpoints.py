"""Moves the write-ahead log into the database file, in a thread and away from the event loop."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from .locks import FileLock, sync_data
from .schema import connect

logger = logging.getLogger("asyncjobs.store")

#: A checkpoint follows after about so many bytes written to the log.
CHECKPOINT_EVERY = 4 * 1024 * 1024
#: The log's file is cut back when it is larger than this.
TRUNCATE_ABOVE = 16 * 1024 * 1024


class Checkpointer:
    """One thread that checkpoints when told to, under the lock that writers take.

    That lock is why: before SQLite 3.51.3 (and 3.50.7, 3.44.6) a checkpoint that races a commit of
    another connection can lose transactions (https://www.sqlite.org/wal.html#walresetbug).
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._wal = Path(f"{path}-wal")
        self._written = 0
        self._due = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="asyncjobs-checkpoints", daemon=True)
        self._thread.start()

    def wrote(self, size: int) -> None:
        """Count what goes into the log; called on the loop with an estimate in bytes."""
        self._written += size
        if self._written > CHECKPOINT_EVERY:
            self._written = 0
            self._due.set()

    def close(self) -> None:
        """End the thread, after the checkpoint that it may be at."""
        self._closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while self._due.wait() and not self._closing:
            self._due.clear()
            try:
                with (
                    closing(FileLock(Path(f"{self._path}-lock"))) as lock,
                    closing(connect(self._path, limit=self._limit)) as connection,
                ):
                    self._checkpoint(lock, connection)
            except (sqlite3.Error, OSError) as error:
                # Nothing is lost: the log only grows until a later checkpoint gets through.
                logger.warning("the checkpoint of %s has to wait: %s", self._path, error)

    def _checkpoint(self, lock: FileLock, connection: sqlite3.Connection) -> None:
        # Before the lock: a checkpoint syncs the log first, and then has little left to wait for.
        with open(self._wal, "rb") as wal:
            sync_data(wal.fileno())
        lock.acquire()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if self._wal.stat().st_size > TRUNCATE_ABOVE:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            lock.release()
