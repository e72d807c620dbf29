"""Large results: sent in pieces, each when the client has taken those before, and from one copy.

In one piece a result would be copied into the buffer of each connection, for as long as its client
takes: a thousand slow ones would have it a thousand times.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from weakref import WeakValueDictionary

from quart.wrappers.response import DataBody

from ...job import Job

#: Bytes of a piece. What has no more is sent at once.
PIECE = 64 * 1024


class LargeBody(DataBody):
    """The body of an answer that is sent in pieces.

    Args:
        copy: that others may send as well.
    """

    def __init__(self, copy: Copy) -> None:
        super().__init__(copy.data)
        self._copy = copy  # for as long as anybody sends it, others find it

    def pieces(self) -> Iterator[bytes]:
        """All that is to be sent, in order."""
        for start in range(self.begin, self.end, PIECE):
            yield self.data[start : min(start + PIECE, self.end)]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _one_after_the_other(self.pieces())


class Copy:
    """The one copy of a result."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data


# Those that are being sent, by the job and its version.
_copies: WeakValueDictionary[tuple[str, int], Copy] = WeakValueDictionary()


def copy_of(job: Job, data: bytes) -> Copy:
    """The copy of a job's result for all who are sent it.

    Args:
        data: the same, as it was just read.
    """
    copy = _copies.get((job.id, job.version))
    if copy is None or copy.data != data:
        copy = _copies[job.id, job.version] = Copy(data)
    return copy


async def _one_after_the_other(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
