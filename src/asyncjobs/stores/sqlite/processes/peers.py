"""Which processes that share a store are alive, without clocks and without process ids.

Each holds the lock on a file of its own for as long as it lives. Who can take that lock knows that
its owner is dead, at once; a process that is merely stopped or slow is never taken for dead, nor is
one that could not be looked at.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import closing
from pathlib import Path

from ....store import STRANGER, Liveness, Presence
from ..identity import Identity
from ..private import make_folder
from .forks import left_in_forked_child
from .locks import FileLock
from .names import is_name, lock_of, names_in, new_name, presence_of, socket_of
from .presences import presence_files, read_presence, write_presence

logger = logging.getLogger("asyncjobs.store")

# Something else is in the place of a lock: see `open_own`.
_OF_ONE_FILE = frozenset({errno.EISDIR, errno.EPERM, errno.ENXIO})


class Peers:
    """This process among those that use one store.

    Attributes:
        name: what this process is called in `Job.worker`.
        folder: where each has its file.
    """

    def __init__(self, folder: Path) -> None:
        self.name = new_name()
        self.folder = folder
        self._lock: FileLock | None = None
        self._said: set[tuple[str, int | None]] = set()

    @property
    def file(self) -> Path:
        """The file whose lock says that this process lives."""
        return self._path(self.name)

    def join(self) -> None:
        """Be alive, for all to see, until `leave` or until the process ends."""
        make_folder(self.folder)
        # Locked under another name first, so that no peer ever sees the file unlocked.
        unseen = self.file.with_suffix(".new")
        self._lock = FileLock(unseen)
        if not self._lock.try_acquire():
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        unseen.rename(self.file)
        self._joined = Identity([self.file])
        # A child has its parent's open file, and would keep it alive for its peers for ever.
        left_in_forked_child(self)

    def leave(self) -> None:
        """Be gone; what still runs under this name is for the others to rescue."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def known(self) -> list[str]:
        """The names of all who have joined and were not buried yet, but for our own.

        Raises:
            OSError: nobody can tell.
        """
        return [name for name in names_in(self.folder) if name != self.name]

    def liveness(self, name: str) -> Liveness:
        """Whether the process called `name` lives."""
        if name == self.name and self._lock is not None:
            return Liveness.ALIVE
        if not is_name(name):
            return Liveness.DEAD  # it never was one of ours
        try:
            return self._look_at(name)
        except OSError as error:
            self._cannot_look(error, name)
            return Liveness.UNKNOWN

    def died_at_work(self, name: str) -> bool:
        """Whether the dead `name` was there once, and nobody had told it to stop."""
        if not is_name(name) or not os.path.lexists(self._path(name)):
            return False
        return not self.presence(name).stopping

    def announce(self, presence: Presence) -> None:
        """Say this to all who ask for our presence."""
        try:
            write_presence(self._presence_path(self.name), presence)
        except OSError as error:
            logger.warning("the other processes on %s cannot be told of us: %s", self.folder, error)

    def presence(self, name: str) -> Presence:
        """What the process called `name` said last; a `STRANGER` if it is not known."""
        return read_presence(self._presence_path(name))

    def others(self) -> list[Presence]:
        """What all others say that are not dead, as far as that is known."""
        try:
            known, may_be_more = self.known(), not self._is_among_them()
        except OSError as error:
            self._cannot_look(error)
            known, may_be_more = [], True
        living = [name for name in known if self.liveness(name) is not Liveness.DEAD]
        return [self.presence(name) for name in living] + [STRANGER] * may_be_more

    def is_alone(self) -> bool:
        """Whether it is known that nobody else lives here."""
        try:
            return all(self.liveness(name) is Liveness.DEAD for name in self.known())
        except FileNotFoundError:
            return True  # nobody has been here yet
        except OSError:
            return False

    def bury(self, name: str) -> None:
        """Forget the dead `name`, once none of its jobs is left."""
        remains = (*presence_files(self._presence_path(name)), self._path(name))
        for file in (socket_of(self.folder, name), *remains):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:  # it is tried another time: nobody waits for it
                if self._is_new((name, error.errno)):
                    logger.error("%s, which a dead process has left, stays: %s", file, error)

    def _look_at(self, name: str) -> Liveness:
        try:
            probe = FileLock(self._path(name), create=False)
        except FileNotFoundError:
            return Liveness.DEAD if self._is_among_them() else Liveness.UNKNOWN
        with closing(probe):
            return Liveness.DEAD if probe.is_free() else Liveness.ALIVE

    def _is_among_them(self) -> bool:
        """Whether we are in that folder ourselves: else it is not the one that the others are in.

        Raises:
            OSError: nobody can tell.
        """
        return self._lock is not None and not self._joined.lost()

    def _cannot_look(self, error: OSError, name: str = "") -> None:
        """Say so, once for each kind of trouble: this is tried several times a second."""
        is_of_one = error.errno in _OF_ONE_FILE
        if not self._is_new((name if is_of_one else "", error.errno)):
            return
        advice = "See to that"
        if is_of_one:
            advice = "See what it is, and remove it once its process has ended"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "Raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE in systemd)"
        logger.error(
            "it cannot be told which other processes on %s live (%s): the jobs of those that may "
            "be dead have to wait. %s",
            *(self.folder, error, advice),
        )

    def _is_new(self, trouble: tuple[str, int | None]) -> bool:
        is_new = trouble not in self._said
        self._said.add(trouble)
        return is_new

    def _path(self, name: str) -> Path:
        return lock_of(self.folder, name)

    def _presence_path(self, name: str) -> Path:
        return presence_of(self.folder, name)
