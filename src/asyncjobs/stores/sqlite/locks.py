"""Locks between processes, by ``flock``: freed by the system itself when the holder dies.

``flock`` and not ``lockf``: the latter is lost as soon as anything in the process closes any other
descriptor of the same file.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ...errors import StorePathError


def sync_data(fd: int) -> None:
    """Wait until what was written to the file is on the disk. macOS has no fdatasync."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)


class FileLock:
    """An exclusive lock on a file, which is made if it is missing.

    Two locks on the same file exclude each other also within one process.
    """

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise StorePathError(
                "this system has no flock, which the SQLite store needs: set the store to 'memory:'"
            )
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Never waits."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self) -> None:
        """Wait for the lock: for threads and for start and stop only."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the lock up, with the descriptor."""
        os.close(self._fd)
