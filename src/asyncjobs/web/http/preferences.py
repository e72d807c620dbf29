"""What a client prefers, by ``Prefer`` (RFC 7240)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.request import parse_http_list

from quart import Request

#: The most seconds that HTTP knows (RFC 9111, section 1.2.2).
MAX_DELTA_SECONDS = 2**31
_BLANKS = " \t"


class Preferences(NamedTuple):
    """Those that we know.

    Attributes:
        wait: the N of ``wait=N`` (section 4.3).
        is_async: whether there is ``respond-async`` (section 4.1).
    """

    wait: int | None = None
    is_async: bool = False


def preferences_of(request: Request) -> Preferences | None:
    """What the client prefers; None if it says nothing of that."""
    lines = request.headers.getlist("Prefer")
    return _preferences_in(", ".join(lines)) if lines else None


def wait_preference(request: Request) -> int | None:
    """The N of ``Prefer: wait=N`` (RFC 7240, section 4.3), if the client has that preference."""
    lines = request.headers.getlist("Prefer")
    return _preferences_in(", ".join(lines)).wait if lines else None


@lru_cache(maxsize=256)  # a client says the same with each poll
def _preferences_in(written: str) -> Preferences:
    said: dict[str, str] = {}
    for preference in parse_http_list(written):
        # Parameters change nothing (section 2), nor does what is wrong with them.
        name, _, value = preference.partition(";")[0].partition("=")
        # Of two the first counts, whatever it says.
        said.setdefault(name.strip(_BLANKS).lower(), value.strip(_BLANKS))
    # It has no value, which an empty one is as well.
    is_async = said.get("respond-async") in ("", '""')
    return Preferences(_seconds(said.get("wait", "")), is_async)


def _seconds(written: str) -> int | None:
    if not (written.isascii() and written.isdecimal()):
        return None
    return int(min(float(written), MAX_DELTA_SECONDS))  # an int takes no more than 4,300 digits
