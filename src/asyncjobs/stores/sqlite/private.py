"""Files and folders of our user alone: made so, and opened only if they are, whatever has a name.
Guests, who only read, take those of others as well.

A system without users as POSIX has them, as Windows is, keeps files from others by other means.
"""

from __future__ import annotations

import os
import stat
from errno import EPERM
from pathlib import Path

try:
    import pwd
except ImportError:  # Windows
    pwd = None  # type: ignore[assignment]

#: The user who owns what nobody else does, and may do anything.
ROOT = 0
# Follow no link, and wait for nobody at the other end of a pipe.
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Windows would write two bytes for the end of a line.
_CAREFULLY |= getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


def open_own(path: Path | str, flags: int) -> int:
    """A descriptor of the regular file at `path`, which is made for our user alone if `flags` have
    ``O_CREAT``. Nothing else that may lie there is opened for longer than it takes to see that.

    Raises:
        OSError: also if it is something else, or another user's.
    """
    if flags & os.O_CREAT:
        try:
            return _make(path, flags)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
    fd = open_anyones(path, flags & ~os.O_CREAT)
    try:
        status = os.fstat(fd)
        if is_foreign(status):
            raise PermissionError(
                EPERM, f"it belongs to the user {name_of(status.st_uid)}", str(path)
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_anyones(path: Path | str, flags: int) -> int:
    """As `open_own`, whoever owns the file; it must be there.

    Raises:
        OSError: also if it is something else.
    """
    fd = os.open(path, flags | _CAREFULLY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(EPERM, f"it is {kind_of(status)}, and no file", str(path))
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_private(fd: int) -> None:
    """Give a new file to our user whole, of which the umask may have taken something away.

    Raises:
        OSError
    """
    if hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        os.fchmod(fd, 0o600)


def make_folder(folder: Path) -> None:
    """Make `folder` and the parents that it lacks for our user alone, whatever the umask is.

    Raises:
        OSError
    """
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        make_folder(folder)
        return
    if stat.S_IMODE(os.stat(folder).st_mode) != 0o700:
        os.chmod(folder, 0o700)


def name_of(uid: int) -> str:
    """What a user is called; the number, if that is nothing."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def is_foreign(status: os.stat_result) -> bool:
    """Whether it belongs to another user, who is not root."""
    return hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), ROOT)


def kind_of(status: os.stat_result) -> str:
    """What it is, in words."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something unknown")


def _make(path: Path | str, flags: int) -> int:
    fd = os.open(path, flags | os.O_EXCL | _CAREFULLY, 0o600)
    try:
        make_private(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd
