"""All that an open store holds: opened together, closed together."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...errors import StoreCorrupt, StoreUnavailable
from .alone import alone
from .backups import back_up
from .checkpoints import Checkpointer
from .commits import GroupCommit
from .condition import Condition, is_damage
from .custody import open_own, secure, warn_of_folder
from .flusher import Flusher
from .generation import Generation, Mark
from .identity import Identity
from .lengths import Lengths
from .locks import LOCK_TIMEOUT, FileLock, sync_folder
from .log_loss import LogLoss, find_loss, refuse_log_without_database
from .peers import Peers
from .reserve import Reserve
from .rows import text_or_bytes
from .schema import check_sqlite, connect, connect_guard, create_or_check, look, prepare_path
from .start_errors import explained, kept_locked, locked

logger = logging.getLogger("asyncjobs.store")

# How often it is looked whether the file can be closed, in seconds.
_LOOK_INTERVAL = 0.002

# What must not be closed, which a connection is that nobody has any more.
_left: list[OpenFile] = []


class OpenFile:
    """The database file at `path`, opened for one process.

    Attributes:
        loss: what was found lost when it was opened; None if that is nothing, or not known.

    Raises:
        StoreError: from the constructor, with everything closed again. `StoreLocked`, which may
            pass, without any wait.
    """

    commits: GroupCommit
    checkpointer: Checkpointer
    peers: Peers
    loss: LogLoss | None

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        settled: Callable[[list[str]], None],
        random: random.Random,
    ) -> None:
        self._path = path
        self._wal_path = f"{path}-wal"
        self._lock_path = Path(f"{path}-lock")
        self._condition = Condition(path)
        check_sqlite()
        with explained(path), ExitStack() as opened:
            secure(path)
            refuse_log_without_database(path)
            prepare_path(path)
            opened.enter_context(alone(path))
            self._lock = _open_lock(path, opened)
            if not self._lock.try_acquire():
                raise locked(self._lock_path)
            opened.callback(self._lock.release)

            # The first to be opened and the last to be closed: a start that is refused has no other
            # touch the log on its way out.
            self._guard = connect_guard(path)
            opened.callback(self._guard.close)
            # One for reads and writes, which take turns on the loop: a second one would drop all
            # the pages that it has read at each commit of the first.
            self._connection = _connect(path, opened)
            self.peers = Peers(Path(f"{path}-procs"))
            mark = _open_mark(path, opened)
            generation = Generation(self._connection, mark)
            self.loss = find_loss(path, generation, alone=self.peers.is_alone())
            create_or_check(self._connection, path)
            reserve = Reserve(path, self._connection, limit=limit)
            reserve.make()
            wal = _open_wal(self._connection, path, opened)
            self._lengths = Lengths(path, wal, self._condition)
            self._check_lengths()
            self._begin_log(generation, wal)

            opened.callback(self.peers.leave)
            self.peers.join()

            flusher = Flusher(wal)
            opened.callback(flusher.close)
            files = [path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-lock"))]
            self._identity = Identity([*files, self.peers.file])
            self.commits = GroupCommit(
                self._connection,
                self._lock,
                flusher,
                self._identity,
                self._lengths,
                reserve,
                self._condition,
                settled=settled,
                lost=self._save_log,
                random=random,
            )
            checkpointing = _connect(path, opened)
            self.checkpointer = Checkpointer(
                path,
                checkpointing,
                _open_lock(path, opened),
                _open_for_flushing(path, opened),
                self._lengths,
                self._condition,
                Generation(checkpointing, mark),
            )
            look(self._guard)  # the log may be younger than its first look
            secure(path)  # what was put there since
            warn_of_folder(path)
            self._lock.release()
            self._close = opened.pop_all().close

    async def about_to_close(self) -> None:
        """Wait for what `close` needs, while the event loop turns: for the last checkpoint, and for
        the lock. Nothing is written any more."""
        self.checkpointer.end()
        now = asyncio.get_running_loop().time
        deadline = now() + LOCK_TIMEOUT
        while self.checkpointer.runs() or not self._lock.try_acquire():
            if now() > deadline:
                return
            await asyncio.sleep(_LOOK_INTERVAL)

    def close(self, *, waited: bool = False) -> None:
        """Close the file, and checkpoint it if nobody else has it open and nothing is wrong.

        Args:
            waited: whether the lock has been waited for already.
        """
        self.checkpointer.close()
        # Closing the last connection is a checkpoint too: it must not race another's commit.
        has_lock = self._lock.acquire(0 if waited else LOCK_TIMEOUT)
        if not has_lock:
            logger.warning(
                "the store %s is closed as it is, and the next start goes on from its log: %s",
                *(self._path, kept_locked(self._lock_path) or f"{self._lock_path} is locked"),
            )
        may_checkpoint = has_lock and self._is_well()
        # From a log that was deleted, all is saved that can be.
        if may_checkpoint or not (self._condition.is_damaged or os.path.exists(self._wal_path)):
            self._guard.close()
        self._close()

    def leave(self) -> None:
        """Be gone as if the process had died: to close anything could wait for the disk."""
        self.peers.leave()
        _left.append(self)

    def read(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """All rows. To the end always: an unfinished cursor pins the snapshot of later reads.

        Text that is not UTF-8 is given as `NotText`.

        Raises:
            StoreUnavailable
        """
        try:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                # The module's own errors have no code. One such value keeps all rows from being
                # read; a function for each value would cost more than the whole read.
                if hasattr(error, "sqlite_errorcode"):
                    raise
                return self._read_any(sql, values)
        except sqlite3.Error as error:
            self._is_well()  # that a file was cut short explains more than what SQLite says
            raise self._condition.read_failed(error) from error

    def read_one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The row, if there is one.

        Raises:
            StoreUnavailable
        """
        rows = self.read(sql, values)
        return rows[0] if rows else None

    def check_body(self) -> None:
        """Make sure that a body that was just read is what was written: where the end of the
        database is cut off, SQLite may have filled it up with zeros.

        Raises:
            StoreUnavailable
        """
        self._is_well()
        if self._condition.has_holes:
            raise StoreUnavailable(str(self._condition.reason))

    def data_version(self) -> int:
        """A number that changes when another process commits, and not when this one does.

        Raises:
            StoreUnavailable
        """
        ((version,),) = self.read("PRAGMA data_version")
        return int(version)

    async def back_up(self, target: Path) -> None:
        """Copy the database to a new file.

        Raises:
            StorePathError, StoreUnavailable
        """
        self.commits.check_files()
        await back_up(self._path, target, self._check_files)

    def _check_files(self) -> None:
        """Look whether what is read now is what was written; from any thread.

        Raises:
            StoreUnavailable, OSError
        """
        if self._identity.lost():
            raise StoreUnavailable("the files of the job store were deleted or replaced")
        if not self._lengths.are_right():
            raise StoreUnavailable(str(self._condition.reason))

    def _is_well(self) -> bool:
        """Whether the files can be written, as far as can be told."""
        try:
            return self._lengths.are_right() and not self._condition.is_final
        except OSError:
            return False

    def _check_lengths(self) -> None:
        """Join no store whose files were cut short under the processes that have it open.

        Raises:
            StoreCorrupt
        """
        if not self._lengths.are_right():
            raise StoreCorrupt(
                f"{self._condition.reason}; nothing that is left was touched: stop every server "
                f"that has the store {self._path} open, and put back what belongs there or restore "
                "the store"
            )

    def _begin_log(self, generation: Generation, wal: int) -> None:
        """Begin it, with what was found of the last one out of the way. From its first commit on
        it is known how long the files must be."""
        try:
            if self.loss is not None:
                self.loss.begin_anew(self._connection)
            generation.begin(wal)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._condition.damaged(error)  # what is whole can be read all the same
        if self.loss is not None:
            self.loss.tell(self._path)

    def _read_any(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        self._connection.text_factory = text_or_bytes
        try:
            return self._connection.execute(sql, values).fetchall()
        finally:
            self._connection.text_factory = str

    def _save_log(self, lost: list[str]) -> None:
        """If it is the log alone that is lost, what was acknowledged is still saved from it: it is
        open here, and nowhere else any more."""
        if lost == [self._wal_path]:
            self.checkpointer.start()


def _open_lock(path: Path, opened: ExitStack) -> FileLock:
    lock = FileLock(Path(f"{path}-lock"))
    opened.callback(lock.close)
    return lock


def _open_mark(path: Path, opened: ExitStack) -> Mark:
    mark = Mark(Path(f"{path}-lock"))
    opened.callback(mark.close)
    return mark


def _connect(path: Path, opened: ExitStack) -> sqlite3.Connection:
    connection = connect(path)
    opened.callback(connection.close)
    return connection


def _open_wal(connection: sqlite3.Connection, path: Path, opened: ExitStack) -> int:
    """An own descriptor of the write-ahead log, which is made if it is missing.

    The log alone may be opened past SQLite: to close the database's file would drop its locks.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    fd = _open_for_flushing(path, opened)
    sync_folder(path.parent)
    return fd


def _open_for_flushing(path: Path, opened: ExitStack) -> int:
    """A descriptor for one who flushes: of a failure each descriptor is told once, so that one for
    two would let the second take for written what was not (fsync(2), NOTES)."""
    fd = open_own(f"{path}-wal", os.O_RDWR)  # Windows flushes nothing that is open for reading
    opened.callback(os.close, fd)
    return fd
