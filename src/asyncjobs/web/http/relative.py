"""What a response says relative to its URL, said in words that hold at any other.

The result of a job is answered below the URL that the job was submitted to, and elsewhere: there
``Location: done`` would lead to another page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from quart import Request

from ...job import HeaderPairs
from .links import with_references
from .paths import IN_PATH, without_authority

_IN_QUERY = f"{IN_PATH}?%"
# A scheme, a host or a path from the root: browsers take a backslash for a slash.
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|[/\\]", re.IGNORECASE)
# What browsers do not read (URL Standard, section 4.4): who leaves it where it is lets them see two
# slashes, a scheme or the end of a path where we saw none.
_UNREAD = re.compile(r"\A[\0- ]+|[\t\r\n]+")
# Where browsers see segments of a path that others do not.
_AMBIGUOUS = re.compile(r"\\|%2e", re.IGNORECASE)
# Seconds, and then where to go, if not here again; a blank is separation enough (HTML, section
# 4.2.5.3).
_IN_REFRESH = re.compile(
    r"""([0-9.]+(?>[ \t]*[;,]|[ \t])[ \t]*+(?:url[ \t]*=[ \t]*)?+["']?)([^"']+)""", re.IGNORECASE
)
_PARTS = re.compile(r"([^?#]*)(.*)", re.DOTALL)


def resolved(headers: HeaderPairs, request: Request) -> HeaderPairs:
    """The headers of a response to `request`, with all that is relative to its URL resolved (RFC
    3986, section 5) as far as to a path: whoever asks knows scheme and host better than we do."""
    if _REWRITTEN.keys().isdisjoint(dict(headers)):
        return headers
    path = quote(request.root_path.rstrip("/") + request.path, IN_PATH)
    query = quote(request.query_string, _IN_QUERY)

    def resolve(reference: str) -> str:
        return _resolved(reference, path, query)

    return tuple(
        (name, _REWRITTEN[name](value.decode("latin-1"), resolve).encode("latin-1"))
        if name in _REWRITTEN
        else (name, value)
        for name, value in headers
    )


def _resolved(reference: str, path: str, query: str) -> str:
    # urljoin takes `//` for `/`, loses an empty query, and knows hosts in what we take for paths.
    read = _UNREAD.sub("", reference)
    if _ABSOLUTE.match(read):
        return reference
    own, rest = _PARTS.fullmatch(read).groups()  # type: ignore[union-attr] # matches anything
    if own:
        return without_authority(_merged(path, own)) + rest
    if query and not rest.startswith("?"):
        rest = f"?{query}{rest}"
    return without_authority(path) + rest


def _merged(path: str, relative: str) -> str:
    """As RFC 3986 has it in sections 5.2.3 and 5.2.4."""
    merged = f"{path.rpartition('/')[0]}/{relative}"
    if _AMBIGUOUS.search(relative):
        return merged  # for each client to take apart as it would have at once
    *folders, last = merged.split("/")[1:]
    kept: list[str] = []
    for segment in [*folders, last]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _location(value: str, resolve: Callable[[str], str]) -> str:
    return resolve(value)


def _refresh(value: str, resolve: Callable[[str], str]) -> str:
    match = _IN_REFRESH.match(value)
    return value if match is None else match[1] + resolve(match[2]) + value[match.end() :]


_REWRITTEN: dict[bytes, Callable[[str, Callable[[str], str]], str]] = {
    b"location": _location,
    b"content-location": _location,
    b"link": with_references,
    b"refresh": _refresh,
    b"sourcemap": _location,
}
