"""What a client prefers, by ``Prefer`` (RFC 7240)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.request import parse_http_list

from quart import Request

from .seconds import delta_seconds

_BLANKS = " \t"


class Preferences(NamedTuple):
    """Those that we know.

    Attributes:
        wait: the N of ``wait=N`` (section 4.3).
        is_async: whether there is ``respond-async`` (section 4.1).
    """

    wait: int | None = None
    is_async: bool = False


_NONE = Preferences()


def preferences_of(request: Request) -> Preferences:
    """What the client prefers."""
    lines = request.headers.getlist("Prefer")
    return _preferences_in(", ".join(lines)) if lines else _NONE


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
    return Preferences(delta_seconds(said.get("wait", "")), is_async)
