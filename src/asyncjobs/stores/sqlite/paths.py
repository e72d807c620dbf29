"""What may be the path of a store, or of a copy of one."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import ConfigurationError
from ...given import shown


def checked(what: str, path: os.PathLike[str] | str) -> Path:
    """The path, unless it means something else to SQLite, to the shell or to the system.

    Raises:
        ConfigurationError
    """
    written = os.fspath(path)
    wrong = None
    if written == ":memory:":
        wrong = "is no file: name one, or use MemoryStore(), or the URL 'memory:'"
    elif written.endswith(("/", os.sep)):
        wrong = "is a folder: name a file in it"
    elif written.startswith("file:"):
        wrong = "is a URI of SQLite, which is not taken here: name the file by its path"
    elif written.startswith("~"):
        wrong = "has a '~', which only a shell replaces: write the path in full"
    elif "\0" in written:
        wrong = "has a NUL, which no path can have"
    if wrong is not None:
        raise ConfigurationError(f"{what} {shown(written)} {wrong}")
    return Path(written)
