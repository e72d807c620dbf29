"""The tables of earlier versions, as their programs have made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_JOBS_1 = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    route TEXT NOT NULL,
    path TEXT NOT NULL,
    created REAL NOT NULL,
    owner TEXT,
    repeatable INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    worker TEXT,
    cancel_requested INTEGER NOT NULL,
    progress TEXT,
    due REAL NOT NULL,
    started REAL,
    finished REAL,
    expires REAL
) STRICT;
CREATE INDEX jobs_to_do ON jobs (state, route, due) WHERE state = 'queued' OR state = 'running';
CREATE INDEX jobs_expiry ON jobs (expires) WHERE expires IS NOT NULL;
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    query BLOB NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL,
    scheme TEXT NOT NULL,
    root_path TEXT NOT NULL,
    http_version TEXT NOT NULL,
    client TEXT,
    server TEXT
) STRICT;
CREATE TABLE responses (
    seq INTEGER PRIMARY KEY,
    status INTEGER NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""
_JOBS_2 = _JOBS_1.replace("    worker TEXT,", "    errors INTEGER NOT NULL,\n    worker TEXT,")

_JOBS_3 = (
    _JOBS_2.replace(
        "    state TEXT",
        "    program TEXT,\n    ttl REAL NOT NULL DEFAULT 86400.0,\n    state TEXT",
    ).replace(
        "    crashes INTEGER",
        "    earlier_attempts INTEGER NOT NULL DEFAULT 0,\n    crashes INTEGER",
    )
    + """
CREATE INDEX jobs_queued ON jobs (state, route, program, (crashes >= 2), due)
    WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (state, worker, program) WHERE state = 'running';
CREATE INDEX jobs_suspect ON jobs (due) WHERE state = 'queued' AND crashes >= 2;
CREATE TABLE generation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
)

_JOBS_4 = _JOBS_3.replace(
    "    server TEXT\n", "    server TEXT,\n    context BLOB NOT NULL DEFAULT x''\n"
)

_JOBS_5 = (
    _JOBS_4.replace(
        "    expires REAL\n", "    expires REAL,\n    reason TEXT,\n    status INTEGER\n"
    ).replace("errors INTEGER NOT NULL", "errors INTEGER NOT NULL DEFAULT 0")
    + """
CREATE INDEX jobs_created ON jobs (created);
CREATE INDEX jobs_owner_created ON jobs (owner, created) WHERE owner IS NOT NULL;
"""
)

SCHEMAS = {1: _JOBS_1, 2: _JOBS_2, 3: _JOBS_3, 4: _JOBS_4, 5: _JOBS_5}

#: The id of the one job that `make_store` adds: it is queued.
JOB_ID = "0123456789abcdef" * 2


def make_store(path: Path, version: int) -> None:
    """A store as the program with this schema has left it, with one queued job."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMAS[version])
        connection.execute(f"PRAGMA application_id = {0x414A6F62}")
        connection.execute(f"PRAGMA user_version = {version}")
        columns = {
            "id": bytes.fromhex(JOB_ID),
            "route": "report",
            "path": "/report",
            "created": 1e9,
            "repeatable": 1,
            "state": "queued",
            "version": 1,
            "attempt": 0,
            "crashes": 0,
            "cancel_requested": 0,
            "due": 1e9,
            **({} if version == 1 else {"errors": 0}),
        }
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", (*columns.values(),))
        connection.execute(
            "INSERT INTO requests (seq, method, path, query, headers, body, scheme, root_path,"
            " http_version) VALUES (1, 'GET', '/report', x'', x'', x'626f6479', 'http', '', '1.1')"
        )
