"""The edges of a program's life: before it serves, between two lives, in a loop that is gone, and
an end that waits for nothing for ever."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from apps.signals import Signals
from asyncjobs import Jobs, QuartJobs, Query, State, Store, current_job, engines
from asyncjobs.errors import SetupError, StoreError
from asyncjobs.events import NeverStarted
from asyncjobs.job import Job, Request, Response
from asyncjobs.key import Key
from asyncjobs.running import sweeper
from asyncjobs.store import StoreWrapper
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.stores.sqlite import store as sqlite_store
from asyncjobs.stores.sqlite.writing import flusher
from asyncjobs.testing import a_job
from conftest import Serve
from heard import heard
from server import result, submit, until

DEADLINE = 20
ALL_MADE = ["late", "pool", "session"]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


# Before it serves, and until it has served.


@pytest.mark.parametrize("workers", [1, 4])
def test_nothing_runs_before_the_app_serves(
    serve: Serve, signals: Signals, name: str, workers: int
) -> None:
    """What a crash has left, running and queued, is run only when all `before_serving` functions
    and `while_serving` generators of the app have, however late they were registered."""
    config = {"QUART_JOBS_CONCURRENCY": 1, "QUART_JOBS_THREADS": 1}
    server = serve("apps.lifetimes:app", workers=workers, config=config)
    kinds = {f"{name}-{kind}-{number}": kind for kind in ("async", "sync") for number in range(6)}
    with server.client() as client:
        polls = [submit(client, "GET", f"/{kind}/{each}") for each, kind in kinds.items()]
    for kind in ("async", "sync"):
        until(
            lambda kind=kind: any(signals.is_sent(f"{name}-{kind}-{n}-started-1") for n in range(6))
        )
    server.kill()
    for each in kinds:
        signals.send(f"{each}-go-on")
    with server, server.client() as client:
        answers = [result(client, poll).json() for poll in polls]
    assert answers == [ALL_MADE] * len(polls)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_what_was_made_stays_until_the_drain_is_over(
    serve: Serve, signals: Signals, name: str, workers: int, kind: str
) -> None:
    """What `while_serving` generators have made is there for as long as a handler runs."""
    server = serve("apps.lifetimes:app", workers=workers, config={"QUART_JOBS_DRAIN_TIME": 30})
    with server.client() as client:
        poll = submit(client, "POST", f"/{kind}/{name}")
    signals.wait(f"{name}-started-1")
    server.signal(signal.SIGTERM)
    until(lambda: "running jobs have" in server.log(), "the drain")
    signals.send(f"{name}-go-on")
    assert server.wait() == 0
    with server, server.client() as client:
        assert result(client, poll).json() == ALL_MADE


def an_app(store: str, *, name: str = "lifetimes") -> tuple[Quart, QuartJobs]:
    """An app with a job of each kind."""
    app = Quart(name)
    jobs = QuartJobs(app, store=store)

    @app.route("/async")
    @jobs.background
    async def work() -> list[str]:
        return ["async", *getattr(app, "made", [])]

    @app.route("/sync")
    @jobs.background
    def sync_work() -> list[str]:
        return ["sync", *getattr(app, "made", [])]

    return app, jobs


async def answer_of(app: Quart, path: str) -> Any:
    """What the job of a request comes to."""
    client = app.test_client()
    accepted = await client.get(path)
    assert accepted.status_code == 202, await accepted.get_data(as_text=True)
    return await answer_at(app, accepted.headers["Location"])


async def answer_at(app: Quart, url: str) -> Any:
    answer = await app.test_client().get(url, headers={"Prefer": f"wait={DEADLINE}"})
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    return await answer.get_json()


async def test_a_job_submitted_before_the_app_serves(store: str) -> None:
    """A `before_serving` function can submit; the job is stored at once and runs afterwards, also
    if the function was registered before the app got its jobs."""
    app = Quart("early")
    jobs = QuartJobs(store=store)
    seen: list[State] = []
    made: list[str] = []
    submitted: list[Job] = []

    @app.before_serving
    async def submit() -> None:
        @jobs.jobs.function(name="work")
        async def work() -> list[str]:
            return made

        submitted.append(await jobs.jobs.submit("work"))
        for _ in range(200):
            await asyncio.sleep(0)
        seen.append((await jobs.jobs.get(submitted[0].id)).state)

    jobs.init_app(app)

    @app.while_serving
    async def make() -> AsyncIterator[None]:
        made.append("made")
        yield

    async with app.test_app(), app.app_context():
        assert seen == [State.QUEUED]
        assert await jobs.jobs.result(submitted[0].id, DEADLINE) == ["made"]


async def test_a_start_that_fails_leaves_nothing_open(file: str) -> None:
    """If the app's own start fails, its jobs are closed again, and the next start succeeds."""
    app, _ = an_app(file)
    broken = [True]

    @app.before_serving
    async def fail() -> None:
        if broken:
            raise RuntimeError("no database today")

    tasks = asyncio.all_tasks()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no database today"):
            await app.startup()
        assert asyncio.all_tasks() == tasks
    broken.clear()
    async with Jobs(store=file, name="lifetimes"):  # one of a name at a time
        pass
    async with app.test_app():
        assert await answer_of(app, "/async") == ["async"]


