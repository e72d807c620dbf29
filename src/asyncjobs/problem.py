"""Problem documents (RFC 9457): how an error reads over HTTP."""

from __future__ import annotations

import json

from .errors import AsyncJobsError
from .job import Response

CONTENT_TYPE = "application/problem+json"


def problem_type(error: AsyncJobsError | type[AsyncJobsError]) -> str:
    """The ``type`` of the error's problem document: a name that stays the same, not an address."""
    return f"urn:asyncjobs:problem:{error.name}"


def problem(error: AsyncJobsError) -> Response:
    """The response that tells a client of `error`."""
    document = {
        "type": problem_type(error),
        "title": error.title,
        "status": error.status,
        "detail": str(error),
    }
    headers = ((b"content-type", CONTENT_TYPE.encode()),)
    return Response(error.status, headers, json.dumps(document).encode() + b"\n")
