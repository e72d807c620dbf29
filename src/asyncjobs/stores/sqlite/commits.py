"""Group commit on the event loop: all writes of one turn are one transaction and one flush.

Why on the loop: a transaction in a thread takes the interpreter's lock about ten times while it
holds the database's, and behind a busy loop it waits up to 5 ms for each. On the loop a batch takes
about 0.1 ms. The disk is waited for in a thread (`Flusher`), for all that was committed meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import queue
import random
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...errors import Conflict, StoreUnavailable
from .locks import FileLock
from .schema import unavailable

#: Runs statements in the open transaction. It may raise `Conflict` if it has changed nothing.
Operation = Callable[[Callable[..., sqlite3.Cursor]], None]

#: How long a write waits for other processes before it fails, in seconds.
LOCK_TIMEOUT = 5.0


class Write:
    """An operation that is on its way, and whom to tell."""

    __slots__ = ("asked", "error", "future", "job_id", "operation")

    def __init__(
        self, job_id: str, operation: Operation, future: asyncio.Future[None], asked: float
    ) -> None:
        self.job_id = job_id
        self.operation = operation
        self.future = future
        self.asked = asked
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell the caller, unless it has gone."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self.error)


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
        self._unsettled: dict[str, asyncio.Future[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken: StoreUnavailable | None = None

    def write(self, job_id: str, operation: Operation) -> asyncio.Future[None]:
        """Run `operation` in the next transaction. The future is done once that is durable.

        Its exception is whatever `operation` raised, or `StoreUnavailable`.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._broken is not None:
            future.set_exception(self._broken)
            return future
        self._waiting.append(Write(job_id, operation, future, self._loop.time()))
        self._unsettled[job_id] = future
        self._idle.clear()
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._commit)
        return future

    def unsettled(self, job_id: str) -> asyncio.Future[None] | None:
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
            self._fail(
                StoreUnavailable(f"another process keeps the store {self._path} locked: try later")
            )
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
            for write in batch:
                write.error = unavailable(error, self._path)
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
            self._broken = unavailable(error, self._path)
            self._waiting = batch + self._waiting
            self._fail(self._broken)

    def _fail(self, error: StoreUnavailable) -> None:
        """No write that waits comes through."""
        batch, self._waiting = self._waiting, []
        for write in batch:
            write.error = error
        self._settle(batch)

    def _settle(self, batch: list[Write]) -> None:
        """The end of a turn: tell everybody, and begin the next one."""
        changed = []
        for write in batch:
            if self._unsettled.get(write.job_id) is write.future:
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
                os.fdatasync(self._fd)
            except OSError as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, error)
            except RuntimeError:
                return  # the loop was closed with writes on their way: nobody waits for them
