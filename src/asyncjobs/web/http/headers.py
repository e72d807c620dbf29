"""Headers: which are stored (no credentials, nothing of the connection), and their ways back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ...credentials import is_credential
from ...errors import ConfigurationError, HeadersTooLarge
from ...job import HeaderPairs
from ...settings import Settings

# RFC 9110, section 7.6.1, and what older proxies and clients send. What a client's own Connection
# names besides is for whoever passes the request on: a live view sees it, and so does the job's.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# One that was sent twice, or beside chunks, need not be true (RFC 9112, section 6.3).
_LENGTH = frozenset({b"content-length", b"transfer-encoding"})
# They would have the job answer 206 or 304, and that would be its result for good.
_CONDITIONAL = re.compile(r"if-.*|range|expect")
_HOST = b"host"
# What says where a client goes, and from which page it comes, may have more in it than that: user
# and password, a query, a fragment. So has the URL that a proxy was asked for: it may take a
# credential out of the query before it passes the request on.
_PAGES = frozenset(
    {
        b"referer",
        b"hx-current-url",
        b"next-url",
        b"ping-from",
        b"ping-to",
        b"turbolinks-referrer",
        b"x-envoy-original-path",
        b"x-forwarded-uri",
        b"x-forwarded-url",
        b"x-original-path",
        b"x-original-uri",
        b"x-original-url",
        b"x-request-uri",
        b"x-rewrite-url",
        b"x-waws-unencoded-url",
    }
)
# What is not stored as it is.
_REDUCED = _PAGES | {_HOST}
_NOT_WHERE = re.compile(rb"^([^/?#]*//)?[^/?#]*@|[?#].*")
# A host with any of that is none. The view of a live request has none then, and so has the job's:
# not one that is made of what is left, which no hook has seen.
_NO_HOST = re.compile(rb".*[@/?#].*", re.DOTALL)
# RFC 9110, sections 5.1 and 5.5.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"([\x21-\x7e\x80-\xff]+([ \t]+[\x21-\x7e\x80-\xff]+)*)?")
# Quart counts the length anew when the result is answered; a cookie is not for whoever polls.
_NOT_OF_A_RESULT = _HOP_BY_HOP | {b"content-length", b"set-cookie", b"set-cookie2"}

#: Statuses whose responses have no body, whatever their handler has returned (RFC 9110, sections
#: 15.3.5, 15.3.6 and 15.4.5). An HTTP/2 client would take that for an error.
BODILESS = frozenset({204, 205, 304})


def storable_request_headers(
    pairs: Iterable[tuple[bytes, bytes]], body: bytes, settings: Settings
) -> HeaderPairs:
    """The headers of a request that its job keeps, and the length that its body has in there.

    Raises:
        HeadersTooLarge: all of them together, those that are not kept as well, are over the limit.
    """
    drop, keep = frozenset(settings.drop_headers), frozenset(settings.keep_headers)
    kept: list[tuple[bytes, bytes]] = []
    place, size = None, 0
    for written, value in pairs:
        size += len(written) + len(value)
        name = written.lower()  # a server has done so, but no ASGI middleware must
        if name in _LENGTH:
            place = len(kept) if place is None else place
        elif (shared := _storable_name(name, drop, keep)) is not None:
            if shared in _REDUCED and shared.decode() not in keep:
                value = _reduced(shared, value)
            kept.append((shared, value))
    if size > settings.max_headers:
        raise HeadersTooLarge(
            f"the request headers are over the limit of {settings.max_headers} bytes; no job was "
            "made"
        )
    if place is not None or body:
        length = (b"content-length", b"%d" % len(body))
        kept.insert(len(kept) if place is None else place, length)
    return tuple(kept)


def check_names(settings: Settings) -> None:
    """Refuse to keep what a job never has, and to drop what it always has.

    Raises:
        ConfigurationError
    """
    hops = sorted(name for name in settings.keep_headers if name.encode() in _HOP_BY_HOP)
    if hops:
        raise ConfigurationError(
            f"keep_headers cannot keep {', '.join(hops)}: it belongs to the connection, which a "
            "job does not have"
        )
    if "content-length" in settings.drop_headers:
        raise ConfigurationError(
            "drop_headers cannot drop content-length: a job always has the length of the body that "
            "it has stored; take it out"
        )


def storable_response_headers(pairs: Iterable[tuple[bytes, bytes]]) -> HeaderPairs:
    """The headers of a response that are part of the result.

    Raises:
        ValueError: one is not well-formed: no server could send it, now or at any poll.
    """
    kept = []
    for name, value in pairs:
        if name not in _NOT_OF_A_RESULT:
            if not (_is_name(name) and _VALUE.fullmatch(value)):
                raise ValueError(f"the response has a malformed header, {name!r}: {value!r}")
            kept.append((name, value))
    return tuple(kept)


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


@lru_cache(maxsize=1024)  # headers have few names, and this is done for each of every request
def _storable_name(name: bytes, drop: frozenset[str], keep: frozenset[str]) -> bytes | None:
    """The name, as one object for all jobs, or None if the header is not stored."""
    written = name.decode("latin-1")
    if name in _HOP_BY_HOP or written in drop:
        return None
    if written in keep or not (_CONDITIONAL.fullmatch(written) or is_credential(written)):
        return name
    return None


def _reduced(name: bytes, value: bytes) -> bytes:
    """What is stored of the value."""
    return _NO_HOST.sub(b"", value) if name == _HOST else _NOT_WHERE.sub(rb"\1", value)
