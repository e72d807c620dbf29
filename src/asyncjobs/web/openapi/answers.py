"""What `answers` makes, and the parameters that it depends on, in the terms of OpenAPI 3.1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ...errors import (
    AsyncJobsError,
    BodyTimeout,
    BodyTooLarge,
    CrossSiteRequest,
    HandlerGone,
    HeadersTooLarge,
    InvalidRequest,
    InvalidTransition,
    JobInterrupted,
    JobTimedOut,
    JobUnreadable,
    JobWasCancelled,
    KeyReused,
    QueueFull,
    QuotaExceeded,
    ResponseTooLarge,
    ShuttingDown,
    StoreUnavailable,
    TooManyWatchers,
    ViewOnly,
)
from ...job import State
from ...problem import CONTENT_TYPE, problem_type
from ..routing.routes import JobIdConverter

#: A part of the document, as JSON.
Part = dict[str, Any]
#: Responses by their status, or "default".
Responses = dict[str, Part]

JOB_ID: Part = {"type": "string", "pattern": f"^{JobIdConverter.regex}$"}
#: The wait that is shown, if it is not more than the most: not all that is between waits for long.
_EXAMPLE = 30

_STATUS = "AsyncJobsStatus"
_PROBLEM = "AsyncJobsProblem"


def prefer(max_wait: float) -> Part:
    """The parameter of what can wait for a job.

    Args:
        max_wait: the most seconds that it does.
    """
    most = "" if math.isinf(max_wait) else f" and {max_wait:.10g}"
    return {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N` holds the answer until the job has ended, for N seconds"
        f"{most} at most; with `respond-async` as well, a submission is answered 202 if it has not",
        "schema": {"type": "string"},
        "example": f"wait={math.ceil(min(max_wait, _EXAMPLE))}",
    }


def of_submissions() -> list[Part]:
    """The other parameters that any submission may have."""
    return [
        _header(
            "Idempotency-Key",
            "The same request with the same key is the same job: it may be sent again. A string in "
            "quotation marks, or a word; 255 bytes at most",
            _KEY,
            example='"8e03978e-40d5-43e8-bc93-6894a57f9324"',
        ),
        _header(
            "Cancel-After", "Seconds, after which the job is cancelled", _DECIMAL, example="30"
        ),
    ]


def if_none_match() -> Part:
    """The parameter of what may be answered by a 304."""
    return _header("If-None-Match", "The `ETag` of the answer that the client has", _TEXT)


def last_event_id() -> Part:
    """The parameter of who watched before."""
    return _header(
        "Last-Event-ID", "Of a watcher that comes back: the `id` of its last event", _TEXT
    )


def accepted(links: Part) -> Part:
    """The answer to a submission."""
    return {
        "description": "A job was made of the request. Who prefers to wait is answered this, too, "
        "if the job has not ended in time, or the server stops meanwhile: poll at `Location`",
        "headers": _headers(
            "Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed", *_ABOUT
        ),
        "content": _json(_task("TaskId")),
        "links": links,
    }


def pending() -> Part:
    """The answer to a poll of a job that is not final."""
    return {
        "description": "The job has not ended yet: ask again",
        "headers": _headers("Retry-After", "Preference-Applied", *_POLLED),
        "content": _json(_task("TaskID")),
    }


def result(*, at_once: bool) -> Part:
    """What each answer of a handler has, whatever it is.

    Args:
        at_once: it is the answer to a submission that has waited.
    """
    return {"description": "", "headers": _headers(*_of_result(at_once))}


def any_result(*, at_once: bool) -> Part:
    """The answer of a handler that nothing is said of."""
    return {**result(at_once=at_once), "description": "What the job's handler has answered"}


def status_document() -> Part:
    """The document that tells how a job does."""
    return {
        "description": "How the job does",
        "headers": _headers("Retry-After", "Vary", *_POLLED),
        "content": _json({"$ref": f"#/components/schemas/{_STATUS}"}),
    }


def status_or_events() -> Responses:
    """The same, where it may be asked for as a stream of events."""
    document = status_document()
    events = {"text/event-stream": {"schema": _EVENTS}}
    document["headers"] |= _headers("Preference-Applied")
    document["content"] |= events
    about = _headers("Vary", *_ABOUT)
    return {
        "200": document,
        "204": {"description": "A watcher has seen the end of the job", "headers": about},
    }


def not_modified() -> Responses:
    """The answer to who has it already."""
    described = "The answer is the one that the client has"
    return {"304": {"description": described, "headers": _headers("Preference-Applied", *_POLLED)}}


def refusals_to_submit(*, with_body: bool) -> Responses:
    """Why a request may become no job."""
    body = [BodyTimeout, BodyTooLarge] if with_body else []
    said = [InvalidRequest, KeyReused, HeadersTooLarge]
    return _problems(*body, *said, QuotaExceeded, QueueFull, StoreUnavailable, ShuttingDown)


def invalid() -> Responses:
    """The answer to what is not as the view has it validated, at once or by its job."""
    described = "The request is not as it is described: the app's own 400"
    return {"400": {"description": described, "content": {"*/*": {}}}}


def no_such_url() -> Responses:
    """The answer to a URL whose variables are no such values."""
    return {"404": {"description": "There is nothing at this URL"}}


def not_found() -> Responses:
    """The answer to whoever asks for a job that is not there, or not theirs."""
    description = "No such job, or it is somebody else's: the app's own 404"
    return {"404": {"description": description, "headers": _headers("Cache-Control")}}


def failures(*, at_once: bool) -> Responses:
    """The answers for a job that ended without an answer of its handler's own."""
    failed = (JobInterrupted, ResponseTooLarge, JobUnreadable, HandlerGone)
    responses = {
        **_problems(JobWasCancelled, *failed, JobTimedOut, headers=_of_result(at_once)),
        **_problems(StoreUnavailable, ShuttingDown),
    }
    responses["500"]["description"] += "; or, if the handler has failed, as any failure of the app"
    responses["500"]["content"]["*/*"] = {}
    return responses


