"""The threads of sync handlers: what is used up is told, nothing runs late, all comes back."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State
from asyncjobs.errors import JobTimedOut
from asyncjobs.health import Health
from asyncjobs.running.threads import Threads, ThreadsInUse
from waits import until

DEADLINE = 20


async def until_health(jobs: Jobs, holds: Callable[[Health], bool]) -> Health:
    async with asyncio.timeout(DEADLINE):
        while not holds(health := await jobs.health()):
            await asyncio.sleep(0.005)
    return health


# Threads that are lost.


async def test_threads_that_go_on_without_their_jobs(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that still runs after its job's end is stuck: the log says so once, of which job,
    and once that it is back; `health` counts it, and does not accept once all of them are."""
    jobs = Jobs(store="memory:", threads=2)
    go_on = threading.Event()

    @jobs.function(name="stuck", timeout=0.05)
    def stuck() -> None:
        go_on.wait(DEADLINE)

    async with jobs:
        assert (await jobs.health()).threads == ThreadsInUse(size=2, busy=0, stuck=0)
        ids = []
        for number in (1, 2):
            ids.append((await jobs.submit(stuck)).id)
            with pytest.raises(JobTimedOut):
                await jobs.result(ids[-1], DEADLINE)
            health = await jobs.health()
            assert health.threads == ThreadsInUse(size=2, busy=number, stuck=number)
            assert (health.accepting, health.running) == (number == 1, 0)
        assert health.reason is not None
        assert "all 2 are stuck" in health.reason
        waiting = await jobs.submit(stuck)
        assert waiting.state is State.QUEUED
        go_on.set()
        health = await until_health(jobs, lambda health: health.accepting)
        await until(lambda: not jobs.threads.in_use.stuck)
        await jobs.result(waiting.id, DEADLINE)
        assert (await jobs.health()).threads == ThreadsInUse(size=2, busy=0, stuck=0)
    for job_id in ids:
        assert len(re.findall(rf"job {job_id} \(stuck\) does not stop, \d\.\d s", caplog.text)) == 1
        assert len(re.findall(rf"job {job_id} \(stuck\) is back, after \d", caplog.text)) == 1
    assert caplog.text.count("does not stop") == 2


async def test_the_health_route_tells_of_stuck_threads() -> None:
    """The readiness probe is a 503 with the reason while every thread is stuck, and counts them."""
    app = Quart(__name__)
    jobs = QuartJobs(app, store="memory:", threads=1)
    go_on = threading.Event()

    @app.get("/stuck")
    @jobs.background(timeout=0.05)
    def stuck() -> str:
        go_on.wait(DEADLINE)
        return ""

    @app.get("/health")
    async def health() -> object:
        return await jobs.health()

    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.get("/stuck")).headers["Location"]
        assert (await client.get(poll, headers={"Prefer": "wait=20"})).status_code == 504
        answer = await client.get("/health")
        assert answer.status_code == 503
        document = await answer.get_json()
        assert document["threads"] == {"size": 1, "busy": 1, "stuck": 1}
        assert "stuck in handlers" in document["reason"]
        go_on.set()
        async with asyncio.timeout(DEADLINE):
            while (await client.get("/health")).status_code != 200:
                await asyncio.sleep(0.005)


