"""Keeps other processes off a store, where the system has no ``flock`` to share it by.

SQLite itself has a lock on every system: an exclusive transaction in a database of its own, which
ends with the process, however that ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ....errors import StoreInUse
from .locks import HAS_FLOCK


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Have the store at `path` to oneself within the block, if it cannot be shared.

    Raises:
        StoreInUse: somebody else has it.
    """
    if HAS_FLOCK:
        yield
        return
    lock = Path(f"{path}-alone")
    lock.touch(mode=0o600)
    with closing(sqlite3.connect(lock, timeout=0, check_same_thread=False)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            raise StoreInUse(
                f"the store {path} is open in another process, and this system has no flock, by "
                "which processes could share it: run one process only (hypercorn -w 1), or give "
                "each process a store of its own"
            ) from error
        yield
