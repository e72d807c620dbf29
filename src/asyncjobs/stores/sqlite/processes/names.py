"""What a process is called, and its files in the folder of all that use one store."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

#: How the file ends whose lock says that its process lives.
LOCK_SUFFIX = ".lock"
#: How the socket ends at which the process hears of others.
SOCKET_SUFFIX = ".sock"

_NAME = re.compile("[0-9a-f]{16}")


def new_name() -> str:
    """A name that no other process has."""
    return secrets.token_hex(8)


def is_name(text: str) -> bool:
    """Whether a process may be called that."""
    return _NAME.fullmatch(text) is not None


def names_in(folder: Path) -> list[str]:
    """The names of all who have joined there and were not buried yet.

    Raises:
        OSError: nobody can tell.
    """
    with os.scandir(folder) as entries:
        # What is no file is the lock of nobody, whatever it is called.
        files = [Path(each.name) for each in entries if each.is_file(follow_symlinks=False)]
    return [file.stem for file in files if file.suffix == LOCK_SUFFIX and is_name(file.stem)]


def lock_of(folder: Path, name: str) -> Path:
    """The file that the process called `name` keeps locked while it lives."""
    return folder / f"{name}{LOCK_SUFFIX}"


def presence_of(folder: Path, name: str) -> Path:
    """The file in which the process called `name` says what it runs."""
    return folder / f"{name}.json"


def socket_of(folder: Path, name: str) -> Path:
    """The socket of the process called `name`."""
    return folder / f"{name}{SOCKET_SUFFIX}"
