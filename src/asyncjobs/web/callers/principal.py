"""The principal: who has sent a request, in the app's own words, as it is stored with the job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ...credentials import is_credential
from ...errors import Unstorable
from ...forms import is_plain
from ...given import described

#: The most bytes that a principal has as JSON.
MAX_PRINCIPAL = 8 * 1024

_WAY_OUT = (
    "have it return what names the submitter, such as the primary key of a user, as str, numbers, "
    "bool, None, and lists and dicts of them; a job reads the rest for itself"
)


def principal_to_json(value: Any) -> bytes:
    """`value` as JSON, which gives back exactly that.

    Raises:
        Unstorable: it is no plain JSON, too large, or has credentials in it.
    """
    try:
        if not is_plain(value):
            raise _refused(f"is no plain JSON: {described(value)}")
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise _refused(f"is no text that can be stored: {described(value)}") from None
    except RecursionError:
        raise _refused("is nested too deep, or contains itself") from None
    for key in _keys(value):
        if is_credential(key):
            raise _refused(f"has a key {key!r}, which looks like that of a credential")
    if len(written) > MAX_PRINCIPAL:
        raise _refused(f"has {len(written)} bytes as JSON, and {MAX_PRINCIPAL} is the most")
    return written


def _refused(why: str) -> Unstorable:
    return Unstorable(f"what principal= returned {why}: {_WAY_OUT}")


def _keys(value: Any) -> Iterator[str]:
    """The keys of all dicts in there, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
