"""One transaction for many writes: a write that cannot be done takes no other with it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable

from ....errors import Conflict, KeyReused, StoreUnavailable

#: Runs statements in the open transaction. It may raise `Conflict` or `KeyReused` if it has changed
#: nothing.
Operation = Callable[[Callable[..., sqlite3.Cursor]], None]


class Write:
    """An operation that is on its way, and who waits for it.

    Attributes:
        can_wait: whether it is refused while the store is in trouble.
        error: why it failed, if it did.
    """

    __slots__ = ("_waiters", "can_wait", "error", "job_id", "operation")

    def __init__(self, job_id: str | None, operation: Operation, *, can_wait: bool) -> None:
        self.job_id = job_id
        self.operation = operation
        self.can_wait = can_wait
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


def refuse(batch: Iterable[Write], reason: str) -> None:
    """Have these writes fail."""
    for write in batch:
        write.error = StoreUnavailable(reason)


def transact(connection: sqlite3.Connection, batch: list[Write]) -> None:
    """Do all that can be done of the batch, in one transaction; the others get their errors.

    Raises:
        sqlite3.Error: the transaction as a whole failed, and nothing was done.
    """
    execute = connection.execute
    try:
        # A deferred BEGIN would fail at its first write with SQLITE_BUSY_SNAPSHOT.
        execute("BEGIN IMMEDIATE")
        while (culprit := _run(execute, batch)) is not None:
            # It may have got half way: take all back, and run the others without it.
            if connection.in_transaction:  # some errors have ended it
                execute("ROLLBACK")
            execute("BEGIN IMMEDIATE")
            batch = [write for write in batch if write is not culprit]
        execute("COMMIT")
    except (sqlite3.Error, MemoryError) as error:
        if connection.in_transaction:
            execute("ROLLBACK")
        if isinstance(error, MemoryError):  # as Python calls SQLITE_NOMEM
            raise sqlite3.OperationalError("out of memory") from error
        raise


def _run(execute: Callable[..., sqlite3.Cursor], batch: list[Write]) -> Write | None:
    """Run each operation; the first that broke off in the middle, if one did."""
    for write in batch:
        write.error = None
        try:
            write.operation(execute)
        except (Conflict, KeyReused) as refusal:
            write.error = refusal
        except sqlite3.Error as error:
            if not _is_its_own(error):
                raise
            write.error = error
            return write
        except Exception as error:
            write.error = error
            return write
    return None


def _is_its_own(error: sqlite3.Error) -> bool:
    """Whether what the write wants to store is the trouble, and not the store.

    It is too large, or against a constraint, or (the errors of the module itself have no code) of a
    type that no column can have.
    """
    return isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)) or not hasattr(
        error, "sqlite_errorcode"
    )
