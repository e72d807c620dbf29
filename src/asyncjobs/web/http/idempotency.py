"""``Idempotency-Key``, by which repeats of a submission are known
(draft-ietf-httpapi-idempotency-key-header-07)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...errors import InvalidRequest
from ...key import MAX_KEY_BYTES

#: The name of the header, as a connection has it.
IDEMPOTENCY_KEY = b"idempotency-key"
#: Says of an answer that it is about a job which an earlier request has made. Stripe calls it so.
REPLAYED = "idempotent-replayed"

# What UUIDs and base64 are written in, and tokens (RFC 9110, section 5.6.2; RFC 9651, 3.3.4).
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z:/=-]*")
# With each character of a key escaped, and with parameters, which mean nothing.
_MAX_WRITTEN = 4 * MAX_KEY_BYTES


def key_in(values: Sequence[bytes]) -> str:
    """The key, of all that a request has of the header: a string (RFC 9651, section 3.3.3), or the
    same without quotation marks, as most clients send it, if a token can be written so.

    Raises:
        InvalidRequest: it is no key.
    """
    if len(values) != 1:
        raise _invalid("it was given more than once")
    written = values[0].strip(b" \t")
    if len(written) > _MAX_WRITTEN:
        raise _invalid("it is too long")
    key = _in_string(written) if written.startswith(b'"') else _in_token(written)
    if not key:
        raise _invalid("it is empty")
    if len(key) > MAX_KEY_BYTES:
        raise _invalid("it is too long")
    return key


def _in_string(written: bytes) -> str:
    # Few programs get any, and to import it takes longer than to answer a request.
    from http_sf import parse

    try:
        item: Any = parse(written, tltype="item")
    except ValueError as error:
        raise _invalid("it is no such string") from error
    value, _ = item
    return str(value)


def _in_token(written: bytes) -> str:
    if not _TOKEN.fullmatch(written):
        raise _invalid("it is neither")
    return written.decode("ascii")


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(
        'Idempotency-Key must be a string in quotation marks (RFC 9651), such as "8e03978e-40d5", '
        "or the same without them, of letters, digits and !#$%&'*+-.^_`|~:/= alone; once, and of 1 "
        f"to {MAX_KEY_BYTES} bytes: {why}"
    )
