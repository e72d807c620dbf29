"""The generation of the write-ahead log, by which its loss is noticed at the next start.

A log that is not there looks like one that was checkpointed. So every log begins with a number, one
higher than that of the last, which is then noted in a file beside the database as well, the mark.
Where the database, with what is left of its log, has a lower number than the mark, the log is gone.
A log of which a part is to be moved into the database has one more behind that part: else its
number would be in the database by then, and the rest of it would not be missed.

The order is the point: a number is on the disk before the mark has it, so that a process that is
killed at any moment, or a loss of power, leaves a mark that is too low at worst. That only misses
something, as do programs of before, which begin logs without.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from ..private import open_own
from .condition import is_damage, is_locked, wants_room

# As text of one length, so that no number leaves a digit of another; 2^63 has 19 digits.
_DIGITS = 18
_NUMBER = re.compile(rb"\d{%d}\n" % _DIGITS)
_HIGHEST = 10**_DIGITS - 2


class Mark:
    """The mark in the file at `path`, which is never deleted: that of the lock of all writers.

    Raises:
        OSError
    """

    def __init__(self, path: Path) -> None:
        self._fd = open_own(path, os.O_RDWR)

    def read(self) -> int:
        """The number; 0 if there is none, as in a file of earlier versions.

        Raises:
            OSError
        """
        os.lseek(self._fd, 0, os.SEEK_SET)
        content = os.read(self._fd, _DIGITS + 1)
        return int(content) if _NUMBER.fullmatch(content) else 0

    def write(self, number: int) -> None:
        """Note this number, if there is room for it."""
        with suppress(OSError):
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, b"%0*d\n" % (_DIGITS, number))

    def close(self) -> None:
        os.close(self._fd)


class Generation:
    """The generation of a store's log; used by who holds the lock of all writers.

    Args:
        connection: in autocommit mode.
    """

    def __init__(self, connection: sqlite3.Connection, mark: Mark) -> None:
        self._connection = connection
        self._mark = mark

    def is_lost(self) -> bool:
        """Whether the log that the mark was made for is known not to be there.

        Raises:
            sqlite3.Error, OSError
        """
        try:
            return self._stored() < self._mark.read()
        except sqlite3.Error as error:
            if is_damage(error):
                return False  # it is not the log that is missed first
            raise

    def begin(self) -> int | None:
        """Begin the next one, for whoever holds the lock of all writers: what is in the log from
        here on is missed if it is lost.

        It is left out if there is no room, or a program that does not know our lock writes.

        Returns:
            its number, to be noted once the log is flushed; None if it was left out.

        Raises:
            sqlite3.Error
        """
        number: int = min(max(self._stored(), self._mark.read()), _HIGHEST) + 1
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO generation (id, number) VALUES (1, ?)", (number,)
            )
        except sqlite3.Error as error:
            if wants_room(error) or is_locked(error):
                return None
            raise
        return number

    def note(self, number: int) -> None:
        """Note a number that is on the disk, unless a later one was noted meanwhile; for whoever
        holds the lock."""
        if number > self._mark.read():
            self._mark.write(number)

    def is_of(self, path: Path) -> bool:
        """Whether the log is known to be of the database at `path`, and not of one from before it:
        no log leads back.

        Raises:
            sqlite3.Error
        """
        # By itself, without its log.
        alone = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
        with closing(alone), suppress(sqlite3.Error):  # what it has by itself may be half moved
            return _number_in(alone) <= self._stored()
        return True

    def _stored(self) -> int:
        return _number_in(self._connection)


def _number_in(connection: sqlite3.Connection) -> int:
    """The number in the database; 0 in one that is new, or of an earlier version."""
    read = connection.execute
    known = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'generation'"
    if read(known).fetchone() == (0,):
        return 0
    (number,) = read("SELECT max(number) FROM generation").fetchone()
    return number or 0
