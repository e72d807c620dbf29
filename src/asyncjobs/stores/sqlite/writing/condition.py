"""Why an open store takes no new jobs, if it does not: the one place that knows, and says it once.

Trouble of most kinds passes: there is no room, the file system is read-only, another process keeps
the lock. What ends jobs is still tried meanwhile, and a write that succeeds is the end of it. Three
kinds stay until the store is opened again, and nothing is written any more: the disk has lost what
it was given, the files are not there any more or were cut short, or they are damaged.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ....errors import StoreUnavailable
from ..processes.holders import kept_locked

logger = logging.getLogger("asyncjobs.store")

NO_ROOM = "the disk or the size limit of the job store is full"
LOCKED = "another process keeps the job store locked"
CANNOT_LOOK = "the files of the job store cannot be looked at"

# As the database and the log tell of it, and as their shared memory does.
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
# SQLite does not tell a quota that is used up from any other error of a write.
_WANTS_ROOM = (*_FULL, "SQLITE_IOERR_WRITE")
# What SQLite calls a short read is one of the log: behind the end of a database it reads zeros.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")


class Condition:
    """How the store at `path` does.

    Attributes:
        reason: why no new jobs are taken, in words for clients; None while they are.
        is_final: whether nothing at all is written any more.
        is_damaged: whether the files must be left as they are, even by a checkpoint.
        has_holes: whether what is read may have zeros in it that nobody has written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reason: str | None = None
        self.is_final = False
        self.is_damaged = False
        self.has_holes = False
        self._unreadable = ""
        self._troubled: Callable[[], None] = lambda: None

    def when_troubled(self, troubled: Callable[[], None]) -> None:
        """Have this called at trouble that may pass: each time, as it may have seemed over."""
        self._troubled = troubled

    def check(self, *, can_wait: bool) -> None:
        """Let a write pass, if it may: one that can wait only while there is no trouble.

        Raises:
            StoreUnavailable
        """
        if self.reason is not None and (can_wait or self.is_final):
            raise StoreUnavailable(self.reason)

    def write_failed(self, error: sqlite3.Error) -> None:
        """A transaction could not be made."""
        if is_damage(error):
            self.damaged(error)
        else:
            self.trouble(reason_of(error), str(error))

    def read_failed(self, error: sqlite3.Error) -> StoreUnavailable:
        """What to raise for a read that failed. Only damage keeps the store from taking jobs, which
        is also what SQLite calls it if the disk cannot read."""
        if is_damage(error):
            self.damaged(error)
            return StoreUnavailable(f"the job store is damaged and cannot be read: {error}")
        if str(error) != self._unreadable:
            self._unreadable = str(error)
            logger.error("the store %s cannot be read: %s", self._path, error)
        return StoreUnavailable(f"the job store cannot be read: {error}")

    def flush_failed(self, error: OSError) -> None:
        """The disk did not take what was committed.

        The kernel drops the dirty pages of a failed sync, so a second one that succeeds would prove
        nothing (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        self._end(
            f"the job store cannot be written: {error}",
            f"the disk failed to keep what was written ({error})",
            "see to the disk",
        )

    def files_lost(self, lost: Sequence[str]) -> None:
        """Paths of the store do not lead to the open files any more."""
        details = f"deleted, moved or replaced under the running server: {', '.join(lost)}"
        advice = "put back what belongs there"
        # SQLite deletes them itself, after a checkpoint, if it finds no lock on the database.
        if {f"{self._path}-wal", f"{self._path}-shm"}.issuperset(lost):
            details += (
                f". If nobody has deleted it by hand, this program has opened and closed "
                f"{self._path} past SQLite, for a download or a copy: that drops SQLite's locks, "
                "and the next process that ends then deletes the log"
            )
            advice = "have it use Jobs.backup(path) for copies"
        self._end("the files of the job store were deleted or replaced", details, advice)

    def files_cut(self, cuts: Mapping[str, str]) -> None:
        """Paths of the store lead to files that lack something: what is left of each."""
        self.has_holes |= str(self._path) in cuts
        self._changed("cut short", cuts)

    def log_overwritten(self, frame: int) -> None:
        """This frame of the log is not what it was, as also where it was cut short and then written
        on: SQLite takes whatever is there for what was written."""
        self.has_holes = True
        what = f"frame {frame} is not what was written there"
        self._changed("cut short or overwritten", {f"{self._path}-wal": what})

    def damaged(self, error: sqlite3.Error) -> None:
        """The database is not what it should be."""
        self.is_damaged = True
        self._end(
            "the job store is damaged",
            f"the database is damaged ({error}); nothing in it was touched",
            "keep its files, and restore it or move it away",
        )

    def trouble(self, reason: str, details: str = "") -> None:
        """There is trouble that may pass; told on the event loop, as all is but what a checkpoint
        finds."""
        is_new = self.reason is None
        if not self.is_final:
            self.reason = reason  # whatever comes of what is said
        if is_new:
            if reason == LOCKED:
                by = kept_locked(Path(f"{self._path}-lock")) or kept_locked(self._path)
                details = by or details
            said = f"{reason} ({details})" if details else reason
            logger.error("the store %s takes no new jobs until it can: %s", self._path, said)
        self._troubled()

    def recovered(self) -> None:
        """The trouble has passed."""
        if self.reason is not None and not self.is_final:
            self.reason = None
            logger.warning("the store %s takes new jobs again", self._path)

    def _changed(self, how: str, left: Mapping[str, str]) -> None:
        self.is_damaged = True
        names = ", ".join(os.path.basename(path) for path in left)
        self._end(
            f"files of the job store were {how}: {names}",
            f"{how} under the running server: "
            f"{', '.join(f'{path} ({what})' for path, what in left.items())}; what is left was not "
            "touched, and will not be when the server stops",
            "keep a copy of all its files, put back what belongs there or restore the store",
        )

    def _end(self, reason: str, details: str, advice: str) -> None:
        if not self.is_final:
            self.is_final = True  # first: what a thread says stays
            self.reason = reason
            logger.critical(
                "the store %s takes no more jobs: %s. Stop the server, %s, then start it again",
                *(self._path, details, advice),
            )


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another connection was faster."""
    return _name(error).startswith("SQLITE_BUSY")


def wants_room(error: sqlite3.Error) -> bool:
    """Whether a write may have failed for want of room."""
    return _name(error).startswith(_WANTS_ROOM)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database is not what it should be."""
    return _name(error).startswith(_DAMAGED)


def is_unsynced(error: sqlite3.Error) -> bool:
    """Whether the disk did not take what was written."""
    return _name(error) == "SQLITE_IOERR_FSYNC"


def reason_of(error: sqlite3.Error) -> str:
    """Why a write failed, in words for clients: where the store is, is not for them."""
    if _name(error).startswith(_FULL):
        return NO_ROOM
    return f"the job store cannot be written: {error}"


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")  # the module's own errors have none