def refusals_to_tell() -> Responses:
    """Why a job's status may not be told."""
    return {**not_found(), **_problems(TooManyWatchers, StoreUnavailable, ShuttingDown)}


def of_lists(default: int, most: int) -> list[Part]:
    """The parameters of a list of jobs.

    Args:
        default: so many jobs are on a page unless it is said.
        most: and so many at most.
    """
    several = {"type": "array", "items": {"type": "string"}}
    limit = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return [
        _in_query("state", "Jobs in one of these", {**several, "items": _STATE}),
        _in_query("route", "Jobs of one of these: endpoints, or names of functions", several),
        _in_query("owner", "The jobs of this owner; for operators", {"type": "string"}),
        _in_query("since", "Jobs that were made then or later", _MOMENT),
        _in_query("before", "Jobs that were made earlier", _MOMENT),
        _in_query("limit", "So many on a page at most", limit),
        _in_query("cursor", "As the `next` of a page has it", {"type": "string"}),
    ]


def listed() -> Responses:
    """A page of a list of jobs, and why there may be none."""
    job = {"$ref": f"#/components/schemas/{_STATUS}"}
    following = _nullable("string", format="uri-reference")
    page = _object({"jobs": {"type": "array", "items": job}, "next": following})
    told = {
        "description": "The newest first; `next` is where there are more",
        "headers": _headers("Link", "Cache-Control", "X-Content-Type-Options"),
        "content": _json(page),
    }
    refused = _problems(InvalidRequest, StoreUnavailable, ShuttingDown)
    return {"200": told, **not_found(), **refused}


def refusals_to_cancel() -> Responses:
    """Why a job may not be cancelled, or run once more."""
    refused = _problems(CrossSiteRequest, ViewOnly, InvalidTransition)
    return {**not_found(), **refused, **_problems(StoreUnavailable, ShuttingDown)}


def merged(responses: Iterable[Part]) -> Part:
    """One response for a status that has several: its body is as one of theirs says."""
    descriptions: list[str] = []
    headers: Part = {}
    schemas: dict[str, list[Any]] = {}
    for response in responses:
        descriptions.append(response.get("description", ""))
        headers.update(response.get("headers", {}))
        for kind, content in response.get("content", {}).items():
            if kind == "headers":  # where quart-schema has them
                headers.update(content)
                continue
            known = schemas.setdefault(kind, [])
            known += [schema for schema in [content.get("schema", {})] if schema not in known]
    return {
        "description": "; or: ".join(dict.fromkeys(filter(None, descriptions))),
        "headers": headers,
        "content": {
            kind: {"schema": known[0] if len(known) == 1 else {"anyOf": known}}
            for kind, known in schemas.items()
        },
    }


def components() -> Part:
    """What the responses in here refer to."""
    return {"headers": _COMPONENT_HEADERS, "schemas": {_STATUS: _STATUS_SCHEMA, _PROBLEM: _RFC9457}}


def _of_result(at_once: bool) -> tuple[str, ...]:
    first = ["Content-Location", "Idempotent-Replayed"] if at_once else []
    return ("Preference-Applied", *first, *_POLLED)


def _in_query(name: str, description: str, schema: Part) -> Part:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str, schema: Part, **more: Any) -> Part:
    return {"name": name, "in": "header", "description": description, "schema": schema, **more}


def _headers(*names: str) -> Part:
    return {name: {"$ref": f"#/components/headers/{_component(name)}"} for name in names}


