"""What can be seen of the processes of a store by one who is none of them, and joins nothing.

Their files are only read, whoever owns them, and a claim is asked after as peers do: by a shared
lock that is let go of at once, and that no claim meets, as those are made under another name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ....store import GUEST, STRANGER, Liveness, Presence
from ..private import open_anyones
from .locks import HAS_FLOCK, is_unlocked
from .names import is_name, lock_of, names_in, presence_of
from .presences import read_presence


def liveness(folder: Path, name: str) -> Liveness:
    """Whether the process called `name` lives, of those whose files are in `folder`."""
    if not is_name(name):
        return Liveness.DEAD  # it never was one of them
    # A file that is not there proves nothing: the folder may be another than theirs.
    with suppress(OSError):
        fd = open_anyones(lock_of(folder, name), os.O_RDONLY)
        try:
            if HAS_FLOCK:
                return Liveness.DEAD if is_unlocked(fd) else Liveness.ALIVE
        finally:
            os.close(fd)
    return Liveness.UNKNOWN


def presences(folder: Path) -> list[Presence]:
    """What those say of themselves that are not dead, as far as that is known; guests apart."""
    try:
        names = names_in(folder)
    except FileNotFoundError:
        return []  # nobody has been here yet
    except OSError:
        return [STRANGER]
    living = [name for name in names if liveness(folder, name) is not Liveness.DEAD]
    said = [read_presence(presence_of(folder, name), open_anyones) for name in living]
    return [presence for presence in said if presence != GUEST]
