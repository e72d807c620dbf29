"""The database file: its tables, how it is opened, and what may be wrong with it."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path

from ...errors import StoreCorrupt, StoreError, StorePathError, StoreTooNew, StoreTooOld
from ...job import DEFAULT_TTL, SUSPECT_CRASHES
from .private import open_own
from .shape import Shape, shape_of
from .start_errors import ELSEWHERE, in_shell

logger = logging.getLogger("asyncjobs.store")

#: The oldest SQLite that will do: it knows STRICT tables (https://www.sqlite.org/stricttables.html).
OLDEST_SQLITE = (3, 37)
#: "AJob" in the file's header: https://www.sqlite.org/pragma.html#pragma_application_id
APPLICATION_ID = 0x414A6F62
SCHEMA_VERSION = 6

# Of the jobs that are still to be done only, so that their size does not grow with the results.
# They have the state in front, or SQLite would not look there for the smallest route or worker.
# There are few suspects or none, so that the last one costs nothing.
_INDEXES = f"""
CREATE INDEX jobs_queued ON jobs (state, route, program, (crashes >= {SUSPECT_CRASHES}), due)
    WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (state, worker, program) WHERE state = 'running';
CREATE INDEX jobs_suspect ON jobs (due) WHERE state = 'queued' AND crashes >= {SUSPECT_CRASHES};
"""

# The jobs newest first, all of them or one owner's: behind these columns an index has `seq`, so
# that a page goes on where the last one ended. Neither changes with a job; most jobs have no owner.
_LISTINGS = """
CREATE INDEX jobs_created ON jobs (created);
CREATE INDEX jobs_owner_created ON jobs (owner, created) WHERE owner IS NOT NULL;
"""

# Of the write-ahead log: see `generation`. One row, or none.
_GENERATION = """
CREATE TABLE generation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL DEFAULT 0
) STRICT;"""

# The keys of submissions, by which repeats are known: each is one job's as long as that is kept.
# The job is named by its id, as the program of before, which forgets jobs and not their keys, gives
# the numbers of those again.
_KEYS = """
CREATE TABLE keys (
    digest BLOB NOT NULL PRIMARY KEY,
    job BLOB NOT NULL,
    fingerprint BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_job ON keys (job);
"""

# Queued jobs of each owner, to be counted; and those that are cancelled by themselves, when. What
# the program of before ends is in neither any more, although it leaves `cancel_at` as it is.
_LIMITS = """
CREATE INDEX jobs_owner_queued ON jobs (owner, program)
    WHERE state = 'queued' AND owner IS NOT NULL;
CREATE INDEX jobs_cancel_at ON jobs (program, cancel_at)
    WHERE cancel_at IS NOT NULL AND state IN ('queued', 'running');
"""

# Bodies have tables of their own: a scan of the jobs must not read past them. A file that was made
# before schema 6 has an index `jobs_to_do` as well, which programs from before schema 3 look at.
_SCHEMA = f"""
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    route TEXT NOT NULL,
    path TEXT NOT NULL,
    created REAL NOT NULL,
    owner TEXT,
    repeatable INTEGER NOT NULL,
    program TEXT,
    ttl REAL NOT NULL DEFAULT {DEFAULT_TTL},
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    earlier_attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL,
    errors INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    cancel_requested INTEGER NOT NULL,
    progress TEXT,
    due REAL NOT NULL,
    started REAL,
    finished REAL,
    expires REAL,
    reason TEXT,
    status INTEGER,
    cancel_at REAL,
    matched TEXT
) STRICT;
{_INDEXES}{_LISTINGS}{_LIMITS}
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
    server TEXT,
    context BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE TABLE responses (
    seq INTEGER PRIMARY KEY,
    status INTEGER NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
{_GENERATION}{_KEYS}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

#: What leads from each earlier schema to the next one. Columns, tables and indexes are only added,
#: columns with defaults, and nothing is dropped, renamed or retyped: in a rolling deploy, programs
#: that have the store open go on with the tables of before.
_MIGRATIONS = {
    1: "ALTER TABLE jobs ADD COLUMN errors INTEGER NOT NULL DEFAULT 0",
    2: f"""
ALTER TABLE jobs ADD COLUMN program TEXT;
ALTER TABLE jobs ADD COLUMN ttl REAL NOT NULL DEFAULT {DEFAULT_TTL};
ALTER TABLE jobs ADD COLUMN earlier_attempts INTEGER NOT NULL DEFAULT 0;
{_INDEXES}{_GENERATION}""",
    3: "ALTER TABLE requests ADD COLUMN context BLOB NOT NULL DEFAULT x''",
    4: f"""
ALTER TABLE jobs ADD COLUMN reason TEXT;
ALTER TABLE jobs ADD COLUMN status INTEGER;
{_LISTINGS}""",
    5: f"""
ALTER TABLE jobs ADD COLUMN cancel_at REAL;
ALTER TABLE jobs ADD COLUMN matched TEXT;
{_LIMITS}{_KEYS}""",
}

#: Held by whoever has a database open to look, and while one is opened to write. Of the index of a
#: log (``-shm``) SQLite has but one in each process, for all connections, and for as long as there
#: are any it stays as the first has opened it: never to be written, if that was one that looks.
OPENING = threading.RLock()

#: What to do about a file without tables.
NOTHING_YET = "a server that starts makes a store of it"

_COLUMN_NAMES = "SELECT name FROM pragma_table_info(?, 'main')"

# Locks of these are not kept to, or not by every client: https://www.sqlite.org/faq.html#q5
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})


