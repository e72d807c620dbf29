"""Finds damage in SQLite's write-ahead log (https://www.sqlite.org/walformat.html).

SQLite takes the frames of the log up to the first whose checksum does not fit to the one before it,
and drops the rest without a word: after a crash that is a transaction which nobody was told of.
Where whole transactions stand behind such a frame it was no crash.

Two of them are the proof. What a process leaves that is killed within its commit is the rest of one
transaction at most, if another process then writes over the beginning of it; and what was rolled
back has no end of a transaction.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

#: So many bytes behind what SQLite has taken are looked at: a thousand frames take 50 ms.
MOST = 4 * 1024 * 1024

_MAGIC = 0x377F0682  # and one more where the checksums are those of a big-endian machine
_HEADER = struct.Struct(">4I8s8s")  # magic, version, page size, checkpoints; salts, checksum
_FRAME = struct.Struct(">4s4s8s8s")  # page, size of the database if it is a commit; salts, checksum
_NO_COMMIT = bytes(4)

#: Bytes in front of all frames, and in front of the page of each.
HEADER_SIZE = _HEADER.size
FRAME_HEAD_SIZE = _FRAME.size


def word_order(header: bytes) -> struct.Struct | None:
    """How the checksums of a log that begins so take its words; None if it is no header of one."""
    if len(header) < HEADER_SIZE:
        return None
    magic, *_, checksum = _HEADER.unpack(header)
    words = struct.Struct(">II" if magic & 1 else "<II")
    is_header = magic & ~1 == _MAGIC and _checksum(header[:24], bytes(8), words) == checksum
    return words if is_header else None


def salts_of(header: bytes) -> bytes:
    """What is in each frame of a log that begins so, and in none of an earlier one."""
    return header[16:24]


def damaged_frame(log: BinaryIO, taken: int) -> int | None:
    """The number of the first frame that is damaged, if that is what it is; they count from 1.

    What stood at the very end, or was cut off there, cannot be told from a crash; nor can a log
    whose header is not one be read at all.

    Args:
        taken: so many are known to be good, as SQLite has taken them. It is much faster at that.

    Raises:
        OSError
    """
    header = log.read(HEADER_SIZE)
    if (words := word_order(header)) is None:
        return None
    _, _, page_size, _, salts, checksum = _HEADER.unpack(header)
    size = _FRAME.size + page_size
    if taken:
        log.seek(len(header) + (taken - 1) * size)
        *_, checksum = _FRAME.unpack_from(log.read(size).ljust(size))
    damaged = None
    commits_behind = 0
    for number in range(taken + 1, taken + 1 + MOST // size):
        frame = log.read(size)
        if len(frame) < size:
            break
        before = checksum
        _, commit, salts_here, checksum = _FRAME.unpack_from(frame)
        covered = frame[:8] + frame[_FRAME.size :]
        if salts_here != salts or _checksum(covered, before, words) != checksum:
            damaged = damaged or number
            commits_behind = 0
        elif damaged is not None:
            commits_behind += commit != _NO_COMMIT
            if commits_behind == 2:
                return damaged
    return None


def _checksum(data: bytes, before: bytes, words: struct.Struct) -> bytes:
    """The checksum of what follows something whose checksum is `before`."""
    first, second = struct.unpack(">II", before)
    for odd, even in words.iter_unpack(data):
        first = first + odd + second & 0xFFFFFFFF
        second = second + even + first & 0xFFFFFFFF
    return struct.pack(">II", first, second)
