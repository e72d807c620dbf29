"""Jobs, requests and responses as rows, and back."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from math import isfinite
from typing import Any

from ...errors import JobUnreadable
from ...given import FIRST_TIME, LAST_TIME, is_number
from ...job import HeaderPairs, Job, Progress, Request, Response, State
from ...transitions import MAX_REASON

#: Columns and fields have the same names and the same order. What never changes comes first.
FIXED_JOB_COLUMNS = "id, route, path, created, owner, repeatable, program, ttl, matched"
CHANGING_JOB_COLUMNS = (
    "state, version, attempt, earlier_attempts, crashes, errors, worker, cancel_requested, "
    "progress, due, started, finished, expires, reason, status, cancel_at"
)
JOB_COLUMNS = f"{FIXED_JOB_COLUMNS}, {CHANGING_JOB_COLUMNS}"
REQUEST_COLUMNS = (
    "method, path, query, headers, body, scheme, root_path, http_version, client, server, context"
)
RESPONSE_COLUMNS = "status, headers, body"
#: What a request is set to that is erased, and the condition for any other one. An earlier version
#: takes it for a damaged one, which it runs as little.
ERASED = (
    "method = '', path = '', query = x'', headers = x'ff', body = x'', scheme = '', root_path = '',"
    " http_version = '', client = NULL, server = NULL, context = x''"
)
NOT_ERASED = "method <> ''"


#: How many fields of a `Job` never change.
_FIXED = len(FIXED_JOB_COLUMNS.split(", "))
_JOB_FIELDS = len(Job._fields)
_PROGRESS_AT = Job._fields.index("progress")
_ID_BYTES = 16
# Of results: a server sends no others at the end.
_STATUSES = 200, 599
_STATES = {state.value: state for state in State}
# Earlier versions took nan and infinity, which no status document can tell of.
_PROGRESS = json.JSONDecoder(parse_constant=lambda _: 0)
# Far more than a handler's progress takes: its message has a limit.
_MAX_PROGRESS = 100_000
# No count comes so far, and one more than what is below still fits.
_TOO_MANY = 2**62
_FLAGS = 0, 1
# Whatever is in the columns, it is one of these that reading it raises.
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
_HEADERS = re.compile(rb"(?:[^:\r\n]*: [^\r\n]*\r\n)*")
_SENDABLE_HEADERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\0-\x08\n-\x1f\x7f]*\r\n)*")


class NotText(bytes):
    """What is in a column for text and is not UTF-8."""


def marks(columns: str) -> str:
    """A parameter for each of the columns."""
    return ", ".join("?" * len(columns.split(", ")))


def of_table(table: str, columns: str) -> str:
    """The columns, each with the name of its table."""
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))


def text_or_bytes(value: bytes) -> str | NotText:
    """The value of a column for text, whatever it is: a `text_factory`."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NotText(value)


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
        None if job.progress is None else _progress_to_text(job.progress),
        job.due,
        job.started,
        job.finished,
        job.expires,
        job.reason,
        job.status,
        job.cancel_at,
    )


def job_from_row(row: tuple[Any, ...]) -> Job:
    """The reverse of `job_to_row`; columns behind those of a job are left out.

    Raises:
        JobUnreadable: there is something in it that no job has.
    """
    try:
        job_id, route, path, created, owner, repeatable, program, ttl, matched = row[:_FIXED]
        state, version, attempt, earlier, crashes, errors, worker, cancel = row[_FIXED:_PROGRESS_AT]
        progress, due, started, finished, expires, *more = row[_PROGRESS_AT:_JOB_FIELDS]
        reason, status, cancel_at = more
        # The whole row was read as text, but for one that is not: see `text_or_bytes`.
        "".join((route, path, owner or "", program or "", matched or "", worker or ""))
        # Together: a negative one has its sign there, one that is too large its bits.
        if not 0 <= version | attempt | earlier | crashes | errors < _TOO_MANY:
            raise ValueError("a count")
        # As dates, all but `expires`, in which a `ttl` may be without end.
        first, last = FIRST_TIME, LAST_TIME
        if not (
            repeatable in _FLAGS
            and cancel in _FLAGS
            and len(job_id) == _ID_BYTES
            and first < created < last
            and first < due < last
            and (started is None or first < started < last)
            and (finished is None or first < finished < last)
            and ttl >= 0.0
            and (expires is None or expires >= first)
            and (cancel_at is None or first < cancel_at < last)
        ):
            raise ValueError("a time or the id")
        return Job(
            job_id.hex(),
            route,
            path,
            created,
            owner,
            bool(repeatable),
            program,
            ttl,
            matched,
            _STATES[state],
            version,
            attempt,
            earlier,
            crashes,
            errors,
            worker,
            bool(cancel),
            None if progress is None else _progress_from_text(progress),
            due,
            started,
            finished,
            expires,
            None if reason is None else _reason_from_text(reason, state, status),
            None if status is None else _status_from_number(status, state),
            cancel_at,
        )
    except _UNREADABLE as error:
        raise JobUnreadable("the stored job is damaged") from error


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
        request.context,
    )


