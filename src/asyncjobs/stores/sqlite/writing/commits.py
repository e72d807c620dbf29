"""Group commit on the event loop: all writes of one turn are one transaction and one flush.

Why on the loop: a transaction in a thread takes the interpreter's lock about ten times while it
holds the database's, and behind a busy loop it waits up to 5 ms for each. On the loop a batch takes
about 0.1 ms. The disk is waited for in a thread (`Flusher`), for all that was committed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from ....errors import StoreUnavailable
from ....store import SOMETHING
from ..identity import Identity
from ..processes.locks import LOCK_TIMEOUT, FileLock
from .condition import CANNOT_LOOK, LOCKED, NO_ROOM, Condition, is_locked, reason_of, wants_room
from .flusher import Flusher
from .lengths import Lengths
from .reserve import Reserve
from .transactions import Operation, Write, refuse, transact, write_nothing

#: While the store is in trouble, it is tried so often whether that has passed. Seconds.
TRIAL_INTERVAL = 1.0


class GroupCommit:
    """The one writer of an open store.

    Args:
        connection: in autocommit mode; used on the loop only, by readers too.
        lock: shared with every process that writes the same file.
        flusher: makes what is committed durable.
        identity: of the files that must still be there when a write is acknowledged.
        lengths: of these files, which must not have been cut short.
        reserve: what there is when there is no room any more.
        condition: is told of all trouble.
        settled: called with the ids of jobs whose changes have become durable.
        lost: called with the paths that do not lead to the open files any more.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: FileLock,
        flusher: Flusher,
        identity: Identity,
        lengths: Lengths,
        reserve: Reserve,
        condition: Condition,
        *,
        settled: Callable[[list[str]], None],
        lost: Callable[[list[str]], None],
        random: random.Random,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._flusher = flusher
        self._identity = identity
        self._lengths = lengths
        self._reserve = reserve
        self._condition = condition
        self._settled = settled
        self._lost = lost
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Write] = []
        self._busy = False
        self._unsettled: dict[str, Write] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._trials: asyncio.Task[None] | None = None
        self._closed = False

    def write(
        self, job_id: str | None, operation: Operation, *, can_wait: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Run `operation` in the next transaction. Durable when it has been awaited.

        If the caller is cancelled meanwhile, the write goes on.

        Args:
            job_id: the job that it changes; None if nobody need be told.
            can_wait: whether it is refused while the store is in trouble, so that there is room for
                the writes that cannot.

        Raises:
            StoreUnavailable: nothing was written, unless it was the disk that failed or the files
                that were lost. May be raised by the call already.
            Exception: whatever `operation` raised, and nothing was written.
        """
        self._condition.check(can_wait=can_wait)
        if self._closed:
            raise StoreUnavailable("the job store is being closed")
        return self._write(job_id, operation, can_wait=can_wait)

    def unsettled(self, job_id: str) -> Write | None:
        """The write to this job that is not durable yet, if there is one."""
        return self._unsettled.get(job_id)

    def check(self) -> None:
        """Look whether a new job would be taken now; nothing is written.

        Raises:
            StoreUnavailable: it would not, and why.
        """
        if self._are_files_there() and not self._reserve.is_whole():
            self._lacks_room()
        self._condition.check(can_wait=True)

    def check_files(self) -> None:
        """Look whether what is in the store is all there to be read.

        Raises:
            StoreUnavailable: nobody knows.
        """
        if not self._are_files_there():
            raise StoreUnavailable(str(self._condition.reason))

    async def drain(self) -> None:
        """Wait until every write so far is durable or has failed."""
        await self._idle.wait()

    def close(self) -> None:
        """Take no more writes, and try no more whether trouble has passed."""
        self._closed = True
        if self._trials is not None:
            self._trials.cancel()

    async def _write(self, job_id: str | None, operation: Operation, *, can_wait: bool) -> None:
        write = Write(job_id, operation, self._loop.time(), can_wait=can_wait)
        self._waiting.append(write)
        if job_id is not None:
            self._unsettled[job_id] = write
        self._idle.clear()
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._begin)
        await write.settled()
        if write.error is not None:
            raise write.error

    def _begin(self) -> None:
        """Look at the files before they are written, and commit.

        Who commits one batch after the other has just looked, to acknowledge the last one.
        """
        if self._condition.is_final or not self._is_whole():
            self._fail_all()
        else:
            self._commit()

    def _commit(self) -> None:
        """Commit all that waits, and have it flushed.

        What is written meanwhile waits for the next turn: to be committed during the flush would
        gain it nothing, as it would have to be flushed by the next one all the same.
        """
        if self._condition.is_final:
            self._fail_all()
            return
        done = False
        if self._lock.try_acquire():
            try:
                done = self._transact(self._waiting)
            finally:
                self._lock.release()
        if not done:
            self._again_soon()
            return
        batch, self._waiting = self._waiting, []
        if any(write.error is None for write in batch):
            self._flusher.flush(partial(self._flushed, batch))
        else:
            self._settle(batch)  # nothing was committed

    def _again_soon(self) -> None:
        """Another process has the lock: let the batch grow, but not wait for ever."""
        if self._loop.time() - self._waiting[0].asked > LOCK_TIMEOUT:
            self._in_trouble(LOCKED)
            self._fail_all()
        else:
            # The jitter keeps two processes from meeting at the lock again and again.
            self._loop.call_later(self._random.uniform(0.0002, 0.0008), self._begin)

    def _transact(self, batch: list[Write]) -> bool:
        """Do what can be done of the batch; False if the database is locked just now."""
        if not self._reserve.is_whole():
            batch = _without_those_that_can_wait(batch, self._lacks_room())
        while batch:
            try:
                transact(self._connection, batch)
                break
            except sqlite3.Error as error:
                if is_locked(error):
                    return False
                batch = self._save(batch, error)
        return True

    def _save(self, batch: list[Write], error: sqlite3.Error) -> list[Write]:
        """What of a batch that could not be written is to be tried again."""
        self._condition.write_failed(error)
        self._try_until_it_passes()
        if wants_room(error) and self._reserve.let_go():
            return _without_those_that_can_wait(batch, reason_of(error))
        refuse(batch, reason_of(error))
        return []

    def _flushed(self, batch: list[Write], error: OSError | None) -> None:
        """The batch is on the disk, unless there was an error: if that is the disk which our paths
        lead to, and all of it is still there, it can be acknowledged."""
        if error is not None:
            self._condition.flush_failed(error)
        elif self._are_files_there():
            self._settle(batch)
            return
        self._waiting = batch + self._waiting
        self._fail_all()

    def _are_files_there(self) -> bool:
        """Whether our paths still lead to the open files, and nothing was cut off them; if not, the
        condition has the reason."""
        if self._condition.is_final:
            return False
        try:
            lost = self._identity.lost()
        except OSError as error:
            self._in_trouble(CANNOT_LOOK, str(error))
            return False
        if lost:
            self._condition.files_lost(lost)
            self._lost(lost)
        return not lost and self._is_whole()

    def _is_whole(self) -> bool:
        """Whether nothing was cut off the files; if something was, the condition has the reason."""
        try:
            return self._lengths.are_right()
        except OSError as error:
            self._in_trouble(CANNOT_LOOK, str(error))
            return False

    def _fail_all(self) -> None:
        """No write that waits comes through."""
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
            write.settle()
        if changed:
            self._settled(changed)
        if self._waiting:
            # Behind those who were told just now: what they write comes along.
            self._loop.call_soon(self._commit)
        else:
            self._busy = False
            self._idle.set()

    def _in_trouble(self, reason: str, details: str = "") -> None:
        self._condition.trouble(reason, details)
        self._try_until_it_passes()

    def _lacks_room(self) -> str:
        """The reserve is not whole: in any trouble that we know of, else another process has let
        some go. Returns the reason."""
        if self._condition.reason is None:
            self._in_trouble(NO_ROOM)
        return str(self._condition.reason)

    def _try_until_it_passes(self) -> None:
        if not self._closed and (self._trials is None or self._trials.done()):
            # In a context of its own: the one here is that of a request.
            self._trials = self._loop.create_task(
                self._try_again_and_again(), context=contextvars.Context()
            )

    async def _try_again_and_again(self) -> None:
        """Try to write until the trouble has passed, or has turned out to stay."""
        while not self._condition.is_final:
            await asyncio.sleep(TRIAL_INTERVAL)
            with suppress(StoreUnavailable):
                if self._has_room():
                    await self._write(SOMETHING, write_nothing, can_wait=True)
                    self._condition.recovered()
                    return

    def _has_room(self) -> bool:
        try:
            return self._reserve.take_back()
        except sqlite3.Error as error:
            raise self._condition.read_failed(error) from error


def _without_those_that_can_wait(batch: list[Write], reason: str) -> list[Write]:
    refuse((write for write in batch if write.can_wait), reason)
    return [write for write in batch if not write.can_wait]
