"""The stores, and the URLs that name them."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigurationError
from ..given import shown
from ..store import Store
from .guest import GuestStore
from .memory import MemoryStore
from .sqlite import LookingStore, SqliteStore, SteeringStore
from .sqlite.private import make_folder
from .sqlite.start_errors import folder_explained

__all__ = [
    "LookingStore",
    "MemoryStore",
    "SqliteStore",
    "SteeringStore",
    "folder_for_store",
    "open_as_guest",
    "open_to_look",
    "open_to_steer",
    "open_url",
    "place_of",
]

_FILE = "sqlite:///"
_MEMORY = ("memory:", f"{_FILE}:memory:")
_WRITE = (
    "write 'sqlite:///jobs.db' for a file relative to the working directory, "
    "'sqlite:////srv/jobs.db' for an absolute path, or 'memory:'"
)


def open_url(url: str) -> Store:
    """The store that `url` names, not opened yet.

    ``sqlite:///jobs.db`` is relative to the working directory and ``sqlite:////srv/jobs.db`` is
    absolute, as SQLAlchemy writes them; ``memory:``, or ``sqlite:///:memory:``, forgets everything
    when the process ends.

    Raises:
        ConfigurationError: no store has such a URL.
    """
    return MemoryStore() if url in _MEMORY else SqliteStore(_path_in(url))


def open_to_look(url: str | Path) -> Store:
    """The store that `url` names, to be read only, not opened yet: see `LookingStore`.

    Args:
        url: as in `open_url`, or the path of the file.

    Raises:
        ConfigurationError: no store has such a URL, or none that can be seen from outside.
    """
    return LookingStore(_path_of_another(url))


def open_to_steer(url: str | Path) -> Store:
    """The store that `url` names, to cancel and retry jobs in it, not opened yet: see
    `SteeringStore`.

    Args:
        url: as in `open_url`, or the path of the file.

    Raises:
        ConfigurationError: no store has such a URL, or none that can be seen from outside.
    """
    return SteeringStore(_path_of_another(url))


def open_as_guest(url: str | Path) -> Store:
    """The store that `url` names, to look at, and to join when something is to be changed: see
    `LookingStore` and `SteeringStore`. Not opened yet.

    Args:
        url: as in `open_url`, or the path of the file.

    Raises:
        ConfigurationError: no store has such a URL, or none that can be seen from outside.
    """
    return GuestStore(open_to_look(url), open_to_steer(url))


def place_of(store: str | Store) -> str | Path:
    """What a guest opens to be at the store that a setting has: its URL, or the path of its file.

    Raises:
        ConfigurationError: it cannot be opened from outside of its program.
    """
    if isinstance(store, str):
        return store
    if isinstance(store, MemoryStore):
        return _MEMORY[0]
    if isinstance(store, SqliteStore):
        return store.path
    raise ConfigurationError(
        f"the store is a {type(store).__qualname__} that the program makes itself: only those that "
        "are SQLite files can be opened from outside of it"
    )


def _path_of_another(url: str | Path) -> str | Path:
    if isinstance(url, Path):
        return url
    if url in _MEMORY:
        raise ConfigurationError(
            f"the store {shown(url)} is in the memory of its process, where nobody else can see "
            "it: name the file of a store that has one, as 'sqlite:///jobs.db' does"
        )
    return _path_in(url)


def _path_in(url: str) -> str:
    # No path is SQLAlchemy's word for memory, and what is left if somebody's variable is empty.
    if not url.startswith(_FILE) or url == _FILE:
        raise ConfigurationError(f"there is no store {shown(url)}: {_WRITE}")
    path = url.removeprefix(_FILE)
    if "?" in path:
        raise ConfigurationError(
            f"the store {shown(url)} has options behind a '?', and there are none: {_WRITE}"
        )
    if re.search("%[0-9A-Fa-f]{2}", path):
        raise ConfigurationError(
            f"the store {shown(url)} has a character that is written with '%', and nothing is "
            "decoded here: write the character itself"
        )
    return path


def folder_for_store(folder: Path) -> Path:
    """`folder`, to keep a store in: it and the parents that it lacks are made for our user alone.

    Raises:
        StorePathError: it cannot be made, and what to do then.
    """
    with folder_explained(folder):
        make_folder(folder)
    return folder
