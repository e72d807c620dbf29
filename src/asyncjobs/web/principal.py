"""The principal: who has sent a request, in the app's own words, as it is stored with the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..credentials import is_credential
from ..errors import SetupError
from ..given import described

#: The most bytes that a principal has as JSON.
MAX_PRINCIPAL = 8 * 1024

_WAY_OUT = (
    "have it return what names the submitter, such as the primary key of a user, as str, numbers, "
    "bool, None, and lists and dicts of them; a job reads the rest for itself"
)


def storable_principal(value: Any) -> Any:
    """`value` as JSON gives it back.

    Raises:
        SetupError: it is no JSON, too large, or has credentials in it.
    """
    try:
        written = msgspec.json.encode(value)
        stored = msgspec.json.decode(written)
        for key in _keys(stored):
            if is_credential(key):
                raise _refused(f"has a key {key!r}, which looks like that of a credential")
        # Or a job would see something else than the function has returned: text for a datetime, a
        # list for a tuple, None for nan.
        if stored != value:
            raise _refused(f"is not what JSON gives back: {described(value)}")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refused(f"is no JSON ({error}): {described(value)}") from None
    if len(written) > MAX_PRINCIPAL:
        raise _refused(f"has {len(written)} bytes as JSON, and {MAX_PRINCIPAL} is the most")
    return stored


def _refused(why: str) -> SetupError:
    return SetupError(f"what principal= returned {why}: {_WAY_OUT}")


def _keys(value: Any) -> Iterator[str]:
    """The keys of all dicts in there, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
