"""``If-None-Match`` (RFC 9110, section 13.1.2): who has an answer already is not sent it again.

Of all conditions this is the one that is heeded. The time of ``If-Modified-Since`` has whole
seconds, in which a job may come from its start to its end.
"""

from __future__ import annotations

import re
from functools import lru_cache

from quart import Request
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags, unquote_etag

#: As servers write it.
IF_NONE_MATCH = b"if-none-match"

# Sections 5.6.1 and 8.8.3: werkzeug makes something of anything.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\*|[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")


def tags_held(request: Request) -> ETags | None:
    """The tags of the answers that the client has; None if it is not conditional, or if what it
    says cannot be read. Only GET and HEAD are (section 13.1.2)."""
    if request.method not in ("GET", "HEAD"):
        return None
    lines = request.headers.getlist("If-None-Match")
    return _tags_in(", ".join(lines)) if lines else None


def is_held(status: int, etag: str, tags: ETags) -> bool:
    """Whether the client has an answer, by a weak comparison (section 8.8.3.2).

    Only one of success can be: a condition is not even looked at where the answer without it would
    be another one (section 13.2.1).

    Args:
        etag: of the answer, as its header has it.
    """
    return 200 <= status < 300 and bool(etag) and tags.contains_weak(unquote_etag(etag)[0])


def may_change(etag: str, tags: ETags | None) -> bool:
    """Whether a client can wait for another answer than this one, which is of success: who has it
    already can, and who has said nothing of that; not who has another one, and is told so at once,
    nor who has any (``*``), from which none will differ."""
    return tags is None or (not tags.star_tag and is_held(200, etag, tags))


@lru_cache(maxsize=256)
def _tags_in(written: str) -> ETags | None:
    written = written.strip(" \t")
    return parse_etags(written) if _TAGS.fullmatch(written) else None
