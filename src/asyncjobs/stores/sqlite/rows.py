"""Jobs, requests and responses as rows, and back."""

from __future__ import annotations

import json
from typing import Any

from ...job import HeaderPairs, Job, Progress, Request, Response, State

#: Columns and fields have the same names and the same order. What never changes comes first.
FIXED_JOB_COLUMNS = "id, route, path, created, owner, repeatable, program, ttl"
CHANGING_JOB_COLUMNS = (
    "state, version, attempt, earlier_attempts, crashes, errors, worker, cancel_requested, "
    "progress, due, started, finished, expires"
)
JOB_COLUMNS = f"{FIXED_JOB_COLUMNS}, {CHANGING_JOB_COLUMNS}"
REQUEST_COLUMNS = (
    "method, path, query, headers, body, scheme, root_path, http_version, client, server"
)
RESPONSE_COLUMNS = "status, headers, body"


#: How many fields of a `Job` never change.
_FIXED = len(FIXED_JOB_COLUMNS.split(", "))
_STATES = {state.value: state for state in State}
# Earlier versions took nan and infinity, which no status document can tell of.
_PROGRESS = json.JSONDecoder(parse_constant=lambda _: 0)


def job_to_row(job: Job) -> tuple[Any, ...]:
    """The values of `JOB_COLUMNS`."""
    return (bytes.fromhex(job.id), *job[1:_FIXED], *job_changes_to_row(job))


def job_changes_to_row(job: Job) -> tuple[Any, ...]:
    """The values of `CHANGING_JOB_COLUMNS`."""
    return (
        str(job.state),
        job.version,
        job.attempt,
        job.earlier_attempts,
        job.crashes,
        job.errors,
        job.worker,
        job.cancel_requested,
        _progress_to_text(job.progress),
        job.due,
        job.started,
        job.finished,
        job.expires,
    )


def job_from_row(row: tuple[Any, ...]) -> Job:
    """The reverse of `job_to_row`; columns behind those of a job are left out."""
    job_id, route, path, created, owner, repeatable, program, ttl, *others = row[: len(Job._fields)]
    state, version, attempt, earlier, crashes, errors, worker, cancel, progress, *times = others
    return Job(
        job_id.hex(),
        route,
        path,
        created,
        owner,
        bool(repeatable),
        program,
        ttl,
        _STATES[state],
        version,
        attempt,
        earlier,
        crashes,
        errors,
        worker,
        bool(cancel),
        _progress_from_text(progress),
        *times,
    )


def request_to_row(request: Request) -> tuple[Any, ...]:
    return (
        request.method,
        request.path,
        request.query,
        headers_to_block(request.headers),
        request.body,
        request.scheme,
        request.root_path,
        request.http_version,
        _address_to_text(request.client),
        _address_to_text(request.server),
    )


def request_from_row(row: tuple[Any, ...]) -> Request:
    return Request(
        method=row[0],
        path=row[1],
        query=row[2],
        headers=headers_from_block(row[3]),
        body=row[4],
        scheme=row[5],
        root_path=row[6],
        http_version=row[7],
        client=_address_from_text(row[8]),
        server=_address_from_text(row[9]),
    )


def response_to_row(response: Response) -> tuple[Any, ...]:
    return response.status, headers_to_block(response.headers), response.body


def response_from_row(row: tuple[Any, ...]) -> Response:
    return Response(row[0], headers_from_block(row[1]), row[2])


def headers_to_block(headers: HeaderPairs) -> bytes:
    r"""Headers as HTTP/1.1 itself writes them: ``name: value\r\n`` (RFC 9112, section 5).

    Raises:
        ValueError: a name or value that would be read back as something else.
    """
    block = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    lines = len(headers)
    if block.count(b"\n") != lines or block.count(b"\r") != lines:
        raise ValueError(f"a header breaks its line: {headers!r}")
    if any(b":" in name for name, _ in headers):
        raise ValueError(f"a header has a colon in its name: {headers!r}")
    return block


def headers_from_block(block: bytes) -> HeaderPairs:
    """The reverse of `headers_to_block`."""
    pairs = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        pairs.append((name, value))
    return tuple(pairs)


def _address_to_text(address: tuple[str, int | None] | None) -> str | None:
    if address is None:
        return None
    host, port = address
    return f"{host} {'' if port is None else port}"


def _address_from_text(text: str | None) -> tuple[str, int | None] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(" ")
    return host, int(port) if port else None


def _progress_to_text(progress: Progress | None) -> str | None:
    if progress is None:
        return None
    return json.dumps([progress.current, progress.total, progress.message])


def _progress_from_text(text: str | None) -> Progress | None:
    return None if text is None else Progress(*_PROGRESS.decode(text))
