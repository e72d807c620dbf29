"""Looks at a database, which leave nothing behind, whoever has it open and whoever looks.

Each look opens it and closes it again, which takes a tenth of a millisecond. So a server may start,
stop, or be killed between any two, and nobody holds up its checkpoints, or is the last one, who
would have to move its log.

* Where there is a log with an index, a look reads both as every reader does, with shared locks, but
  for the index: ``readonly_shm`` has SQLite neither make nor write it. What a dead process has left
  of it is not trusted, and the log is read from its beginning (``walBeginShmUnreliable`` there).
* Where there is no log, nobody has the database open, and it is read as it is (``immutable``): else
  SQLite would make a log. If a server starts meanwhile, the look begins anew.
* A log without its index cannot be read without making one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ....errors import StoreError
from ..custody import check_kinds, quoted
from ..owners import closed_to_us, refuse_missing, unreadable
from ..rows import text_or_bytes
from ..schema import (
    NOTHING_YET,
    OPENING,
    SCHEMA_VERSION,
    check_sqlite,
    fill_up,
    look_at,
)
from ..start_errors import explained

# What SQLite calls it if somebody is just about to open, close or mend the files.
_IN_BETWEEN = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_READONLY")

#: Inode, size and time of the last change of a file; None if it is not there.
_Stamp = tuple[int, int, int] | None


class Unsteady(Exception):
    """The look is to be made again, as somebody opens or closes the store just now.

    Attributes:
        reason: what is wrong if it stays like that.
    """

    def __init__(self, reason: StoreError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Look:
    """A database while it is looked at: all that is read is of one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def read(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """All rows, with `NotText` for text that is not UTF-8."""
        return self._execute(sql, values).fetchall()

    def check_body(self) -> None:
        """Holes are what a file has that was cut short under an open one: this one is not."""


class Lookout:
    """Where the database at `path` is looked at from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checked: tuple[object, ...] = ()

    def stamp(self) -> tuple[_Stamp, ...]:
        """Something that is another if anybody has written since, but for a few milliseconds.

        Raises:
            StoreError: nobody can tell.
        """
        with _explained(self._path):
            return tuple(_stamp(f"{self._path}{suffix}") for suffix in ("", "-wal", "-journal"))

    @contextmanager
    def look(self) -> Iterator[Look]:
        """The database within the block; what was read in it holds if it is left without an error.

        Raises:
            Unsteady
            StoreError: it cannot be looked at; the message says why and what to do.
        """
        check_sqlite()
        with _explained(self._path):
            refuse_missing(self._path)
            check_kinds(self._path)
            files = self.stamp()
            how = self._how(files)
            uri = f"{self._path.as_uri()}?mode=ro&{how}=1"
            steady = self._unmoved(files) if how == "immutable" else OPENING
            database = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            with steady, closing(database) as connection:
                self._begin(connection, files)
                yield Look(connection)

    def _how(self, files: tuple[_Stamp, ...]) -> str:
        """By which option of SQLite's nothing is made that is not there.

        One moment is left: if the last process of a store takes its log away right behind this
        look for it, SQLite makes an empty one of the database's owner, which everybody takes for
        none.
        """
        _, log, journal = files
        if journal is not None and journal[1]:
            raise Unsteady(self._half_made("-journal"))
        if log is not None and _stamp(f"{self._path}-shm") is not None:
            return "readonly_shm"
        if log is not None and log[1]:
            raise Unsteady(self._half_made("-wal"))
        return "immutable"

    def _begin(self, connection: sqlite3.Connection, files: tuple[_Stamp, ...]) -> None:
        connection.text_factory = text_or_bytes
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN")
        # It changes with each change of the schema.
        (cookie,) = connection.execute("PRAGMA schema_version").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        now = (files[0] and files[0][0], cookie, version)
        if now != self._checked:
            if not look_at(connection, self._path):
                raise Unsteady(StoreError(f"there is nothing in {self._path} yet: {NOTHING_YET}"))
            self._checked = now
        if version < SCHEMA_VERSION:
            fill_up(connection)

    @contextmanager
    def _unmoved(self, files: tuple[_Stamp, ...]) -> Iterator[None]:
        """Let nothing out of the block, results and errors, that rests on files which have changed
        meanwhile."""
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        if self.stamp() != files:
            reason = f"the store {self._path} changes all the time while it is looked at"
            raise Unsteady(
                StoreError(f"{reason}: see who does that (fuser -v {quoted(self._path)})")
            )
        if error is not None:
            raise error

    def _half_made(self, suffix: str) -> StoreError:
        missing = f", and {self._path}-shm is not there" if suffix == "-wal" else ""
        return StoreError(
            f"the store {self._path} was not closed, and cannot be read without a change to its "
            f"files: there is a {self._path}{suffix}{missing}. Start its server, which puts that "
            "right"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into what helps whoever looks."""
    with explained(path):
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, PermissionError) or closed_to_us(path):
                raise unreadable(path) from error
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(_IN_BETWEEN):
                raise Unsteady(StoreError(f"the store {path} cannot be read: {error}")) from error
            raise


def _stamp(file: str) -> _Stamp:
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