def check_sqlite() -> None:
    """Refuse an SQLite that does not know our tables, before there is a file.

    Raises:
        StoreError
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(
            f"this Python has SQLite {'.'.join(map(str, sqlite3.sqlite_version_info))}, and a "
            f"store needs {'.'.join(map(str, OLDEST_SQLITE))} or newer, for STRICT tables: upgrade "
            "SQLite, or use a Python that brings a newer one with it"
        )


def check_place(path: Path) -> None:
    """Refuse what can never hold a store.

    Raises:
        StorePathError
    """
    if path.is_dir():
        raise StorePathError(f"the store {path} is a directory: name a file in it")
    if not path.parent.is_dir():
        raise StorePathError(
            f"the folder of the store {path} does not exist: make it first. {ELSEWHERE}"
        )
    if (file_system := _file_system_of(path.parent)) in _NETWORK_FILE_SYSTEMS:
        raise StorePathError(
            f"the store {path} is on a network file system ({file_system}), whose locks SQLite "
            "cannot rely on: put it on a disk of this machine"
        )


def make_file(path: Path) -> None:
    """Make the file with nobody else's access, if it is not there yet: to open and close a database
    past SQLite would drop the locks that this process may have on it.

    Raises:
        OSError
    """
    with suppress(FileExistsError):
        os.close(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that never waits for a lock by itself."""
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        _configure(connection.execute)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(execute: Callable[[str], sqlite3.Cursor]) -> None:
    # The ack does not rest on SQLite's own sync: GroupCommit flushes the log before it answers.
    execute("PRAGMA synchronous = NORMAL")
    # A checkpoint by chance, in a commit on the event loop, would block it for many milliseconds.
    execute("PRAGMA wal_autocheckpoint = 0")
    execute("PRAGMA journal_size_limit = 16777216")
    # What is deleted is written over with zeros, also in pages that are free then.
    execute("PRAGMA secure_delete = ON")
    execute("PRAGMA cache_size = -8000")


def look_at(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of a store that is only read; 0 if nothing is in the file yet.

    Raises:
        StoreCorrupt: it is something else, or was changed.
        StoreTooNew
        sqlite3.Error
    """
    version, application_id, is_new = _found(connection)
    if is_new:
        return 0
    _check(connection, path, application_id, version)
    return version


def fill_up(connection: sqlite3.Connection) -> None:
    """Have this connection read the tables of an earlier schema as those of today: with the columns
    that they lack at their defaults, and with nothing in those that are not there."""
    for table, columns in _newest_columns().items():
        there = {name for (name,) in connection.execute(_COLUMN_NAMES, (table,))}
        if lacking := [f"{default} AS {name}" for name, default in columns if name not in there]:
            rows = ["*", *lacking] if there else lacking
            of = f"FROM main.{table}" if there else "WHERE FALSE"
            connection.execute(f"CREATE TEMP VIEW {table} AS SELECT {', '.join(rows)} {of}")


def create_or_check(connection: sqlite3.Connection, path: Path, *, guest: bool = False) -> None:
    """Make the tables in an empty file; make sure that any other file is ours, whole, and of today.

    Called under the lock of all writers.

    Args:
        guest: whether what is not of today is refused, and nothing is made.

    Raises:
        StoreError
        sqlite3.Error
    """
    version, application_id, is_new = _found(connection)
    if not is_new:
        _check(connection, path, application_id, version)
    if guest:
        _refuse_other(path, version, is_new=is_new)
    # Before it has the write-ahead log, SQLite keeps a rollback journal. With NORMAL, a loss of
    # power can leave one that looks whole and is not, and the next to open the file applies it.
    connection.execute("PRAGMA synchronous = FULL")
    if is_new:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only an empty file can still
    _use_log(connection, path)
    if is_new:
        connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
    elif version < SCHEMA_VERSION:
        _migrate(connection, version)
    connection.execute("PRAGMA synchronous = NORMAL")
    if not guest and connection.execute("PRAGMA auto_vacuum").fetchone() == (0,):
        logger.warning(
            "the store %s never becomes smaller, as its file was not made by this program. To mend "
            "that, stop all servers and run: %s",
            *(path, in_shell(path, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM")),
        )


def _found(connection: sqlite3.Connection) -> tuple[int, int, bool]:
    """The version and the application that the file has noted, and whether nothing is in it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return version, application_id, tables == 0 and application_id == 0


def _refuse_other(path: Path, version: int, *, is_new: bool) -> None:
    if is_new:
        raise StoreError(f"the store {path} is empty: {NOTHING_YET}")
    if version != SCHEMA_VERSION:
        raise StoreTooOld(
            f"the store {path} has schema {version}, and this version of quart-asyncjobs writes "
            f"{SCHEMA_VERSION} only: use the version that its server has, or start the server with "
            "this one, which brings the store up to date"
        )


def _check(connection: sqlite3.Connection, path: Path, application_id: int, version: int) -> None:
    if application_id not in (0, APPLICATION_ID):
        raise _strange(path)
    if application_id == APPLICATION_ID and version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"the store {path} has schema {version}, and this version of quart-asyncjobs knows "
            f"{SCHEMA_VERSION}: upgrade quart-asyncjobs, or name another file"
        )
    actual, newest = shape_of(connection), _shape_at(SCHEMA_VERSION)
    fits = [
        known
        for known in range(1, SCHEMA_VERSION + 1)
        if not actual.differences(_shape_at(known), newest)
    ]
    if application_id == APPLICATION_ID and version in fits:
        return
    if fits:
        raise _without_its_pragmas(path, application_id, version, fits[-1])
    if application_id == 0:
        raise _strange(path)
    looked_for = version if version > 0 else SCHEMA_VERSION
    found = "; ".join(actual.differences(_shape_at(looked_for), newest))
    raise StoreCorrupt(
        f"the store {path} is not as this program has made it: {found}. Nothing in it was touched: "
        "put back a copy, mend it with the sqlite3 shell if you know who has changed it and why, "
        "or name another file"
    )


