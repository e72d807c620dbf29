"""What clients are told about a job: decided in plain functions from the job and the request.

The bodies of 202 are those of the pattern that this library grew from, to the byte; whatever was
added to it is in headers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from types import EllipsisType
from typing import Any, NamedTuple

from quart import Quart
from quart import Response as QuartResponse
from quart.wrappers.response import ResponseBody
from werkzeug.datastructures import ETags

from ...documents import status_of
from ...errors import AsyncJobsError, StoreUnavailable
from ...functions import FORM_HEADER
from ...health import Health
from ...job import HeaderPairs, Job, Response
from ...problem import problem
from ..http import event_stream
from ..http.caching import kept_private
from ..http.conditional import is_held
from ..http.headers import BODILESS
from ..http.links import without_relation
from ..http.paths import path_of
from ..quart_side import ReadyHeaders
from .large import PIECE, LargeBody, copy_of
from .retry_after import SOONEST, spread
from .tags import etag_of

_JSON = ("content-type", "application/json")
_NO_STORE = ("cache-control", "no-store")
_NOSNIFF = ("x-content-type-options", "nosniff")
# The status is JSON, or a stream of events.
_VARY = ("vary", "Accept")
_OURS = frozenset({"job-state", FORM_HEADER.decode()})
# What is said in these is said of the body, which a 304 has not.
_OF_BODY = frozenset(
    {
        "accept-ranges",
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "digest",
        "last-modified",
        "repr-digest",
    }
)


class Links:
    """The URLs of one job, relative to the host."""

    def __init__(self, job: Job, root_path: str, prefix: str) -> None:
        self.poll = f"{path_of(root_path, job.path)}/{job.id}"
        self.status = f"{path_of(root_path, prefix)}/{job.id}"
        self.result = f"{self.status}/result"


class Told(NamedTuple):
    """The status document of a job, as it is sent.

    Attributes:
        document: JSON.
        etag: of that.
    """

    document: bytes
    etag: str


def accepted(app: Quart, job: Job, links: Links, *, has_poll_route: bool) -> QuartResponse:
    """The answer to a submission."""
    headers = [
        _JSON,
        ("location", links.poll if has_poll_route else links.result),
        ("retry-after", str(SOONEST)),
        *_about(job, links),
    ]
    return _response(app, 202, headers, b'{"TaskId":"%b"}\n' % job.id.encode())


def pending(
    app: Quart, job: Job, links: Links, again: int, tags: ETags | None = None
) -> QuartResponse:
    """The answer to a poll of a job that is not final.

    Args:
        again: when to ask, in seconds.
        tags: of the answers that the client has, if it says so: a 304 takes the place of those.
    """
    etag = etag_of(job)
    headers = [_JSON, ("retry-after", str(again)), *_about(job, links), ("etag", etag)]
    if tags is not None and is_held(202, etag, tags):
        return _not_modified(app, headers)
    return _response(app, 202, headers, b'{"TaskID":"%b"}\n' % job.id.encode())


def result(
    app: Quart, job: Job, stored: Response, links: Links, tags: ETags | None = None
) -> QuartResponse:
    """The answer to a poll of a final job: the handler's own status, headers and body.

    Here, as an older version may have stored them, is seen to it that its headers say nothing that
    is for us to say, and show no owner's result to others.
    """
    handlers, own = _handlers_own(stored.headers, is_private=job.owner is not None)
    etag = etag_of(job, said=stored.headers)
    ours = [*_about(job, links), ("etag", etag)]
    headers = [*handlers, *[each for each in ours if each[0] not in own]]
    if tags is not None and is_held(stored.status, etag, tags):
        return _not_modified(app, headers)
    typed = "content-type" in own
    response = _response(app, stored.status, headers, stored.body, typed=typed)
    if len(stored.body) > PIECE and stored.status not in BODILESS:
        response.response = LargeBody(copy_of(job, stored.body))
    return response


def nothing_started(app: Quart) -> QuartResponse:
    """The answer to HEAD on a submission route: as to a GET, but it makes no job."""
    return _response(app, 202, [_JSON, _NO_STORE, _NOSNIFF], b"")


def refused(app: Quart, error: AsyncJobsError, chance: float) -> QuartResponse:
    """The problem document of `error`.

    Args:
        chance: from 0 to 1, by which it is told when to ask again, if that is known.
    """
    document = problem(error)
    headers = _decoded(document.headers)
    if error.retry_after is not None:
        headers.append(("retry-after", str(spread(error.retry_after, chance))))
    headers += [_NO_STORE, _NOSNIFF]
    return _response(app, document.status, headers, document.body)


def health(app: Quart, health: Health) -> QuartResponse:
    """The answer to a readiness probe."""
    headers = [_JSON, _NO_STORE, _NOSNIFF]
    if not health.accepting:
        headers.append(("retry-after", str(StoreUnavailable.retry_after)))
    return _response(app, 200 if health.accepting else 503, headers, _json(asdict(health)))


def document_of(job: Job, links: Links, *, with_owner: bool) -> dict[str, Any]:
    """What a list tells of a job; to operators, whose it is as well."""
    return status_of(job, {"self": links.status, "result": links.result}, with_owner=with_owner)


def listed(app: Quart, documents: Sequence[dict[str, Any]], following: str | None) -> QuartResponse:
    """A page of the list of jobs.

    Args:
        following: the URL of the next one, if there is one.
    """
    headers = [_JSON, _NO_STORE, _NOSNIFF]
    if following is not None:
        headers.append(("link", f'<{following}>; rel="next"'))
    return _response(app, 200, headers, _json({"jobs": documents, "next": following}))


def status_document(
    app: Quart, job: Job, links: Links, told: Told, again: int | None, tags: ETags | None = None
) -> QuartResponse:
    """The answer that has the document of a job.

    Args:
        again: when to ask, in seconds; None if it is final.
        tags: as in `pending`.
    """
    headers = [_JSON, _VARY, *_about(job, links), ("etag", told.etag)]
    if again is not None:
        headers.append(("retry-after", str(again)))
    if tags is not None and is_held(200, told.etag, tags):
        return _not_modified(app, headers)
    return _response(app, 200, headers, told.document)


def told(job: Job, links: Links, ahead: int | EllipsisType | None, *, with_owner: bool) -> Told:
    """What is told of a job, in an answer of its own and in events. Arguments as in `status_of`."""
    more = ".owner" if with_owner else ""
    if ahead is not ...:  # which changes, and the job does not
        more = f".{'many' if ahead is None else ahead}{more}"
    document = _status_json(job, links.status, links.result, ahead, with_owner=with_owner)
    return Told(document, etag_of(job, more=more))


def events(app: Quart, job: Job, links: Links, stream: ResponseBody | None) -> QuartResponse:
    """The answer to who watches a job; without a stream to who asks for its headers."""
    headers = [
        ("content-type", event_stream.CONTENT_TYPE),
        ("x-accel-buffering", "no"),  # else nginx keeps events until it has enough of them
        _VARY,
        *_about(job, links),
    ]
    body = app.response_class.data_body_class(b"") if stream is None else stream
    response = app.response_class(body, 200, ReadyHeaders(headers))
    response.timeout = None  # else Quart would end it after a while
    return response


def no_more_events(app: Quart, job: Job, links: Links) -> QuartResponse:
    """The answer to who has seen the last event: to a browser a 204 says not to come back."""
    return _response(app, 204, [_VARY, *_about(job, links)], b"", typed=False)


def _about(job: Job, links: Links) -> list[tuple[str, str]]:
    """The headers that every answer about a job has."""
    return [
        _NO_STORE,
        ("link", f'<{links.status}>; rel="status"'),
        ("job-state", str(job.state)),
        _NOSNIFF,
    ]


@lru_cache(maxsize=256)  # handlers say the same with each result
def _handlers_own(
    stored: HeaderPairs, *, is_private: bool
) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
    """Those of a handler's headers that are for it to say; the state of the job, and where that is
    told, are not. Nor is it anybody's what type a function's result has. And the names of those
    that nobody else is to say as well."""
    headers = []
    for name, value in _decoded(stored):
        if name == "link":
            value = without_relation("status", value)
        if name not in _OURS and (value or name != "link"):
            headers.append((name, value))
    if is_private:
        headers = kept_private(headers)
    names = frozenset(name for name, _ in headers)
    return tuple(headers), names - {"link"}  # of which there may be several


@lru_cache(maxsize=256)  # many may watch one job
def _status_json(
    job: Job, status: str, result: str, ahead: int | EllipsisType | None, *, with_owner: bool
) -> bytes:
    """The document of a job as it is written; `status` and `result` are where both are found."""
    links = {"self": status, "result": result}
    return _json(status_of(job, links, ahead=ahead, with_owner=with_owner))


def _json(document: dict[str, Any]) -> bytes:
    # Not the app's JSON provider: documents are a contract, whatever the app has configured.
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _decoded(pairs: HeaderPairs) -> list[tuple[str, str]]:
    # Quart encodes headers as UTF-8, and so they were when the response was captured.
    return [(name.decode(), value.decode()) for name, value in pairs]


def _not_modified(app: Quart, headers: list[tuple[str, str]]) -> QuartResponse:
    """In the place of an answer with these headers (RFC 9110, section 15.4.5)."""
    headers = [each for each in headers if each[0] not in _OF_BODY]
    return _response(app, 304, headers, b"", typed=False)


def _response(
    app: Quart,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    typed: bool = True,
) -> QuartResponse:
    if status in BODILESS:
        body = b""  # what an older version has stored may have one
    if status not in (204, 304):  # which have no length either
        headers.append(("content-length", str(len(body))))
    response = app.response_class(
        app.response_class.data_body_class(body), status, ReadyHeaders(headers)
    )
    if not typed:
        del response.headers["content-type"]  # Quart's default, which the handler did not want
    return response
