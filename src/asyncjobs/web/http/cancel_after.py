"""How long a client gives a job, by ``Cancel-After``."""

from __future__ import annotations

import re

from quart import Request

from ...errors import InvalidRequest
from ...given import shown
from .seconds import MAX_DELTA_SECONDS

#: As servers write it.
CANCEL_AFTER = b"cancel-after"

_BLANKS = " \t"
# So many digits are enough for any number of seconds, and for their parts.
_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)


def cancel_after(request: Request) -> float:
    """The seconds that a request with ``Cancel-After`` gives its job, counted from its submission.

    They are a whole number or a decimal in ASCII digits, `MAX_DELTA_SECONDS` at most. On several
    lines, or in a list, the same is said more than once.

    Raises:
        InvalidRequest: it says something else.
    """
    written = ",".join(request.headers.getlist("Cancel-After"))
    seconds = {_seconds(each.strip(_BLANKS)) for each in written.split(",")}
    if len(seconds) > 1:
        raise InvalidRequest(
            f"Cancel-After says different things, {shown(written)}: send it once; no job was made"
        )
    return seconds.pop()


def _seconds(written: str) -> float:
    if _SECONDS.fullmatch(written) and float(written) <= MAX_DELTA_SECONDS:
        return float(written)
    raise InvalidRequest(
        "Cancel-After must be a number of seconds such as 30 or 0.5, at most "
        f"{MAX_DELTA_SECONDS}, not {shown(written)}; no job was made"
    )
