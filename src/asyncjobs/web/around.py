"""Ours around what an app does by itself: in the place of a method of it, which ours may call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any


def around(owner: Any, name: str, ours: Callable[..., Any]) -> Callable[[], None]:
    """Have `ours` called in the place of a method of one object, with that as its first argument.

    Others may do the same, before and after. It is as the method in all that is asked of it besides
    being called: its name, what it wraps, and whether it is a coroutine function if `ours` is one.

    Returns:
        what gives the method its place back. While somebody else's is around ours, it does nothing:
        they would call ours all the same.
    """
    there = getattr(owner, name)
    instead = update_wrapper(partial(ours, there), there)

    def give_back() -> None:
        if getattr(owner, name) is instead:
            setattr(owner, name, there)

    setattr(owner, name, instead)
    return give_back
