"""Copies of a store while it is in use, by SQLite's own backup (https://www.sqlite.org/backup.html).

By SQLite alone: a program that opens and closes the database past it drops the locks that it has on
it (https://www.sqlite.org/howtocorrupt.html), and a copy without the log lacks the newest jobs.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ...daemons import start_daemon
from ...errors import SetupError, StorePathError, StoreUnavailable
from .private import make_private
from .processes.locks import sync_folder


async def back_up(path: Path, target: Path, check: Callable[[], None]) -> None:
    """Copy the database at `path` to a new file, in a thread.

    If the caller is cancelled meanwhile, it goes on.

    Args:
        check: raises an exception if the files are not, or not all, of what is to be copied.

    Raises:
        StorePathError: there can be no such file.
        StoreUnavailable: it could not be read or written; no file is left.
    """
    _check(target)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        error = _error_of(path, target, check)
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, done, error)

    try:
        start_daemon("asyncjobs-backup", run)
    except SetupError as error:
        raise StoreUnavailable(f"the backup {target} cannot be made: {error}") from error
    await done


def _check(target: Path) -> None:
    if os.path.lexists(target):
        raise StorePathError(
            f"there is a file {target} already, and a backup replaces none: name another, or move "
            "it away first"
        )
    for other in (f"{target}-wal", f"{target}-journal"):
        if os.path.lexists(other):  # SQLite would apply it to the copy
            raise StorePathError(
                f"beside the backup {target} there would be {other} of another database, which "
                "would damage it: name another, or move that away first"
            )
    if not target.parent.is_dir():
        raise StorePathError(f"the folder of the backup {target} does not exist: make it first")


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _error_of(path: Path, target: Path, check: Callable[[], None]) -> Exception | None:
    try:
        _copy(path, target, check)
    except sqlite3.Error as error:
        return StoreUnavailable(f"the backup {target} cannot be made: {error}")
    except OSError as error:
        return StoreUnavailable(f"the backup {target} cannot be written: {error.strerror}")
    except Exception as error:
        return error
    return None


def _copy(path: Path, target: Path, check: Callable[[], None]) -> None:
    """Under its own name there is only what is whole and on the disk."""
    fd, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".part")
    try:
        try:
            make_private(fd)
            check()  # a new connection deletes the log beside a database that is empty
            _fill(path, part)
            os.fsync(fd)
        finally:
            os.close(fd)
        check()
        _check(target)
        os.rename(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    sync_folder(target.parent)


def _fill(path: Path, part: str) -> None:
    # One that can only read does not checkpoint when it is closed, which could race a commit.
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        # A copy that is broken off is thrown away, and one that is whole is flushed in the end.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        # In one step, so that it is of one moment and nobody's write has it begin again.
        source.backup(copy)
