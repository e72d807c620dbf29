"""Group commit on the event loop: all writes of one turn are one transaction and one flush.

Why on the loop: a transaction in a thread takes the interpreter's lock about ten times while it
holds the database's, and behind a busy loop it waits up to 5 ms for each. On the loop a batch takes
about 0.1 ms. The disk is waited for in a thread (`Flusher`), for all that was committed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...errors import Conflict, StoreUnavailable
from .locks import FileLock, sync_data
from .schema import unavailable

logger = logging.getLogger("asyncjobs.store")

#: Runs statements in the open transaction. It may raise `Conflict` if it has changed nothing.
Operation = Callable[[Callable[..., sqlite3.Cursor]], None]

#: How long a write waits for other processes before it fails, in seconds.
LOCK_TIMEOUT = 5.0


class Write:
    """An operation that is on its way, and who waits for it.

    Attributes:
        asked: when it was asked for, by the clock of the loop.
        error: why it failed, if it did.
    """

    __slots__ = ("_waiters", "asked", "error", "job_id", "operation")

    def __init__(self, job_id: str, operation: Operation, asked: float) -> None:
        self.job_id = job_id
        self.operation = operation
        self.asked = asked
        self.error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def settled(self) -> asyncio.Future[None]:
        """Is done when the write is durable or has failed. Its cancellation changes nothing."""
        # A future for each who waits: if one of them is cancelled, so is only what it waits on.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def settle(self) -> None:
        """Tell all who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class GroupCommit:
    """The one writer of an open store.

    Args:
        connection: in autocommit mode; used on the loop only, by readers too.
        lock: shared with every process that writes the same file.
        flusher: makes what is committed durable.
        settled: called with the ids of jobs whose changes have become durable.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: FileLock,
        flusher: Flusher,
        *,
        settled: Callable[[list[str]], None],
        random: random.Random,
    ) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._flusher = flusher
        self._settled = settled
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Write] = []
        self._busy = False
        self._unsettled: dict[str, Write] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken: StoreUnavailable | None = None

    async def write(self, job_id: str, operation: Operation) -> None:
        """Run `operation` in the next transaction. Durable when it returns.

        If the caller is cancelled meanwhile, the write goes on.

        Raises:
            StoreUnavailable: nothing was written, unless it was the disk that failed.
            Exception: whatever `operation` raised, and nothing was written.
        """
        if self._broken is not None:
            raise self._broken
        write = Write(job_id, operation, self._loop.time())
        self._waiting.append(write)
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

    def _commit(self) -> None:
        """Commit all that waits, and have it flushed.

        What is written meanwhile waits for the next turn: to be committed during the flush would
        gain it nothing, as it would have to be flushed by the next one all the same.
        """
        done = False
        if self._lock.try_acquire():
            try:
                done = self._transact(self._waiting)
            finally:
                self._lock.release()
        if done:
            batch, self._waiting = self._waiting, []
            self._flusher.flush(partial(self._flushed, batch))
        else:
            self._again_soon()

    def _again_soon(self) -> None:
        """Another process has the lock: let the batch grow, but not wait for ever."""
        if self._loop.time() - self._waiting[0].asked > LOCK_TIMEOUT:
            logger.error("another process keeps the store %s locked", self._path)
            self._fail(StoreUnavailable("another process keeps the job store locked"))
        else:
            # The jitter keeps two processes from meeting at the lock again and again.
            self._loop.call_later(self._random.uniform(0.0002, 0.0008), self._commit)

    def _transact(self, batch: list[Write]) -> bool:
        """Run the batch in one transaction; False if the database is locked just now.

        If the transaction as a whole fails, so does each write in it.
        """
        execute = self._connection.execute
        try:
            # A deferred BEGIN would fail at its first write with SQLITE_BUSY_SNAPSHOT.
            execute("BEGIN IMMEDIATE")
            while (culprit := self._run(batch)) is not None:
                # It may have got half way: take all back, and run the others without it.
                execute("ROLLBACK")
                execute("BEGIN IMMEDIATE")
                batch = [write for write in batch if write is not culprit]
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            self._log_failure(error)
            for write in batch:
                write.error = unavailable(error)
        return True

    def _run(self, batch: list[Write]) -> Write | None:
        """Run each operation; the first that broke off in the middle, if one did."""
        execute = self._connection.execute
        for write in batch:
            write.error = None
            try:
                write.operation(execute)
            except Conflict as conflict:
                write.error = conflict
            except sqlite3.Error:
                raise
            except Exception as error:
                write.error = error
                return write
        return None

    def _flushed(self, batch: list[Write], error: OSError | None) -> None:
        if error is None:
            self._settle(batch)
        else:
            # The kernel drops the dirty pages of a failed sync, so a second one that succeeds would
            # prove nothing (https://wiki.postgresql.org/wiki/Fsync_Errors): never ack again.
            self._log_failure(error)
            self._broken = unavailable(error)
            self._waiting = batch + self._waiting
            self._fail(self._broken)

    def _fail(self, error: StoreUnavailable) -> None:
        """No write that waits comes through."""
        batch, self._waiting = self._waiting, []
        for write in batch:
            write.error = error
        self._settle(batch)

    def _log_failure(self, error: BaseException) -> None:
        logger.error("the store %s cannot be written: %s", self._path, error)

    def _settle(self, batch: list[Write]) -> None:
        """The end of a turn: tell everybody, and begin the next one."""
        changed = []
        for write in batch:
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


class Flusher:
    """Waits for the disk in a thread of its own, so that the loop never does.

    Args:
        fd: an own descriptor of the write-ahead log.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[OSError | None], None] | None]
        self._orders = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="asyncjobs-flusher", daemon=True)
        self._thread.start()

    def flush(self, done: Callable[[OSError | None], None]) -> None:
        """Call `done` on the loop once all that was written before this call is on the disk."""
        self._orders.put(done)

    def close(self) -> None:
        """End the thread, after what was ordered."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (done := self._orders.get()) is not None:
            error = None
            try:
                sync_data(self._fd)
            except OSError as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, error)
            except RuntimeError:
                return  # the loop was closed with writes on their way: nobody waits for them
