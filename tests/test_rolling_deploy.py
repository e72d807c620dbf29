"""A rolling deploy: an older release goes on beside the newer one, on one store, until it ends.

The first of the newer release to open the store adds to its tables what it needs. Processes of the
older one that have it open then find more there than they know of, and must not mind. So columns,
tables and indexes are only added, with defaults, and none is dropped, renamed or retyped.

The older release here is the landed one, from git: its sources are in every full clone, they are
what its wheel holds (it is pure Python, and nothing is generated), and they can be read and blamed;
a wheel among the tests would be a binary file that nobody can, and one more thing to be made anew
at each release. There is no network and no build in it. A clone without that commit skips, by name.

What is not protected is what an older release does not know of. The one here knows all that this
one does. One from before schema 6 does not know of

* Keys of submissions. It forgets a job without its key, which is nobody's then.
* Times to be cancelled at. It runs what it has started past them; others look for what it does not.
* `keep_requests`. The requests of what it ends are kept for as long as the results. A request that
  the newer one has erased it takes for a damaged one, and says so if the job is to be retried
  there, or where the guards of a blueprint ask for the variables of its URL.
* Limits on the queue. It accepts whatever comes.

One from before schema 5 does not know of

* Reasons, and the statuses of results. It leaves those of a job as the newer one has written them;
  which are not told where the state shows that they are from before.

And one from before schema 3 does not know of

* Names of programs. It runs, shows, cancels and rescues the jobs of any program that has a handler
  of the same name, and fails those that it has no handler for after its `gone_after`. Two programs
  of different names get apart only when the last process of the older release has ended.
* Suspects. It runs them beside each other, and gives a job up after three crashes instead of five.
* `max_starts`. It starts a job however often; what it retries keeps the starts of before.
* The stored `ttl`. It keeps what it ends for as long as its own settings say.

And an older release that *starts* on the newer file is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from apps.signals import Signals
from asyncjobs import transitions
from asyncjobs.job import DEFAULT_TTL, Job, Request, Response
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.schema import SCHEMA_VERSION
from asyncjobs.testing import a_job
from schemas import SCHEMAS, make_store
from server import DEADLINE, SOURCE, TESTS, Server, result, submit, until

#: The commit that is deployed: the newest whose schema may be found in use, so that a process of it
#: may be there when the next release starts. When this tree is landed, put its commit here. Who
#: changes the schema puts the tables of before into `schemas.py`.
LANDED = "267e130f971944ef4181511a16a91f4e330475e8"

#: A poll that is held for longer than anything here may take.
LONG = {"Prefer": "wait=60"}
CONFIG = {"QUART_JOBS_CONCURRENCY": 4, "QUART_JOBS_MAX_WAIT": 60, "QUART_JOBS_DRAIN_TIME": 30}

#: Starts a server of a release, "old" or "new".
Start = Callable[..., Server]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each release is imported from."""
    folder = tmp_path_factory.mktemp("landed")
    # Without the torture, which was a link to the tests in some releases.
    what = [LANDED, "src/asyncjobs", ":(exclude)src/asyncjobs/torture"]
    try:
        archive = subprocess.run(
            ["git", "archive", "--format=zip", *what],
            cwd=TESTS.parent,
            capture_output=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        pytest.skip("git is missing, which has the landed release")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        pytest.skip(f"git has no landed release {LANDED} (git fetch --unshallow): {reason}")
    with zipfile.ZipFile(BytesIO(archive)) as files:
        files.extractall(folder)
    return {"old": folder / "src", "new": SOURCE}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The store that all of a test share."""
    return tmp_path / "jobs.db"


@pytest.fixture
def signals(tmp_path: Path) -> Signals:
    return Signals(tmp_path / "signals")


@pytest.fixture
def start(
    sources: dict[str, Path], tmp_path: Path, store: Path, signals: Signals
) -> Iterator[Start]:
    with ExitStack() as servers:

        def start(release: str, *, hints_only: bool = False) -> Server:
            config = {
                **CONFIG,
                "QUART_JOBS_STORE": f"sqlite:///{store}",
                "SIGNALS": str(signals.folder),
                "RELEASE": release,
                "HINTS_ONLY": hints_only,
            }
            server = servers.enter_context(
                Server("apps.rolling:app", tmp_path, config=config, source=sources[release])
            )
            with server.client() as client:
                assert client.get("/source").text == str(sources[release])
            return server

        yield start


# Servers.


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
@pytest.mark.parametrize("ends", ["old", "new"])
def test_a_server_of_each_release(
    start: Start, signals: Signals, store: Path, ends: str, how: signal.Signals
) -> None:
    """The new release starts while the old one runs jobs, and both go on under load, each with jobs
    that the other has accepted. Then one ends: the old one or, where a deploy is taken back, the
    new one. Nothing is lost, nothing runs twice that must not, and who stays answers every poll."""
    killed, stays = how is signal.SIGKILL, "new" if ends == "old" else "old"
    servers, held = {"old": start("old")}, {}
    with servers["old"].client() as client:
        held["old"] = hold(client, signals, "old")
        first = hold(client, signals, "first")  # with these, all its slots are taken
        queued = dict(submit_work(client))
    servers["new"] = start("new")
    with servers["new"].client() as client:
        assert {result(client, poll).json()["release"] for poll in queued} == {"new"}
        held["new"] = hold(client, signals, "new")
    let_go(signals, "first")

    with Load(servers["old"]) as old_load, Load(servers["new"]) as new_load:
        loads = {"old": old_load, "new": new_load}
        for load in loads.values():
            until(load.is_shared, "the other's share of the load")
        end(servers[ends], signals, ends, how)
        done = len(loads[stays].ran_by)
        until(lambda: len(loads[stays].ran_by) > done + 50, "the load that nobody shares any more")
    assert loads[stays].cut_off is None

    with servers[stays].client() as client:
        if killed:
            signals.wait(f"{ends}-started-2")
        let_go(signals, "old")
        let_go(signals, "new")
        check_held(client, held[ends], killed=killed)
        for others in (held[stays], first):
            check_held(client, others, killed=False)
        methods = {**queued, **old_load.methods, **new_load.methods}
        states = {poll: result(client, poll).headers["Job-State"] for poll in methods}
    check_work(states, methods, signals, killed=killed)
    check_rows(store, methods)
    for server in servers.values():
        assert "Traceback" not in server.log()


def test_each_release_answers_for_what_the_other_runs(start: Start, signals: Signals) -> None:
    """A poll that is held in one release ends with the job in the other, which it can cancel: what
    they tell each other is understood, so that neither has to look."""
    servers = {name: start(name, hints_only=True) for name in ("old", "new")}
    for ours, theirs in (("old", "new"), ("new", "old")):
        with servers[theirs].client() as there, servers[ours].client(**LONG) as here:
            polled, cancelled = hold(there, signals, theirs)
            url = f"/jobs/{polled.rpartition('/')[2]}"
            status = here.get(url, headers={"Prefer": "respond-async"}).json()
            assert (status["state"], status["attempt"]) == ("running", 1)
            with ThreadPoolExecutor() as threads:
                answer = threads.submit(here.get, polled)
                signals.send(f"{theirs}-go")
                assert answer.result().json() == {"release": theirs, "attempt": 1}
            assert here.delete(cancelled).status_code == 200
            signals.wait(f"{theirs}-once-cancelled")
            for client in (here, there):
                assert client.get(cancelled, headers=LONG).status_code == 410


def test_what_one_release_was_told_the_other_keeps_to(
    start: Start, signals: Signals, store: Path
) -> None:
    """A key that one release was given is known to the other; a job that is to be cancelled some
    time is, whoever runs it; and a request that one has erased the other does not take for a
    damaged one."""
    servers = {name: start(name) for name in ("old", "new")}
    erased = asyncio.run(a_failed_job_whose_request_is_erased(store))
    for ours, theirs in (("old", "new"), ("new", "old")):
        with servers[ours].client(**LONG) as here, servers[theirs].client(**LONG) as there:
            key = {"Idempotency-Key": f"of-{ours}"}
            first = here.post("/work", headers=key)
            again = there.post("/work", headers=key)
            assert first.json()["release"] in servers
            assert first.headers["Job-State"] == "succeeded"
            assert again.headers["Idempotent-Replayed"] == "true"
            assert again.content == first.content
            assert there.post("/work?other", headers=key).status_code == 422

            for poll in hold(here, signals, ours, {"Cancel-After": "1", "Prefer": ""}):
                assert there.get(poll).status_code == 410

            answer = here.post(f"/retry/{erased.id}").json()
            assert answer == {"error": "InvalidTransition"}
    for server in servers.values():
        assert "Traceback" not in server.log()


async def a_failed_job_whose_request_is_erased(store: Path) -> Job:
    async with SqliteStore(store) as opened:
        mine = a_job(route="work", path="/work", program="apps.rolling", ttl=DEFAULT_TTL)
        job = transitions.start(mine, opened.worker, time.time())
        await opened.add(job, Request("GET", "/work"))
        failed = transitions.finish(job, 500, time.time())
        await opened.replace(job, failed, Response(500), erase=True)
    return failed


def test_an_old_release_that_starts_is_refused(start: Start, store: Path) -> None:
    """Only what has a store open already may go on beside a newer release: what starts then is told
    what to do, and leaves the file as it is."""
    asyncio.run(open_and_close(store))
    with closing(sqlite3.connect(store)) as connection:
        # Also if no schema is newer just now than that of the landed release.
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = store.read_bytes()
    with pytest.raises(RuntimeError, match=f"schema {SCHEMA_VERSION + 1}.*upgrade quart-asyncjobs"):
        start("old")
    assert store.read_bytes() == before


class Load:
    """Submits jobs to a server and waits for them there, in a thread, until the block ends.

    Attributes:
        methods: by which method each job was submitted, by the address to poll.
        ran_by: the release that has run it, for each that has ended; None if it was interrupted.
        cut_off: the error of the first request that was not answered as it should be.
    """

    def __init__(self, server: Server) -> None:
        self.methods: dict[str, str] = {}
        self.ran_by: dict[str, str | None] = {}
        self.cut_off: httpx.HTTPError | None = None
        self._server = server
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._running = self._thread.submit(self._run)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._running.result(DEADLINE)
        self._thread.shutdown()

    def is_shared(self) -> bool:
        """Whether both releases have run a good part of it."""
        shares = Counter(list(self.ran_by.values()))
        return min(shares["old"], shares["new"]) > 20

    def _run(self) -> None:
        with self._server.client(**LONG) as client:
            try:
                while not self._over.is_set():
                    self._turn(client)
            except httpx.HTTPError as error:
                self.cut_off = error

    def _turn(self, client: httpx.Client) -> None:
        polls = []
        for poll, method in submit_work(client):
            self.methods[poll] = method
            polls.append(poll)
        for poll in polls:
            # It is held for long enough, unless the server is stopping.
            while (answer := client.get(poll)).headers["Job-State"] in ("queued", "running"):
                pass
            self.ran_by[poll] = answer.json().get("release")


def submit_work(client: httpx.Client) -> Iterator[tuple[str, str]]:
    """Submit more jobs than there is room for; where to poll each, and its method.

    Raises:
        httpx.HTTPError: the server is stopping, or has ended.
    """
    for method in ("GET", "POST") * 10:
        answer = client.request(method, "/work", headers={"Prefer": ""}).raise_for_status()
        yield answer.headers["Location"], method


def hold(
    client: httpx.Client, signals: Signals, name: str, headers: Mapping[str, str] | None = None
) -> list[str]:
    """Have two jobs run and wait: one may be run again after a crash, one may not."""
    polls = []
    for method, each in (("GET", name), ("POST", f"{name}-once")):
        polls.append(submit(client, method, f"/hold/{each}", headers=headers))
        signals.wait(f"{each}-started-1")
    return polls


def let_go(signals: Signals, name: str) -> None:
    """Let what `hold` has made end."""
    signals.send(f"{name}-go")
    signals.send(f"{name}-once-go")


def end(server: Server, signals: Signals, name: str, how: signal.Signals) -> None:
    """End a server: at once, or once it has let its jobs end."""
    if how is signal.SIGKILL:
        server.kill()
    else:
        server.signal(how)
        until(lambda: "running jobs have" in server.log(), "the drain")
        let_go(signals, name)
        assert server.wait() == 0


def check_held(client: httpx.Client, held: list[str], *, killed: bool) -> None:
    """Each ran once, or was killed and has run once more if that is allowed."""
    again, once = (result(client, poll) for poll in held)
    assert again.json()["attempt"] == (2 if killed else 1)
    assert once.headers["Job-State"] == ("interrupted" if killed else "succeeded")


def check_work(
    states: dict[str, str], methods: dict[str, str], signals: Signals, *, killed: bool
) -> None:
    """Each ran once, or was killed and has run once more if that is allowed."""
    ledger = (signals.folder / "ledger").read_text()
    starts = Counter(line.split()[0] for line in ledger.splitlines())
    for poll, state in states.items():
        started, may_be_repeated = starts[poll.rpartition("/")[2]], methods[poll] == "GET"
        if killed and state == "interrupted":
            assert (started <= 1, may_be_repeated) == (True, False), poll
        else:
            assert state == "succeeded", poll
            assert started == 1 or (killed and may_be_repeated and started == 2), poll


def check_rows(store: Path, polls: Iterable[str]) -> None:
    """Nothing is left to be done, and each row says whose it is."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        execute = connection.execute
        left = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
        until(lambda: execute(left).fetchone() == (0,), "the end of jobs whose client was cut off")
        rows = {key.hex(): others for key, *others in execute("SELECT id, program, ttl FROM jobs")}
    for poll in polls:
        assert rows[poll.rpartition("/")[2]] == ["apps.rolling", DEFAULT_TTL]


# Programs with `Jobs`.


def test_a_program_of_each_release(sources: dict[str, Path], store: Path, signals: Signals) -> None:
    """The same holds for `Jobs`: each runs what the other has submitted and has the results of its
    own; and what the old one leaves behind when it is killed the new one runs."""
    with ExitStack() as programs:
        old = programs.enter_context(Program(sources["old"], store, signals, "old"))
        signals.wait("old-holds")
        new = programs.enter_context(Program(sources["new"], store, signals, "new"))
        signals.wait("new-is-open")
        signals.send("start")
        for program in (old, new):
            numbers, ran_by = zip(*program.told(), strict=True)
            assert numbers == tuple(range(len(numbers)))
            assert set(ran_by) == {"old", "new"}
        old.kill()
        signals.send("let-go")
        assert new.told() == ["new", "new"]
        assert new.wait() == 0


def test_what_the_old_release_asks_costs_no_more(
    sources: dict[str, Path], store: Path, signals: Signals, tmp_path: Path
) -> None:
    """Whatever SQL the old release executes, in the newer file it reads no table and sorts no rows
    where it does not in its own: however many jobs are kept or queued, it costs what it did."""
    signals.send("start")
    with Program(sources["old"], store, signals, "killed"):
        signals.wait("killed-holds")
    signals.send("let-go")
    trace = tmp_path / "trace.json"
    with Program(sources["old"], store, signals, "traced", trace) as program:
        assert program.wait() == 0
    newer = shutil.copy(store, tmp_path / "newer.db")
    asyncio.run(open_and_close(newer))

    kinds = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
    asked = [each for each in json.loads(trace.read_text()) if each.startswith(kinds)]
    assert {each.split()[0] for each in asked} == set(kinds)
    with closing(sqlite3.connect(store)) as own, closing(sqlite3.connect(newer)) as other:
        for statement in asked:
            assert burdens(other, statement) <= burdens(own, statement), statement


def burdens(connection: sqlite3.Connection, statement: str) -> set[str]:
    """The steps of a statement that take the longer the more rows there are."""
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    return {step for *_, step in plan if step.startswith(("SCAN", "USE TEMP B-TREE"))}


class Program:
    """A process with `apps.rolling_program`, which is killed when the block ends."""

    def __init__(
        self, source: Path, store: Path, signals: Signals, name: str, *trace: Path
    ) -> None:
        arguments = map(str, [store, signals.folder, name, *trace])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apps.rolling_program", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(source)])},
            cwd=store.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        self._output.close()

    def told(self) -> Any:
        """The next line that it prints."""
        return json.loads(self._output.readline())

    def wait(self) -> int:
        return self._process.wait(DEADLINE)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)


