"""`list`, `show` and `stats`: what they tell of a store, which stays as it was."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from asyncjobs.documents import status_of
from asyncjobs.job import Job, Progress, State
from asyncjobs.stores import LookingStore, SqliteStore
from asyncjobs.stores.sqlite.queries import select_ids
from asyncjobs.testing import a_job
from commands import REQUEST, Terminal, ended, environment, keep, run, started
from keepers import Keeper, killed, leaves_no_trace

EVIL = "bad\x1b[31m\r\nroute\t\u202e[bold]"


def ids_of(result: Result) -> list[str]:
    """The first field of each line of a command that went well."""
    assert result.exit_code == 0, result.stderr
    return [line.split("\t")[0] for line in result.stdout.splitlines()]


def running(**fields: object) -> Job:
    now = time.time()
    return a_job(
        **{"state": State.RUNNING, "worker": "nobody", "attempt": 1, "started": now, **fields}
    )


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--json"],
        ["list", "--route", "none"],
        ["show", "{id}"],
        ["show", "{id}", "--json"],
        ["show", "{id}", "--request"],
        ["stats", "--all"],
        ["watch", "{id}"],
        ["cancel", "{id}", "--dry-run"],
        ["retry", "--state", "failed", "--dry-run"],
    ],
    ids=" ".join,
)
def test_who_only_looks_leaves_no_trace(path: Path, words: list[str]) -> None:
    """On a stopped store and beside a living process no file is made or touched."""
    (job_id,) = keep(path, ended(State.CANCELLED, 410))
    typed = [word.format(id=job_id) for word in words]
    unchanged = leaves_no_trace(path.parent)
    run(*typed, store=path)
    unchanged()
    with Keeper(path):
        unchanged = leaves_no_trace(path.parent)
        run(*typed, store=path)
        unchanged()


def test_the_store_of_a_killed_server_is_listed(path: Path) -> None:
    """Its last jobs are in its log."""
    job_id = killed(path)
    unchanged = leaves_no_trace(path.parent)
    assert ids_of(run("list", store=path)) == [job_id]
    unchanged()


def test_lines(path: Path) -> None:
    """On a pipe each job is a line of eight fields, the newest first, with dashes for nothing."""
    failed = ended(State.FAILED, reason="ValueError: no\nhats")
    queued = a_job(created=failed.created - 60)
    keep(path, failed, queued)
    first, second = (line.split("\t") for line in run("list", store=path).stdout.splitlines())
    assert first[:4] == [failed.id, "failed", "500", "report"]
    assert first[5:] == ["1.000", "1", "ValueError: no\\nhats"]
    assert second[:4] == [queued.id, "queued", "-", "report"]
    assert second[5:] == ["-", "0", "no server has the store open: the next start runs it"]
    assert first[4].endswith("Z")


def test_json_lines_are_status_documents(path: Path) -> None:
    """With ``--json`` each line is the status document of a job, as its server answers it."""
    jobs = [ended(State.FAILED, reason="é\x1b[31m\u2028", route=EVIL), running(), a_job()]
    keep(path, *jobs)
    listed = run("list", "--json", store=path)
    assert listed.stdout.isascii()
    documents = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {document["id"]: document for document in documents} == {
        job.id: status_of(job) for job in jobs
    }
    for job in jobs:
        (line,) = run("show", job.id, "--json", store=path).stdout.splitlines()
        assert json.loads(line) == status_of(job)


def test_the_filters(path: Path) -> None:
    """Each leaves out what it does not name; states and routes add up."""
    now = time.time()
    mine = a_job(owner="ada", created=now, program="one")
    old = a_job(created=now - 7200, route="old")
    failed = ended(State.FAILED, route="poor", program="two")
    keep(path, mine, old, failed)
    for options, found in [
        ("--state queued", {mine, old}),
        ("--state queued --state failed", {mine, old, failed}),
        ("--route old --route poor", {old, failed}),
        ("--owner ada", {mine}),
        ("--nobody", {old, failed}),
        ("--program one", {mine, old}),
        ("--since 1h", {mine, failed}),
        ("--since 3.5h --state failed", {failed}),
        ("--since 2001-09-09T01:46:40Z", {mine, old, failed}),
        ("--since 2001-09-09T03:46:40.5+02:00 --route old", {old}),
    ]:
        listed = ids_of(run("list", *options.split(), store=path))
        assert sorted(listed) == sorted(job.id for job in found), options


def test_pages_that_are_short_are_walked_on(path: Path) -> None:
    """A page of the store ends after 1,000 jobs: what is asked for is found behind that, and a list
    that is full says where it goes on."""
    rare = [a_job(created=float(number), route="rare") for number in range(5)]
    keep(path, *rare)
    _multiply(path, 2500)
    first = run("list", "--route", "rare", "--limit", "3", store=path)
    assert ids_of(first) == [job.id for job in rare[:1:-1]]
    assert first.stderr.startswith("there may be more: --before ")
    cursor = first.stderr.split()[-1]
    rest = run("list", "--route", "rare", "--before", cursor, store=path)
    assert ids_of(rest) == [job.id for job in rare[1::-1]]
    assert rest.stderr == ""
    everything = ids_of(run("list", "--limit", "100000", store=path))
    assert len(everything) == len(set(everything)) == 2505


def _multiply(path: Path, count: int) -> None:
    """Add so many jobs that are newer."""
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
        new = {"seq": "1000 + value", "id": "randomblob(16)", "route": "'often'"}
        new["created"] = "1000.0 + value"
        values = ", ".join(new.get(column, column) for column in columns)
        connection.execute(
            "WITH RECURSIVE numbers (value) AS"
            " (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?)"
            f" INSERT INTO jobs SELECT {values} FROM numbers"
            " CROSS JOIN (SELECT * FROM jobs LIMIT 1)",
            (count,),
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list --state faild", "there is no state 'faild': did you mean 'failed'?"),
        ("list --state xyz", "there is no state 'xyz': there are queued, running, succeeded"),
        ("list --since yesterday", "'yesterday' is no time: write 2026-11-22T09:00:00Z, or 90s"),
        ("list --since 2026-11-22T09:00:00", "is no time"),
        ("list --since 2026-11-22", "is no time"),
        ("list --before xyz", "'xyz' is no cursor"),
        ("list --limit 0", "0 is not in the range"),
        ("list --owner ada --nobody", "leave out one of them"),
        ("list --owner \udcff", "lone surrogate"),
        (f"stats --since {'9' * 400}w", "is no time"),
        ("watch --route \udcff", "lone surrogate"),
    ],
)
def test_a_wrong_filter(path: Path, words: str, said: str) -> None:
    """It is a wrong use, and the message says what there is."""
    keep(path, a_job())
    result = run(*words.split(), store=path)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_route_that_there_is_no_job_of(path: Path) -> None:
    """The message has the one that was meant, or those of the newest jobs."""
    keep(path, a_job(), a_job(route="hats"))
    said = run("list", "--route", "reprot", store=path)
    assert (said.exit_code, said.stdout) == (0, "")
    assert "no job of a route 'reprot' is known. Did you mean report?" in said.stderr
    said = run("list", "--route", "xyz", store=path)
    assert "Routes of the newest jobs: hats, report" in said.stderr
    said = run("list", "--route", "hats", "--state", "failed", store=path)
    assert said.stderr == "there is no such job\n"
    said = run("cancel", "--route", "reprot", "--yes", store=path)
    assert (said.exit_code, said.stdout) == (3, "")
    assert "Did you mean report?" in said.stderr
    with Terminal(["watch", "--route", "reprot", "--store", f"sqlite:///{path}"]) as terminal:
        terminal.until("Did you mean report?")


def test_what_a_terminal_has_no_letters_for(path: Path) -> None:
    """It is written out, and breaks nothing."""
    keep(path, a_job(route="\N{SNOWMAN}" * 40))
    words = ["list", "--store", f"sqlite:///{path}"]
    with Terminal(words, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}) as terminal:
        assert terminal.end() == 0
        assert "\\u2603" in terminal.text


def test_who_looks_loads_nothing_that_runs_jobs(path: Path) -> None:
    """Neither Quart, nor a server, nor what runs jobs is imported to see and to steer."""
    (job_id,) = keep(path, a_job())
    code = (
        "import sys\nfrom asyncjobs.cli import main\n"
        "for words in (['list'], ['show', ID], ['stats'], ['cancel', ID], ['retry', ID]):\n"
        "    main([*words, '--store', STORE], standalone_mode=False)\n"
        "print(*sys.modules)"
    ).replace("ID", repr(job_id))
    code = code.replace("STORE", repr(f"sqlite:///{path}"))
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    loaded = {name.removeprefix("asyncjobs.") for name in printed.splitlines()[-1].split()}
    assert {"control", "stores", "cli.steering"} <= loaded
    assert not loaded & {"quart", "hypercorn", "httpx", "running", "engines", "jobs", "web"}


@pytest.mark.parametrize("command", [["list"], ["show", "{id}"], ["stats", "--all"], ["watch"]])
def test_nothing_that_is_stored_moves_the_cursor(path: Path, command: list[str]) -> None:
    """Routes, reasons and messages reach a terminal, and a pipe, with all controls written out, and
    nothing in them is taken for colours."""
    progress = Progress(1, 2, EVIL)
    job = running(route=EVIL, owner=EVIL, reason=EVIL, progress=progress, created=time.time())
    keep(path, job)
    words = [word.format(id=job.id) for word in command]
    named = [*words, "--store", f"sqlite:///{path}"]
    with Terminal(named) as terminal:
        terminal.until("bad\\x1b[31m\\r\\nrou")
        if command == ["watch"]:
            terminal.interrupt()
        terminal.end()
        assert "\x1b[31m\r" not in terminal.raw
        assert "\u202e" not in terminal.raw
        assert "[bold]" in terminal.raw or "…" in terminal.raw
    if command != ["watch"]:
        piped = run(*words, store=path).stdout
        assert "\\x1b[31m\\r\\nroute\\t\\u202e[bold]" in piped
        assert "\x1b" not in piped


def test_a_table_on_a_terminal(path: Path) -> None:
    """With short ids, which are those of one job alone, and states in colours, unless NO_COLOR."""
    alike = [a_job(id=f"abcdef012{digit}" + "0" * 22) for digit in "34"]
    failed = ended(State.FAILED, reason=f"ValueError: {'x' * 300}")
    keep(path, *alike, failed)
    words = ["list", "--store", f"sqlite:///{path}"]
    with Terminal(words) as terminal:
        assert terminal.end() == 0
        lines = terminal.text.splitlines()
        assert "\x1b[31mfailed" in terminal.raw
        assert [failed.id[:8], "failed", "500"] in [line.split()[:3] for line in lines]
        assert all(len(line) <= 110 for line in lines)
        assert "…" in terminal.text
        for job in alike:
            assert f" {job.id[:10]} " in terminal.text
            assert ids_of(run("list", store=path)).count(job.id) == 1
    with Terminal(words, env={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
        assert "\x1b[31m" not in terminal.raw


def test_a_list_that_is_read_no_further(path: Path) -> None:
    """It ends without a word when its pipe is closed."""
    keep(path, a_job())
    _multiply(path, 5000)
    process = started("list", "--limit", "100000", "--store", f"sqlite:///{path}")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 128 + 13
    assert "Traceback" not in said


def test_a_narrow_terminal(path: Path) -> None:
    """Long routes and reasons are cut there, and neither ids, nor states, nor counts."""
    failed = ended(State.FAILED, route="r" * 300, reason="漢" * 300)
    keep(path, failed)
    for command, whole in (("list", [failed.id[:8], "failed", "500"]), ("stats", ["interrupted"])):
        words = [command, "--store", f"sqlite:///{path}"]
        with Terminal(words, env={"COLUMNS": "80"}) as terminal:
            assert terminal.end() == 0
            assert set(whole) <= set(terminal.text.split())
            assert all(len(line) <= 80 for line in terminal.text.splitlines())


@pytest.mark.parametrize(
    ("words", "redirected", "code"),
    [
        ("show {id}", "| true", 128 + 13),
        ("show {id} --result", "| true", 128 + 13),
        ("list", ">/dev/full", 4),
        ("show {id}", ">/dev/full", 4),
        ("show {id} --result", ">/dev/full", 4),
        ("list", ">&-", 0),
        ("show {id} --result", ">&-", 0),
        ("watch {id}", "<&- >&- 2>&-", 1),
        ("cancel --state queued", "<&- 2>&-", 2),
    ],
)
def test_nothing_can_be_written(path: Path, words: str, redirected: str, code: int) -> None:
    """Where the output is closed, full or gone, there is no traceback, nor the code of a job that
    has failed."""
    (job_id,) = keep(path, ended(State.FAILED))
    command = f"{sys.executable} -m asyncjobs {words.format(id=job_id)} --store sqlite:///{path}"
    said = subprocess.run(
        ["bash", "-c", f"{command} {redirected}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environment(PYTHONUNBUFFERED=""),
    )
    assert (said.returncode, said.stdout) == (code, "")
    assert said.stderr.count("\n") == (code == 4)


def test_show_tells_all(path: Path) -> None:
    """A 404 of a job that has succeeded is explained; request and result are described."""
    job = ended(State.SUCCEEDED, 404, owner="ada", program="shop")
    keep(path, job)
    shown = run("show", job.id[:8], store=path).stdout
    fields = {line.split()[0]: line for line in shown.splitlines()}
    assert "with any status below 500 a job has succeeded" in fields["result"]
    assert "404" in fields["result"]
    assert "POST /report?a=1, 1 header, 8 bytes" in fields["request"]
    assert fields["owner"].endswith("ada")
    assert fields["program"].endswith("shop")
    assert fields["took"].endswith("1.0s")
    assert {"id", "state", "route", "attempt", "created", "finished", "expires"} <= fields.keys()


def test_show_tells_what_a_job_waits_for(path: Path) -> None:
    """Where nobody is there who would run it; and that its process is dead."""
    with Keeper(path) as keeper:
        dead = keeper.worker
        job = running(worker=dead)
        keep(path, job, queued := a_job(program="shop"))
        assert "waits" not in run("show", job.id, store=path).stdout
        assert "waits" not in run("show", queued.id, store=path).stdout  # the keeper says nothing
        keeper.kill()
    assert "waits     its process is dead" in run("show", job.id, store=path).stdout
    said = run("show", queued.id, store=path).stdout
    assert "waits     no process of 'shop' has the store open: the next start runs it" in said


def test_the_bodies(path: Path) -> None:
    """``--request`` and ``--result`` print the bytes of a body, and nothing else; a terminal gets
    them with all controls written out."""

    async def keep_evil() -> str:
        async with SqliteStore(path) as store:
            evil = REQUEST.__class__("POST", "/", body=b"one\x1b[31m\xff\ntwo")
            return (await store.add(a_job(), evil)).id

    evil = asyncio.run(keep_evil())
    done, queued = keep(path, ended(State.SUCCEEDED, 200), a_job())
    assert run("show", done, "--result", store=path).stdout_bytes == b"the result"
    assert run("show", done, "--request", store=path).stdout_bytes == b"the body"
    assert run("show", evil, "--request", store=path).stdout_bytes == b"one\x1b[31m\xff\ntwo"
    with Terminal(["show", evil, "--request", "--store", f"sqlite:///{path}"]) as terminal:
        assert terminal.end() == 0
        assert terminal.raw == "one\\x1b[31m\\xff\r\ntwo\r\n"
    missing = run("show", queued, "--result", store=path)
    assert missing.exit_code == 3
    assert "there is no result yet: the job is queued" in missing.stderr


def test_a_request_that_is_gone_is_told(path: Path) -> None:
    """All else is shown."""
    (job_id,) = keep(path, ended(State.FAILED))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM requests")
    shown = run("show", job_id, store=path)
    assert shown.exit_code == 0
    assert f"request   no request of a job {job_id}" in shown.stdout
    assert run("show", job_id, "--request", store=path).exit_code == 3


def test_an_id_by_its_beginning(path: Path) -> None:
    """Eight digits or more are enough, in any case and with dashes; there may be one such job."""
    one, other = keep(path, *(a_job(id=f"abcdef01{digit}" + "0" * 23) for digit in "23"))
    for written in (one, one[:9], one[:9].upper(), f"{one[:8]}-{one[8:12]}"):
        result = run("show", written, "--json", store=path)
        assert json.loads(result.stdout)["id"] == one
    several = run("show", one[:8], store=path)
    assert several.exit_code == 2
    assert f"write more of it: {one}, {other}" in several.stderr
    for none in ("abcdef09", "0" * 32):
        result = run("show", none, store=path)
        assert result.exit_code == 3
        assert none in result.stderr
    for wrong in ("abcdef0", "report", "0" * 33, "abcdefgh", ""):
        result = run("show", wrong, store=path)
        assert result.exit_code == 2
        assert "is no id of a job: it has 32 hex digits" in result.stderr


async def test_the_beginning_of_an_id_is_looked_up_in_its_index(path: Path) -> None:
    """However many jobs there are, those are read alone whose ids begin so."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(), REQUEST)
        assert await store.ids(job.id[:8], 10) == [job.id]
        assert await store.ids(job.id[:9], 10) == [job.id]  # half a byte
        async with LookingStore(path) as onlooker:
            assert await onlooker.ids(job.id[:8], 10) == [job.id]
    sql, values = select_ids(job.id[:8], 10)
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    assert [row[3].split(" (")[0] for row in plan] == [
        "SEARCH jobs USING COVERING INDEX sqlite_autoindex_jobs_1"
    ]


