"""Group commit on the event loop: all writes of one turn are one transaction and one flush.

Why on the loop: a transaction in a thread takes the interpreter's lock about ten times while it
holds the database's, and behind a busy loop it waits up to 5 ms for each. On the loop a batch takes
about 0.1 ms. The disk is waited for in a thread (`Flusher`), for all that was committed meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from functools import partial

from ....errors import StoreUnavailable
from ..processes.locks import LOCK_TIMEOUT, FileLock
from .condition import LOCKED, is_locked, reason_of
from .flusher import Flusher
from .inspector import Inspector
from .transactions import Operation, Write, refuse, transact


class GroupCommit:
    """The one writer of an open store.

    Args:
        connection: in autocommit mode; used on the loop only, by readers too.
        lock: shared with every process that writes the same file.
        flusher: makes what is committed durable.
        inspector: asked before anything is written, and before it is acknowledged.
        settled: called with the ids of jobs whose changes have become durable.
        random: for the jitter between processes.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: FileLock,
        flusher: Flusher,
        inspector: Inspector,
        *,
        settled: Callable[[list[str]], None],
        random: random.Random,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._flusher = flusher
        self._inspector = inspector
        self._condition = inspector.condition
        self._settled = settled
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Write] = []
        # Since when, by the clock of the loop, another process has the lock whenever it is tried.
        # That a write was asked for long ago may be ours: a busy loop has not come to it.
        self._locked_since: float | None = None
        self._busy = False
        self._unsettled: dict[str, Write] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def admit(self, *, can_wait: bool) -> None:
        """Let a write pass, if it may: to be asked before each, but for those that find out whether
        trouble has passed.

        Args:
            can_wait: as for `write`.

        Raises:
            StoreUnavailable: it may not, and why.
        """
        self._condition.check(can_wait=can_wait)
        if self._closed:
            raise StoreUnavailable("the job store is being closed")

    async def write(
        self, job_id: str | None, operation: Operation, *, can_wait: bool = False
    ) -> None:
        """Run `operation` in the next transaction. Durable when it has been awaited.

        If the caller is cancelled meanwhile, the write goes on.

        Args:
            job_id: the job that it changes; None if nobody need be told.
            can_wait: whether it is refused while the store is in trouble, so that there is room for
                the writes that cannot.

        Raises:
            StoreUnavailable: nothing was written, unless it was the disk that failed or the files
                that were lost.
            Exception: whatever `operation` raised, and nothing was written.
        """
        write = Write(job_id, operation, can_wait=can_wait)
        self._waiting.append(write)
        if job_id is not None:
            self._unsettled[job_id] = write
        self._idle.clear()
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._commit)
        await write.settled()
        if write.error is not None:
            raise write.error

    def unsettled(self, job_id: str) -> Write | None:
        """The write to this job that is not durable yet, if there is one."""
        return self._unsettled.get(job_id)

    async def drain(self) -> None:
        """Wait until every write so far is durable or has failed."""
        await self._idle.wait()

    def close(self) -> None:
        """Admit no more writes."""
        self._closed = True

    def _commit(self) -> None:
        """Look at the files under the lock, commit all that waits, and have it flushed.

        What is written meanwhile waits for the next turn: to be committed during the flush would
        gain it nothing, as it would have to be flushed by the next one all the same.
        """
        if self._condition.is_final:  # whoever has the lock
            self._fail_all()
            return
        done = False
        if self._lock.try_acquire():
            try:
                # Also right after an acknowledgement: who was told of that has run meanwhile, and
                # others may have written, whose last frame is not known here yet.
                if not self._inspector.may_write():
                    self._fail_all()
                    return
                done = self._transact(self._waiting)
            finally:
                self._lock.release()
        if not done:
            self._again_soon()
            return
        self._locked_since = None
        batch, self._waiting = self._waiting, []
        if any(write.error is None for write in batch):
            self._flusher.flush(partial(self._flushed, batch))
        else:
            self._settle(batch)  # nothing was committed

    def _again_soon(self) -> None:
        """Another process has the lock: let the batch grow, but not wait for ever."""
        now = self._loop.time()
        if self._locked_since is None:
            self._locked_since = now
        if now - self._locked_since > LOCK_TIMEOUT:
            self._condition.trouble(LOCKED)
            self._fail_all()
        else:
            # The jitter keeps two processes from meeting at the lock again and again.
            self._loop.call_later(self._random.uniform(0.0002, 0.0008), self._commit)

    def _transact(self, batch: list[Write]) -> bool:
        """Do what can be done of the batch; False if the database is locked just now."""
        if not self._inspector.has_room():
            batch = _without_those_that_can_wait(batch, str(self._condition.reason))
        while batch:
            try:
                transact(self._connection, batch)
                break
            except sqlite3.Error as error:
                if is_locked(error):
                    return False
                if not self._inspector.is_log_right():
                    refuse(batch, str(self._condition.reason))
                    break
                if not self._inspector.makes_room(error):
                    refuse(batch, reason_of(error))
                    break
                batch = _without_those_that_can_wait(batch, reason_of(error))
        return True

    def _flushed(self, batch: list[Write], error: OSError | None) -> None:
        """The batch is on the disk, unless there was an error: if that is the disk which our paths
        lead to, and all of it is still there, it can be acknowledged."""
        if error is not None:
            self._condition.flush_failed(error)
        elif self._inspector.may_acknowledge():
            self._settle(batch)
            return
        self._waiting = batch + self._waiting
        self._fail_all()

    def _fail_all(self) -> None:
        """No write that waits comes through."""
        self._locked_since = None
        batch, self._waiting = self._waiting, []
        refuse(batch, str(self._condition.reason))
        self._settle(batch)

    def _settle(self, batch: list[Write]) -> None:
        """The end of a turn: tell everybody, and begin the next one."""
        changed = []
        for write in batch:
            if write.job_id is not None:
                if self._unsettled.get(write.job_id) is write:
                    del self._unsettled[write.job_id]
                if write.error is None:
                    changed.append(write.job_id)
        if changed:
            # Before those who wrote go on: who follows a job from then on knows of this change.
            self._settled(changed)
        for write in batch:
            write.settle()
        if self._waiting:
            # Behind those who were told just now: what they write comes along.
            self._loop.call_soon(self._commit)
        else:
            self._busy = False
            self._idle.set()


def _without_those_that_can_wait(batch: list[Write], reason: str) -> list[Write]:
    refuse((write for write in batch if write.can_wait), reason)
    return [write for write in batch if not write.can_wait]
