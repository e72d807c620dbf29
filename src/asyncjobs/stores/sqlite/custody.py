"""Whose the files of a store are, and of what kind.

Who can write one of them runs jobs as the server; who can read one has the bodies of requests. So
each is a regular file of the server's own user, that nobody else can write, before it is opened.
The database and its shared memory are only looked at: to open and close them past SQLite would drop
its locks (https://www.sqlite.org/howtocorrupt.html). All others are looked at once more when they
are opened (see `private`), as what has a name may have been exchanged since.

A system without users as POSIX has them, as Windows is, keeps files from others by other means.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ...errors import StoreExposed, StorePathError, StoreReadOnly
from .private import ROOT, is_foreign, kind_of, name_of

logger = logging.getLogger("asyncjobs.store")

#: The files of a store, SQLite's and ours, as they are called after the database.
FILES = ("", "-wal", "-shm", "-journal", "-lock", "-ballast", "-alone", "-wal-damaged")
#: The folder beside them.
FOLDER = "-procs"

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH

_Found = dict[Path, os.stat_result]


def secure(path: Path) -> None:
    """Make sure that what there is of the store at `path` is its user's alone, and opens nothing.

    Files that others can only read are closed to them, and the log says so.

    Raises:
        StorePathError: something else is in the place of a file.
        StoreExposed: another user owns a file, or can write it.
        StoreReadOnly: a file is root's, and this process has another user.
        OSError: that cannot be told.
    """
    if not hasattr(os, "geteuid"):
        return
    found = _look(path)
    _check_kinds(path, found)
    _check_owners(path, found)
    _check_writers(path, found)
    _check_entries(path)
    _keep_from_readers(path, found)


def check_kinds(path: Path) -> None:
    """Make sure that what there is of the store at `path` are files, whoever owns them.

    Raises:
        StorePathError: something else is in the place of one.
        OSError: that cannot be told.
    """
    _check_kinds(path, _look(path))


def warn_of_folder(path: Path) -> None:
    """Say in the log if others can exchange the files of the store at `path`.

    That is no error: a folder for deploys, or a volume of a container, may belong to others.

    Raises:
        OSError: that cannot be told.
    """
    if not hasattr(os, "geteuid"):
        return
    folder, status = path.parent, os.stat(path.parent)
    if is_foreign(status) and os.geteuid() == ROOT:
        logger.warning(
            "this program runs as root, and the folder %s of the store %s belongs to the user %s: "
            "if it is that user's program, run it as that user, or its own start will be refused",
            *(folder, path.name, name_of(status.st_uid)),
        )
        return
    if is_foreign(status):
        said, command = (
            f"belongs to the user {name_of(status.st_uid)}",
            f"chown {name_of(os.geteuid())}",
        )
    elif status.st_mode & _WRITABLE and not status.st_mode & stat.S_ISVTX:
        said, command = f"can be written by {_writers(status)}", "chmod go-w"
    else:
        return
    logger.warning(
        "the folder %s of the store %s %s, who can put other files in the place of the store's: "
        "%s %s, or have the store in a folder of its own",
        *(folder, path.name, said, command, quoted(folder)),
    )


def quoted(*files: Path | str) -> str:
    """Files as a shell is to have them."""
    return shlex.join(map(str, files))


def _look(path: Path) -> _Found:
    found = {}
    for suffix in (*FILES, FOLDER):
        file = Path(f"{path}{suffix}")
        with suppress(FileNotFoundError, NotADirectoryError):
            found[file] = os.lstat(file)
    return found


def _check_kinds(path: Path, found: _Found) -> None:
    for file, status in found.items():
        is_folder = stat.S_ISDIR(status.st_mode)
        if not (is_folder if _is_folder(path, file) else stat.S_ISREG(status.st_mode)):
            wanted = "the folder" if _is_folder(path, file) else "a file"
            raise StorePathError(
                f"{file} is {kind_of(status)}, and should be {wanted} of the store: move it away, "
                "then start again"
            )
        if not is_folder and status.st_nlink > 1:
            raise StorePathError(
                f"{file} has more than one name (find -samefile {quoted(file)} tells them), and "
                "under each there would be another log, which damages a store. Delete the others; "
                f"or have a copy of its own here: cp -p {quoted(file)} {quoted(f'{file}.copy')} "
                f"&& mv {quoted(f'{file}.copy')} {quoted(file)}"
            )


def _check_owners(path: Path, found: _Found) -> None:
    us = os.geteuid()
    foreign = [file for file, status in found.items() if is_foreign(status)]
    if files := [file for file in foreign if not _is_folder(path, file)]:
        loosely = any(found[file].st_mode & _OTHERS for file in files)
        tighten = f" && chmod go-rwx {quoted(*files)}" if loosely else ""
        raise StoreExposed(
            f"the user {name_of(found[files[0]].st_uid)} owns {_listed(files)}, and so can read "
            "and change the jobs of this store; nothing of it was run. The user of this program is "
            f"{name_of(us)}: have it run as the owner; or, if you know where that comes from, type "
            f"(as root) chown {name_of(us)} {quoted(*files)}{tighten}; else move it away"
        )
    if foreign:
        raise _foreign_folder(foreign[0], found[foreign[0]])
    roots = [file for file, status in found.items() if status.st_uid != us and not _can_write(file)]
    if roots:
        raise _roots(roots)


def _roots(files: list[Path]) -> StoreReadOnly:
    us = name_of(os.geteuid())
    return StoreReadOnly(
        f"root owns {_listed(files)}, or what is in there, which this program cannot write, as it "
        f"runs as {us}: it may have run as root once. Type (as root) chown -R {us} "
        f"{quoted(*files)}"
    )


def _check_writers(path: Path, found: _Found) -> None:
    loose = [file for file, status in found.items() if status.st_mode & _WRITABLE]
    if loose:
        raise StoreExposed(
            f"{_writers(*(found[file] for file in loose))} can write {_listed(loose)}, and so "
            f"change the jobs of the store {path}; nothing of it was run. If you trust what is in "
            f"it, type chmod go-rwx {quoted(*loose)}; else move it away"
        )


def _check_entries(path: Path) -> None:
    folder = Path(f"{path}{FOLDER}")
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its process has ended just now
                status = entry.stat(follow_symlinks=False)
                if is_foreign(status):
                    raise _foreign_folder(Path(entry.path), status, folder)
                if status.st_uid != os.geteuid() and not _can_write(Path(entry.path)):
                    raise _roots([folder])


def _foreign_folder(file: Path, status: os.stat_result, folder: Path | None = None) -> StoreExposed:
    # The name may be the other user's choice: no line of the log is to be forged with it.
    return StoreExposed(
        f"the user {name_of(status.st_uid)} owns {str(file)!r}, so that nobody can tell which "
        "processes of the store live. Stop all of them, type (as root) rm -r "
        f"{quoted(folder or file)}, then start again"
    )


def _keep_from_readers(path: Path, found: _Found) -> None:
    closed, left = [], []
    for file, status in found.items():
        if not status.st_mode & _OTHERS:
            continue
        allowed = stat.S_IRWXU if _is_folder(path, file) else stat.S_IRUSR | stat.S_IWUSR
        try:
            os.chmod(file, status.st_mode & allowed)
        except FileNotFoundError:
            pass  # a log that a process has taken away when it ended
        except OSError:
            left.append(file)
        else:
            closed.append(file)
    if closed:
        logger.warning(
            "others than %s could read %s, as is so after a copy was put back: that was changed, "
            "as by chmod go-rwx",
            *(name_of(os.geteuid()), _listed(closed)),
        )
    if left:
        logger.warning(
            "others than its user can read %s, and this program cannot change that: type chmod "
            "go-rwx %s",
            *(_listed(left), quoted(*left)),
        )


def _is_folder(path: Path, file: Path) -> bool:
    return str(file) == f"{path}{FOLDER}"


def _can_write(file: Path) -> bool:
    return os.access(file, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _writers(*statuses: os.stat_result) -> str:
    everybody = any(status.st_mode & stat.S_IWOTH for status in statuses)
    return "everybody" if everybody else "its group"


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(map(str, files))