def _component(header: str) -> str:
    return f"AsyncJobs-{header}"


def _json(schema: Part) -> Part:
    return {"application/json": {"schema": schema}}


def _task(name: str) -> Part:
    return {"type": "object", "required": [name], "properties": {name: JOB_ID}}


def _problems(
    *errors: type[AsyncJobsError],
    headers: tuple[str, ...] = ("Cache-Control", "X-Content-Type-Options"),
) -> Responses:
    responses = {}
    for status in dict.fromkeys(error.status for error in errors):
        these = [error for error in errors if error.status == status]
        again = ["Retry-After"] if any(error.retry_after is not None for error in these) else []
        schema = {
            "$ref": f"#/components/schemas/{_PROBLEM}",
            "properties": {"type": {"enum": [problem_type(error) for error in these]}},
        }
        responses[str(status)] = {
            "description": "; or: ".join(error.title for error in these),
            "headers": _headers(*again, *headers),
            "content": {CONTENT_TYPE: {"schema": schema}},
        }
    return responses


def _nullable(kind: str, **more: Any) -> Part:
    return {"type": [kind, "null"], **more}


def _object(properties: Part, optional: Part | None = None) -> Part:
    every = {**properties, **(optional or {})}
    return {"type": "object", "required": [*properties], "properties": every}


_STATE: Part = {"type": "string", "enum": [state.value for state in State]}
_SECONDS: Part = {"type": "integer", "minimum": 1}
_COUNT: Part = {"type": "integer", "minimum": 0}
_URL: Part = {"type": "string", "format": "uri-reference"}
_TIME = _nullable("string", format="date-time")
_TEXT: Part = {"type": "string"}
# Of no type: up to OpenAPI 3.2 this is that of the whole stream to some, of each event to others.
_EVENTS: Part = {"description": "Events, the `data` of each of which is the status, as JSON"}
_DECIMAL: Part = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,20})?$"}
# Less than what is taken: no escapes.
_KEY: Part = {
    "type": "string",
    "pattern": r"""^("[ !#-\[\]-~]{1,255}"|[0-9A-Za-z!#$%&'*+.^_`|~:/=-]{1,255})$""",
}
_MOMENT: Part = {"type": "string", "format": "date-time"}

_ABOUT = ("Cache-Control", "Link", "Job-State", "X-Content-Type-Options")
_POLLED = (*_ABOUT, "ETag")
_COMPONENT_HEADERS: Part = {
    _component(name): {"description": description, "schema": schema}
    for name, description, schema in [
        ("Cache-Control", "`no-store`, unless the handler says otherwise", {"type": "string"}),
        ("Content-Location", "Where this result is answered again", _URL),
        ("ETag", "Of this version of the job, unless the handler gives one", {"type": "string"}),
        ("Idempotent-Replayed", "The job is that of an earlier request", {"type": "string"}),
        ("Job-State", "The state of the job", _STATE),
        ("Link", '`rel="status"`: of the job; `rel="next"`: the next page', {"type": "string"}),
        ("Location", "Where the result will be", _URL),
        ("Preference-Applied", "The preferences that were obeyed", {"type": "string"}),
        ("Retry-After", "When to ask again, in seconds", _SECONDS),
        ("Vary", "By `Accept` it is JSON, or a stream of events", {"type": "string"}),
        ("X-Content-Type-Options", "`nosniff`, unless the handler says so", {"type": "string"}),
    ]
}
_STATUS_SCHEMA: Part = {
    **_object(
        optional={
            "ahead": _nullable(
                "integer", description="Of a queued job: how many will start before it, if few"
            ),
            "owner": _nullable("string", description="Whose it is, for operators"),
        },
        properties={
            "id": JOB_ID,
            "state": _STATE,
            "route": {"type": "string"},
            "attempt": {**_COUNT, "description": "How often it was started"},
            "crashes": {**_COUNT, "description": "How often the process that ran it died"},
            "cancel_requested": {"type": "boolean"},
            "progress": {
                **_object(
                    {
                        "current": _nullable("number"),
                        "total": _nullable("number"),
                        "message": _nullable("string"),
                    }
                ),
                "type": ["object", "null"],
            },
            "created": _TIME,
            "cancel_at": _TIME,
            "started": _TIME,
            "finished": _TIME,
            "reason": _nullable(
                "string", description="Why it ended without success, or was queued again"
            ),
            "status": _nullable("integer", description="The HTTP status of its result"),
            "links": _object({"self": _URL, "result": _URL}),
        },
    ),
    "title": "The status of a job",
}
_RFC9457: Part = {
    **_object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        }
    ),
    "title": "A problem (RFC 9457)",
}