# Tables.


@pytest.mark.parametrize("version", SCHEMAS)
def test_a_schema_only_adds(tmp_path: Path, version: int) -> None:
    """A file that was brought up to date, as well as a new one, has all columns and indexes of each
    earlier version as they were; in its tables, each added column has a default and no added index
    is unique. A new one, which no program of before ever had open, lacks an index that those from
    before schema 3 look at."""
    older, migrated, fresh = (tmp_path / f"{name}.db" for name in ("older", "migrated", "fresh"))
    make_store(older, version)
    make_store(migrated, version)
    for path in (migrated, fresh):
        asyncio.run(open_and_close(path))
        assert columns_of(older).items() <= columns_of(path).items()
        tables = {table for table, _ in columns_of(older)}
        for found in (required_in, unique_in):
            assert {each for each in found(path) if each[0] in tables} <= found(older)
        indexes = indexes_of(older)
        if path == fresh:
            del indexes["jobs_to_do"]
        assert indexes.items() <= indexes_of(path).items()


def columns_of(path: Path) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What each column of each table takes: its type, whether NULL, and whether it is the key."""
    columns = ask(path, f'SELECT tables.name, columns.name, type, "notnull", pk {_COLUMNS}')
    return {(table, name): tuple(others) for table, name, *others in columns}


def required_in(path: Path) -> set[tuple[str, str]]:
    """The columns that whoever adds a row has to name."""
    required = '"notnull" AND dflt_value IS NULL AND NOT pk'
    return set(ask(path, f"SELECT tables.name, columns.name {_COLUMNS} WHERE {required}"))


def indexes_of(path: Path) -> dict[str, str | None]:
    """The definition of each index, but for those that SQLite makes by itself."""
    return dict(ask(path, "SELECT name, sql FROM sqlite_schema WHERE type = 'index'"))


def unique_in(path: Path) -> set[tuple[str, str]]:
    """The indexes that refuse rows."""
    return set(ask(path, f'SELECT tables.name, indexes.name {_INDEXES} WHERE "unique"'))


_TABLES = "FROM (SELECT name FROM sqlite_schema WHERE type = 'table') AS tables"
_COLUMNS = f"{_TABLES} JOIN pragma_table_info(tables.name) AS columns"
_INDEXES = f"{_TABLES} JOIN pragma_index_list(tables.name) AS indexes"


def ask(path: Path, select: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(select).fetchall()


async def open_and_close(path: Path) -> None:
    async with SqliteStore(path):
        pass
