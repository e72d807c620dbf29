"""Headers: which are stored (no credentials, nothing of the connection), and their ways back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from werkzeug.datastructures import Headers

from ..job import HeaderPairs

# RFC 9110, section 7.6.1, and what older proxies send.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# They would have the job answer 206 or 304, and that would be its result for good.
_CONDITIONAL = re.compile(rb"if-.*|range|expect")
_CREDENTIAL = re.compile(
    rb"authorization|cookie|proxy-authorization|.*(token|secret|api-?_?key|session|[cx]srf|passw).*"
)
# RFC 9110, sections 5.1 and 5.5.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"([\x21-\x7e\x80-\xff]+([ \t]+[\x21-\x7e\x80-\xff]+)*)?")
# Quart counts the length anew when the result is answered; a cookie is not for whoever polls.
_NOT_OF_A_RESULT = _HOP_BY_HOP | {b"content-length", b"set-cookie", b"set-cookie2"}

#: Statuses whose responses have no body, whatever their handler has returned (RFC 9110, sections
#: 15.3.5, 15.3.6 and 15.4.5). An HTTP/2 client would take that for an error.
BODILESS = frozenset({204, 205, 304})


def storable_request_headers(pairs: Iterable[tuple[bytes, bytes]], body: bytes) -> HeaderPairs:
    """The headers of a request that its job keeps."""
    named = b""
    kept = []
    chunked = False
    for name, value in pairs:
        if name == b"connection":
            named += b"," + value.lower()
        elif name == b"transfer-encoding":
            chunked = True
        elif (shared := _storable_name(name)) is not None:
            kept.append((shared, value))
    if named:
        hops = {token.strip() for token in named.split(b",")}
        kept = [pair for pair in kept if pair[0] not in hops]
    if chunked:
        kept.append((b"content-length", b"%d" % len(body)))
    return tuple(kept)


def storable_response_headers(pairs: Iterable[tuple[bytes, bytes]]) -> HeaderPairs:
    """The headers of a response that are part of the result.

    Raises:
        ValueError: one is not well-formed: no server could send it, now or at any poll.
    """
    kept = tuple(pair for pair in pairs if pair[0] not in _NOT_OF_A_RESULT)
    for name, value in kept:
        if not (_is_name(name) and _VALUE.fullmatch(value)):
            raise ValueError(f"the response has a malformed header, {name!r}: {value!r}")
    return kept


class ReadyHeaders(Headers):
    """Headers that are known to be well-formed: to have them checked one by one, as werkzeug does,
    is a good part of what a poll costs."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._list = list(pairs)


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


@lru_cache(maxsize=1024)
def title_of(name: bytes) -> str:
    """A header's name as Quart writes it."""
    return name.decode("latin-1").title()


@lru_cache(maxsize=1024)  # headers have few names, and this is done for each of every request
def _storable_name(name: bytes) -> bytes | None:
    """The name, as one object for all jobs, or None if the header is not stored."""
    if name in _HOP_BY_HOP or _CONDITIONAL.fullmatch(name) or _CREDENTIAL.fullmatch(name):
        return None
    return name
