"""What a start says that cannot open the store: which file it is, and what to do next."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, ENOSPC, EPERM, EROFS
from pathlib import Path

from ...errors import (
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StorePathError,
    StoreReadOnly,
)
from .custody import quoted
from .private import name_of
from .processes.holders import kept_locked

#: What to do where the folder cannot be used, as is normal for that of the program's own files.
ELSEWHERE = (
    "Or keep the store elsewhere, by the setting 'store' (QUART_JOBS_STORE in the configuration of "
    "a Quart app, or in its environment): under systemd in the folder that StateDirectory= makes, "
    "in a container on a volume"
)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say of `path` at start into an error that helps."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _start_error(error, path) from error


@contextmanager
def folder_explained(folder: Path) -> Iterator[None]:
    """Turn what the system says when `folder` is made into an error that helps.

    Raises:
        StorePathError
    """
    try:
        yield
    except OSError as error:
        raise StorePathError(
            f"the folder of the store, {folder}, cannot be made ({error}): make it, and let this "
            f"user write in it. {ELSEWHERE}"
        ) from error


def in_shell(path: Path, statements: str) -> str:
    """The command that runs SQL on the database at `path`, to be typed."""
    return f'sqlite3 {quoted(path)} "{statements}"'


def locked(path: Path) -> StoreLocked:
    """What to raise if somebody has locked the file at `path`."""
    who = kept_locked(path)
    if who is None:
        who = f"another program keeps {path} locked: see who has it open"
        who = f"{who} (fuser -v {path}, or lsof {path}), and"
    else:
        who += ": see"
    return StoreLocked(
        f"{who} whether it stands still, as an sqlite3 shell within a transaction, a VACUUM, a "
        "backup or a stopped process does; have it go on or end, then start again"
    )


def _start_error(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", "") or str(error)
    errno = getattr(error, "errno", None)
    # Of the shared memory beside the database, SQLite only says that it could not be made larger.
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE") or errno == ENOSPC:
        return StoreFull(f"the disk of the store {path} is full: make room, then start again")
    if name.startswith("SQLITE_BUSY"):
        return locked(path)
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_IOERR_SHORT_READ")):
        return StoreCorrupt(
            f"the store {path} is not an SQLite database, or it is damaged ({error}); nothing in "
            "it was touched: move it away or restore it, or name another file"
        )
    is_denied = name.startswith("SQLITE_READONLY") or errno in (EPERM, EACCES, EROFS)
    if is_denied or (name.startswith("SQLITE_CANTOPEN") and _closed_to_us(path)):
        return StoreReadOnly(
            f"the store {path} cannot be written ({error}): {_way_in(path)}. {ELSEWHERE}"
        )
    return StoreError(f"the store {path} cannot be opened: {error} ({name})")


def _way_in(path: Path) -> str:
    """What to do about the files that this process cannot write."""
    closed = _closed_to_us(path)
    named = " and ".join(f"{file} (of the user {name_of(file.stat().st_uid)})" for file in closed)
    way = f"give this user write access to {named or 'the file and to its folder'}"
    if closed and _is_owners_alone(closed[0]):
        us = name_of(os.geteuid())
        way += (
            ". If it was made by a start as another user, and has nothing else in it, type (as "
            f"root) chown -R {us} {quoted(closed[0])}, then start again"
        )
    return way


def _closed_to_us(path: Path) -> list[Path]:
    """The files of the store, and its folder, that this process must write and cannot."""
    suffixes = ("", "-wal", "-shm", "-journal", "-lock", "-procs")
    files = [path.parent, *(Path(f"{path}{suffix}") for suffix in suffixes)]
    return [
        file
        for file in files
        if os.access(file, os.F_OK) and not os.access(file, os.R_OK | os.W_OK)
    ]


def _is_owners_alone(folder: Path) -> bool:
    """Whether it is as the folders that we make: no such folder is the system's own."""
    status = folder.stat()
    return (
        stat.S_ISDIR(status.st_mode)
        and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        and hasattr(os, "geteuid")
        and status.st_uid != os.geteuid()
    )
