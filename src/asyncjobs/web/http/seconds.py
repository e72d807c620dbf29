"""Seconds, as headers have them."""

from __future__ import annotations

#: The most seconds that HTTP knows (RFC 9111, section 1.2.2).
MAX_DELTA_SECONDS = 2**31


def delta_seconds(written: str) -> int | None:
    """A whole number of seconds in ASCII digits, of which more than `MAX_DELTA_SECONDS` are as many
    (RFC 9111, section 1.2.2); None if it is none."""
    if not (written.isascii() and written.isdecimal()):
        return None
    return int(min(float(written), MAX_DELTA_SECONDS))  # an int takes no more than 4,300 digits
