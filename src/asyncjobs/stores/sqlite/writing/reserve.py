"""Room that is kept while there is plenty, for the results of jobs that run when there is none.

It is a file beside the database, the ballast, and as many bytes above the store's size limit. New
jobs never use it. What ends a job does, and gets a slice at a time: of what is let go and not used
at once, whoever filled the disk would take the rest.

A ballast that is not whole tells every process on the store to take no new jobs.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from errno import EINVAL, ENOSPC, EOPNOTSUPP
from pathlib import Path

from ..private import open_own

#: Bytes that are kept.
SIZE = 4 * 1024 * 1024
#: Bytes that are let go at a time.
SLICE = SIZE // 16
#: So much more must be free before it is taken back: else the next job would let it go again.
MARGIN = SIZE // 4


def is_whole(path: Path) -> bool:
    """Whether the database at `path` has its reserve: else its servers take no new jobs."""
    try:
        return os.stat(f"{path}-ballast").st_size >= SIZE
    except FileNotFoundError:
        return True  # there is none yet, or no more: a start makes it


class Reserve:
    """The reserve of the database at `path`, and its size limit for this connection.

    Args:
        limit: how large the database may grow without the reserve, in bytes.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, limit: int) -> None:
        self._ballast = f"{path}-ballast"
        self._execute = connection.execute
        (page_size,) = self._execute("PRAGMA page_size").fetchone()
        self._pages = max(1, limit // page_size)
        self._pages_with_reserve = self._pages + SIZE // page_size
        self._margin_pages = min(MARGIN // page_size, self._pages // 8)
        self._allow(self._pages)

    def is_whole(self) -> bool:
        """Whether all of it is there, which it is not if another process has let some go."""
        return self._size() >= SIZE

    def make(self) -> None:
        """Make it, as far as there is room."""
        self._fill()

    def let_go(self) -> bool:
        """Make room for what must be written; False if there is none left to make."""
        made = not self._raised
        self._allow(self._pages_with_reserve)
        if size := self._size():
            with suppress(OSError):  # the file system is read-only
                self._cut(max(0, size - SLICE))
                made = True
        return made

    def take_back(self) -> bool:
        """Make it whole again; False if there is no room for it and for new jobs."""
        if self._pages_in_use() > self._pages - self._margin_pages:
            return False
        missing = SIZE - self._size()
        # Asked first: to try and fail would take the last room from everybody for a moment.
        if missing > 0 and self._free() < missing + MARGIN:
            return False
        if not self._fill():
            return False
        self._allow(self._pages)
        return True

    def _size(self) -> int:
        try:
            return os.lstat(self._ballast).st_size
        except FileNotFoundError:
            return 0
        except OSError:
            return SIZE  # nobody can look: that is other trouble than a want of room

    def _cut(self, size: int) -> None:
        ballast = open_own(self._ballast, os.O_RDWR)
        try:
            os.ftruncate(ballast, size)
        finally:
            os.close(ballast)

    def _free(self) -> int:
        try:
            return shutil.disk_usage(os.path.dirname(self._ballast)).free
        except OSError:
            return 0

    def _fill(self) -> bool:
        try:
            ballast = open_own(self._ballast, os.O_RDWR | os.O_CREAT)
        except OSError:
            return False
        before = os.fstat(ballast).st_size
        try:
            _allocate(ballast)
        except OSError:
            with suppress(OSError):
                os.ftruncate(ballast, before)  # it may have got half way
            return False
        finally:
            os.close(ballast)
        return True

    def _allow(self, pages: int) -> None:
        """Set the size limit, which SQLite does not keep below what there is already.

        To write over what is deleted takes room as well, in the log: a job of which the request is
        erased ends without that where there is none.
        """
        self._execute(f"PRAGMA max_page_count = {pages}")
        self._raised = pages > self._pages
        self._execute(f"PRAGMA secure_delete = {'FAST' if self._raised else 'ON'}")

    def _pages_in_use(self) -> int:
        (pages,) = self._execute("PRAGMA page_count").fetchone()
        (free,) = self._execute("PRAGMA freelist_count").fetchone()
        return int(pages - free)


class BorrowedReserve(Reserve):
    """The reserve as a process has it that adds no jobs, and only ends some or queues them again.

    It uses what there is, and leaves it to others to make it whole.
    """

    def is_whole(self) -> bool:
        return True

    def make(self) -> None:
        return

    def take_back(self) -> bool:
        return True


def _allocate(fd: int) -> None:
    """Have the system set the blocks of the file aside, not only promise them."""
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except AttributeError:  # macOS
        _write(fd)
    except OSError as error:
        if error.errno not in (EINVAL, EOPNOTSUPP):  # as on ZFS
            raise
        _write(fd)


def _write(fd: int) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    # Noise: a file system that compresses would set nothing aside for zeros.
    if os.write(fd, os.urandom(SIZE)) < SIZE:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