async def test_a_store_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    """The start says what is wrong with the store, and calls none of the app's own functions."""
    (tmp_path / "jobs.db").mkdir()
    app, _ = an_app(f"sqlite:///{tmp_path / 'jobs.db'}")
    called: list[str] = []
    app.before_serving(lambda: called.append("called"))
    with pytest.raises(StoreError, match="directory"):
        await app.startup()
    assert not called


# One life after the other.


async def test_an_app_is_served_twice(store: str) -> None:
    """`test_app()` works time and again on one app; sync views, too."""
    app, _ = an_app(store)
    for _ in range(3):
        async with app.test_app():
            assert await answer_of(app, "/async") == ["async"]
            assert await answer_of(app, "/sync") == ["sync"]


async def test_an_app_is_served_after_a_bare_test_client(file: str) -> None:
    """`test_app()` works on an app whose jobs a bare test client has started in the same loop."""
    app, _ = an_app(file)
    assert await answer_of(app, "/sync") == ["sync"]
    async with app.test_app():
        assert await answer_of(app, "/sync") == ["sync"]


async def test_jobs_are_opened_twice(store: str) -> None:
    """One `Jobs` can be entered again once it was left, and sync functions run then as well."""
    jobs = Jobs(store=store)

    @jobs.function
    async def add(a: int, b: int) -> int:
        return a + b

    @jobs.function
    def multiply(a: int, b: int) -> int:
        return a * b

    for _ in range(3):
        async with jobs:
            for function, value in ((add, 5), (multiply, 6)):
                job = await jobs.submit(function, 2, 3)
                assert await jobs.result(job.id, DEADLINE) == value


async def test_jobs_that_are_open_cannot_be_opened(store: str) -> None:
    """To enter a `Jobs` that is open is a SetupError, and does it no harm."""
    jobs = Jobs(store=store)

    @jobs.function
    def add(a: int, b: int) -> int:
        return a + b

    async with jobs:
        with pytest.raises(SetupError, match="open already"):
            async with jobs:
                pass
        job = await jobs.submit(add, 2, 3)
        assert await jobs.result(job.id, DEADLINE) == 5


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_store_that_is_open_cannot_be_opened(kind: str, tmp_path: Path) -> None:
    """The same holds for a store, which two `Jobs` cannot share; one after the other can."""
    one = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "jobs.db")
    first, second = Jobs(store=one, name="first"), Jobs(store=one, name="second")
    async with first:
        with pytest.raises(SetupError, match="open already"):
            await second.__aenter__()
        assert await first.find(Query()) == []
    async with second:
        assert await second.find(Query()) == []


