"""Moves the write-ahead log into the database file, in a thread and away from the event loop.

Before SQLite 3.51.3 (and 3.50.7, 3.44.6) a checkpoint can lose transactions while a commit begins
the log anew (https://www.sqlite.org/wal.html#walresetbug), and so it would have to exclude all
writers, for as long as the disk takes. But no commit begins the log anew that a reader needs. So
most is moved beside the writers, while a reader of our own is there; the lock of all writers is
taken for the rest, a few frames. It is needed for that in any version: the log can only be begun
anew when all of it is moved, and on the disk, before the next commit.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    """One thread that checkpoints when told to.

    Args:
        path: of the database, for the log.
        connection: an own one, opened with the store: the path may lead elsewhere later.
        reader: another one.
        turn: whoever has this lock checkpoints, of all processes: two would be in each other's way.
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
        reader: sqlite3.Connection,
        turn: FileLock,
        lock: FileLock,
        wal: int,
        lengths: Lengths,
        condition: Condition,
        generation: Generation,
    ) -> None:
        self._path = path
        self._connection = connection
        self._reader = reader
        self._turn = turn
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
        """Begin a checkpoint now, or one more after the one that is going on."""
        if self._orders.empty():
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
                if not self._condition.is_damaged and self._turn.try_acquire():
                    try:
                        self._checkpoint()
                    finally:
                        self._let_log_go()
                        self._turn.release()
            except _SyncFailed as error:
                self._condition.flush_failed(error)
                return  # what was moved may not be there: the log must not be begun anew
            except (sqlite3.Error, OSError) as error:
                # Nothing is lost: the log only grows until a later checkpoint gets through.
                logger.warning("the checkpoint of %s has to wait: %s", self._path, error)
                if isinstance(error, sqlite3.Error) and is_damage(error):
                    self._condition.damaged(error)

    def _checkpoint(self) -> None:
        left = sys.maxsize
        while True:
            # Before the lock: a checkpoint syncs the log first, and then has little to wait for.
            sync_data(self._wal)
            with self._locked():
                self._keep_log()
                before, left = left, self._lengths.frames_to_move() or 0
                # It is what was written during the last round: to go on pays while it gets less.
                if left == 0 or left > before // 2:
                    number = self._move_all()
                    break
            if not self._move_beside_writers():
                return
        if number is not None:
            self._generation.flush(self._wal)
            with self._locked():
                self._generation.note(number)

    def _keep_log(self) -> None:
        """Have the log not begun anew until the reader has gone.

        For whoever holds the lock of all writers. A reader that came when all was moved would not
        need the log: but then there is nothing to be moved after that either, while the lock is
        held.
        """
        self._let_log_go()
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def _let_log_go(self) -> None:
        if self._reader.in_transaction:
            self._reader.execute("COMMIT")

    def _move_beside_writers(self) -> bool:
        """Move what the log had when the reader came; whether that was done, and by nobody else."""
        if not self._may_move() or self._move("PASSIVE"):
            return False
        # SQLite syncs the database when it moves the last frame: not all of it is left to that.
        fd = self._lengths.descriptor_of_database()
        if fd is not None:
            self._sync(fd)
        return True

    def _move_all(self) -> int | None:
        """Move it, and begin the log anew, for whoever holds the lock of all writers; the number of
        that, which is still to be noted."""
        self._let_log_go()
        if not self._may_move():
            return None
        if self._move("PASSIVE"):
            return None
        if os.fstat(self._wal).st_size > TRUNCATE_ABOVE:
            self._move("TRUNCATE")
        if self._condition.is_final:
            return None  # nobody may find again what is written now
        return self._generation.begin()

    def _may_move(self) -> bool:
        return self._lengths.are_right() and self._lengths.are_frames_right()

    def _move(self, how: str) -> bool:
        """Move what can be moved; whether somebody else is at it."""
        try:
            ((busy, *_),) = self._connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_FSYNC":
                raise _SyncFailed(str(error)) from error
            raise
        return bool(busy)

    def _sync(self, fd: int) -> None:
        try:
            sync_data(fd)
        except OSError as error:
            if error.errno != errno.EBADF:  # SQLite has just closed it, elsewhere in this process
                raise _SyncFailed(*error.args) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(LOCK_TIMEOUT):
            raise TimeoutError(LOCKED)
        try:
            yield
        finally:
            self._lock.release()


class _SyncFailed(OSError):
    """The disk did not take what was moved: a second sync that succeeds would prove nothing."""
