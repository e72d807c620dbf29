"""Opens a store that was found after a loss of power, and compares it with what was promised."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncjobs.errors import StoreError
from asyncjobs.job import Job
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.rows import (
    JOB_COLUMNS,
    REQUEST_COLUMNS,
    RESPONSE_COLUMNS,
    job_from_row,
    request_from_row,
    response_from_row,
)

from .acks import Promises
from .contents import request_of, response_of


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a store; nothing, if all is empty.

    Attributes:
        lost: promises that it does not keep.
        corrupt: what it should never be like, whatever was promised.
    """

    lost: list[str]
    corrupt: list[str]


async def examine(path: Path, promises: Promises) -> Findings:
    """Open the store at `path`, as a process does that starts after the power is back."""
    # Closed after the store: the last one copies the log, and this one waits for no disk.
    with closing(sqlite3.connect(path)) as connection:
        try:
            async with SqliteStore(path):
                connection.execute("PRAGMA synchronous = OFF")
                return _examine(connection, promises)
        except (StoreError, sqlite3.Error) as error:
            return Findings([], [f"it cannot be opened: {error}"])


def _examine(connection: sqlite3.Connection, promises: Promises) -> Findings:
    (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    if integrity != "ok":
        first_words = integrity.replace("\n", "; ")[:200]
        return Findings([], [f"integrity_check says: {first_words}"])
    rows = connection.execute(_SELECT_ALL).fetchall()
    orphans = [connection.execute(select).fetchone()[0] for select in _COUNT_ORPHANS]
    corrupt = [fault for row in rows for fault in _faults(row)]
    if any(orphans):
        corrupt.append(f"{orphans} requests and responses belong to no job")
    versions = {job.id: job.version for job in map(job_from_row, rows)}
    return Findings(promises.broken(versions), corrupt)


def _columns(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))


_SELECT_ALL = (
    f"SELECT {_columns('jobs', JOB_COLUMNS)}, {_columns('requests', REQUEST_COLUMNS)},"
    f" {_columns('responses', RESPONSE_COLUMNS)}"
    " FROM jobs LEFT JOIN requests USING (seq) LEFT JOIN responses USING (seq)"
)
_COUNT_ORPHANS = [
    f"SELECT count(*) FROM {table} WHERE seq NOT IN (SELECT seq FROM jobs)"
    for table in ("requests", "responses")
]
_REQUEST = len(Job._fields)
_RESPONSE = _REQUEST + len(REQUEST_COLUMNS.split(", "))


def _faults(row: tuple[Any, ...]) -> Iterator[str]:
    """What is wrong with a job, its request and its response."""
    job, request, response = job_from_row(row), row[_REQUEST:_RESPONSE], row[_RESPONSE:]
    if request[0] is None:
        yield f"job {job.id} has no request"
    elif request_from_row(request) != request_of(job.id):
        yield f"job {job.id} has another request than it was made from"
    if not job.state.is_final:
        if response[0] is not None:
            yield f"job {job.id} is {job.state} and has a response"
    elif response[0] is None:
        yield f"job {job.id} is {job.state} and has no response"
    elif response_from_row(response) != response_of(job.id, job.version):
        yield f"job {job.id} has another response than it ended with"
