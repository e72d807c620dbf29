"""`watch`, and what a TAB completes: both beside whatever comes and goes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from apps.signals import Signals
from asyncjobs import transitions
from asyncjobs.cli import main
from asyncjobs.job import Job, Progress, Response, State
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import BROKEN, a_job
from commands import REQUEST, Terminal, cancelled, ended, keep, kept, run, started
from conftest import Serve
from keepers import leaves_no_trace
from server import DEADLINE, submit


class Watching:
    """A command that watches, through pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    async def line(self) -> list[str]:
        """The fields of its next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            return (await asyncio.to_thread(self.process.stdout.readline)).rstrip("\n").split("\t")

    async def until(self, *fields: str) -> None:
        """Read until there is a line with all of these."""
        while not set(fields) <= set(line := await self.line()):
            assert line != [""], f"it ended without {fields}"

    async def end(self) -> int:
        return await asyncio.to_thread(self.process.wait, DEADLINE)


@asynccontextmanager
async def watching(path: Path, *words: str) -> AsyncIterator[Watching]:
    """`asyncjobs watch`, which is killed in the end."""
    process = started("watch", *words, "--store", f"sqlite:///{path}")
    try:
        yield Watching(process)
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)


async def run_once(store: SqliteStore, **fields: object) -> Job:
    """A job that has just been started."""
    job = await store.add(a_job(created=time.time(), **fields), REQUEST)
    new = transitions.start(job, store.worker, time.time())
    await store.replace(job, new)
    return new


async def change(store: SqliteStore, job: Job, new: Job) -> Job:
    await store.replace(job, new, Response(new.status or 500) if new.state.is_final else None)
    return new


# One job.


async def test_a_job_is_watched_to_its_end(path: Path) -> None:
    """There is a line for each change of its state and each progress; it ends with 0 as the job
    has succeeded."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(created=time.time()), REQUEST)
        async with watching(path, job.id[:8]) as watch:
            assert (await watch.line())[:2] == [job.id, "queued"]
            job = await change(store, job, transitions.start(job, store.worker, time.time()))
            assert (await watch.line())[:2] == [job.id, "running"]
            for step in (1, 2):
                job = await change(store, job, transitions.report(job, Progress(step, 3, "hats")))
                assert (await watch.line())[-1] == f"{step}/3 hats"
            job = await change(store, job, transitions.finish(job, 404, time.time()))
            assert (await watch.line())[1:3] == ["succeeded", "404"]
            assert await watch.end() == 0


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.INTERRUPTED])
def test_a_job_that_has_not_succeeded(path: Path, state: State) -> None:
    """It ends with 1, and at once if the job has ended before."""
    (job_id,) = keep(path, ended(state))
    said = run("watch", job_id, "--json", store=path)
    assert said.exit_code == 1
    assert json.loads(said.stdout)["state"] == state


async def test_a_job_that_is_forgotten_meanwhile(path: Path) -> None:
    """It is not found any more: 3."""
    async with SqliteStore(path) as store:
        job = await store.add(a_job(created=time.time(), ttl=0), REQUEST)
        async with watching(path, job.id) as watch:
            await watch.line()
            watch.process.send_signal(signal.SIGSTOP)
            await store.replace(job, *cancelled(job))
            while not await store.purge(time.time() + 60):
                await asyncio.sleep(0.01)
            watch.process.send_signal(signal.SIGCONT)
            assert await watch.end() == 3


def test_a_job_that_is_not_there(path: Path) -> None:
    """It is not found: 3."""
    keep(path)
    assert run("watch", "0" * 32, store=path).exit_code == 3


async def test_the_server_comes_and_goes_meanwhile(path: Path) -> None:
    """A watch goes on over the stop of a server, the time without one, and the next start; it says
    what the job waits for."""
    (job_id,) = await kept(path, a_job(created=time.time(), program="shop"))
    async with watching(path, job_id) as watch:
        assert (await watch.line())[1] == "queued"
        for _ in range(2):
            async with SqliteStore(path) as store:
                job = await store.get(job_id)
                job = await change(store, job, transitions.start(job, store.worker, time.time()))
                await watch.until("running")
                job = await change(store, job, transitions.release(job, "the server stopped"))
                await watch.until("queued", "the server stopped")
        async with SqliteStore(path) as store:
            job = await store.get(job_id)
            await store.replace(job, *cancelled(job))
        await watch.until("cancelled")
        assert await watch.end() == 1
        assert watch.process.stderr is not None
        assert "no process of 'shop' has the store open" in watch.process.stderr.read()


