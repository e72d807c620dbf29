"""What a store has lost with its write-ahead log since it was last open, and who is told of it."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ....errors import StoreCorrupt
from ..private import open_own
from ..start_errors import in_shell
from .generation import Generation
from .lengths import committed_frames
from .log_frames import damaged_frame

logger = logging.getLogger("asyncjobs.store")

#: Bytes of a log that is kept as it was: the start waits for the copy.
MOST_KEPT = 64 * 1024 * 1024


def has_log(path: Path) -> bool:
    """Whether there is a log beside the database at `path`, with anything in it."""
    return _size_of(f"{path}-wal") > 0


def refuse_log_without_database(path: Path) -> None:
    """Leave a log alone whose database is not there: SQLite would make a new one and delete it.

    It never comes to that by itself: a database has its first page before it has a log.

    Raises:
        StoreCorrupt
        OSError: nobody can tell.
    """
    wal = f"{path}-wal"
    # The log first: what another process makes meanwhile, it makes in the other order.
    size = _size_of(wal)
    if size and _size_of(path) <= 1:  # SQLite takes a single byte for nothing as well
        raise StoreCorrupt(
            f"the store {path} is {'empty' if path.exists() else 'not there'}, but SQLite's log "
            f"{wal} beside it has {size} bytes, which may be jobs that were accepted: a new store "
            f"would take them away, and nothing was touched. Put the very {path.name} back that "
            "belongs to it, then start again. If there is none any more, move the log away; then "
            "put a copy in place (an older one together with this log would be damaged by it), or "
            "start with a new store: what is in SQLite's log alone is lost then"
        )


class LogLoss(NamedTuple):
    """A log that was lost, in whole or from a frame on.

    Attributes:
        reason: what clients are told.
        details: what the program's log is told.
        damaged: whether what is left of it is still in use.
    """

    reason: str
    details: str
    damaged: bool

    def tell(self, path: Path) -> None:
        """Say it, at the one start that finds it."""
        logger.error("the store %s has lost jobs or results: %s", path, self.details)

    def begin_anew(self, connection: sqlite3.Connection) -> None:
        """Have what is left of it in the database, so that the next start does not find it too."""
        if self.damaged:
            with suppress(sqlite3.OperationalError):  # there is no room: then it will
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def find_loss(
    path: Path, connection: sqlite3.Connection, generation: Generation, *, alone: bool
) -> LogLoss | None:
    """Look for it, before anything is written; what is there of a log that was lost is kept.

    Args:
        connection: in autocommit mode.
        alone: whether nobody else has the store open. Then SQLite has just read the log from its
            beginning, which it does not as long as anybody knows where its end is.

    Raises:
        StoreCorrupt: the log is that of another database.
        sqlite3.Error, OSError
    """
    _refuse_foreign_log(path, generation, alone=alone)
    frame = _damaged_frame(path) if alone else None
    is_lost = generation.is_lost()
    if frame is None and not is_lost:
        return None
    kept = _keep(f"{path}-wal")
    if is_lost and _is_new(connection):
        what, details = _new_store(path, kept)
    elif is_lost:
        what, details = _no_log(path, kept)
    else:
        what, details = _damaged_log(path, kept, frame)
    reason = f"jobs or results were lost before this process started: {what}"
    return LogLoss(reason, details, damaged=frame is not None)


def refuse_loss(path: Path, generation: Generation, *, alone: bool) -> None:
    """Leave a store to the next server's start that has lost something: it is said only once.

    Raises:
        StoreCorrupt
        sqlite3.Error, OSError
    """
    _refuse_foreign_log(path, generation, alone=alone)
    if generation.is_lost() or (alone and _damaged_frame(path) is not None):
        raise StoreCorrupt(
            f"SQLite's log {path}-wal was lost or damaged, and nothing was touched: start the "
            "server, which says what is lost, and goes on without that"
        )


def _refuse_foreign_log(path: Path, generation: Generation, *, alone: bool) -> None:
    if alone and has_log(path) and not generation.is_of(path):
        raise StoreCorrupt(
            f"SQLite's log {path}-wal is older than the database {path} beside it, and so belongs "
            "to another one, as after a restore that left it there: it would take away what is "
            "newer, and nothing was touched. Move the log away, then start again"
        )


def _new_store(path: Path, kept: str) -> tuple[str, str]:
    what = f"{path.name} was deleted or emptied, or {path.name}-wal lost, and the store is new"
    return what, (
        f"{path} was deleted or emptied, or SQLite's log {path}-wal was lost or damaged before "
        "anything of it was in the database. What was there is gone, and polls for it answer 404: "
        f"this is a new, empty store.{kept} If there is a copy, stop every server, delete "
        f"{path}-lock too, put the copy in place, and start again. If you wanted a new store, this "
        f"is as it must be: delete {path}-lock too, and it is not said"
    )


def _no_log(path: Path, kept: str) -> tuple[str, str]:
    what = (
        f"{path.name} or SQLite's log {path.name}-wal was lost or damaged. If you have just "
        f"restored a copy and left {path.name}-lock there, nothing was"
    )
    return what, (
        f"SQLite's log {path}-wal was deleted, emptied or damaged after a server was killed, or "
        f"{path} is not the database any more that belonged to it. What was written after the last "
        f"checkpoint is gone, and polls for it answer 404.{kept} If a copy was put in the place of "
        f"the store, this is as it must be: delete {path}-lock too when you restore one, and it is "
        "not said"
    )


def _damaged_log(path: Path, kept: str, frame: int | None) -> tuple[str, str]:
    return f"SQLite's log {path.name}-wal was damaged", (
        f"SQLite's log {path}-wal was damaged at frame {frame}, and what was committed behind that "
        "cannot be read any more: jobs in it are gone, or are as they were before. If the machine "
        f"has lost its power, that may have been nothing that anybody was told of.{kept} See to "
        f"the disk, and to the database: {in_shell(path, 'PRAGMA integrity_check')}"
    )


def _is_new(connection: sqlite3.Connection) -> bool:
    """Whether there is nothing in the database, of which tables are made next."""
    found: tuple[int] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return found == (0,)


def _damaged_frame(path: Path) -> int | None:
    wal = f"{path}-wal"
    if not os.path.isfile(wal):
        return None
    with open(wal, "rb") as log:
        return damaged_frame(log, committed_frames(path) or 0)


def _keep(wal: str) -> str:
    """Copy what is there of the log; what to say of that."""
    size = _size_of(wal)
    if not size:
        return ""
    if size > MOST_KEPT:
        return f" The log as it was is too large to be kept: it has {size} bytes."
    kept = f"{wal}-damaged"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with open(wal, "rb") as log, open(open_own(kept, flags), "wb") as copy:
            shutil.copyfileobj(log, copy)
    except FileExistsError:
        return f" There is a {kept} of an earlier loss already, so that this one was not kept."
    except OSError as error:
        with suppress(OSError):
            os.unlink(kept)
        return f" What was there of it could not be kept: {error}."
    return f" What was there of it is kept in {kept}."


def _size_of(file: str | Path) -> int:
    try:
        return os.stat(file).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
