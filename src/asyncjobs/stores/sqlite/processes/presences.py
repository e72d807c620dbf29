"""What a process says of itself to the others of its store, as a small JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ....store import STRANGER, Presence
from ..private import open_own

#: Bytes of a presence that are read at most: thousands of routes fit into it.
MAX_SIZE = 1024 * 1024


def write_presence(path: Path, presence: Presence) -> None:
    """Put `presence` in the place of what is there, for its own user to read.

    Raises:
        OSError: it could not be written; nothing is said any more, rather than what was true once.
    """
    routes = None if presence.routes is None else sorted(presence.routes)
    text = json.dumps(
        {
            "program": presence.program,
            "routes": routes,
            "stopping": presence.stopping,
            "process": presence.process,
        }
    )
    unseen = path.with_suffix(".tmp")
    try:
        unseen.unlink(missing_ok=True)
        fd = open_own(unseen, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with open(fd, "wb") as file:
            file.write(text.encode())
        unseen.replace(path)
    except OSError:
        for left in presence_files(path):
            with suppress(OSError):
                left.unlink(missing_ok=True)
        raise


def read_presence(path: Path, open_file: Callable[[Path, int], int] = open_own) -> Presence:
    """What is said there; a `STRANGER` says nothing, or what nobody can read."""
    try:
        match json.loads(_read(path, open_file)):
            case {
                "program": str() | None as program,
                "routes": list() | None as routes,
                "stopping": bool(stopping),
                "process": str(process),
            } if all(isinstance(route, str) for route in routes or []):
                known = None if routes is None else frozenset(routes)
                return Presence(program, known, stopping, process)
    except (OSError, ValueError, RecursionError):
        pass
    return STRANGER


def _read(path: Path, open_file: Callable[[Path, int], int]) -> bytes:
    """What a file has in it, which may be anything that somebody has put there: to read it must not
    block, nor take all memory.

    Raises:
        OSError
    """
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(MAX_SIZE)


def presence_files(path: Path) -> list[Path]:
    """The files of what is said at `path`."""
    return [path.with_suffix(".tmp"), path]