async def test_a_store_that_is_gone_for_a_while(path: Path) -> None:
    """It is said once, and the watch goes on when the store is there again."""
    (job_id,) = await kept(path, a_job(created=time.time()))
    away = path.with_suffix(".away")
    async with watching(path, job_id) as watch:
        await watch.line()
        path.rename(away)
        assert watch.process.stderr is not None
        said = ""
        async with asyncio.timeout(DEADLINE):
            while "the store cannot be read just now: there is no store" not in said:
                said = await asyncio.to_thread(watch.process.stderr.readline)
        away.rename(path)
        async with SqliteStore(path) as store:
            job = await store.get(job_id)
            await store.replace(job, *cancelled(job))
        await watch.until("cancelled")
        assert await watch.end() == 1


# All that run.


async def test_all_that_run_are_watched(path: Path) -> None:
    """Those that run already, and all that happens from then on, also to jobs that begin and end
    between two looks; of one route alone if that is named."""
    async with SqliteStore(path) as store:
        first = await run_once(store)
        waiting = await store.add(a_job(created=time.time(), due=time.time()), REQUEST)
        await run_once(store, route="other")
        async with watching(path, "--route", "report") as watch:
            assert (await watch.line())[:2] == [first.id, "running"]
            first = await change(store, first, transitions.report(first, Progress(1, 2)))
            await watch.until(first.id, "1/2")
            quick = await run_once(store)
            await change(store, quick, transitions.finish(quick, 200, time.time()))
            await watch.until(quick.id, "succeeded")
            await store.replace(waiting, *cancelled(waiting))
            await watch.until(waiting.id, "cancelled")
            await change(store, first, transitions.finish(first, 500, time.time()))
            await watch.until(first.id, "failed")
            watch.process.send_signal(signal.SIGINT)
            assert await watch.end() == 130
            assert watch.process.stderr is not None
            assert watch.process.stderr.read() == ""


async def test_a_job_is_told_once_for_each_change(path: Path) -> None:
    """A look at what was told before tells nothing."""
    async with SqliteStore(path) as store:
        running = await run_once(store)
        async with watching(path) as watch:
            assert (await watch.line())[0] == running.id
            for _ in range(3):
                quick = await run_once(store)
                await change(store, quick, transitions.finish(quick, 200, time.time()))
                line = await watch.line()
                while line[1] != "succeeded":
                    line = await watch.line()
                assert line[0] == quick.id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_watch_that_is_told_to_end(path: Path, number: signal.Signals) -> None:
    """It ends without a traceback, by the code that stands for the signal."""
    async with SqliteStore(path) as store:
        job = await run_once(store)
        async with watching(path, job.id) as watch:
            await watch.line()
            watch.process.send_signal(number)
            assert await watch.end() == 128 + number
            assert watch.process.stderr is not None
            assert watch.process.stderr.read() == ""


def test_bars_on_a_terminal(serve: Serve, signals: Signals, name: str) -> None:
    """Beside a real server: there is a bar while a job runs, a line when it has ended, and the
    cursor is given back, at Ctrl-C as well."""
    server = serve("apps.processes:app")
    with server.client() as client:
        job_id = submit(client, "GET", f"/wait/{name}").rpartition("/")[2]
        signals.wait(f"{name}.started")
        url = f"sqlite:///{server.store}"
        with Terminal(["watch", "--store", url]) as everything:
            with Terminal(["watch", job_id, "--store", url]) as one:
                for terminal in (one, everything):
                    terminal.until(f"{job_id[:8]} wait ━")
                signals.send(f"{name}.go")
                for terminal in (one, everything):
                    terminal.until(f"succeeded   {job_id[:8]} wait 200")
                assert one.end() == 0
            everything.interrupt()
            assert everything.end() == 130
            for terminal in (one, everything):
                assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
                assert "Traceback" not in terminal.raw


