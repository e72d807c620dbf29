"""Jobs, requests and responses to try a store with."""

from __future__ import annotations

import uuid
from typing import Any

from ..errors import HandlerFailed, JobInterrupted, JobWasCancelled
from ..job import Job, Request, Response
from ..store import Store
from .clock import NOW


def a_job(**fields: Any) -> Job:
    """A queued job; `fields` are set on top."""
    defaults = {
        "id": uuid.uuid4().hex,
        "route": "report",
        "path": "/report",
        "created": NOW,
        "ttl": 60.0,
    }
    return Job(**{**defaults, "due": fields.get("created", NOW), **fields})


async def purge_all(store: Store, before: float) -> int:
    """Have a store forget all that expired before this time; how many jobs that were."""
    forgotten = 0
    while purged := await store.purge(before):
        forgotten += purged
    return forgotten


REQUEST = Request(
    method="POST",
    path="/a b/\N{SNOWMAN}/%3F",
    query=b"x=%3F&y=\xff",
    headers=((b"host", b"example.org"), (b"x-bytes", b"\x80\xff: ;"), (b"x-bytes", b"")),
    body=bytes(range(256)),
    scheme="https",
    root_path="/root",
    http_version="2",
    client=("::1", 1234),
    server=("unix:/run/server", None),
    context=b'{"principal":"ada"}',
)
RESPONSE = Response(
    status=418,
    headers=((b"content-type", b"text/plain"), (b"x-utf8", "\N{SNOWMAN}".encode())),
    body=bytes(range(256)),
)
#: Why jobs of these tests end without a response of their handlers' own.
BROKEN = HandlerFailed("the handler broke")
CANCELLED = JobWasCancelled("somebody cancelled it")
INTERRUPTED = JobInterrupted("its process ended")