_LOOP_THAT_IS_GONE = """
import asyncio, os, sys
from asyncjobs import Jobs, current_job
from asyncjobs.stores import MemoryStore, SqliteStore

jobs = Jobs(store=MemoryStore() if sys.argv[1] == "memory" else SqliteStore(sys.argv[2]))

@jobs.function(idempotent=True)
async def work():
    if current_job.attempt == 1:
        await asyncio.Event().wait()
    return current_job.attempt

async def begin():
    await jobs.__aenter__()
    job = await jobs.submit(work)
    await asyncio.sleep(0)
    return job.id

async def go_on(job_id):
    async with jobs:
        print(await jobs.result(job_id, 20), (await jobs.get(job_id)).crashes)

loop = asyncio.new_event_loop()
job_id = loop.run_until_complete(begin())
left = asyncio.all_tasks(loop)  # not cancelled
loop.close()
asyncio.run(go_on(job_id))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_jobs_whose_loop_is_gone_are_opened_again(kind: str, tmp_path: Path) -> None:
    """A `Jobs` that nobody has closed, before its event loop was with all tasks where they stood,
    can be entered in another loop; what ran is rescued there, and not to blame."""
    command = [sys.executable, "-c", _LOOP_THAT_IS_GONE, kind, str(tmp_path / "jobs.db")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "2 0\n", ran.stderr


_CLIENTS = """
import asyncio, os, resource, sys
from pathlib import Path
from quart import Quart
from asyncjobs import QuartJobs

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
folder = Path(sys.argv[1])

def make_app():
    app = Quart("clients", root_path=str(folder), instance_path=str(folder))
    jobs = QuartJobs(app)

    @app.route("/async")
    @jobs.background
    async def work():
        return "async"

    @app.route("/sync")
    @jobs.background
    def sync_work():
        return "sync"

    return app

async def test(app):
    client = app.test_client()
    for path in ("/async", "/sync"):
        accepted = await client.get(path)
        assert accepted.status_code == 202, await accepted.get_data()
        wait = {"Prefer": "wait=20"}
        answer = await client.get(accepted.headers["Location"], headers=wait)
        assert await answer.get_data(as_text=True) == path[1:]

app = make_app()
counts = set()
for number in range(50):
    asyncio.run(test(app if sys.argv[2] == "one" else make_app()))
    if number > 1:
        counts.add(len(os.listdir("/proc/self/fd")))
        locks = list(folder.glob("jobs.db-procs/*.lock"))
        assert len(locks) <= 2, locks
assert max(counts) < 40, counts
assert len(counts) == 1, counts
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors on Linux")
@pytest.mark.parametrize("apps", ["one", "each"])
def test_bare_test_clients_leave_nothing_open(tmp_path: Path, apps: str) -> None:
    """Fifty bare test clients, each in an event loop of its own, of one app or of one each, need no
    more descriptors than one, leave no more files, and warn of nothing."""
    command = [sys.executable, "-W", "error", "-c", _CLIENTS, str(tmp_path), apps]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")


# Other loops, other threads.


def methods_of(jobs: Jobs) -> dict[str, Callable[[], Awaitable[object]]]:
    unknown = "0" * 32
    return {
        "submit": lambda: jobs.submit("work"),
        "accept": lambda: jobs.accept("work", Request("POST", "/work")),
        "get": lambda: jobs.get(unknown),
        "wait": lambda: jobs.wait(unknown),
        "poll": lambda: jobs.poll(unknown),
        "response": lambda: jobs.response(unknown),
        "result": lambda: jobs.result(unknown),
        "cancel": lambda: jobs.cancel(unknown),
        "find": lambda: jobs.find(Query()),
        "check": lambda: jobs.check(),
        "backup": lambda: jobs.backup("copy.db"),
        "health": lambda: jobs.health(),
        "drain": lambda: jobs.drain(),
        "begin": lambda: jobs.begin(),
    }


METHODS = list(methods_of(Jobs(store="memory:")))


