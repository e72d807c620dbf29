"""`cancel` and `retry`: which jobs they touch, when they ask, and what they say of each."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from apps.signals import Signals
from asyncjobs import Jobs, transitions
from asyncjobs.job import Job, State
from asyncjobs.store import Presence
from asyncjobs.stores import LookingStore, SqliteStore
from asyncjobs.testing import a_job
from commands import REQUEST, Terminal, ended, keep, run, run_beside
from conftest import Serve
from keepers import Keeper
from server import DEADLINE, result, submit

QUEUED = State.QUEUED
CANCELLED = State.CANCELLED


def states(path: Path, *job_ids: str) -> list[State]:
    async def look() -> list[State]:
        async with LookingStore(path) as store:
            return [(await store.get(job_id)).state for job_id in job_ids]

    return asyncio.run(look())


def lines(output: str) -> list[list[str]]:
    return [line.split("\t") for line in output.splitlines()]


# Beside a living server.


def test_cancel_and_retry_beside_a_server(serve: Serve, signals: Signals, name: str) -> None:
    """The handler of a running job is stopped; once retried the job runs again, and ends."""
    server = serve("apps.processes:app")
    with server.client() as client:
        poll = submit(client, "GET", f"/wait/{name}")
        job_id = poll.rpartition("/")[2]
        signals.wait(f"{name}.started")
        said = run("cancel", job_id[:8], store=server.store)
        assert said.exit_code == 0
        assert lines(said.stdout)[0][:3] == ["asked to stop", job_id, "wait"]
        signals.wait(f"{name}.cancelled")
        result(client, poll)
        signals.send(f"{name}.go")
        said = run("retry", job_id, store=server.store)
        assert lines(said.stdout) == [["queued", job_id, "wait", "it runs once more"]]
        assert result(client, poll).json()["waited"] == name


async def test_a_retry_that_nobody_can_run_says_so(path: Path) -> None:
    """Where no process of its program lives, and where those that do have no handler for it."""
    jobs = [ended(State.FAILED, program="shop", route=route) for route in ("gone", "report")]
    async with SqliteStore(path) as server:
        for job in jobs:
            await server.add(job, REQUEST)
        server.announce(Presence("shop", frozenset({"report"})))
        said = await run_beside("retry", jobs[0].id, jobs[1].id, store=path)
        gone, there = lines(said)
        assert "no process that runs has a handler for 'gone'" in gone[3]
        assert there[3] == "it runs once more"
        server.announce(Presence("shop", frozenset({"report"}), stopping=True))
        await server.add(late := ended(State.FAILED, program="shop"), REQUEST)
        said = await run_beside("retry", late.id, store=path)
        assert "no process of 'shop' has the store open" in said


# On a stopped store.


def test_a_cancel_on_a_stopped_store_is_carried_out_at_once(path: Path) -> None:
    """A queued job is cancelled, and so is one that runs, says the store, whose process is dead."""
    with Keeper(path) as keeper:
        queued = keeper.add()
        now = time.time()
        dead = transitions.start(a_job(created=now), keeper.worker, now)
        keep(path, dead)
        keeper.kill()
    said = run("cancel", queued, dead.id, store=path)
    assert said.exit_code == 0
    assert lines(said.stdout) == [
        ["cancelled", queued, "report", "the job was cancelled before it started"],
        [
            *("cancelled", dead.id, "report"),
            "the job was cancelled while it ran, and its process died",
        ],
    ]
    assert states(path, queued, dead.id) == [CANCELLED, CANCELLED]


async def test_a_retry_on_a_stopped_store_is_run_by_the_next_start(path: Path) -> None:
    """It says so; and the next start runs it, with the request that it was made from."""
    jobs = Jobs(store=SqliteStore(path), name="shop")
    calls = []

    @jobs.function(name="report")
    async def report(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise ValueError("no hats")
        return number

    async with jobs, asyncio.timeout(DEADLINE):
        job = await jobs.wait((await jobs.submit(report, 7)).id)
        assert job.state is State.FAILED
    said = await run_beside("retry", job.id, store=path)
    assert lines(said)[0][3] == ("no process of 'shop' has the store open: the next start runs it")
    async with jobs, asyncio.timeout(DEADLINE):
        assert await jobs.result(job.id) == 7
    assert calls == [7, 7]


# What becomes of each, and the exit codes.


def test_the_worst_of_several_counts(path: Path) -> None:
    """Each job is told on its own, the bad ones on standard error, and the largest exit code is
    that of the command."""
    queued, done = keep(path, a_job(), ended(State.SUCCEEDED, 200))
    missing = "0" * 32
    said = run("cancel", queued, missing, store=path)
    assert said.exit_code == 3
    assert lines(said.stdout)[0][:2] == ["cancelled", queued]
    assert lines(said.stderr) == [["not found", missing, f"no job {missing}"]]
    said = run("cancel", queued, missing, done, "00000000", store=path)
    assert said.exit_code == 5
    assert said.stdout == ""
    refused = [fields[:2] for fields in lines(said.stderr)]
    assert sorted(refused) == sorted(
        [["not found", "00000000"], ["refused", queued], ["not found", missing], ["refused", done]]
    )
    assert "succeeded already" in said.stderr
    said = run("retry", done, store=path)
    assert said.exit_code == 5
    assert "the job is succeeded and cannot be retried" in said.stderr


def test_a_retry_needs_the_request(path: Path) -> None:
    """A job whose request was erased, or is damaged, stays as it is, and it is said why."""
    gone, damaged = keep(path, ended(State.FAILED), ended(State.FAILED))
    with closing(sqlite3.connect(path)) as connection, connection:
        number = "(SELECT seq FROM jobs WHERE id = ?)"
        connection.execute(f"DELETE FROM requests WHERE seq = {number}", (bytes.fromhex(gone),))
        connection.execute(
            f"UPDATE requests SET headers = x'ff' WHERE seq = {number}", (bytes.fromhex(damaged),)
        )
    said = run("retry", gone, store=path)
    assert said.exit_code == 5
    assert "cannot be retried, as its request is not kept" in said.stderr
    assert "'keep_requests'" in said.stderr
    said = run("retry", damaged, store=path)
    assert said.exit_code == 4
    assert states(path, gone, damaged) == [State.FAILED, State.FAILED]


def test_json_is_what_the_jobs_are_now(path: Path) -> None:
    """The status document of each that was changed."""
    job_ids = keep(path, a_job(), a_job())
    said = run("cancel", *job_ids, "--json", store=path)
    documents = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(each["id"], each["state"]) for each in documents] == [
        (job_id, "cancelled") for job_id in job_ids
    ]


def test_an_id_that_is_named_twice(path: Path) -> None:
    """It is cancelled once."""
    (job_id,) = keep(path, a_job())
    said = run("cancel", job_id, job_id[:8], store=path)
    assert (said.exit_code, len(said.stdout.splitlines())) == (0, 1)


def test_ids_that_are_alike_touch_nothing(path: Path) -> None:
    """A beginning that several jobs have is a wrong use, whatever else is named."""
    jobs = keep(path, *(a_job(id=f"abcdef01{digit}" + "0" * 23) for digit in "23"), a_job())
    said = run("cancel", jobs[2], "abcdef01", store=path)
    assert said.exit_code == 2
    assert states(path, *jobs) == [QUEUED] * 3


# By filters.


def several(path: Path) -> list[str]:
    """Two queued jobs, one that has failed, one that was cancelled."""
    jobs: list[Job] = [a_job(), a_job(route="hats"), ended(State.FAILED), ended(CANCELLED, 410)]
    return keep(path, *jobs)


def test_filters_touch_what_they_name(path: Path) -> None:
    """With ``--yes``, without a question: of what can be cancelled or retried."""
    one, hats, failed, cancelled = several(path)
    assert run("cancel", "--route", "hats", "--yes", store=path).exit_code == 0
    assert states(path, one, hats) == [QUEUED, CANCELLED]
    assert run("cancel", "--since", "2001-01-01T00:00:00Z", "-y", store=path).exit_code == 0
    assert states(path, one, failed) == [CANCELLED, State.FAILED]
    assert run("retry", "--route", "report", "--yes", store=path).exit_code == 0
    assert states(path, one, failed, cancelled) == [CANCELLED, QUEUED, CANCELLED]
    said = run("retry", "--state", "cancelled", "--nobody", "--yes", store=path)
    assert sorted(fields[1] for fields in lines(said.stdout)) == sorted([one, hats, cancelled])
    assert states(path, one, hats, cancelled) == [QUEUED] * 3


def test_a_dry_run_lists_and_touches_nothing(path: Path) -> None:
    """By filters, and by ids, where it tells what would be refused."""
    one, hats, failed, _ = several(path)
    said = run("cancel", "--state", "queued", "--dry-run", store=path)
    assert sorted(fields[0] for fields in lines(said.stdout)) == sorted([one, hats])
    assert said.stderr == "2 jobs would be cancelled; nothing was changed\n"
    said = run("cancel", one, failed, "--dry-run", "--json", store=path)
    assert said.exit_code == 5
    assert json.loads(said.stdout)["id"] == one
    assert lines(said.stderr)[0][:2] == ["refused", failed]
    assert states(path, one, hats, failed) == [QUEUED, QUEUED, State.FAILED]


def test_nobody_is_there_to_be_asked(path: Path) -> None:
    """Off a terminal filters take ``--yes``, however few jobs there are: a script that works with
    one is not to fail with two."""
    several(path)
    for route in ("report", "hats", "none"):
        said = run("cancel", "--route", route, store=path, given="y\n")
        assert said.exit_code == 2
        assert "--dry-run" in said.stderr
        assert "--yes" in said.stderr


@pytest.mark.parametrize(
    ("answer", "code"), [("y\r", 0), ("n\r", 5), ("\r", 5), ("\x04", 5), ("\x03", 130)]
)
def test_somebody_is_asked_before_several_are_touched(path: Path, answer: str, code: int) -> None:
    """The question has how many, and their states. A no, or Ctrl-D, changes nothing and is told by
    the exit code, as is Ctrl-C."""
    one, hats, *_ = several(path)
    words = ["cancel", "--state", "queued", "--store", f"sqlite:///{path}"]
    with Terminal(words) as terminal:
        terminal.until("cancel 2 jobs (2 queued)? [y/N]")
        if answer == "\x03":
            terminal.interrupt()
        else:
            terminal.type(answer)
        assert terminal.end() == code
        assert ("nothing was changed" in terminal.text) == (code == 5)
    assert states(path, one, hats) == [QUEUED if code else CANCELLED] * 2


def test_nobody_is_asked_for_one(path: Path) -> None:
    """At a terminal a filter that means one job is as good as its id."""
    _, hats, *_ = several(path)
    words = ["cancel", "--route", "hats", "--store", f"sqlite:///{path}"]
    with Terminal(words) as terminal:
        assert terminal.end() == 0
    assert states(path, hats) == [CANCELLED]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cancel", "which jobs? Give ids, or options such as --route"),
        ("retry --yes", "which jobs?"),
        (f"cancel {'0' * 32} --state queued", "and not both"),
        ("cancel --state succeeded --yes", "a job that is succeeded cannot be cancelled"),
        ("retry --state queued --yes", "a job that is queued cannot be retried"),
        ("cancel --state queud --yes", "did you mean 'queued'?"),
        ("cancel 123", "is no id of a job"),
    ],
)
def test_a_wrong_use(path: Path, words: str, said: str) -> None:
    """Nothing is touched without being named, and what can never be done is told at once."""
    keep(path, a_job())
    answer = run(*words.split(), store=path)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_filters_that_mean_no_job(path: Path) -> None:
    """It is said, and is no error."""
    keep(path, a_job())
    said = run("retry", "--state", "failed", "--yes", store=path)
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr == "there is no such job\n"


def test_many_at_once(path: Path) -> None:
    """Several hundred jobs are cancelled by one command, each told in its own line."""
    job_ids = keep(path, *(a_job() for _ in range(250)))
    said = run("cancel", "--state", "queued", "--yes", store=path)
    assert said.exit_code == 0
    assert sorted(fields[1] for fields in lines(said.stdout)) == sorted(job_ids)
    assert set(states(path, *job_ids)) == {CANCELLED}
