"""What caches may keep of a result that has an owner: those of its browser alone.

A shared one, as a proxy's, looks at the URL and not at who asks. What a handler says goes for its
result; but `send_file` says ``public``, and knows of no owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.request import parse_http_list

Headers = list[tuple[str, str]]

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9111, section 5.2. What is none, a cache may read in whatever way; so it may a string that has
# escapes: who does not know them takes another quote for its end.
_DIRECTIVE = re.compile(rf'{_WORD}(=([^\s",;\\]+|"[^"\\]*"))?')
# With an argument ``private`` means some headers only. Within a string none of them means anything,
# but a cache that divides the list at each comma, or reads line by line, would find it there.
_FOR_SHARED_CACHES = frozenset({"public", "s-maxage", "private"})
# What shared caches alone listen to, and then not to Cache-Control: RFC 9213, its like, nginx, and
# LiteSpeed.
_TO_SHARED_CACHES = re.compile(
    r".*cdn-cache-control|surrogate-control|edge-control|x-accel-expires|x-litespeed-cache-control"
)


def kept_private(headers: Headers) -> Headers:
    """The headers of a response, for nobody's but the private cache of who has asked."""
    said = ", ".join(value for name, value in headers if name == "cache-control")
    kept: Headers = []
    for name, value in headers:
        if name == "cache-control":
            if said:
                kept.append((name, _private(said)))
            said = ""  # in one line, in the place of the first
        elif not _is_to_shared_caches(name):
            kept.append((name, value))
    return kept


def kept_by_none(headers: Headers) -> Headers:
    """The headers of a response, for no cache at all: whoever asks for the same is to get another
    one."""
    others = [(name, value) for name, value in headers if not _is_to_caches(name)]
    return [*others, ("cache-control", "no-store")]


@lru_cache(maxsize=256)  # handlers say the same with each result
def _private(cache_control: str) -> str:
    directives = list(_made_private(parse_http_list(cache_control)))
    names = {directive.lower() for directive in directives}
    # With must-understand a cache may ignore a no-store.
    if "private" not in names and ("no-store" not in names or "must-understand" in _words(*names)):
        directives.append("private")
    return ", ".join(dict.fromkeys(directives))


def _made_private(directives: Iterable[str]) -> Iterable[str]:
    for directive in directives:
        if _DIRECTIVE.fullmatch(directive) is not None:
            yield directive if _FOR_SHARED_CACHES.isdisjoint(_words(directive)) else "private"


def _words(*directives: str) -> set[str]:
    """All that some reader may take for the name of a directive."""
    return {word.lower() for directive in directives for word in re.findall(_WORD, directive)}


@lru_cache(maxsize=1024)
def _is_to_shared_caches(name: str) -> bool:
    return _TO_SHARED_CACHES.fullmatch(name) is not None


def _is_to_caches(name: str) -> bool:
    return name in ("cache-control", "expires") or _is_to_shared_caches(name)
