"""Numbers and text that somebody gives us, checked where they come in.

Further down it is too late: a timer at nan keeps others of its loop from ever going off, and what a
row cannot hold would keep its job from being stored, and so from its end.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

#: The most that SQLite keeps as an integer.
MAX_INT = 2**63 - 1
#: A date can tell what is between these, in seconds since the epoch: the years from 5 to 9977.
FIRST_TIME, LAST_TIME = -6.2e10, 2.527e11
_SHOWN = 100


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether this is an int or a float: a bool is one to Python only."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(name: str, value: Any, *, infinite: bool = False) -> int | float:
    """`value`, which must be an int or a float, as a plain one.

    Args:
        name: what to call it in a message.
        infinite: whether it may be infinite.

    Raises:
        TypeError: it is neither.
        ValueError: it is nan, infinite, or an int that no float can hold.
    """
    if not is_number(value):
        hint = f": give float({name})" if hasattr(value, "__float__") else ""
        raise TypeError(f"{name} must be an int or a float, not {described(value)}{hint}")
    try:
        is_fine = math.isfinite(value) or (infinite and not math.isnan(value))
    except OverflowError:
        is_fine = False
    if not is_fine:
        expected = "a number" if infinite else "finite"
        raise ValueError(
            f"{name} must be {expected}, and no larger than a float can be, not {shown(value)}"
        )
    return float(value) if isinstance(value, float) else int(value)


def moment(name: str, value: Any) -> float:
    """`value`, which must be a time that a date can tell, in seconds since the epoch.

    Raises:
        TypeError: it is no number.
        ValueError: there is no such date.
    """
    time = float(number(name, value))
    if not FIRST_TIME < time < LAST_TIME:
        raise ValueError(
            f"{name} must be a time in seconds since the epoch, from year 5 to 9977, not "
            f"{shown(value)}"
        )
    return time


def whole(name: str, value: Any, *, least: int, most: int = MAX_INT) -> int:
    """`value`, which must be an int of that range.

    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {described(value)}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    """`value`, which must be a str that UTF-8 can hold.

    Raises:
        TypeError: it is no str.
        ValueError: it has a lone surrogate.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {described(value)}")
    if not is_storable(value):
        raise ValueError(f"{name} has a lone surrogate, which UTF-8 cannot hold: {shown(value)}")
    return value


def is_storable(value: str) -> bool:
    """Whether UTF-8 can hold this: it has no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(value: str) -> str:
    """The same, with a replacement character for each lone surrogate."""
    if is_storable(value):
        return value
    # By way of UTF-16, where two surrogates can be one character.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def described(value: Any) -> str:
    """A value of a wrong type in a message."""
    return "None" if value is None else f"{shown(value)} ({type(value).__qualname__})"


def shown(value: Any) -> str:
    """A value in a message, whatever it is: an int of more than 4,300 digits has no repr."""
    try:
        written = repr(value)
    except Exception:
        return f"a value of the type {type(value).__qualname__} that has no repr"
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"


def printable(written: str) -> str:
    """Text for one line of a log, with what could forge another one or colour it written out: line
    ends of all kinds, controls, and what turns the direction of writing."""
    if written.isprintable():
        return written
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in written
    )
