"""What a start finds in the place of its store: it opens it, or says in one line what is wrong with
it and what to do, and has touched nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs
from asyncjobs.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    StorePathError,
)
from asyncjobs.job import State
from asyncjobs.stores import MemoryStore, SqliteStore, open_url
from asyncjobs.stores.sqlite import store as sqlite_store
from asyncjobs.stores.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from asyncjobs.testing import REQUEST, a_job
from schemas import JOB_ID, SCHEMAS, make_store
from server import DEADLINE
from users import as_root

VERSIONS = [*SCHEMAS, SCHEMA_VERSION]


def make(path: Path, version: int) -> None:
    """A store as a program with this schema leaves it, with one queued job."""
    make_store(path, min(version, max(SCHEMAS)))
    if version == SCHEMA_VERSION:
        open_and_close(path)


def make_new(path: Path) -> None:
    """A store of today, as it is made."""
    open_and_close(path)


def open_and_close(path: Path) -> None:
    async def run() -> None:
        async with SqliteStore(path):
            pass

    asyncio.run(run())


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def ask(path: Path, statement: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        (answer,) = connection.execute(statement).fetchone()
    return answer


def refused(path: Path, kind: type[StoreError] = StoreCorrupt) -> str:
    """What a start says that does not open the store; it has left the file as it was."""
    before = path.read_bytes()
    with pytest.raises(kind) as raised:
        open_and_close(path)
    assert type(raised.value) is kind
    said = str(raised.value)
    assert "\n" not in said
    assert str(path) in said
    assert path.read_bytes() == before
    return said


def has_the_job(path: Path) -> None:
    """The store opens, and has what `make_store` has put in it."""

    async def run() -> None:
        async with SqliteStore(path) as store:
            assert (await store.get(JOB_ID)).state is State.QUEUED
            await store.add(a_job(), REQUEST)

    asyncio.run(run())
    assert ask(path, "PRAGMA journal_mode") == "wal"
    assert ask(path, "PRAGMA user_version") == SCHEMA_VERSION


# Made by somebody else.

#: What somebody does to a store, and what a start says of it.
CHANGES = {
    "a trigger": (
        "CREATE TRIGGER copies AFTER INSERT ON requests BEGIN UPDATE jobs SET owner = NULL; END",
        "the trigger 'copies' does not belong there",
    ),
    "a trigger with the name of a table": (
        "CREATE TRIGGER jobs AFTER INSERT ON requests BEGIN DELETE FROM jobs; END",
        "the trigger 'jobs' does not belong there",
    ),
    "a view": (
        "CREATE VIEW report AS SELECT id, state FROM jobs",
        "the view 'report' does not belong there",
    ),
    "a table": ("CREATE TABLE kept (body BLOB)", "the table 'kept' does not belong there"),
    "a name with a line break": (
        'CREATE TABLE "a\nb" (body BLOB)',
        r"the table 'a\nb' does not belong there",
    ),
    "a virtual table": (
        "CREATE VIRTUAL TABLE found USING fts5 (body)",
        "the table 'found' does not belong there",
    ),
    "an index that refuses jobs": (
        "CREATE UNIQUE INDEX one_each ON jobs (route)",
        "the index 'one_each' does not belong there",
    ),
    "no table": ("DROP TABLE responses", "the table 'responses' is missing"),
    "no index": (
        "DROP INDEX jobs_expiry",
        "the index 'jobs_expiry' is missing (CREATE INDEX jobs_expiry ON jobs (expires)"
        " WHERE expires IS NOT NULL)",
    ),
    "another index": (
        "DROP INDEX jobs_expiry; CREATE INDEX jobs_expiry ON jobs (created)",
        "the index 'jobs_expiry' is INDEX ON jobs (created)"
        " instead of INDEX ON jobs (expires) WHERE",
    ),
    "no column": (
        "ALTER TABLE jobs DROP COLUMN progress",
        "the column 'progress' of the table 'jobs' is missing",
    ),
    "a column that each job needs": (
        "DROP TABLE responses; CREATE TABLE responses (seq INTEGER PRIMARY KEY, status INTEGER NOT"
        " NULL, headers BLOB NOT NULL, body BLOB NOT NULL, tenant TEXT NOT NULL) STRICT",
        "the column 'tenant' of the table 'responses' does not belong there",
    ),
    "a column of another type": (
        "DROP TABLE responses; CREATE TABLE responses (seq INTEGER PRIMARY KEY, status TEXT NOT"
        " NULL, headers BLOB, body BLOB NOT NULL) STRICT",
        "the column 'headers' of the table 'responses' is BLOB instead of BLOB NOT NULL;"
        " the column 'status' of the table 'responses' is TEXT NOT NULL instead of INTEGER",
    ),
    "a table that is not strict": (
        "DROP TABLE responses; CREATE TABLE responses (seq INTEGER PRIMARY KEY, status INTEGER NOT"
        " NULL, headers BLOB NOT NULL, body BLOB NOT NULL)",
        "the table 'responses' is not instead of STRICT",
    ),
    "a view in the place of a table": (
        "ALTER TABLE responses RENAME TO old; CREATE VIEW responses AS SELECT * FROM old",
        "the table 'old' does not belong there; the table 'responses' is missing;"
        " the view 'responses' does not belong there",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_store_that_somebody_has_changed(path: Path, kind: str, version: int) -> None:
    """A store in which there is anything that runs, hides or refuses, or lacks anything, is not
    opened and not brought up to date: the error names it."""
    statements, expected = CHANGES[kind]
    make(path, version)
    change(path, *statements.split("; ") if "BEGIN" not in statements else [statements])
    said = refused(path)
    assert expected in said
    assert "put back a copy" in said
    assert ask(path, "PRAGMA user_version") == version


def test_a_store_that_lacks_the_uniqueness_of_ids(path: Path) -> None:
    """A table of jobs of which two could have one id is named."""
    make_new(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs'").fetchone()
        indexes = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = 'jobs' AND type = 'index' AND sql > ''"
        ).fetchall()
        connection.execute("DROP TABLE jobs")
        for (statement,) in [(sql.replace(" UNIQUE", ""),), *indexes]:
            connection.execute(statement)
    assert "the UNIQUE 'id' of the table 'jobs' is missing" in refused(path)


HARMLESS = {
    "statistics": "ANALYZE",
    "an index": "CREATE INDEX by_owner ON jobs (owner)",
    "a column that may be left out": "ALTER TABLE jobs ADD COLUMN note TEXT",
    "a column with a default": "ALTER TABLE jobs ADD COLUMN rank INTEGER NOT NULL DEFAULT 0",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_no_harm_in_a_store(path: Path, kind: str, version: int) -> None:
    """What refuses no job and runs nothing may be there: statistics, indexes and columns that
    nobody need know of."""
    make(path, version)
    change(path, HARMLESS[kind])
    has_the_job(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_index_for_programs_of_before(path: Path, version: int) -> None:
    """The index that only programs from before schema 3 look at may be there or not: a file that
    was brought up to date has it, and a new one has not."""
    make(path, version)
    assert ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'jobs_to_do'") == 1
    change(path, "DROP INDEX jobs_to_do")
    has_the_job(path)
    new = path.with_name("new.db")
    make_new(new)
    assert ask(new, "SELECT count(*) FROM sqlite_schema WHERE name = 'jobs_to_do'") == 0
    change(new, "CREATE INDEX jobs_to_do ON jobs (state, route, due) WHERE state = 'queued'")
    open_and_close(new)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("written", [0, -1, *range(1, SCHEMA_VERSION + 1)])
def test_a_store_with_another_version_than_its_tables(
    path: Path, written: int, version: int
) -> None:
    """A store whose `user_version` is not that of its tables is not opened; the error has the
    command that mends it."""
    make(path, version)
    change(path, f"PRAGMA user_version = {written}")
    if written != version:
        said = refused(path)
        assert f"has the tables of schema {version}" in said
        run(said, f'sqlite3 {path} "PRAGMA user_version = {version}"')
    has_the_job(path)


def test_a_store_without_anything_but_its_name(path: Path) -> None:
    """A store that has lost all of its tables is not made anew: the error names them."""
    change(path, f"PRAGMA application_id = {APPLICATION_ID}")
    said = refused(path)
    for table in ("jobs", "requests", "responses"):
        assert f"the table {table!r} is missing" in said


# Copies.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_copy_by_vacuum_into(path: Path, version: int, caplog: pytest.LogCaptureFixture) -> None:
    """A copy that SQLite has made, in another journal mode, is opened as it is."""
    original = path.with_name("original.db")
    make(original, version)
    change(original, f"VACUUM INTO '{path}'")
    assert ask(path, "PRAGMA journal_mode") == "delete"
    has_the_job(path)
    assert "never becomes smaller" not in caplog.text


@pytest.mark.parametrize("mode", ["DELETE", "TRUNCATE", "PERSIST"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_in_another_journal_mode(path: Path, mode: str, version: int) -> None:
    """A store whose journal mode somebody has set while it was stopped is opened as it is."""
    make(path, version)
    change(path, f"PRAGMA journal_mode = {mode}")
    has_the_job(path)


def test_another_journal_mode_while_somebody_reads(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal mode cannot be set while another program has the file open in the other one: the
    start waits for it, and then says so. Nothing else has happened to the file."""
    monkeypatch.setattr(sqlite_store, "LOCK_TIMEOUT", 0.05)
    make(path, SCHEMA_VERSION)
    change(path, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchall()
        with pytest.raises(StoreLocked, match="locked"):
            open_and_close(path)
    assert ask(path, "PRAGMA journal_mode") == "delete"
    has_the_job(path)


@pytest.mark.parametrize("keeps", ["nothing", "application_id", "user_version"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_that_was_made_from_a_dump(
    path: Path, version: int, keeps: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A dump leaves out what says that a database is ours. The error has the command that says it
    again; then the store opens. That it can no longer become smaller is said then, with the command
    that mends it."""
    original = path.with_name("original.db")
    make(original, version)
    with (
        closing(sqlite3.connect(original)) as source,
        closing(sqlite3.connect(path)) as target,
    ):
        target.executescript("\n".join(source.iterdump()))
    missing = {"application_id": APPLICATION_ID, "user_version": version}
    if (kept := missing.pop(keeps, None)) is not None:
        change(path, f"PRAGMA {keeps} = {kept}")
    pragmas = "; ".join(f"PRAGMA {name} = {value}" for name, value in missing.items())
    said = refused(path)
    assert "as after a .dump" in said
    run(said, f'sqlite3 {path} "{pragmas}"')
    has_the_job(path)

    said = next(record.getMessage() for record in caplog.records if "sqlite3" in str(record.args))
    assert "never becomes smaller" in said
    run(said, f'sqlite3 {path} "PRAGMA auto_vacuum = INCREMENTAL; VACUUM"')
    assert ask(path, "PRAGMA auto_vacuum") == 2
    caplog.clear()
    open_and_close(path)
    assert "never becomes smaller" not in caplog.text


def run(said: str, command: str) -> None:
    """Do what a message says, as the sqlite3 shell would, which need not be there."""
    assert said.endswith(f" {command}")
    _, file, statements = shlex.split(command)
    change(Path(file), *statements.split("; "))


# Files and folders that are not ours to use.


_AS_ANOTHER_USER = """
import asyncio, os, sys
from asyncjobs import Jobs
from asyncjobs.errors import StoreError

os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))

async def main():
    try:
        async with Jobs(store=f"sqlite:///{sys.argv[1]}"):
            print("open")
    except StoreError as error:
        print(type(error).__name__, error)

asyncio.run(main())
"""


def said_as_another_user(path: Path, uid: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", _AS_ANOTHER_USER, str(path), str(uid)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.strip()


@as_root
@pytest.mark.parametrize("which", ["", "-lock", "-procs", "folder"])
def test_what_another_user_owns(which: str) -> None:
    """Whatever of the store belongs to root and is closed to the server's user is named at start,
    with its owner."""
    uid = 40_000 + os.getpid() % 20_000
    # A folder of its own: pytest's is closed to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "jobs.db"
        open_and_close(path)
        for file in (folder, *folder.iterdir()):
            os.chown(file, uid, uid)
        Path(f"{path}-procs").chmod(0o700)
        closed = folder if which == "folder" else Path(f"{path}{which}")
        os.chown(closed, 0, 0)
        closed.chmod(0o700 if closed.is_dir() else 0o600)
        said = said_as_another_user(path, uid)
    assert said.startswith("Store")
    assert "\n" not in said
    assert str(closed) in said


# Where there is no place.


@pytest.mark.parametrize("why", ["its parent is a file", "it is a file"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, why: str) -> None:
    """If the instance folder cannot be made, the error names it, the setting and the ways out under
    systemd and in containers."""
    (tmp_path / "file").write_text("a file")
    folder = tmp_path / "file" / "instance" if "parent" in why else tmp_path / "file"
    app = Quart(__name__, instance_path=str(folder))
    QuartJobs(app)
    with pytest.raises(StorePathError) as raised:
        asyncio.run(app.startup())
    said = str(raised.value)
    for part in (str(folder), "'store'", "QUART_JOBS_STORE", "StateDirectory=", "volume"):
        assert part in said
    assert "\n" not in said


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """If the folder of a store is missing, the error names the setting and the ways out as well."""
    with pytest.raises(StorePathError, match=r"'store'.*StateDirectory="):
        open_and_close(tmp_path / "missing" / "jobs.db")


# Which SQLite.


def test_an_sqlite_that_is_too_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite that does not know our tables is refused with its version and the one needed, and
    there is no file yet."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 1))
    with pytest.raises(StoreError, match=r"SQLite 3\.36\.1, and a store needs 3\.37 or newer"):
        open_and_close(path)
    assert list(path.parent.iterdir()) == []
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    open_and_close(path)


# Names.


@pytest.mark.parametrize("url", ["memory:", "sqlite:///:memory:"])
async def test_urls_of_memory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names of a store in memory are one, and no file is made."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_url(url), MemoryStore)
    async with Jobs(store=url):
        assert list(tmp_path.iterdir()) == []


#: URLs of no store, and what the error says.
WRONG_URLS = {
    "": "write 'sqlite:///jobs.db'",
    "jobs.db": "write 'sqlite:///jobs.db'",
    "/srv/jobs.db": "write 'sqlite:///jobs.db'",
    ":memory:": "or 'memory:'",
    "memory": "or 'memory:'",
    "memory://": "or 'memory:'",
    "sqlite:": "write 'sqlite:///jobs.db'",
    "sqlite:jobs.db": "write 'sqlite:///jobs.db'",
    "sqlite://": "or 'memory:'",
    "sqlite:///": "or 'memory:'",
    "sqlite://jobs.db": "write 'sqlite:///jobs.db'",
    "sqlite+aiosqlite:///jobs.db": "write 'sqlite:///jobs.db'",
    "SQLite:///jobs.db": "write 'sqlite:///jobs.db'",
    "file:jobs.db": "write 'sqlite:///jobs.db'",
    "sqlite:///file:x?mode=memory": "options behind a '?'",
    "sqlite:///jobs.db?timeout=5": "options behind a '?'",
    "sqlite:///file:x": "is a URI of SQLite",
    "sqlite:///file:///srv/jobs.db": "is a URI of SQLite",
    "sqlite:///jobs.db/": "is a folder: name a file in it",
    "sqlite:////srv/": "is a folder: name a file in it",
    "sqlite:///~/jobs.db": "write the path in full",
    "sqlite:///~root/jobs.db": "write the path in full",
    "sqlite:///my%20jobs.db": "write the character itself",
    "sqlite:///jobs\0.db": "has a NUL",
}


@pytest.mark.parametrize("url", WRONG_URLS)
async def test_urls_of_no_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program would take for something else than a file of that name is refused; the
    error says what to write, and no file is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        await Jobs(store=url).__aenter__()
    assert WRONG_URLS[url] in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory", "~/jobs.db", "a\0b"])
def test_paths_of_no_store(name: str, kind: Callable[[str], Path | str]) -> None:
    """A path that means something else to SQLite or to a shell is no store's either."""
    with pytest.raises(ConfigurationError, match=re.escape(repr(name))):
        SqliteStore(kind(name))


@pytest.mark.parametrize("name", ["a b.db", "a?b.db", "a%20b.db", "a#b.db", "b~", "grün.db"])
def test_odd_names_of_files(tmp_path: Path, name: str) -> None:
    """A path that can only be a file's may be called what it likes, as may the folder of an app."""
    open_and_close(tmp_path / name)
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", [":memory:", "~/copy.db", "file:copy.db"])
async def test_copies_of_no_name(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a store has a name that a store could have."""
    monkeypatch.chdir(path.parent)
    async with Jobs(store=f"sqlite:///{path}") as jobs:
        with pytest.raises(ConfigurationError, match=re.escape(repr(name))):
            await jobs.backup(name)
    assert not (path.parent / name).exists()


# What a start says.


async def test_a_start_says_where_jobs_are(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where jobs are kept is logged once at each start, and if they end with the process."""
    caplog.set_level(logging.INFO)
    for url, expected in (
        (f"sqlite:///{path}", f"jobs are kept in {path}"),
        ("memory:", "jobs are kept in memory, and end with this process"),
    ):
        caplog.clear()
        async with Jobs(store=url):
            pass
        assert [line for line in caplog.messages if "kept" in line] == [expected]


async def test_a_power_loss_while_the_store_is_made(path: Path) -> None:
    """What is left of a start that was cut short before there was a log, with a rollback journal
    and the head of a log alone, is made a store by the next one."""
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE t (x)")
        for _ in range(5):
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
        for suffix in ("", "-journal"):
            shutil.copy(f"{other}{suffix}", f"{path}{suffix}")
            os.chmod(f"{path}{suffix}", 0o600)
    Path(f"{path}-wal").write_bytes(bytes(32))
    os.chmod(f"{path}-wal", 0o600)
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST)
        assert await store.get(job.id) == job
