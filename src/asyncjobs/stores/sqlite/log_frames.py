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

#: Bytes of a log that are looked at: one that is larger was about to be cut back.
MOST = 16 * 1024 * 1024

_MAGIC = 0x377F0682  # and one more where the checksums are those of a big-endian machine
_HEADER = struct.Struct(">4I8s8s")  # magic, version, page size, checkpoints; salts, checksum
_FRAME = struct.Struct(">4s4s8s8s")  # page, size of the database if it is a commit; salts, checksum
_NO_COMMIT = bytes(4)


def damaged_frame(log: BinaryIO) -> int | None:
    """The number of the first frame that is damaged, if that is what it is; they count from 1.

    What stood at the very end, or was cut off there, cannot be told from a crash; nor can a log
    whose header is not one be read at all.

    Raises:
        OSError
    """
    header = log.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, page_size, _, salts, checksum = _HEADER.unpack(header)
    words = struct.Struct(">II" if magic & 1 else "<II")
    if magic & ~1 != _MAGIC or _checksum(header[:24], bytes(8), words) != checksum:
        return None
    damaged = None
    commits_behind = 0
    for number in range(1, MOST // (_FRAME.size + page_size) + 1):
        frame = log.read(_FRAME.size + page_size)
        if len(frame) < _FRAME.size + page_size:
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
