"""Locks between processes, by ``flock``: freed by the system itself when the holder dies.

``flock`` and not ``lockf``: the latter is lost as soon as anything in the process closes any other
descriptor of the same file. A system without ``flock``, as Windows is, has one process on a store
only (see `alone`): there these are locks between the threads of that process.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path

from ..private import open_own
from .forks import left_in_forked_child

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: How long anybody waits for other processes before that fails, in seconds.
LOCK_TIMEOUT = 5.0
#: Seconds between two tries to get a lock that somebody has.
_RETRY = 0.002

#: Whether processes can share a store on this system.
HAS_FLOCK = fcntl is not None


def sync_data(fd: int) -> None:
    """Wait until what was written to the file is on the disk. macOS has no fdatasync."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)


def sync_folder(folder: Path) -> None:
    """Make the names of new files durable as well (fsync(2), NOTES).

    Windows opens no folders.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileLock:
    """An exclusive lock on a file of our own user: what others can put there proves nothing.

    Two locks on the same file exclude each other also within one process. A forked child has none
    of its parent's: else it would keep it when the parent has died.

    Args:
        create: whether the file is made if it is missing.

    Raises:
        OSError
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        fd = open_own(path, os.O_RDWR | (os.O_CREAT if create else 0))
        self._lock: _Flock | _ThreadLock
        if HAS_FLOCK:
            self._lock = _Flock(fd)
        else:
            os.close(fd)  # Windows renames no file that is open
            self._lock = _ThreadLock(path)
        left_in_forked_child(self)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Never waits."""
        return self._lock.acquire()

    def acquire(self, timeout: float) -> bool:
        """Wait for the lock so many seconds, but no longer: for threads and for the stop only."""
        deadline = time.monotonic() + timeout
        while not self._lock.acquire():
            if time.monotonic() > deadline:
                return False
            time.sleep(_RETRY)
        return True

    def is_free(self) -> bool:
        """Whether nobody has it; two who ask at the same time do not take each other for a holder.

        Raises:
            OSError: the system does not tell.
        """
        return self._lock.is_free()

    def release(self) -> None:
        self._lock.release()

    def close(self) -> None:
        """Give the lock up, with the descriptor."""
        self._lock.close()

    def leave(self) -> None:
        """In a forked child: let the parent have it alone."""
        self.close()


def is_unlocked(fd: int) -> bool:
    """Whether nobody has the lock on this file, which may be open for reading only.

    Raises:
        OSError: the system does not tell.
    """
    return _Flock(fd).is_free()


class _Flock:
    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def acquire(self) -> bool:
        if self._fd is None:
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another has it; or the system has none left, which is as good as that
            return False
        return True

    def is_free(self) -> bool:
        assert self._fd is not None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.release()
        return True

    def release(self) -> None:
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class _ThreadLock:
    def __init__(self, path: Path) -> None:
        self._lock = _thread_locks.setdefault(path, threading.Lock())
        self._held = False

    def acquire(self) -> bool:
        self._held = self._held or self._lock.acquire(blocking=False)
        return self._held

    def is_free(self) -> bool:
        return not self._lock.locked()

    def release(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    def close(self) -> None:
        self.release()


_thread_locks: weakref.WeakValueDictionary[Path, threading.Lock] = weakref.WeakValueDictionary()
