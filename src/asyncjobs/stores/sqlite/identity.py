"""Whether the files of an open store are still the ones that its paths lead to.

What is written into a file that was deleted, moved away or replaced succeeds, and nobody will ever
find it again. The files are looked at by `stat` alone: to open and close the database past SQLite
would drop the locks that this process has on it (https://www.sqlite.org/howtocorrupt.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Identity:
    """The inodes that `paths` lead to now."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {str(path): inode(os.stat(path)) for path in paths}

    def lost(self) -> list[str]:
        """The paths that lead elsewhere by now, or nowhere.

        Raises:
            OSError: that cannot be told just now, as without permission to look.
        """
        lost = []
        # With no function for each: they are looked at before whatever is acknowledged.
        for path, known in self._known.items():
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                lost.append(path)
            else:
                if (status.st_dev, status.st_ino) != known:
                    lost.append(path)
        return lost


def inode(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from all others, whatever its name."""
    return status.st_dev, status.st_ino


def descriptor_of(wanted: tuple[int, int]) -> int | None:
    """A descriptor that this process has of the file, such as one of SQLite's own, which may close
    it at any time; None if it has none, or it cannot be told.

    One of ours could never be closed again.
    """
    with suppress(FileNotFoundError):  # Windows, or nothing is mounted there
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):  # it was that of the folder
                if inode(os.fstat(int(name))) == wanted:
                    return int(name)
    return None
