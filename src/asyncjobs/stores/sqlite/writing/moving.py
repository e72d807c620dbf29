"""Moves the write-ahead log into the database file, most of it beside those who write.

Before SQLite 3.51.3 (and 3.50.7, 3.44.6) a checkpoint can lose transactions while a commit begins
the log anew (https://www.sqlite.org/wal.html#walresetbug). To exclude all writers meanwhile is to
have them wait for the disk. But no commit begins a log anew of which a reader needs something. So
first a reader of our own comes, what it sees is moved, and the disk has it; then writers wait for
the few frames that came meanwhile. For these they have to in any version: a log is begun anew when
all of it is moved, and on the disk, before the next commit.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from ..processes.locks import LOCK_TIMEOUT, FileLock, sync_data
from .condition import LOCKED, Condition, is_unsynced
from .generation import Generation
from .lengths import Lengths

#: The log's file is cut back when it is larger than this, in bytes.
TRUNCATE_ABOVE = 16 * 1024 * 1024


#: So many frames wait for a process that checkpoints: it may stand still.
MUCH = 16_000


class NotSynced(OSError):
    """The disk did not take what is moved: a second sync that succeeds would prove nothing. The log
    has it all, as long as it is not begun anew."""


class Mover:
    """What a checkpoint does, in a thread, and so with everything of its own, which was opened with
    the store: its path may lead elsewhere later.

    Args:
        connection: that checkpoints.
        reader: the connection for whose sake the log is not begun anew.
        turn: whoever has this lock checkpoints, of all processes.
        lock: a handle on the lock of all writers.
        wal: a descriptor of the write-ahead log.
        lengths: of the files: of a log that was cut short, SQLite would move rubbish.
        condition: of the store.
        generation: of the log, by the connection that checkpoints.
    """

    def __init__(
        self,
        *,
        connection: sqlite3.Connection,
        reader: sqlite3.Connection,
        turn: FileLock,
        lock: FileLock,
        wal: int,
        lengths: Lengths,
        condition: Condition,
        generation: Generation,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._turn = turn
        self._lock = lock
        self._wal = wal
        self._lengths = lengths
        self._condition = condition
        self._generation = generation

    def move(self) -> None:
        """Move all of the log, as far as nobody still reads from it, and begin it anew; unless
        somebody else is just doing it.

        Raises:
            sqlite3.Error, OSError: it has to wait for another time.
            NotSynced: it must not be tried again.
        """
        if not self._turn.try_acquire():
            if self._lengths.frames_to_move() > MUCH:
                raise TimeoutError("another process is at it, and does not go on")
            return
        try:
            self._move_most()
            self._move_rest()
        finally:
            self._turn.release()

    def _move_most(self) -> None:
        """Move what there is now, while others write behind it."""
        with ExitStack() as reading:
            with self._locked():
                if not self._lengths.are_right():
                    return
                reading.enter_context(_reading(self._reader))
                number = self._begin()
            if number is None:
                return  # without a new number, what is not moved would not be missed
            self._note(number)
            if self._lengths.may_be_moved():
                self._checkpoint("PASSIVE")
                # SQLite does it with the last frame only.
                self._sync_database()

    def _move_rest(self) -> None:
        """Move what is left, and have the log begun anew, while nobody else writes."""
        # Before the lock: a checkpoint syncs the log first, and then has little left to wait for.
        sync_data(self._wal)
        with self._locked():
            if not self._lengths.may_be_moved():
                return
            self._checkpoint("PASSIVE")
            if os.fstat(self._wal).st_size > TRUNCATE_ABOVE:
                self._checkpoint("TRUNCATE")
            number = self._begin()
        if number is not None:
            self._note(number)

    def _begin(self) -> int | None:
        """Begin a generation of the log, for whoever holds the lock; its number, if it has one."""
        if self._condition.is_final:
            return None  # nobody may find again what is written now
        return self._generation.begin()

    def _note(self, number: int) -> None:
        sync_data(self._wal)
        with self._locked():
            self._generation.note(number)

    def _checkpoint(self, how: Literal["PASSIVE", "TRUNCATE"]) -> None:
        try:
            self._connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        except sqlite3.Error as error:
            if is_unsynced(error):
                raise NotSynced(str(error)) from error
            raise

    def _sync_database(self) -> None:
        fd = self._lengths.descriptor_of_database()
        if fd is None:
            return  # then it is done with the last frame
        try:
            sync_data(fd)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EINVAL):  # SQLite has just closed it
                raise NotSynced(*error.args) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(LOCK_TIMEOUT):
            raise TimeoutError(LOCKED)
        try:
            yield
        finally:
            self._lock.release()


@contextmanager
def _reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Read what is committed by now, for as long as this takes.

    Where all of that is in the database already, it reads nothing of the log, which can be begun
    anew then. That does no harm: nobody moves anything while there is such a reader.
    """
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        yield
    finally:
        connection.rollback()