async def test_async_handlers_that_go_on_without_their_jobs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An async handler that swallows its cancellation is counted once its job has ended, and no
    more as running; the log says of which job it is, and when it has ended."""
    jobs = Jobs(store="memory:", concurrency=1)
    go_on = asyncio.Event()

    @jobs.function(name="stubborn", timeout=0.05)
    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    async with jobs:
        job = await jobs.submit(stubborn)
        with pytest.raises(JobTimedOut):
            await jobs.result(job.id, DEADLINE)
        health = await jobs.health()
        assert (health.accepting, health.running, health.abandoned) == (True, 0, 1)
        go_on.set()
        await until_health(jobs, lambda health: health.abandoned == 0)
    assert len(re.findall(rf"job {job.id} \(stubborn\) does not stop, \d", caplog.text)) == 1
    assert len(re.findall(rf"job {job.id} \(stubborn\) has ended, after \d", caplog.text)) == 1


async def test_a_slot_comes_with_a_thread_that_is_free() -> None:
    """A job is not started for a thread that another one, whose job has ended, still holds: it
    waits in the queue, where its time does not pass."""
    jobs = Jobs(store="memory:", threads=2)
    go_on = threading.Event()

    @jobs.function(timeout=0.05)
    def stuck() -> None:
        go_on.wait(DEADLINE)

    @jobs.function
    def patient() -> None:
        go_on.wait(DEADLINE)

    async with jobs:
        with pytest.raises(JobTimedOut):
            await jobs.result((await jobs.submit(stuck)).id, DEADLINE)
        # In one turn of the loop: neither has begun when the other one asks.
        states = [(await jobs.submit(patient)).state for _ in range(2)]
        go_on.set()
    assert states == [State.RUNNING, State.QUEUED]


async def test_a_call_that_nobody_waits_for_never_begins() -> None:
    """A function that still waits for a thread when its caller is cancelled is not called later,
    and holds nothing."""
    threads = Threads(1)
    go_on = threading.Event()
    called: list[str] = []
    first = asyncio.create_task(threads.run(lambda: go_on.wait(DEADLINE)))
    second = asyncio.create_task(threads.run(lambda: called.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    assert threads.in_use == ThreadsInUse(size=1, busy=1, stuck=0)
    go_on.set()
    await first
    await threads.run(lambda: called.append("third"))
    assert called == ["third"]
    assert threads.in_use == ThreadsInUse(size=1, busy=0, stuck=0)
    threads.close()


# Threads that cannot be had.


class NoMoreThreads:
    """Lets so many threads be started, and fails for the next ones as Python does."""

    def __init__(self, patch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        self.tried = 0
        self._start = threading.Thread.start
        patch.setattr(threading.Thread, "start", lambda thread: self.start(thread))

    def start(self, thread: threading.Thread) -> None:
        if not thread.name.startswith("asyncjobs-"):
            self._start(thread)
            return
        self.tried += 1
        if self.left == 0:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        self._start(thread)


async def test_fewer_threads_than_wanted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system gives one thread of three, sync jobs run one after the other in that; the
    log says once why, and once that there are more again."""
    jobs = Jobs(store="memory:", threads=3)
    go_on = threading.Event()
    at_a_time = 0

    @jobs.function
    def work() -> None:
        nonlocal at_a_time
        at_a_time += 1
        go_on.wait(DEADLINE)

    async with jobs:
        system = NoMoreThreads(monkeypatch, left=1)
        submitted = [await jobs.submit(work) for _ in range(3)]
        assert [job.state for job in submitted] == [State.RUNNING, State.QUEUED, State.QUEUED]
        await until(lambda: system.tried > 3)
        await until(lambda: at_a_time == 1)
        health = await jobs.health()
        assert (health.accepting, health.threads) == (True, ThreadsInUse(3, 1, 0))
        assert caplog.text.count("sync handlers have to wait") == 1
        system.left = 9
        await until(lambda: at_a_time == 3)
        go_on.set()
        for job in submitted:
            await jobs.result(job.id, DEADLINE)
    assert caplog.text.count("can be started again") == 1


async def test_a_lost_thread_and_no_other_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """`health` does not accept while the only threads that the system gives are stuck."""
    jobs = Jobs(store="memory:", threads=3)
    go_on = threading.Event()

    @jobs.function(timeout=0.05)
    def stuck() -> None:
        go_on.wait(DEADLINE)

    async with jobs:
        NoMoreThreads(monkeypatch, left=1)
        with pytest.raises(JobTimedOut):
            await jobs.result((await jobs.submit(stuck)).id, DEADLINE)
        assert (await jobs.health()).accepting
        assert (await jobs.submit(stuck)).state is State.QUEUED
        health = await jobs.health()
        assert health.reason is not None
        assert "no thread can be started" in health.reason
        go_on.set()
        await until_health(jobs, lambda health: health.accepting)


