"""Which processes that share a store are alive, without clocks and without process ids.

Each holds the lock on a file of its own for as long as it lives. Who can take that lock knows that
its owner is dead, at once; a process that is merely stopped or slow is never taken for dead.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from .datagrams import remove_socket
from .forks import left_in_forked_child
from .locks import FileLock

_SUFFIX = ".lock"


class Peers:
    """This process among those that use one store.

    Attributes:
        name: what this process is called in `Job.worker`.
        folder: where each has its file.
    """

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8)
        self.folder = folder
        self._lock: FileLock | None = None

    @property
    def file(self) -> Path:
        """The file whose lock says that this process lives."""
        return self._path(self.name)

    def join(self) -> None:
        """Be alive, for all to see, until `leave` or until the process ends."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        # Locked under another name first, so that no peer ever sees the file unlocked.
        unseen = self._path(self.name).with_suffix(".new")
        self._lock = FileLock(unseen)
        self._lock.acquire()
        unseen.rename(self._path(self.name))
        # A child has its parent's open file, and would keep it alive for its peers for ever.
        left_in_forked_child(self)

    def leave(self) -> None:
        """Be gone; what still runs under this name is for the others to rescue."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def dead(self) -> list[str]:
        """The names of those who died and were not buried yet."""
        names = [path.stem for path in self.folder.glob(f"*{_SUFFIX}")]
        return [name for name in names if not self.is_alive(name)]

    def is_alive(self, name: str) -> bool:
        """Whether the process called `name` lives."""
        if name == self.name:
            return self._lock is not None
        path = self._path(name)
        if not path.exists():
            return False
        try:
            probe = FileLock(path)
        except OSError:
            return False
        free = probe.try_acquire()
        probe.close()
        return not free

    def bury(self, name: str) -> None:
        """Forget the dead `name`, once none of its jobs is left."""
        remove_socket(self.folder, name)
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"
