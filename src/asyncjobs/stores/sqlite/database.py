"""The database of a store and its log: found whole, or refused, and opened for one process.

All of it happens under the lock of all writers, and nothing is written before it is known that
nothing that belongs to the store is lost by that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ...errors import StoreCorrupt, StoreUnavailable
from .private import open_own
from .processes.locks import sync_data, sync_folder
from .rows import text_or_bytes
from .schema import connect, connect_guard, create_or_check
from .writing.condition import Condition, is_damage
from .writing.generation import Generation, Mark
from .writing.lengths import Lengths
from .writing.log_loss import find_loss, has_log, refuse_loss
from .writing.reserve import BorrowedReserve, Reserve

#: So many free pages are kept, as the next jobs would only have the file grow again; or, if that is
#: more, one in so many of the database.
KEPT_PAGES = 256
KEPT_SHARE = 16
# https://www.sqlite.org/pragma.html#pragma_auto_vacuum: a file that a tool has made may have none.
_INCREMENTAL = 2


class Database:
    """The database at `path`, for whoever holds the lock of all writers while it is opened.

    Args:
        limit: how large it may grow, in bytes.
        alone: whether nobody else has it open.
        guest: whether it is opened to steer only: see `OpenFile`.

    Attributes:
        connection: for reads and writes, which take turns on the loop: a second one would drop all
            the pages that it has read at each commit of the first.
        log: a descriptor of the log.
        loss: what was found lost; None if that is nothing, or not known.

    Raises:
        sqlite3.Error, OSError, StoreError: from the constructor, with all closed again.
    """

    def __init__(self, path: Path, *, limit: int, alone: bool, guest: bool = False) -> None:
        self._path = path
        self.condition = Condition(path)
        with ExitStack() as opened:
            # The last to be closed: where a start is refused, nobody moves the log on the way out.
            self._guards = opened.enter_context(ExitStack())
            # A rollback journal is of a start that was cut short, when no log had anything in it.
            # It has to be rolled back, which who can only read cannot do.
            if has_log(path) and not os.path.exists(f"{path}-journal"):
                connect_guard(path, self._guards)
            self.connection = connect(path)
            opened.callback(self.connection.close)
            self._mark = Mark(Path(f"{path}-lock"))
            opened.callback(self._mark.close)
            generation = self.generation(self.connection)
            if guest:
                refuse_loss(path, generation, alone=alone)
                self.loss = None
            else:
                self.loss = find_loss(path, self.connection, generation, alone=alone)
            create_or_check(self.connection, path, guest=guest)
            kind = BorrowedReserve if guest else Reserve
            self.reserve = kind(path, self.connection, limit=limit)
            self.reserve.make()
            self.log = _open_log(self.connection, path, opened)
            self.lengths = Lengths(path, self.log, self.condition)
            self._check_lengths()
            self._begin_log(generation)
            # While all is well: later there may be nothing to read, and who opens a database that
            # is empty by then deletes its log.
            connect_guard(path, self._guards)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close it; the files stay as they are, unless `let_go` was called."""
        self._opened.close()

    def let_go(self) -> None:
        """Have the last connection that is closed checkpoint the log, and delete it."""
        self._guards.close()

    def may_be_moved(self) -> bool:
        """Whether the log may be moved into the database, for whoever holds the lock."""
        try:
            return not self.condition.is_final and self.lengths.may_be_moved()
        except OSError:
            return False

    def generation(self, connection: sqlite3.Connection) -> Generation:
        """The generation of the log, to be begun by this connection."""
        return Generation(connection, self._mark)

    def open_for_flushing(self) -> int:
        """A descriptor of the log for one who flushes, to be closed by the caller: of a failure
        each is told once, so that one for two would let the second take for written what was not
        (fsync(2), NOTES).

        Raises:
            OSError
        """
        return _descriptor_of_log(self._path)

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
                return self.connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                # The module's own errors have no code. One such value keeps all rows from being
                # read; a function for each value would cost more than the whole read.
                if hasattr(error, "sqlite_errorcode"):
                    raise
                return self._read_any(sql, values)
        except sqlite3.Error as error:
            self.is_well()  # that a file was cut short explains more than what SQLite says
            raise self.condition.read_failed(error) from error

    def data_version(self) -> int:
        """A number that changes when another process commits, and not when this one does.

        Raises:
            StoreUnavailable
        """
        return self._pragma("data_version")

    def surplus_pages(self) -> int:
        """How many free pages there are to be given back: none in a database that cannot do that.

        Raises:
            StoreUnavailable
        """
        if self._pragma("auto_vacuum") != _INCREMENTAL:
            return 0
        kept = max(KEPT_PAGES, self._pragma("page_count") // KEPT_SHARE)
        return max(0, self._pragma("freelist_count") - kept)

    def is_too_long(self) -> bool:
        """Whether the file is longer than the database, as it is after a vacuum.

        Raises:
            StoreUnavailable
        """
        needed = self._pragma("page_count") * self._pragma("page_size")
        try:
            return os.stat(self._path).st_size > needed
        except OSError:
            return False  # it is not there, which others say

    def check_body(self) -> None:
        """Make sure that a body that was just read is what was written: where the end of a
        file is cut off, who writes on behind it leaves zeros. It is looked at anew each time: what
        this process knows already tells nothing of what others have written since.

        Raises:
            StoreUnavailable
        """
        with suppress(OSError):
            self.lengths.are_right()
        if self.condition.has_holes:
            raise StoreUnavailable(str(self.condition.reason))

    def is_well(self) -> bool:
        """Whether the files can be written, as far as can be told."""
        try:
            return not self.condition.is_final and self.lengths.are_right()
        except OSError:
            return False

    def _pragma(self, name: str) -> int:
        ((value,),) = self.read(f"PRAGMA {name}")
        return int(value)

    def _check_lengths(self) -> None:
        """Open no store whose files were cut short, under the processes that have it open or else.

        Raises:
            StoreCorrupt
        """
        if cuts := self.lengths.cuts():
            left = ", ".join(f"{path} ({what})" for path, what in cuts.items())
            raise StoreCorrupt(
                f"files of the store {self._path} were cut short, or its log is that of another "
                f"database, as after a restore that left it there: {left}. Nothing was touched: "
                "stop every server that has the store open, and put back what belongs there; if "
                "you have restored a copy, move the log away"
            )

    def _begin_log(self, generation: Generation) -> None:
        """Begin it, with what was found of the last one out of the way. From its first commit on
        it is known how long the files must be."""
        if self.loss is not None:
            self.loss.tell(self._path)  # first: once it is begun, no other start finds it
        try:
            if self.loss is not None:
                self.loss.begin_anew(self.connection)
            if (number := generation.begin()) is not None:
                sync_data(self.log)
                generation.note(number)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self.condition.damaged(error)  # what is whole can be read all the same

    def _read_any(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        self.connection.text_factory = text_or_bytes
        try:
            return self.connection.execute(sql, values).fetchall()
        finally:
            self.connection.text_factory = str


def _open_log(connection: sqlite3.Connection, path: Path, opened: ExitStack) -> int:
    """A descriptor of the log, which is made if it is missing.

    The log alone may be opened past SQLite: to close the database's file would drop its locks.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    fd = _descriptor_of_log(path)
    opened.callback(os.close, fd)
    sync_folder(path.parent)
    return fd


def _descriptor_of_log(path: Path) -> int:
    return open_own(f"{path}-wal", os.O_RDWR)  # Windows flushes nothing that is open for reading