async def test_a_call_without_a_slot_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an async view has read in a thread waits until there is one, and never begins if its
    caller is cancelled first."""
    threads = Threads(1)
    system = NoMoreThreads(monkeypatch, left=0)
    called: list[str] = []
    first = asyncio.create_task(threads.run(lambda: called.append("first")))
    second = asyncio.create_task(threads.run(lambda: called.append("second")))
    await until(lambda: system.tried > 1)
    first.cancel()
    assert threads.in_use == ThreadsInUse(1, 0, 0)
    system.left = 1
    await asyncio.wait_for(second, DEADLINE)
    assert called == ["second"]
    threads.close()


@pytest.mark.skipif(sys.platform != "linux", reason="where a thread counts as a process")
@pytest.mark.parametrize("kind", ["function", "route"])
def test_a_real_limit_on_threads(tmp_path: Path, kind: str) -> None:
    """Where RLIMIT_NPROC lets no thread be started, sync jobs wait in the queue, async ones run,
    and `health` names the limit; once it is lifted, all that have waited run, by themselves."""
    program = tmp_path / "program.py"
    program.write_text(LIMITED)
    with subprocess.Popen(
        [sys.executable, str(program), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            limited = json.loads(process.stdout.readline())
            process.stdin.close()
            lifted = json.loads(process.stdout.readline())
        finally:
            process.kill()
    assert limited["quick"] == "quick"
    assert limited["states"] == ["queued"] * 4
    assert limited["health"]["accepting"] is False
    assert "ulimit -u" in limited["health"]["reason"]
    assert limited["health"]["threads"] == {"size": 2, "busy": 0, "stuck": 0}
    assert lifted["results"] == [0, 1, 2, 3]
    assert lifted["attempts"] == [1] * 4
    assert lifted["health"]["accepting"] is True


LIMITED = """
import asyncio, json, os, resource, sys
from dataclasses import asdict
from quart import Quart
from asyncjobs import Jobs, QuartJobs

async def main(jobs, submit, result):
    await result(await submit("quick", 0))  # whatever is imported late is there now
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)  # no limit on processes binds root
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    ids = [await submit("work", number) for number in range(4)]
    quick = await result(await submit("quick", 0))
    states = [(await jobs.get(id)).state for id in ids]
    health = asdict(await jobs.health())
    print(json.dumps({"quick": quick, "states": states, "health": health}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    results = [await result(id) for id in ids]
    attempts = [(await jobs.get(id)).attempt for id in ids]
    health = asdict(await jobs.health())
    print(json.dumps({"results": results, "attempts": attempts, "health": health}), flush=True)

async def function():
    jobs = Jobs(store="memory:", threads=2)

    @jobs.function(name="work")
    def work(number):
        return number

    @jobs.function(name="quick")
    async def quick(number):
        return "quick"

    async def submit(name, number):
        return (await jobs.submit(name, number)).id

    async with jobs:
        await main(jobs, submit, jobs.result)

async def route():
    app = Quart("limited")
    jobs = QuartJobs(app, store="memory:", threads=2)

    @app.get("/work/<int:number>")
    @jobs.background
    def work(number):
        return [number]

    @app.get("/quick/<int:number>")
    @jobs.background
    async def quick(number):
        return ["quick"]

    async with app.test_app() as running:
        client = running.test_client()
        urls = {}

        async def submit(name, number):
            url = (await client.get(f"/{name}/{number}")).headers["Location"]
            urls[url.rpartition("/")[2]] = url
            return url.rpartition("/")[2]

        async def result(id):
            answer = await client.get(urls[id], headers={"Prefer": "wait=20"})
            return (await answer.get_json())[0]

        async with app.app_context():
            await main(jobs.jobs, submit, result)

asyncio.run({"function": function, "route": route}[sys.argv[1]]())
"""