async def the_error_of(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(RuntimeError) as raised:
        await call()
    return str(raised.value)


@pytest.mark.parametrize("method", METHODS)
async def test_another_loop_is_refused_at_once(store: str, method: str) -> None:
    """In another event loop than the jobs' own every coroutine of `Jobs` raises a RuntimeError that
    says what works; it has taken nothing, so that the next job finds the only slot free."""
    jobs = Jobs(store=store, concurrency=1, threads=1)
    errors: list[str] = []

    @jobs.function(name="work")
    async def work() -> str:
        return "done"

    @jobs.function
    def in_a_thread() -> None:
        errors.append(asyncio.run(the_error_of(methods_of(jobs)[method])))

    async with jobs:
        job = await jobs.submit(in_a_thread)
        assert await jobs.result(job.id, DEADLINE) is None
        assert f"run_coroutine_threadsafe(jobs.{method}(...), jobs.loop)" in errors[0]
        assert len(await jobs.find(Query())) == 1
        job = await jobs.submit(work)
        assert job.state is State.RUNNING
        assert await jobs.result(job.id, DEADLINE) == "done"


@pytest.mark.parametrize("method", METHODS)
async def test_jobs_that_are_not_open_say_so(store: str, method: str) -> None:
    """Before they are opened, and when they were closed, every coroutine raises a RuntimeError that
    says how they are opened; `Jobs.loop` does, too."""
    jobs = Jobs(store=store)
    for _ in range(2):
        assert "'async with jobs'" in await the_error_of(methods_of(jobs)[method])
        with pytest.raises(RuntimeError, match="'async with jobs'"):
            _ = jobs.loop
        async with jobs:
            assert jobs.loop is asyncio.get_running_loop()


async def test_any_thread_can_have_it_done_in_the_loop(store: str) -> None:
    """`asyncio.run_coroutine_threadsafe(..., jobs.loop)` works in a sync handler, and in a thread
    that has nothing to do with us."""
    jobs = Jobs(store=store)

    @jobs.function
    async def add(a: int, b: int) -> int:
        return a + b

    def from_a_thread() -> int:
        job = asyncio.run_coroutine_threadsafe(jobs.submit(add, 1, 2), jobs.loop).result()
        got = asyncio.run_coroutine_threadsafe(jobs.result(job.id), jobs.loop).result()
        assert isinstance(got, int)
        return got

    jobs.function(from_a_thread)
    async with jobs:
        job = await jobs.submit(from_a_thread)
        assert await jobs.result(job.id, DEADLINE) == 3
        assert await asyncio.to_thread(from_a_thread) == 3


async def test_a_sync_view_with_a_loop_of_its_own(store: str) -> None:
    """The same holds for the views of an app: the job fails at once, instead of at its timeout."""
    app = Quart("lifetimes")
    jobs = QuartJobs(app, store=store)

    @app.route("/work")
    @jobs.background
    def work() -> dict[str, str]:
        return {"error": asyncio.run(the_error_of(lambda: jobs.jobs.submit("work")))}

    async with app.test_app():
        assert "jobs.loop" in (await answer_of(app, "/work"))["error"]


# An end that waits for nothing for ever.


class Silent(StoreWrapper):
    """A store that does what it is asked to, but does not answer while it is `silent`."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.silent = False
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
        job = await super().add(job, request, key)
        await self._answer()
        return job

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        await super().replace(old, new, response, erase=erase)
        await self._answer()

    async def _answer(self) -> None:
        if self.silent:
            self.asked.set()
            await self.answers.wait()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for as long as it is in earnest."""
    for module in (engines.local, sweeper, sqlite_store):
        monkeypatch.setattr(module, "ANSWER_DEADLINE", 0.05)


def silent_program(file: str) -> tuple[Jobs, Silent]:
    store = Silent(SqliteStore(file.removeprefix("sqlite:///")))
    jobs = Jobs(store=store, concurrency=1)

    @jobs.function(name="work", idempotent=True)
    async def work() -> int:
        return current_job.attempt

    return jobs, store


async def result_afterwards(file: str, job_id: str) -> Any:
    """What the job comes to in the next program on the same file."""
    jobs, _ = silent_program(file)
    async with jobs:
        assert (await jobs.get(job_id)).crashes == 0
        return await jobs.result(job_id, DEADLINE)


@pytest.mark.usefixtures("soon")
async def test_a_claim_that_is_never_answered(file: str, caplog: pytest.LogCaptureFixture) -> None:
    """A drain does not wait for ever for a store that was asked for a job and never answers; the
    job, which may be stored as started, is run by the next program."""
    async with SqliteStore(file.removeprefix("sqlite:///")) as other:
        jobs, store = silent_program(file)
        await jobs.__aenter__()
        store.silent = True
        body = b'{"args": [], "kwargs": {}}'
        job = a_job(route="work", program=jobs.name, repeatable=True)
        await other.add(job, Request("POST", "/work", body=body))
        await store.asked.wait()
        async with asyncio.timeout(DEADLINE):
            await jobs.__aexit__()
    assert "the store does not answer" in caplog.text
    assert await result_afterwards(file, job.id) == 2


@pytest.mark.usefixtures("soon")
async def test_a_submission_that_is_never_answered(
    file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it wait for ever for a submission that the store never answers; the job, which may
    be stored as started, is run by the next program."""
    jobs, store = silent_program(file)
    await jobs.__aenter__()
    store.silent = True
    submission = asyncio.create_task(jobs.submit("work"))
    await store.asked.wait()
    async with asyncio.timeout(DEADLINE):
        await jobs.__aexit__()
    submission.cancel()
    assert "the store does not answer" in caplog.text
    async with SqliteStore(file.removeprefix("sqlite:///")) as other:
        (job,) = await other.find(Query())
    assert await result_afterwards(file, job.id) == 2


@pytest.mark.usefixtures("soon")
async def test_a_submission_that_is_answered_too_late(file: str) -> None:
    """A job that is acknowledged after the drain has given it up is not started any more by who
    drains, and not lost: it is given back to the queue."""
    jobs, store = silent_program(file)
    async with jobs:
        store.silent = True
        submission = asyncio.create_task(jobs.submit("work"))
        await store.asked.wait()
        await jobs.drain()
        store.silent = False
        with heard(jobs) as events:
            store.answers.set()
            job = await submission
            given_back = await events.next(NeverStarted, job.id)
        assert given_back.job.state is State.QUEUED
    assert await result_afterwards(file, job.id) == 2


@pytest.mark.usefixtures("soon")
async def test_a_disk_that_never_answers(
    file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store whose disk hangs is left as it is, as if the process had died; what was stored is
    there, and the jobs are run by the next program."""
    stuck, hung, sync = threading.Event(), threading.Event(), flusher.sync_data

    def hang(fd: int) -> None:
        hung.set()
        stuck.wait()
        sync(fd)

    jobs, _ = silent_program(file)
    await jobs.__aenter__()
    monkeypatch.setattr(flusher, "sync_data", hang)
    submission = asyncio.create_task(jobs.submit("work"))
    await asyncio.to_thread(hung.wait, DEADLINE)
    async with asyncio.timeout(DEADLINE):
        await jobs.__aexit__()
    submission.cancel()
    assert "the disk of the store" in caplog.text
    monkeypatch.setattr(flusher, "sync_data", sync)
    stuck.set()
    async with SqliteStore(file.removeprefix("sqlite:///")) as other:
        (job,) = await other.find(Query())
    assert await result_afterwards(file, job.id) == 2


class Clinging(StoreWrapper):
    """A store that does not hear that nobody waits for it any more."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def purge(self, before: float) -> int:
        self.asked.set()
        while not self.answers.is_set():
            with suppress(asyncio.CancelledError):
                await self.answers.wait()
        return 0


@pytest.mark.usefixtures("soon")
async def test_a_sweep_that_is_never_over(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does the end wait for ever for a sweep that the store keeps."""
    store = Clinging(MemoryStore())
    jobs = Jobs(store=store)
    await jobs.__aenter__()
    tasks = jobs._opened.sweeper._tasks
    async with asyncio.timeout(DEADLINE):
        await store.asked.wait()
        await jobs.__aexit__()
    assert "in the middle of a sweep" in caplog.text
    store.answers.set()
    for task in tasks:
        task.cancel()  # again, as the store has not passed that on
    await asyncio.wait(tasks, timeout=DEADLINE)


async def test_a_close_that_is_cancelled_closes_all_the_same(tmp_path: Path) -> None:
    """Who is cancelled while jobs are drained leaves nothing open: they can be opened again."""
    jobs = Jobs(store=f"sqlite:///{tmp_path / 'jobs.db'}", drain_time=0.2)
    begun = asyncio.Event()

    @jobs.function(name="wait")
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def use() -> None:
        async with jobs:
            await jobs.submit("wait")
            await begun.wait()

    using = asyncio.create_task(use())
    await begun.wait()
    await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    async with jobs:
        assert (await jobs.health()).accepting