@pytest.fixture
def counted(path: Path) -> Path:
    now = time.time()
    keep(
        path,
        *(a_job(created=now - age) for age in (60, 7200, 864_000)),
        ended(State.FAILED, route="poor"),
        running(created=now, route=EVIL),
    )
    return path


def test_stats(counted: Path) -> None:
    """The jobs of each route in each state are counted: of those of the last day, or since any
    time, or of all."""
    lines = [line.split("\t") for line in run("stats", store=counted).stdout.splitlines()]
    route = "bad\\x1b[31m\\r\\nroute\\t\\u202e[bold]"
    assert [fields[:3] for fields in lines] == [
        [route, "running", "1"],
        ["poor", "failed", "1"],
        ["report", "queued", "2"],
    ]
    for options, count in (["--all"], 3), (["--since", "1h"], 1):
        documents = [
            json.loads(line)
            for line in run("stats", "--json", *options, store=counted).stdout.splitlines()
        ]
        (found,) = (each for each in documents if each["route"] == "report")
        assert (found["state"], found["count"]) == ("queued", count)
        assert found["oldest"].endswith("Z")
    assert run("stats", "--all", "--since", "1h", store=counted).exit_code == 2


def test_stats_tell_what_waits_for_longest(counted: Path) -> None:
    """However old it is; on a terminal there is a table with a sum."""
    said = run("stats", "--since", "1m", store=counted).stderr
    assert "queued for longest: " in said
    assert "of report, 10d 0h" in said
    assert "running for longest: " in said
    with Terminal(["stats", "--all", "--store", f"sqlite:///{counted}"]) as terminal:
        assert terminal.end() == 0
        rows = [line.split() for line in terminal.text.splitlines()]
        assert ["report", "3"] in rows
        assert ["all", "3", "1", "0", "1", "0", "0"] in rows


def test_a_store_without_jobs(path: Path) -> None:
    """It has none to list and to count, which is no error."""
    keep(path)
    assert run("list", store=path).exit_code == 0
    for options in (["--all"], ["--json"]):
        result = run("stats", *options, store=path)
        assert (result.exit_code, result.stdout) == (0, "")
