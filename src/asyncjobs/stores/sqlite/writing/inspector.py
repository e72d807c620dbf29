"""Looks at what a store writes to: its files and its reserve. The condition is told of trouble."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from ....errors import StoreUnavailable
from ..identity import Identity
from .condition import CANNOT_LOOK, NO_ROOM, Condition, wants_room
from .lengths import Lengths
from .reserve import Reserve


class Inspector:
    """Answers whoever writes. Where an answer is no, the condition has the reason.

    Used on the event loop, but for what says otherwise.

    Args:
        identity: of the files that must still be there when a write is acknowledged.
        lengths: of these files, which must not have been cut short.
        reserve: what there is when there is no room any more.
        lost: called with the paths that do not lead to the open files any more.

    Attributes:
        condition: is told of what is found.
    """

    def __init__(
        self,
        identity: Identity,
        lengths: Lengths,
        reserve: Reserve,
        condition: Condition,
        *,
        lost: Callable[[list[str]], None],
    ) -> None:
        self._identity = identity
        self._lengths = lengths
        self._reserve = reserve
        self.condition = condition
        self._lost = lost

    def may_write(self) -> bool:
        """Whether anything may be written into the files: what was cut short, that would hide."""
        if self.condition.is_final:
            return False
        try:
            return self._lengths.are_right()
        except OSError as error:
            return self._cannot_look(error)

    def may_acknowledge(self) -> bool:
        """Whether what was written is where others find it: our paths still lead to the open files,
        and nothing was cut off them."""
        if self.condition.is_final:
            return False
        try:
            lost = self._identity.lost()
            if not lost:
                return self._lengths.are_right()
        except OSError as error:
            return self._cannot_look(error)
        self.condition.files_lost(lost)
        self._lost(lost)
        return False

    def has_room(self) -> bool:
        """Whether there is room for what can wait. Where the reserve is not whole that is so in any
        trouble that we know of, or another process has let some go."""
        if self._reserve.is_whole():
            return True
        if self.condition.reason is None:
            self.condition.trouble(NO_ROOM)
        return False

    def is_log_right(self) -> bool:
        """A transaction could not be made: whether it is not for what SQLite has read out of a log
        that is not what it was, which it may also take for a database that is full.

        For whoever holds the lock of all writers. In trouble it is that which is taken for why: to
        look takes a microsecond a frame.
        """
        if self.condition.reason is not None:
            return True
        try:
            return self._lengths.may_be_moved()
        except OSError as cannot:
            return self._cannot_look(cannot)

    def makes_room(self, error: sqlite3.Error) -> bool:
        """A transaction could not be made: whether there is more room now, for what cannot wait."""
        self.condition.write_failed(error)
        return wants_room(error) and self._reserve.let_go()

    def check(self) -> None:
        """Look whether a new job would be taken now; nothing is written.

        Raises:
            StoreUnavailable: it would not, and why.
        """
        if self.may_acknowledge():
            self.has_room()
        self.condition.check(can_wait=True)

    def check_files(self) -> None:
        """Look whether what is in the store is all there to be read.

        Raises:
            StoreUnavailable: nobody knows.
        """
        if not self.may_acknowledge():
            raise StoreUnavailable(str(self.condition.reason))

    def check_files_from_thread(self) -> None:
        """The same from any thread, where files that are lost are for the loop to tell of.

        Raises:
            StoreUnavailable, OSError
        """
        if self._identity.lost():
            raise StoreUnavailable("the files of the job store were deleted or replaced")
        if not self._lengths.are_right():
            raise StoreUnavailable(str(self.condition.reason))

    def _cannot_look(self, error: OSError) -> bool:
        self.condition.trouble(CANNOT_LOOK, str(error))
        return False
