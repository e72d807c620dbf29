"""Event streams: who wants one, from where on, and how events are written.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from functools import lru_cache

from quart import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

CONTENT_TYPE = "text/event-stream; charset=utf-8"
#: Says nothing, so that nobody on the way takes the stream for a dead connection.
COMMENT = b":\n\n"

_OURS = CONTENT_TYPE.partition(";")[0], CONTENT_TYPE
_JSON = "application/json"
# As many digits as a version may have.
_ID = re.compile(r"[0-9]{1,19}")


def wants_events(request: Request) -> bool:
    """Whether a client would rather have events than JSON, by ``Accept`` (RFC 9110, section
    12.5.1). Who likes both as much has JSON."""
    lines = request.headers.getlist("Accept")
    return bool(lines) and _prefers_events(", ".join(lines))


def last_event_id(request: Request) -> int | None:
    """The ``Last-Event-ID`` of a client that comes back; None if it has none, or none of ours."""
    written = request.headers.get("Last-Event-ID", "")
    return int(written) if _ID.fullmatch(written) else None


@lru_cache(maxsize=256)  # the same job is watched by many, or one client comes back
def event(name: str, event_id: int, data: bytes) -> bytes:
    """One event.

    Args:
        event_id: what the client says as its ``Last-Event-ID`` if it comes back.
        data: UTF-8.
    """
    lines = b"".join(b"data: %b\n" % line for line in data.splitlines())
    return b"event: %b\nid: %d\n%b\n" % (name.encode(), event_id, lines)


def retry(milliseconds: int) -> bytes:
    """When to come back, if the stream ends: no event, and nothing that has an id."""
    return b"retry: %d\n\n" % milliseconds


@lru_cache(maxsize=256)  # a client says the same each time
def _prefers_events(accept: str) -> bool:
    accepted = parse_accept_header(accept, MIMEAccept)
    return max(map(accepted.quality, _OURS)) > accepted.quality(_JSON)
