"""Moves the write-ahead log into the database file, in a thread and away from the event loop."""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
from pathlib import Path

from ....daemons import start_daemon
from ....errors import StoreError
from ..processes.locks import LOCK_TIMEOUT, FileLock, sync_data
from .condition import LOCKED, Condition, is_damage
from .generation import Generation
from .lengths import Lengths

logger = logging.getLogger("asyncjobs.store")

#: A checkpoint follows after about so many bytes written to the log.
CHECKPOINT_EVERY = 4 * 1024 * 1024
#: The same for what could be written later: the checkpoint is short, and so is the wait for it.
TIDYING_CHECKPOINT_EVERY = 1024 * 1024
#: The log's file is cut back when it is larger than this.
TRUNCATE_ABOVE = 16 * 1024 * 1024


class Checkpointer:
    """One thread that checkpoints when told to, under the lock that writers take.

    That lock is why: before SQLite 3.51.3 (and 3.50.7, 3.44.6) a checkpoint that races a commit of
    another connection can lose transactions (https://www.sqlite.org/wal.html#walresetbug).

    Args:
        path: of the database, for the log.
        connection: an own one, opened with the store: the path may lead elsewhere later.
        lock: an own handle on the lock of all writers.
        wal: an own descriptor of the write-ahead log.
        lengths: of the files: of a log that was cut short, SQLite would move rubbish.
        condition: of the store; a damaged one is left as it is.
        generation: of the log, which begins with one.

    Raises:
        StoreError: there is no thread to be had.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: FileLock,
        wal: int,
        lengths: Lengths,
        condition: Condition,
        generation: Generation,
    ) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._wal = wal
        self._lengths = lengths
        self._condition = condition
        self._generation = generation
        self._written = 0
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = start_daemon("asyncjobs-checkpoints", self._run, error=StoreError)

    def wrote(self, size: int, *, tidying: bool = False) -> None:
        """Count what goes into the log; called on the loop with an estimate in bytes."""
        self._written += size
        if self._written > (TIDYING_CHECKPOINT_EVERY if tidying else CHECKPOINT_EVERY):
            self._written = 0
            self.start()

    def start(self) -> None:
        """Begin a checkpoint now."""
        self._orders.put(True)

    def end(self) -> None:
        """Have the thread end, after what was begun."""
        self._orders.put(False)

    def runs(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread, and wait for that."""
        self.end()
        self._thread.join()

    def _run(self) -> None:
        while self._orders.get():
            try:
                if not self._condition.is_damaged:
                    self._checkpoint()
            except (sqlite3.Error, OSError) as error:
                # Nothing is lost: the log only grows until a later checkpoint gets through.
                logger.warning("the checkpoint of %s has to wait: %s", self._path, error)
                if isinstance(error, sqlite3.Error) and is_damage(error):
                    self._condition.damaged(error)

    def _checkpoint(self) -> None:
        # Before the lock: a checkpoint syncs the log first, and then has little left to wait for.
        sync_data(self._wal)
        if not self._lock.acquire(LOCK_TIMEOUT):
            raise TimeoutError(LOCKED)
        try:
            if not (self._lengths.are_right() and self._lengths.are_frames_right()):
                return
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if os.fstat(self._wal).st_size > TRUNCATE_ABOVE:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not self._condition.is_final:  # else nobody may find again what is written now
                self._generation.begin(self._wal)
        finally:
            self._lock.release()
