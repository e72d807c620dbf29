"""Who may look at a store, and who may steer it: what those are told who may not."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...errors import StoreError, StoreExposed, StorePathError
from .private import name_of


def refuse_as_guest(path: Path) -> None:
    """Let none but the owner of the file at `path` change what is in it: the files that another
    makes beside it would be that user's, and keep the server from its next start.

    Raises:
        StorePathError: there is no such file.
        StoreExposed: it is another user's.
    """
    with suppress(PermissionError):  # then it is of whoever keeps others out
        refuse_missing(path)
    owner, us = _owner_of(path), _user()
    if owner != us:
        raise StoreExposed(
            f"the store {path} belongs to the user {owner}, and only that user may change it: "
            f"{_run_as(owner)}"
        )


def refuse_missing(path: Path) -> None:
    """Have no store made where there is none.

    Raises:
        StorePathError
        OSError: nobody can tell.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise StorePathError(
            f"there is no store {path}, and none was made: name the file that the server has"
        ) from None


def unreadable(path: Path) -> StoreError:
    """What to raise if this user may not read the store at `path`."""
    owner, us = _owner_of(path), _user()
    closed = ", ".join(map(str, closed_to_us(path))) or path
    way = "let it read that" if owner == us else _run_as(owner)
    return StoreError(
        f"the store {path} cannot be read, as the user {us} may not read {closed}: {way}"
    )


def closed_to_us(path: Path) -> list[Path]:
    """The files that are there of the database at `path`, and that this user may not read."""
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]
    return [file for file in files if os.access(file, os.F_OK) and not os.access(file, os.R_OK)]


def _owner_of(path: Path) -> str | None:
    """Who owns the file, or as much of the way to it as this user can see."""
    if hasattr(os, "geteuid"):
        for place in (path, *path.parents):
            with suppress(OSError):
                return name_of(os.stat(place).st_uid)
    return None


def _user() -> str | None:
    return name_of(os.geteuid()) if hasattr(os, "geteuid") else None


def _run_as(owner: str | None) -> str:
    # A user without a name is given to sudo by its number.
    user = f"'#{owner}'" if owner is not None and owner.isdecimal() else owner
    return f"run it as {owner}: sudo -u {user} ..."
