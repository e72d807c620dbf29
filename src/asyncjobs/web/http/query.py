"""What is asked for behind the question mark of a URL, read strictly: what is not understood is
told, and never passed over, as the answer would be to another question."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from ...errors import InvalidRequest
from ...given import shown

T = TypeVar("T")

#: How many jobs a page of the list has unless it is said, and at most.
DEFAULT_LIMIT, MAX_LIMIT = 50, 500

#: Names and values, in the order in which they came.
Pairs = Sequence[tuple[str, str]]

# A date and a time with its offset (RFC 3339, section 5.6): datetime reads more than that, such as
# 75 minutes in an offset. A plus that was not written %2B has come as a blank, which nothing else
# can be meant by there.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d+)?)(?:([Zz])|([-+ ])(\d\d:[0-5]\d))", re.ASCII
)
# More digits than any number that is asked for has.
_DIGITS = 18


def pairs_of(query: bytes) -> Pairs:
    """The parameters of a query string, whatever bytes are in it."""
    return parse_qsl(query.decode(errors="replace"), keep_blank_values=True)


def query_of(pairs: Pairs) -> str:
    """The reverse of `pairs_of`, in letters that a URL can have as they are."""
    return urlencode(pairs)


class Parameters:
    """Those of one request.

    Args:
        known: the names that there are.
        repeatable: those that may be given more than once.

    Raises:
        InvalidRequest: there is another one, or one too often.
    """

    def __init__(self, pairs: Pairs, known: Sequence[str], repeatable: Collection[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in known:
                raise InvalidRequest(
                    f"there is no parameter {shown(name)}: there are {', '.join(known)}"
                )
            if name in self._values and name not in repeatable:
                raise InvalidRequest(
                    f"the parameter {name!r} is there once more, as {shown(value)}: give it once"
                )
            self._values.setdefault(name, []).append(value)

    def one(self, name: str, read: Callable[[str], T], expected: str) -> T | None:
        """What `read` makes of a parameter; None if it is not given.

        Args:
            read: raises a ValueError for what is none of these.
            expected: what it may be, for who has given something else.

        Raises:
            InvalidRequest
        """
        return next(iter(self.all(name, read, expected)), None)

    def all(self, name: str, read: Callable[[str], T], expected: str) -> list[T]:
        """The same of one that may be given more than once; empty if it is not given."""
        read_so_far = []
        for value in self._values.get(name, ()):
            try:
                read_so_far.append(read(value))
            except ValueError:
                raise InvalidRequest(
                    f"the parameter {name!r} is {shown(value)}: it must be {expected}"
                ) from None
        return read_so_far


def whole_of(written: str, *, least: int, most: int) -> int:
    """A whole number of that range, in ASCII digits.

    Raises:
        ValueError
    """
    is_plain = written.isascii() and written.isdecimal() and len(written) <= _DIGITS
    if not (is_plain and least <= int(written) <= most):
        raise ValueError("it is none")
    return int(written)


def moment_of(written: str) -> float:
    """A time of RFC 3339, with its offset, in seconds since the epoch.

    Raises:
        ValueError
    """
    match = _MOMENT.fullmatch(written)
    if match is None:
        raise ValueError("it is none")
    date, time, is_utc, sign, offset = match.groups()
    zone = "+00:00" if is_utc else f"{sign.replace(' ', '+')}{offset}"
    return datetime.fromisoformat(f"{date}T{time}{zone}").timestamp()
