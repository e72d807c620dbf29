"""Jobs, requests and responses as rows, and back."""

from __future__ import annotations

import json
from typing import Any

from ...job import HeaderPairs, Job, Progress, Request, Response, State

#: Columns and fields have the same names and the same order. What never changes comes first.
FIXED_JOB_COLUMNS = "id, route, path, created, owner, repeatable"
CHANGING_JOB_COLUMNS = (
    "state, version, attempt, crashes, worker, cancel_requested, progress, due, started, finished, "
    "expires"
)
JOB_COLUMNS = f"{FIXED_JOB_COLUMNS}, {CHANGING_JOB_COLUMNS}"
REQUEST_COLUMNS = (
    "method, path, query, headers, body, scheme, root_path, http_version, client, server"
)
RESPONSE_COLUMNS = "status, headers, body"


def job_to_row(job: Job) -> tuple[Any, ...]:
    """The values of `JOB_COLUMNS`."""
    return (
        bytes.fromhex(job.id),
        job.route,
        job.path,
        job.created,
        job.owner,
        job.repeatable,
        *job_changes_to_row(job),
    )


def job_changes_to_row(job: Job) -> tuple[Any, ...]:
    """The values of `CHANGING_JOB_COLUMNS`."""
    return (
        job.state.value,
        job.version,
        job.attempt,
        job.crashes,
        job.worker,
        job.cancel_requested,
        _progress_to_text(job.progress),
        job.due,
        job.started,
        job.finished,
        job.expires,
    )


def job_from_row(row: tuple[Any, ...]) -> Job:
    return Job(
        id=row[0].hex(),
        route=row[1],
        path=row[2],
        created=row[3],
        owner=row[4],
        repeatable=bool(row[5]),
        state=State(row[6]),
        version=row[7],
        attempt=row[8],
        crashes=row[9],
        worker=row[10],
        cancel_requested=bool(row[11]),
        progress=None if row[12] is None else Progress(*json.loads(row[12])),
        due=row[13],
        started=row[14],
        finished=row[15],
        expires=row[16],
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
    lines = []
    for name, value in headers:
        if b"\n" in value or b"\r" in value or b"\n" in name or b"\r" in name or b":" in name:
            raise ValueError(f"the header {name!r}: {value!r} breaks its line")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


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