async def test_progress_on_a_terminal(path: Path) -> None:
    """A bar has how far its job is, in its own units and words."""
    async with SqliteStore(path) as store:
        job = await run_once(store)
        with Terminal(["watch", job.id, "--store", f"sqlite:///{path}"]) as terminal:
            await asyncio.to_thread(terminal.until, f"{job.id[:8]} report")
            job = await change(
                store, job, transitions.report(job, Progress(1, 4, "of [b]hats[/b]"))
            )
            await asyncio.to_thread(terminal.until, "1/4 of [b]hats[/b]")
            await change(store, job, transitions.fail(job, time.time(), BROKEN))
            assert await asyncio.to_thread(terminal.end) == 1
            assert "failed" in terminal.text


async def test_more_jobs_than_a_terminal_has_lines(path: Path) -> None:
    """Those that have room are drawn, the next ones when there is some; it hears of Ctrl-C all the
    same, and leaves the cursor as it was."""
    async with SqliteStore(path) as store:
        await asyncio.gather(*(run_once(store) for _ in range(300)))
        late = await run_once(store, route="late")
        lines = {"LINES": "20", "COLUMNS": "110"}
        with Terminal(["watch", "--store", f"sqlite:///{path}"], env=lines) as terminal:
            began = time.monotonic()
            await asyncio.to_thread(terminal.until, "report")
            new = transitions.finish(late, 200, time.time())
            await store.replace(late, new, Response(200))
            await asyncio.to_thread(terminal.until, "succeeded")
            terminal.interrupt()
            assert await asyncio.to_thread(terminal.end) == 130
            assert time.monotonic() - began < DEADLINE / 3
            assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l")
            assert len(set(re.findall(r"([0-9a-f]{8,10}) report", terminal.text))) <= 21


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}], ids=str)
async def test_a_terminal_that_only_prints(path: Path, env: dict[str, str]) -> None:
    """It has lines, as a pipe has: nothing could be drawn there."""
    async with SqliteStore(path) as store:
        job = await run_once(store)
        words = ["watch", "--store", f"sqlite:///{path}"]
        with Terminal(words, env=env) as terminal:
            await asyncio.to_thread(terminal.until, f"{job.id}\trunning")
            assert "\x1b" not in terminal.raw


def test_a_watch_of_two_things(path: Path) -> None:
    """A job and a route are a wrong use."""
    (job_id,) = keep(path, a_job())
    assert run("watch", job_id, "--route", "report", store=path).exit_code == 2


# What a TAB completes.


def completions(words: list[str], begun: str) -> list[str]:
    found = ShellComplete(main, {}, "asyncjobs", "").get_completions(words, begun)
    return [item.value for item in found]


@pytest.mark.parametrize("named", ["option", "environment"])
def test_ids_routes_and_states_are_completed(
    path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """From the store that the line names, or the environment; it is looked at without a trace."""
    jobs = keep(
        path,
        a_job(id="abcdef01" + "0" * 24),
        a_job(id="abcdef02" + "0" * 24, created=2e9),
        a_job(id="b" * 32, route="hats"),
        a_job(route="not\nprintable"),
        a_job(route="$(reboot)"),
    )
    url = f"sqlite:///{path}"
    monkeypatch.delenv("QUART_JOBS_STORE", raising=False)
    if named == "environment":
        monkeypatch.setenv("QUART_JOBS_STORE", url)
    store = ["--store", url] if named == "option" else []
    unchanged = leaves_no_trace(path.parent)
    assert completions(["show", *store], "abcdef01") == [jobs[0]]
    for command in ("show", "watch", "cancel", "retry"):
        assert completions([command, *store], "abc") == jobs[:2]
    assert completions(["show", *store], "")[0] == jobs[1]
    assert completions(["list", *store, "--route"], "") == ["hats", "report"]
    assert completions(["watch", *store, "--route"], "h") == ["hats"]
    unchanged()
    assert completions(["list", "--state"], "ca") == ["cancelled"]


def test_nothing_is_completed_where_there_is_no_store(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell has no place for errors: neither a store that is missing, nor junk, nor an app, which
    is not imported for that."""
    monkeypatch.delenv("QUART_JOBS_STORE", raising=False)
    path.write_bytes(b"junk" * 1024)
    for words in (
        [],
        ["--store", f"sqlite:///{path}"],
        ["--store", f"sqlite:///{path}.none"],
        ["--store", "memory:"],
        ["--app", "no_program:app"],
    ):
        assert completions(["show", *words], "") == []
        assert completions(["list", *words, "--route"], "") == []
    assert capfd.readouterr() == ("", "")