def _strange(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"the store {path} is the database of another program; nothing in it was touched: "
        "name another file"
    )


def _without_its_pragmas(path: Path, application_id: int, version: int, fits: int) -> StoreCorrupt:
    missing = []
    if application_id != APPLICATION_ID:
        missing.append(f"PRAGMA application_id = {APPLICATION_ID}")
    if version != fits:
        missing.append(f"PRAGMA user_version = {fits}")
    return StoreCorrupt(
        f"the store {path} has the tables of schema {fits}, but application_id {application_id} "
        f"and user_version {version}, as after a .dump, which leaves both out. Nothing in it was "
        f"touched. If it is your copy of the store, run: {in_shell(path, '; '.join(missing))}"
    )


@cache
def _newest_columns() -> dict[str, list[tuple[str, str]]]:
    """The columns of each table of today that jobs are read from, with their defaults."""
    with closing(sqlite3.connect(":memory:")) as newest:
        newest.executescript(_SCHEMA)
        return {
            table: newest.execute(
                "SELECT name, ifnull(dflt_value, 'NULL') FROM pragma_table_info(?)", (table,)
            ).fetchall()
            for table in ("jobs", "requests", "responses", "keys")
        }


@cache
def _shape_at(version: int) -> Shape:
    """What is in a database of this schema."""
    with closing(sqlite3.connect(":memory:")) as newest:
        newest.executescript(_SCHEMA)
        shape = shape_of(newest)
    later = ";".join(_MIGRATIONS[earlier] for earlier in range(version, SCHEMA_VERSION))
    columns = set(re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", later))
    names = set(re.findall(r"CREATE (?:TABLE|INDEX) (\w+)", later))
    things = {
        thing: definition
        for thing, definition in shape.things.items()
        if (thing.table, thing.name) not in columns and names.isdisjoint((thing.name, thing.table))
    }
    return Shape(things, shape.spare, shape.sql)


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    """Have the database use a write-ahead log: a copy of a store need not, or somebody has set it.

    Nothing changes if it does already, as it does whenever somebody else has it open.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StorePathError(
            f"the file system of the store {path} has no shared memory for SQLite's write-ahead "
            "log: put it on a disk of this machine"
        )


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    steps = [_MIGRATIONS[earlier] for earlier in range(version, SCHEMA_VERSION)]
    statements = ";".join([*steps, f"PRAGMA user_version = {SCHEMA_VERSION}"])
    connection.executescript(f"BEGIN IMMEDIATE;{statements};COMMIT;")


def connect_guard(path: Path, opened: ExitStack) -> None:
    """Have a connection that keeps all others from being the last, which on its way out would
    checkpoint the log and delete it. This one can only read, and does neither."""
    guard = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=0, check_same_thread=False
    )
    opened.callback(guard.close)
    guard.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # nothing is opened before that


def _file_system_of(folder: Path) -> str | None:
    """The type of the file system that `folder` is on, where the system tells."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for mount in mounts:  # proc(5): "36 35 98:0 /root /mount options - type source options"
        fields = mount.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return None
