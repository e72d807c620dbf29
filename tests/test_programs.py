"""Whose jobs they are: programs that share a store, knowingly or not, leave each other alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, Query, State, Store, transitions
from asyncjobs.errors import ConfigurationError, JobNotFound, SetupError
from asyncjobs.job import Request
from asyncjobs.program import main_program, program_of
from asyncjobs.store import Presence
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import NOW, a_job

DEADLINE = 20
CALL = Request("POST", "/report", body=b'{"args": [], "kwargs": {}}')


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


def program(
    name: str, store: str | Store, ran: list[str], *, gone_after: float | None = None
) -> Jobs:
    """A program with a function that others have as well."""
    jobs = Jobs(store=store, name=name, gone_after=gone_after)

    @jobs.function(name="report")
    async def report() -> None:
        ran.append(name)

    return jobs


async def test_each_runs_its_own(store: str) -> None:
    """Of two programs with a route of the same name each runs its own jobs, and no others."""
    ran: list[str] = []
    async with program("api", store, ran) as api, program("admin", store, ran) as admin:
        for jobs in (api, admin) * 10:
            job = await jobs.submit("report")
            await jobs.wait(job.id, DEADLINE)
            assert ran.pop() == job.program == jobs.name
        assert not ran


async def test_what_waits_is_left_to_who_it_belongs_to(store: str) -> None:
    """Queued jobs of a program that does not run just now wait for it, whoever looks meanwhile; so
    do those that its dead processes have left running."""
    ran: list[str] = []
    async with SqliteStore(store.removeprefix("sqlite:///")) as file:
        queued = await file.add(a_job(program="admin"), CALL)
        left = transitions.start(a_job(program="admin", repeatable=True), "0" * 16, NOW)
        await file.add(left, CALL)
    async with program("api", store, ran, gone_after=0) as api:
        job = await api.submit("report")
        await api.wait(job.id, DEADLINE)
        assert await api.find(Query(states=frozenset({State.QUEUED, State.RUNNING}))) == []
    async with program("admin", store, ran) as admin:
        for each in (queued, left):
            assert (await admin.wait(each.id, DEADLINE)).state is State.SUCCEEDED
    assert ran == ["api", "admin", "admin"]


async def test_the_jobs_of_others_are_not_there(store: str) -> None:
    """To another program a job is one that does not exist, by whatever means it asks."""
    async with program("api", store, []) as api, program("admin", store, []) as admin:
        job = await api.submit("report")
        await api.wait(job.id, DEADLINE)
        for ask in (admin.get, admin.wait, admin.result, admin.poll, admin.response, admin.cancel):
            with pytest.raises(JobNotFound):
                await ask(job.id)
        assert await admin.find(Query()) == []
        assert await api.find(Query()) == [await api.get(job.id)]


async def test_jobs_of_before_belong_to_anybody(store: str) -> None:
    """A job that was stored before programs had names is run by who has its route."""
    ran: list[str] = []
    async with SqliteStore(store.removeprefix("sqlite:///")) as file:
        job = await file.add(a_job(program=None), CALL)
    async with program("any", store, ran) as jobs:
        assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED
    assert ran == ["any"]


async def test_a_renamed_program_keeps_its_jobs_by_name(store: str) -> None:
    """Who says what the program was called before has its jobs."""
    async with SqliteStore(store.removeprefix("sqlite:///")) as file:
        job = await file.add(a_job(program="before"), CALL)
    async with program("before", store, []) as jobs:
        assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED


@pytest.mark.parametrize("run", [["script.py"], ["-m", "script"], ["-m", "package"]])
def test_a_script_is_called_what_it_is_when_imported(tmp_path: Path, run: list[str]) -> None:
    """What runs as `__main__` has the name that others would import it by, in every process."""
    script = "from asyncjobs import Jobs; print(Jobs(store='memory:').name)"
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(script)
    told = subprocess.run([sys.executable, *run], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.strip() == run[-1].removesuffix(".py"), told.stderr


async def test_an_app_is_called_by_its_import_name(tmp_path: Path) -> None:
    """An app's program is its import name, also where that is a script's; a setting goes first."""
    for import_name, setting, expected in (
        ("shop.api", None, "shop.api"),
        ("__main__", None, main_program()),
        ("shop.api", "shop", "shop"),
    ):
        app = Quart(import_name, root_path=str(tmp_path), instance_path=str(tmp_path))
        jobs = QuartJobs(app, store="memory:", name=setting)
        async with app.test_app(), app.app_context():
            assert jobs.jobs.name == expected
    assert program_of("__main__") == main_program()


def test_a_program_has_a_name() -> None:
    """An empty name is refused."""
    with pytest.raises(ConfigurationError, match="'name'"):
        Jobs(store="memory:", name="")


async def test_a_memory_store_that_is_shared(store: str) -> None:
    """The same holds where two programs of one process are given one store."""
    ran: list[str] = []
    kept = MemoryStore()
    job = await kept.add(a_job(program="admin"), CALL)
    async with Jobs(store=kept, name="api") as api:
        with pytest.raises(JobNotFound):
            await api.get(job.id)
    async with program("admin", kept, ran) as admin:
        await admin.wait(job.id, DEADLINE)
    assert ran == ["admin"]


async def test_one_name_is_open_once_in_a_process(store: str) -> None:
    """Two programs of one name that are open at once in one process, on one store, are refused with
    the name of the setting; two names are fine, and so is one after the other."""
    async with program("app", store, []):
        with pytest.raises(SetupError, match="'name'"):
            await program("app", store, []).__aenter__()
        async with program("other", store, []):
            pass
    async with program("app", store, []) as again:
        await again.wait((await again.submit("report")).id, DEADLINE)


async def test_two_apps_of_one_factory_need_two_names(tmp_path: Path) -> None:
    """The same holds for apps, which have the import name of their factory."""

    def make_app(name: str | None = None) -> Quart:
        app = Quart("factory", root_path=str(tmp_path), instance_path=str(tmp_path))
        QuartJobs(app, name=name)
        return app

    async with make_app().test_app():
        with pytest.raises(Exception, match="'name'"):
            await make_app().test_app().startup()
        async with make_app("other").test_app():
            pass


async def test_jobs_of_a_name_that_is_not_there(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that finds jobs of a program that does not run says so once, and the way out."""
    async with SqliteStore(store.removeprefix("sqlite:///")) as file:
        await file.add(a_job(program="before"), CALL)
        await file.add(a_job(program="beside"), CALL)
        await file.add(a_job(program="after"), CALL)
        await file.add(a_job(), CALL)
    async with program("beside", store, []):
        caplog.clear()
        async with program("after", store, []):
            pass
    told = [record.getMessage() for record in caplog.records if "does not run now" in record.msg]
    assert len(told) == 1
    assert "set name='before'" in told[0]


