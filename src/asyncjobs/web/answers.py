"""What clients are told about a job: decided in plain functions from the job and the request.

The bodies of 202 are those of the pattern that this library grew from, to the byte; whatever was
added to it is in headers.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from quart import Quart, Request
from quart import Response as QuartResponse
from werkzeug.datastructures import Headers
from werkzeug.http import parse_dict_header

from ..errors import AsyncJobsError
from ..job import Job, Response
from ..problem import problem

#: Retry-After grows with the job's age, a tenth of it, between these bounds. Seconds.
RETRY_AFTER_BOUNDS = 1, 30


class Links:
    """The URLs of one job, relative to the host."""

    def __init__(self, job: Job, request: Request, prefix: str) -> None:
        root = request.root_path.rstrip("/")
        # `path` is decoded: what was %3F or %2F there must be written so again.
        self.poll = quote(f"{root}{job.path.rstrip('/')}/{job.id}", safe="/:@!$&'()*+,;=~")
        self.status = quote(f"{root}{prefix}/{job.id}", safe="/")


def accepted(app: Quart, job: Job, links: Links) -> QuartResponse:
    """The answer to a submission."""
    response = _json(app, {"TaskId": job.id}, 202)
    response.headers["Location"] = links.poll
    response.headers["Retry-After"] = str(RETRY_AFTER_BOUNDS[0])
    return _marked(response, job, links)


def pending(app: Quart, job: Job, links: Links, now: float) -> QuartResponse:
    """The answer to a poll of a job that is not final."""
    response = _json(app, {"TaskID": job.id}, 202)
    response.headers["Retry-After"] = str(retry_after(job, now))
    return _marked(response, job, links)


def result(app: Quart, job: Job, stored: Response, links: Links) -> QuartResponse:
    """The answer to a poll of a final job: the handler's own status, headers and body."""
    return _marked(from_stored(app, stored), job, links)


def nothing_started(app: Quart) -> QuartResponse:
    """The answer to HEAD on a submission route: as to a GET, but it makes no job."""
    response = _json(app, None, 202)
    response.headers["Cache-Control"] = "no-store"
    return response


def refused(app: Quart, error: AsyncJobsError) -> QuartResponse:
    """The problem document of `error`."""
    response = from_stored(app, problem(error))
    response.headers["Cache-Control"] = "no-store"
    return response


def status_document(app: Quart, job: Job, links: Links, now: float) -> QuartResponse:
    """The document that tells how a job does, whatever its state."""
    progress = job.progress
    document = {
        "id": job.id,
        "state": job.state.value,
        "route": job.route,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "progress": progress
        and {
            "current": progress.current,
            "total": progress.total,
            "message": progress.message,
        },
        "created": _rfc3339(job.created),
        "started": _rfc3339(job.started),
        "finished": _rfc3339(job.finished),
        "links": {"self": links.status, "result": links.poll},
    }
    response = _json(app, document, 200)
    if not job.state.is_final:
        response.headers["Retry-After"] = str(retry_after(job, now))
    return _marked(response, job, links)


def from_stored(app: Quart, stored: Response) -> QuartResponse:
    """A stored response as one of Quart's."""
    # Quart encodes headers as UTF-8, and so they were when the response was captured.
    headers = Headers([(name.decode(), value.decode()) for name, value in stored.headers])
    typed = "content-type" in headers
    response = app.response_class(stored.body, stored.status, headers)
    if not typed:
        del response.headers["content-type"]
    return response


def retry_after(job: Job, now: float) -> int:
    """When to ask again, in seconds: a job that has run for long is not about to end."""
    least, most = RETRY_AFTER_BOUNDS
    return max(least, min(most, int((now - job.created) / 10)))


def wait_preference(request: Request) -> float | None:
    """The N of ``Prefer: wait=N`` (RFC 7240, section 4.3), if the client has that preference."""
    header = request.headers.get("Prefer")
    if header is None:
        return None
    wait = parse_dict_header(header).get("wait")
    return float(wait) if wait is not None and wait.isdecimal() else None


def _marked(response: QuartResponse, job: Job, links: Links) -> QuartResponse:
    """Add what every answer about a job has; the handler's own headers are left as they are."""
    headers = response.headers
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("ETag", f'"{job.version}"')
    headers.add("Link", f'<{links.status}>; rel="status"')
    headers["Job-State"] = job.state.value
    return response


def _json(app: Quart, document: Any, status: int) -> QuartResponse:
    # Not the app's JSON provider: these bodies are a contract, whatever the app has configured.
    body = b"" if document is None else json.dumps(document, separators=(",", ":")) + "\n"
    return app.response_class(body, status, content_type="application/json")


def _rfc3339(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
