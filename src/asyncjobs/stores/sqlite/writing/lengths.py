"""Whether the files of an open store still have all that was written into them.

A file that is cut short in place, as by ``> jobs.db-wal``, is still the same file. SQLite goes on
writing at the offset where it was, takes the hole for pages, and moves them into the database at
its next checkpoint. How much there must be stands in the index of the log, which all processes
share and keep up to date (https://www.sqlite.org/walformat.html#the_wal_index_file_format).

A log that was written on before anybody looked is long enough again. The hole ends where it was
written on, so that the frame before that is not what it was: each look keeps the last one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..identity import descriptor_of, inode
from .condition import Condition
from .log_frames import FRAME_HEAD_SIZE, HEADER_SIZE, salts_of, word_order

# Version, page size, frames, pages of the database, salts. It is there twice, and the two differ
# while somebody writes them. Behind them is how many of the frames are in the database by now.
_HEADER = struct.Struct("=I10xHII8x8s8x")
_HALF = _HEADER.size
_MOVED = struct.Struct("=I")
_INDEX_SIZE = 2 * _HALF + _MOVED.size
_VERSION = 3007000
# So often it is read until nobody writes it. Whoever dies over that leaves it to SQLite to mend.
_READS = 20

# That of our databases.
_PAGE_SIZE = 4096

# Of the log, looked at together: a quarter of a megabyte.
_FRAMES_AT_ONCE = 64

# The page at this offset is never used, and so it is in no log: SQLite locks its bytes.
_LOCK_BYTE = 0x40000000


class Lengths:
    """How long the database at `path` and its log must be.

    Where the index cannot be had, as on Windows, nobody knows, and they are taken for whole.

    Args:
        wal: a descriptor of the log.
        condition: is told what was cut short.
    """

    def __init__(self, path: Path, wal: int, condition: Condition) -> None:
        self._path = str(path)
        self._database = inode(os.stat(path))
        self._wal = wal
        self._condition = condition
        self._shm = descriptor_of(inode(os.stat(f"{path}-shm")))
        self._index: _Index | None = None
        self._had_all = (b"", 0, 0)
        self._newest = (b"", 0, b"")

    def are_right(self) -> bool:
        """Whether nothing was cut short; if something was, the condition has the reason.

        From any thread, and without a lock: files are longer before the index says so, and shorter
        after. Who looks before a write and after it knows of a log that was cut between as well.

        Raises:
            OSError: that cannot be told just now.
        """
        cuts, frame = self._look()
        if cuts:
            self._condition.files_cut(cuts)
        if frame is not None:
            self._condition.log_overwritten(frame)
        return not cuts and frame is None

    def cuts(self) -> Mapping[str, str]:
        """The same in words: the files of which something is missing, and what is left of each.

        Raises:
            OSError: that cannot be told just now.
        """
        return self._look()[0]

    def frames_to_move(self) -> int:
        """How many frames of the log are not in the database. Where nobody knows, how many there is
        room for in the file of the log, which only grows until it is cut back.

        Raises:
            OSError: that cannot be told just now.
        """
        index = self._read_index()
        if index is None:
            return os.fstat(self._wal).st_size // _PAGE_SIZE
        return index.frames - index.moved

    def descriptor_of_database(self) -> int | None:
        """One of SQLite's own, if it can be found."""
        try:
            return descriptor_of(self._database)
        except OSError:
            return None

    def are_frames_right(self) -> bool:
        """Whether what is to be moved out of the log is what was written into it, as far as the
        heads of its frames tell; else the condition has the reason.

        In any thread, while the log is not begun anew. Takes about a microsecond a frame.

        Raises:
            OSError: that cannot be told just now.
        """
        while (index := self._read_index()) is not None:
            frame = self._wrong_frame(index)
            if frame is None:
                break
            # Else it was begun anew meanwhile: tools that make checkpoints know no lock of ours.
            if self._read_index() == index:
                self._condition.log_overwritten(frame)
                return False
        return True

    def may_be_moved(self) -> bool:
        """Whether nothing is wrong with the files or with what is to be moved out of the log; else
        the condition has the reason. As `are_frames_right`.

        Raises:
            OSError: that cannot be told just now.
        """
        # Once more, as it is quick, and the frames took a while.
        return self.are_right() and self.are_frames_right() and self.are_right()

    def _look(self) -> tuple[Mapping[str, str], int | None]:
        """What was cut short, as `cuts` says it, and the frame of the log that is another."""
        while (index := self._read_index()) is not None:
            log, frame = self._left_of_log(index)
            database = self._left_of_database(index, has_log=log is None)
            if log is None and frame is None and database is None:
                break
            # Else it was cut back by a checkpoint meanwhile.
            if self._read_index() == index:
                left = {f"{self._path}-wal": log, self._path: database}
                return {path: what for path, what in left.items() if what is not None}, frame
        return {}, None

    def _wrong_frame(self, index: _Index) -> int | None:
        """The first frame to be moved that is not of this log; None if all of them are."""
        size = FRAME_HEAD_SIZE + index.page_size
        frames = range(index.moved + 1, index.frames + 1)
        # Each read gives the interpreter's lock away, which a busy loop does not soon give back.
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            chunk = frames[start : start + _FRAMES_AT_ONCE]
            data = os.pread(self._wal, len(chunk) * size, index.offset(chunk[0]))
            for position, frame in enumerate(chunk):
                salts = position * size + 8
                if data[salts : salts + 8] != index.salts:
                    return frame
        return None

    def _read_index(self) -> _Index | None:
        """What the index says, if it does."""
        if self._shm is None:
            return None
        for _ in range(_READS):
            data, index = os.pread(self._shm, _INDEX_SIZE, 0), self._index
            if index is None or data != index.data:
                index = self._index = _decoded(data)
            if index is not None:
                return index
        return None

    def _left_of_log(self, index: _Index) -> tuple[str | None, int | None]:
        """What is left of the log, in words, or None if that is all of it; and the frame that was
        its last one at the last look, if it is another now."""
        if not index.frames:
            return None, None
        size = FRAME_HEAD_SIZE + index.page_size
        start = index.end - size
        newest = os.pread(self._wal, size, start)
        if len(newest) < size:
            return f"{os.fstat(self._wal).st_size} of at least {index.end} bytes", None
        if not _begins_log(os.pread(self._wal, HEADER_SIZE, 0), index.salts):
            return "not from its beginning", None
        # What is committed stays as it is until the log begins anew, with other salts.
        salts, before, written = self._newest
        if salts == index.salts and before <= start:
            found = newest if before == start else os.pread(self._wal, size, before)
            if found != written:
                return None, 1 + (before - HEADER_SIZE) // size
        self._newest = index.salts, start, newest
        return None, None

    def _left_of_database(self, index: _Index, *, has_log: bool) -> str | None:
        """The same of the database."""
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        size = status.st_size
        if (
            # Without its first page SQLite would take it for a new one.
            size >= index.page_size and (not has_log or self._has_all_pages(size, index))
        ) or inode(status) != self._database:
            return None
        return f"{size} bytes of {index.pages} pages, which are not in the log"

    def _has_all_pages(self, size: int, index: _Index) -> bool:
        """Whether all that is missing at the end of the database is still to be moved there.

        The sizes alone do not tell: after a vacuum a checkpoint cuts the database back, and pages
        that are added to it are only in the log at first.
        """
        salts, moved, least = self._had_all
        has_all = (
            size >= index.pages * index.page_size
            or (salts == index.salts and moved == index.moved and size >= least)
            or self._are_missing_to_be_moved(size, index)
        )
        if has_all:
            # Until more is moved, or the log begins anew, pages are added by the log alone.
            self._had_all = index.salts, index.moved, size
        return has_all

    def _are_missing_to_be_moved(self, size: int, index: _Index) -> bool:
        first = size // index.page_size + 1
        if index.pages - first > index.frames - index.moved:  # they are too many, but for one
            return False
        missing = set(range(first, index.pages + 1))
        missing.discard(_LOCK_BYTE // index.page_size + 1)
        return missing <= self._to_move(index)

    def _to_move(self, index: _Index) -> set[int]:
        frames = map(index.offset, range(index.moved + 1, index.frames + 1))
        return {int.from_bytes(os.pread(self._wal, 4, frame), "big") for frame in frames}


def committed_frames(path: Path) -> int | None:
    """How many frames of the log SQLite knows, which has the database at `path` open here.

    None if nobody can tell.

    Raises:
        OSError
    """
    try:
        shm = descriptor_of(inode(os.stat(f"{path}-shm")))
    except FileNotFoundError:
        return None
    index = None if shm is None else _decoded(os.pread(shm, _INDEX_SIZE, 0))
    return None if index is None else index.frames


class _Index(NamedTuple):
    """What the index says of the log and of the database.

    Attributes:
        frames: how many of the log are committed.
        pages: how many the database has with these.
        salts: of the log's header, as they are there.
        moved: how many frames are in the database already.
        end: so long is the log at least, in bytes.
    """

    data: bytes
    page_size: int
    frames: int
    pages: int
    salts: bytes
    moved: int
    end: int

    def offset(self, frame: int) -> int:
        """Where in the log the frame begins; the first one is 1."""
        return _offset(frame, self.page_size)


def _decoded(data: bytes) -> _Index | None:
    if len(data) < _INDEX_SIZE or data[:_HALF] != data[_HALF : 2 * _HALF]:
        return None
    version, page_size, frames, pages, salts = _HEADER.unpack_from(data)
    if version != _VERSION or not page_size:  # nothing was committed yet
        return None
    page_size = (page_size & 0xFE00) | (page_size & 1) << 16
    (moved,) = _MOVED.unpack_from(data, 2 * _HALF)
    end = _offset(frames + 1, page_size)
    return _Index(data, page_size, frames, pages, salts, moved, end)


def _offset(frame: int, page_size: int) -> int:
    return HEADER_SIZE + (frame - 1) * (FRAME_HEAD_SIZE + page_size)


@lru_cache(maxsize=1)
def _begins_log(header: bytes, salts: bytes) -> bool:
    """Whether this is the header of a log with these salts."""
    return word_order(header) is not None and salts_of(header) == salts
