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
    InvalidTransition,
    JobInterrupted,
    JobTimedOut,
    JobUnreadable,
    JobWasCancelled,
    ResponseTooLarge,
    ShuttingDown,
    StoreUnavailable,
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
        f"{most} at most",
        "schema": {"type": "string"},
        "example": f"wait={math.ceil(min(max_wait, _EXAMPLE))}",
    }


def accepted(links: Part) -> Part:
    """The answer to a submission."""
    return {
        "description": "A job was made of the request. Who prefers to wait is answered this, too, "
        "if the job has not ended in time, or the server stops meanwhile: poll at `Location`",
        "headers": _headers("Location", "Retry-After", "Preference-Applied", *_ABOUT),
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
        "headers": _headers("Retry-After", *_POLLED),
        "content": _json({"$ref": f"#/components/schemas/{_STATUS}"}),
    }


def refusals_to_submit(*, with_body: bool) -> Responses:
    """Why a request may become no job."""
    body = [BodyTimeout, BodyTooLarge] if with_body else []
    return _problems(*body, StoreUnavailable, ShuttingDown)


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
    return {**not_found(), **_problems(StoreUnavailable, ShuttingDown)}


def refusals_to_cancel() -> Responses:
    """Why a job may not be cancelled."""
    problems = _problems(CrossSiteRequest, InvalidTransition, StoreUnavailable, ShuttingDown)
    return {**not_found(), **problems}


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
    return ("Preference-Applied", *(["Content-Location"] if at_once else []), *_POLLED)


def _headers(*names: str) -> Part:
    return {name: {"$ref": f"#/components/headers/{_component(name)}"} for name in names}


def _component(header: str) -> str:
    return f"AsyncJobs-{header}"


def _json(schema: Part) -> Part:
    return {"application/json": {"schema": schema}}


def _task(name: str) -> Part:
    return {"type": "object", "required": [name], "properties": {name: JOB_ID}}


def _problems(
    *errors: type[AsyncJobsError], headers: tuple[str, ...] = ("Cache-Control",)
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


def _object(properties: Part) -> Part:
    return {"type": "object", "required": [*properties], "properties": properties}


_STATE: Part = {"type": "string", "enum": [state.value for state in State]}
_SECONDS: Part = {"type": "integer", "minimum": 1}
_COUNT: Part = {"type": "integer", "minimum": 0}
_URL: Part = {"type": "string", "format": "uri-reference"}
_TIME = _nullable("string", format="date-time")

_ABOUT = ("Cache-Control", "Link", "Job-State")
_POLLED = (*_ABOUT, "ETag")
_COMPONENT_HEADERS: Part = {
    _component(name): {"description": description, "schema": schema}
    for name, description, schema in [
        ("Cache-Control", "`no-store`, unless the handler says otherwise", {"type": "string"}),
        ("Content-Location", "Where this result is answered again", _URL),
        ("ETag", "The version of the job, unless the handler gives one", {"type": "string"}),
        ("Job-State", "The state of the job", _STATE),
        ("Link", 'The status of the job: `</jobs/ID>; rel="status"`', {"type": "string"}),
        ("Location", "Where the result will be", _URL),
        ("Preference-Applied", "`wait=N`: how long it would have been held", {"type": "string"}),
        ("Retry-After", "When to ask again, in seconds", _SECONDS),
    ]
}
_STATUS_SCHEMA: Part = {
    **_object(
        {
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
            "started": _TIME,
            "finished": _TIME,
            "reason": _nullable(
                "string", description="Why it ended without success, or was queued again"
            ),
            "status": _nullable("integer", description="The HTTP status of its result"),
            "links": _object({"self": _URL, "result": _URL}),
        }
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
