"""All that an open store holds: opened together, closed together."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .backups import back_up
from .custody import secure, warn_of_folder
from .database import Database
from .identity import Identity
from .owners import refuse_as_guest
from .processes.alone import alone
from .processes.holders import kept_locked
from .processes.locks import LOCK_TIMEOUT, FileLock
from .processes.peers import Peers
from .schema import OPENING, check_place, check_sqlite, connect, make_file
from .start_errors import explained, locked
from .writing.checkpoints import Checkpointer
from .writing.commits import GroupCommit
from .writing.flusher import Flusher
from .writing.inspector import Inspector
from .writing.log_loss import refuse_log_without_database
from .writing.moving import Mover
from .writing.trials import Trials

logger = logging.getLogger("asyncjobs.store")

# How often it is looked whether the file can be closed, in seconds.
_LOOK_INTERVAL = 0.002

# What must not be closed, which a connection is that nobody has any more.
_left: list[OpenFile] = []


class OpenFile:
    """The files of the store at `path`, opened for one process.

    Args:
        guest: whether that is one which only steers: for it, no store is made, brought up to date
            or mended, and what is to be said of the files is left to those who serve.

    Raises:
        StoreError: from the constructor, with everything closed again. `StoreLocked`, which may
            pass, without any wait.
    """

    peers: Peers
    database: Database
    inspector: Inspector
    commits: GroupCommit
    checkpointer: Checkpointer

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        settled: Callable[[list[str]], None],
        random: random.Random,
        guest: bool = False,
    ) -> None:
        self._path = path
        self._wal_path = f"{path}-wal"
        self._lock_path = Path(f"{path}-lock")
        check_sqlite()
        with explained(path), ExitStack() as opened:
            if guest:
                refuse_as_guest(path)
            check_place(path)
            secure(path)
            refuse_log_without_database(path)
            if not guest:
                make_file(path)
            opened.enter_context(alone(path))
            self._lock = self._open_lock(opened, self._lock_path)
            if not self._lock.try_acquire():
                raise locked(self._lock_path)
            opened.callback(self._lock.release)

            self.peers = Peers(Path(f"{path}-procs"))
            with OPENING:
                database = self.database = Database(
                    path, limit=limit, alone=self.peers.is_alone(), guest=guest
                )
            opened.callback(database.close)
            if guest:  # who runs nothing leaves nothing to be found out about
                opened.callback(self.peers.bury, self.peers.name)
            opened.callback(self.peers.leave)
            self.peers.join()

            self.inspector = self._inspector()
            flusher = Flusher(database.log)
            opened.callback(flusher.close)
            self.commits = GroupCommit(
                *(database.connection, self._lock, flusher, self.inspector),
                settled=settled,
                random=random,
            )
            self._trials = Trials(
                self.commits, database.reserve, database.condition, passed=lambda: settled([])
            )
            self.checkpointer = self._checkpointer(opened)
            secure(path)  # what was put there since
            if not guest:
                warn_of_folder(path)
            self._lock.release()
            self._close = opened.pop_all().close

    def stop_writing(self) -> None:
        """Take no more writes, and try no more whether trouble has passed."""
        self.commits.close()
        self._trials.close()

    async def about_to_close(self) -> None:
        """Wait for what `close` needs, while the event loop turns: for the last checkpoint, and for
        the lock. Nothing is written any more."""
        self.checkpointer.end()
        now = asyncio.get_running_loop().time
        deadline = now() + LOCK_TIMEOUT
        while self.checkpointer.runs() or not self._lock.try_acquire():
            if now() > deadline:
                return
            await asyncio.sleep(_LOOK_INTERVAL)

    def close(self, *, waited: bool = False) -> None:
        """Close the files, and checkpoint if nobody else has them open and nothing is wrong.

        Args:
            waited: whether the lock has been waited for already.
        """
        self.checkpointer.close()
        # Closing the last connection is a checkpoint too: it must not race another's commit.
        has_lock = self._lock.acquire(0 if waited else LOCK_TIMEOUT)
        if not has_lock:
            logger.warning(
                "the store %s is closed as it is, and the next start goes on from its log: %s",
                *(self._path, kept_locked(self._lock_path) or f"{self._lock_path} is locked"),
            )
        may_checkpoint = has_lock and self.database.may_be_moved()
        is_damaged = self.database.condition.is_damaged
        # From a log that was deleted, all is saved that can be.
        if may_checkpoint or not (is_damaged or os.path.exists(self._wal_path)):
            self.database.let_go()
        self._close()

    def leave(self) -> None:
        """Be gone as if the process had died: to close anything could wait for the disk."""
        self.peers.leave()
        _left.append(self)

    def cut_back(self) -> None:
        """Have the file cut back to what the database takes, if it is larger.

        Raises:
            StoreUnavailable
        """
        if self.database.is_too_long() and not self.database.condition.is_final:
            self.checkpointer.start()

    async def back_up(self, target: Path) -> None:
        """Copy the database to a new file.

        Raises:
            StorePathError, StoreUnavailable
        """
        self.inspector.check_files()
        await back_up(self._path, target, self.inspector.check_files_from_thread)

    def _open_lock(self, opened: ExitStack, path: Path) -> FileLock:
        lock = FileLock(path)
        opened.callback(lock.close)
        return lock

    def _inspector(self) -> Inspector:
        files = [self._path, *(Path(f"{self._path}{end}") for end in ("-wal", "-shm", "-lock"))]
        return Inspector(
            Identity([*files, self.peers.file]),
            self.database.lengths,
            self.database.reserve,
            self.database.condition,
            lost=self._save_log,
        )

    def _checkpointer(self, opened: ExitStack) -> Checkpointer:
        """One with everything of its own, as it works in a thread."""
        database = self.database
        connection = connect(self._path)
        opened.callback(connection.close)
        reader = connect(self._path)
        opened.callback(reader.close)
        log = database.open_for_flushing()
        opened.callback(os.close, log)
        mover = Mover(
            connection=connection,
            reader=reader,
            # SQLite takes no locks on the log, and so none can be lost with this one.
            turn=self._open_lock(opened, Path(self._wal_path)),
            lock=self._open_lock(opened, self._lock_path),
            wal=log,
            lengths=database.lengths,
            condition=database.condition,
            generation=database.generation(connection),
        )
        return Checkpointer(self._path, mover, database.lengths, database.condition)

    def _save_log(self, lost: list[str]) -> None:
        """If it is the log alone that is lost, what was acknowledged is still saved from it: it is
        open here, and nowhere else any more."""
        if lost == [self._wal_path]:
            self.checkpointer.start()
