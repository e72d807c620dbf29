"""What a client prefers, by ``Prefer`` (RFC 7240)."""

from __future__ import annotations

from functools import lru_cache
from urllib.request import parse_http_list

from quart import Request

#: The most seconds that HTTP knows (RFC 9111, section 1.2.2).
MAX_DELTA_SECONDS = 2**31
_BLANKS = " \t"


def wait_preference(request: Request) -> int | None:
    """The N of ``Prefer: wait=N`` (RFC 7240, section 4.3), if the client has that preference."""
    lines = request.headers.getlist("Prefer")
    return _wait_in(", ".join(lines)) if lines else None


@lru_cache(maxsize=256)  # a client says the same with each poll
def _wait_in(preferences: str) -> int | None:
    for preference in parse_http_list(preferences):
        # Parameters change nothing (section 2), nor does what is wrong with them.
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip(_BLANKS).lower() == "wait":
            return _seconds(value.strip(_BLANKS))  # of two the first counts, whatever it says
    return None


def _seconds(written: str) -> int | None:
    if not (written.isascii() and written.isdecimal()):
        return None
    return int(min(float(written), MAX_DELTA_SECONDS))  # an int takes no more than 4,300 digits
