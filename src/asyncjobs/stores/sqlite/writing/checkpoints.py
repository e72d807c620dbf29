"""When the write-ahead log is moved into the database: in a thread, away from the event loop."""

from __future__ import annotations

import logging
import queue
import sqlite3
from pathlib import Path

from ....daemons import start_daemon
from ....errors import StoreError
from .condition import Condition, is_damage
from .lengths import Lengths
from .moving import DatabaseNotSynced, Mover

logger = logging.getLogger("asyncjobs.store")

#: A checkpoint follows once so many frames of the log, of a page each, are to be moved.
CHECKPOINT_AT = 1000
#: The same after what could be written later: the checkpoint is short, and so is the wait for it.
TIDYING_CHECKPOINT_AT = 250

# Where nobody knows how many there are: so many for each commit.
_FRAMES_PER_COMMIT = 12


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
        self._guessed = 0
        # So many could not be moved by the last one, as somebody reads them.
        self._left = 0
        self._is_moving = False
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = start_daemon("asyncjobs-checkpoints", self._run, error=StoreError)

    def wrote(self, *, tidying: bool = False) -> None:
        """Begin a checkpoint if there is enough to be moved by now; called on the loop."""
        self._guessed += _FRAMES_PER_COMMIT
        enough = TIDYING_CHECKPOINT_AT if tidying else CHECKPOINT_AT
        if self._frames_to_move() - self._left > enough and not self._is_moving:
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
            except DatabaseNotSynced as error:
                self._condition.flush_failed(error)
                return  # the log has it all, and must not be begun anew
            except (sqlite3.Error, OSError) as error:
                # Nothing is lost: the log only grows until a later checkpoint gets through.
                logger.warning("the checkpoint of %s has to wait: %s", self._path, error)
                if isinstance(error, sqlite3.Error) and is_damage(error):
                    self._condition.damaged(error)
            self._guessed = 0
            self._left = self._frames_to_move()
            self._is_moving = False

    def _frames_to_move(self) -> int:
        frames = self._lengths.frames_to_move()
        return self._guessed if frames is None else frames