def request_from_row(row: tuple[Any, ...]) -> Request:
    """The reverse of `request_to_row`.

    Raises:
        JobUnreadable: there is something in it that no request has.
    """
    method, path, query, headers, body, scheme, root_path, version, client, server, context = row
    try:
        "".join((method, path, scheme, root_path, version, client or "", server or ""))
        b"".join((query, body, context))
        return Request(
            method=method,
            path=path,
            query=query,
            headers=headers_from_block(headers),
            body=body,
            scheme=scheme,
            root_path=root_path,
            http_version=version,
            client=_address_from_text(client),
            server=_address_from_text(server),
            context=context,
        )
    except _UNREADABLE as error:
        raise JobUnreadable("the stored request of the job is damaged") from error


def response_to_row(response: Response) -> tuple[Any, ...]:
    """The values of `RESPONSE_COLUMNS`.

    Raises:
        ValueError: no server could send it, and so it would be read back as damaged.
    """
    row = response.status, headers_to_block(response.headers), response.body
    try:
        response_from_row(row)
    except JobUnreadable as error:
        raise ValueError(
            f"no server could send this response: {response.status} {response.headers!r}"
        ) from error
    return row


def response_from_row(row: tuple[Any, ...]) -> Response:
    """The reverse of `response_to_row`.

    Raises:
        JobUnreadable: there is none, or something in it that no server can send.
    """
    status, block, body = row
    try:
        if not _STATUSES[0] <= status <= _STATUSES[1]:
            raise ValueError("no response")
        if not isinstance(body, bytes):
            raise TypeError("no body")
        return Response(status, _sendable_headers(block), body)
    except _UNREADABLE as error:
        raise JobUnreadable("the stored response of the job is damaged or missing") from error


def headers_to_block(headers: HeaderPairs) -> bytes:
    r"""Headers as HTTP/1.1 itself writes them: ``name: value\r\n`` (RFC 9112, section 5).

    Raises:
        ValueError: a name or value that would be read back as something else.
    """
    if not headers:
        return b""
    block = b"\r\n".join(map(b": ".join, headers)) + b"\r\n"
    lines = len(headers)
    if block.count(b"\n") != lines or block.count(b"\r") != lines:
        raise ValueError(f"a header breaks its line: {headers!r}")
    if b":" in b"".join(dict(headers)):
        raise ValueError(f"a header has a colon in its name: {headers!r}")
    return block


@lru_cache(maxsize=256)  # handlers say the same with each result
def _sendable_headers(block: bytes) -> HeaderPairs:
    """The headers of a response, as `headers_from_block`.

    Raises:
        ValueError: no server could send them.
    """
    if not _SENDABLE_HEADERS.fullmatch(block):
        raise ValueError("no headers of a response")
    block.decode()
    return headers_from_block(block)


def headers_from_block(block: bytes) -> HeaderPairs:
    """The reverse of `headers_to_block`.

    Raises:
        ValueError: it is no such block.
    """
    if not _HEADERS.fullmatch(block):
        raise ValueError("not a block of headers")
    pairs = []
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        pairs.append((name, value))
    return tuple(pairs)


@lru_cache(maxsize=1024)  # a client sends all that it sends on few connections
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


def _progress_to_text(progress: Progress) -> str:
    return json.dumps([progress.current, progress.total, progress.message])


def _progress_from_text(text: str | NotText) -> Progress | None:
    """None if it cannot be read: that is no reason not to run the job, nor to hide its result."""
    if isinstance(text, NotText) or len(text) > _MAX_PROGRESS:
        return None
    try:
        current, total, message = _PROGRESS.decode(text)
        numbers = [current] if total is None else [current, total]
        are_fine = all(is_number(number) and isfinite(number) for number in numbers)
    except _UNREADABLE:
        return None
    if not are_fine or not (message is None or isinstance(message, str)):
        return None
    return Progress(current, total, message)


# An earlier version that has the store open beside us changes neither column. So they are not
# believed where the state says that they are from before.


def _reason_from_text(text: str | NotText, state: str, status: int | None) -> str | None:
    """None if it cannot be read: the job is what it is without it."""
    # What this version ends has a status: without one, the job was ended by one from before.
    is_from_before = state == State.SUCCEEDED or (status is None and _STATES[state].is_final)
    if isinstance(text, NotText) or is_from_before:
        return None
    return text[:MAX_REASON]


def _status_from_number(status: int, state: str) -> int | None:
    """None if there is no result that could have it."""
    first, last = _STATUSES[0], 499 if state == State.SUCCEEDED else _STATUSES[1]
    return status if first <= status <= last and _STATES[state].is_final else None