async def test_who_only_looks_fails_nothing(store: str) -> None:
    """A process without handlers leaves queued jobs alone, whatever `gone_after` says; so does one
    that has others, as long as a living process of the store has the handler."""
    looker = Jobs(store=store, name="app", gone_after=0)
    async with looker:
        async with SqliteStore(store.removeprefix("sqlite:///")) as file:
            job = await file.add(a_job(program="app"), CALL)
            await sweeps(looker)
            assert (await looker.get(job.id)).state is State.QUEUED

            file.announce(Presence("app", frozenset({"report"}), process="another"))
            looker.function(sweeps, name="other")
            await sweeps(looker)
            assert (await looker.get(job.id)).state is State.QUEUED

            file.announce(Presence("app", None, process="another"))
            await sweeps(looker)
            assert (await looker.get(job.id)).state is State.QUEUED
        assert (await looker.wait(job.id, DEADLINE)).state is State.FAILED


async def test_a_handler_that_is_away_for_a_moment_has_not_gone(store: str) -> None:
    """`gone_after` counts from when a handler is missed, however long a job has waited before."""
    jobs = Jobs(store=store, name="app", gone_after=0.2)
    jobs.function(sweeps, name="other")
    async with jobs, SqliteStore(store.removeprefix("sqlite:///")) as file:
        given_back = await file.add(a_job(program="app", due=0.0), CALL)
        worker = Presence("app", frozenset({"report"}), process="another")
        now = asyncio.get_running_loop().time
        missed = now()
        while now() - missed < 0.3:
            file.announce(worker)
            await jobs._opened.sweeper._sweep()
            file.announce(replace(worker, routes=frozenset()))
            await jobs._opened.sweeper._sweep()
            await asyncio.sleep(0.01)
        assert (await jobs.get(given_back.id)).state is State.QUEUED
        assert (await jobs.wait(given_back.id, DEADLINE)).state is State.FAILED


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is a program all the same; such a setting is refused."""
    with pytest.raises(ConfigurationError, match="'name'"):
        Jobs(store="memory:", name="\udcff")
    (tmp_path / "caf\udce9.py").write_text(
        "from asyncjobs import Jobs; print(ascii(Jobs(store='memory:').name))"
    )
    command = [sys.executable, "caf\udce9.py"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.strip() == ascii("caf\\udce9"), told.stderr


def test_a_spawned_process_is_of_its_parents_program(tmp_path: Path) -> None:
    """A process that multiprocessing has spawned has its parent's name, and names functions so."""
    (tmp_path / "script.py").write_text(
        "import multiprocessing\n"
        "from asyncjobs import Jobs\n"
        "jobs = Jobs(store='memory:')\n"
        "@jobs.function\n"
        "def work(): pass\n"
        "def told(): print(jobs.name, *jobs.handlers, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    told()\n"
        "    child = multiprocessing.get_context('spawn').Process(target=told)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    for run in (["script.py"], ["-m", "script"]):
        told = subprocess.run(
            [sys.executable, *run], cwd=tmp_path, capture_output=True, text=True
        ).stdout
        assert told == "script __main__.work\n" * 2


async def sweeps(jobs: Jobs) -> None:
    """Let the sweeper do its round twice."""
    for _ in range(2):
        await jobs._opened.sweeper._sweep()


def test_a_program_is_called_by_the_module_that_makes_it() -> None:
    """What runs a module, a server or a test runner, is not part of the program: two such programs
    on one store do not share jobs, and a server and a script of one program do."""
    assert Jobs(store="memory:").name == __name__
