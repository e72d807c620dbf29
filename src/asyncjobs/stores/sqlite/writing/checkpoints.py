"""When the write-ahead log is moved into the database: in a thread, away from the event loop."""

from __future__ import annotations

import logging
import queue
import sqlite3
from contextlib import suppress
from pathlib import Path

from ....daemons import start_daemon
from ....errors import StoreError
from .condition import Condition, is_damage
from .lengths import Lengths
from .moving import Mover, NotSynced

logger = logging.getLogger("asyncjobs.store")

#: A checkpoint follows once so many frames of the log, of a page each, are to be moved.
CHECKPOINT_AT = 1000
#: The same after what could be written later: the checkpoint is short, and so is the wait for it.
TIDYING_CHECKPOINT_AT = 250


def is_due(frames: int, left: int, *, tidying: bool) -> bool:
    """Whether there is enough to be moved.

    Args:
        frames: of the log that are not in the database.
        left: so many of them the last checkpoint could not move, as somebody reads them.
        tidying: whether it was written what could be written later.
    """
    return frames - left > (TIDYING_CHECKPOINT_AT if tidying else CHECKPOINT_AT)


class Checkpointer:
    """One thread that checkpoints when told to.

    Args:
        path: of the database, for the program's log.
        mover: does it.
        lengths: tells how much of the log is to be moved.
        condition: of the store; a damaged one is left as it is.

    Raises:
        StoreError: there is no thread to be had.
    """

    def __init__(self, path: Path, mover: Mover, lengths: Lengths, condition: Condition) -> None:
        self._path = path
        self._mover = mover
        self._lengths = lengths
        self._condition = condition
        self._left = 0
        self._is_moving = False
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = start_daemon("asyncjobs-checkpoints", self._run, error=StoreError)

    def wrote(self, *, tidying: bool = False) -> None:
        """Begin a checkpoint if one is due by now; called on the loop."""
        try:
            frames = self._lengths.frames_to_move()
        except OSError:
            return  # who writes finds that out
        # Another process may have moved them meanwhile.
        self._left = min(self._left, frames)
        if is_due(frames, self._left, tidying=tidying) and not self._is_moving:
            self.start()

    def start(self) -> None:
        """Begin a checkpoint now, or one more after the one that is going on."""
        if self._orders.empty():
            self._orders.put(True)

    def end(self) -> None:
        """Have the thread end, after what was begun."""
        self._orders.put(False)

    def runs(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread, and wait for that."""
        self.end()
        self._thread.join()

    def _run(self) -> None:
        while self._orders.get():
            self._is_moving = True
            try:
                if not self._condition.is_damaged:
                    self._mover.move()
            except NotSynced as error:
                self._condition.flush_failed(error)
                return  # the log has it all, and must not be begun anew
            except (sqlite3.Error, OSError) as error:
                # Nothing is lost: the log only grows until a later checkpoint gets through.
                logger.warning("the checkpoint of %s has to wait: %s", self._path, error)
                if isinstance(error, sqlite3.Error) and is_damage(error):
                    self._condition.damaged(error)
            with suppress(OSError):
                # Whatever has come of it: it is tried again after as much more, and not at once.
                self._left = self._lengths.frames_to_move()
            self._is_moving = False
