"""What a forked child must not keep of its parent: locks, and sockets."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Leaver(Protocol):
    """Something that a process has for itself alone."""

    def leave(self) -> None:
        """Give it up in this process, and leave whatever else shares it alone."""


_leavers: weakref.WeakSet[Leaver] = weakref.WeakSet()


def left_in_forked_child(leaver: Leaver) -> None:
    """Have `leaver` leave in every child that is forked from now on, as long as it exists."""
    _leavers.add(leaver)


def _leave() -> None:
    for leaver in list(_leavers):
        leaver.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)
