"""Locks between processes, by ``flock``: freed by the system itself when the holder dies.

``flock`` and not ``lockf``: the latter is lost as soon as anything in the process closes any other
descriptor of the same file. A system without ``flock``, as Windows is, has one process on a store
only (see `alone`): there these are locks between the threads of that process.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Whether processes can share a store on this system.
HAS_FLOCK = fcntl is not None


def sync_data(fd: int) -> None:
    """Wait until what was written to the file is on the disk. macOS has no fdatasync."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)


class FileLock:
    """An exclusive lock on a file, which is made if it is missing.

    Two locks on the same file exclude each other also within one process.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock: _Flock | _ThreadLock
        if HAS_FLOCK:
            self._lock = _Flock(fd)
        else:
            os.close(fd)  # Windows renames no file that is open
            self._lock = _ThreadLock(path)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Never waits."""
        return self._lock.acquire(wait=False)

    def acquire(self) -> None:
        """Wait for the lock: for threads and for start and stop only."""
        self._lock.acquire(wait=True)

    def release(self) -> None:
        self._lock.release()

    def close(self) -> None:
        """Give the lock up, with the descriptor."""
        self._lock.close()


class _Flock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def acquire(self, *, wait: bool) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


class _ThreadLock:
    def __init__(self, path: Path) -> None:
        self._lock = _thread_locks.setdefault(path, threading.Lock())
        self._held = False

    def acquire(self, *, wait: bool) -> bool:
        self._held = self._held or self._lock.acquire(wait)
        return self._held

    def release(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    def close(self) -> None:
        self.release()


_thread_locks: weakref.WeakValueDictionary[Path, threading.Lock] = weakref.WeakValueDictionary()
