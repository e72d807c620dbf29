"""The stores, and the URLs that name them."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigurationError
from ..store import Store
from .memory import MemoryStore
from .sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "open_url"]


def open_url(url: str) -> Store:
    """The store that `url` names, not opened yet.

    ``sqlite:///jobs.db`` is relative to the working directory and ``sqlite:////srv/jobs.db`` is
    absolute, as SQLAlchemy writes them; ``memory:`` forgets everything when the process ends.

    Raises:
        ConfigurationError: no store has such a URL.
    """
    if url == "memory:":
        return MemoryStore()
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return SqliteStore(Path(url.removeprefix("sqlite:///")))
    raise ConfigurationError(
        f"there is no store {url!r}: write 'sqlite:///jobs.db' for a file relative to the working "
        "directory, 'sqlite:////srv/jobs.db' for an absolute path, or 'memory:'"
    )
