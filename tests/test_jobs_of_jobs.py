"""Jobs that have to do with other jobs: they submit them, wait for them, and pass on failures."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from asyncjobs import Jobs, Query, State, current_job
from asyncjobs.errors import HandlerFailed, JobInterrupted, JobTimedOut, JobWasCancelled
from luck import NoWait
from waits import until

DEADLINE = 20


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.mark.parametrize("child", ["cancelled", "timed out", "interrupted", "failed"])
@pytest.mark.parametrize("passed_on", ["by result", "by hand"])
@pytest.mark.parametrize("repeatable", [True, False])
async def test_the_failure_of_one_job_is_not_that_of_another(
    store: str, child: str, passed_on: str, repeatable: bool
) -> None:
    """A job that waits for another one, and passes on what became of that, has raised an exception
    like any other: it is not cancelled, timed out, interrupted or started again for it."""
    jobs = Jobs(store=store, max_starts=3)
    failures = {
        "cancelled": JobWasCancelled("the child was cancelled"),
        "timed out": JobTimedOut("the child took too long"),
        "interrupted": JobInterrupted("the child was interrupted"),
        "failed": HandlerFailed("the child failed"),
    }

    @jobs.function(name="child", timeout=0.05 if child == "timed out" else None)
    async def run_child() -> None:
        if child == "cancelled":
            await jobs.cancel(current_job.id)
        if child == "failed":
            raise ValueError
        await asyncio.Event().wait()

    @jobs.function(name="parent", idempotent=repeatable)
    async def parent() -> None:
        if passed_on == "by hand" or child == "interrupted":
            raise failures[child]
        await jobs.result((await jobs.submit("child")).id)

    async with jobs:
        job = await jobs.submit("parent")
        with pytest.raises(HandlerFailed, match=f"raised {type(failures[child]).__name__}"):
            await jobs.result(job.id, DEADLINE)
        ended = await jobs.get(job.id)
        assert (ended.state, ended.attempt) == (State.FAILED, 1)


async def test_a_child_that_fails_is_tried_again_by_its_parent(store: str) -> None:
    """What a job passes on of another one counts as an error for its own `retries`."""
    jobs = Jobs(store=store, random=NoWait())

    @jobs.function(retries=2)
    async def parent() -> None:
        raise JobTimedOut("that was another job")

    async with jobs:
        job = await jobs.submit(parent)
        ended = await jobs.wait(job.id, DEADLINE)
        assert (ended.state, ended.attempt, ended.errors) == (State.FAILED, 3, 2)


def in_thread(jobs: Jobs, job_id: str) -> object:
    """Wait for a job's result from a sync handler."""
    return asyncio.run_coroutine_threadsafe(jobs.result(job_id), jobs.loop).result()


def chains(jobs: Jobs, **options: int) -> None:
    """Functions that call themselves `depth` times, each waiting for the next."""

    @jobs.function(name="async", **options)  # type: ignore[arg-type]
    async def chain(depth: int, others: list[str]) -> int:
        if depth == 0:
            return 0
        job = await jobs.submit(others[0], depth - 1, [*others[1:], others[0]])
        return 1 + await jobs.result(job.id)

    @jobs.function(name="sync", **options)  # type: ignore[arg-type]
    def chain_in_threads(depth: int, others: list[str]) -> int:
        if depth == 0:
            return 0
        job = current_job.submit(others[0], depth - 1, [*others[1:], others[0]])
        return 1 + int(str(in_thread(jobs, job.id)))


@pytest.mark.parametrize("kinds", [["async"], ["sync"], ["async", "sync"]], ids="-".join)
@pytest.mark.parametrize("limit", [{}, {"concurrency": 1}], ids=["free", "one a route"])
async def test_jobs_that_wait_for_jobs_never_wait_for_ever(
    store: str, kinds: list[str], limit: dict[str, int]
) -> None:
    """A job that waits for another one gives its place to others meanwhile: many more parents than
    there are places, each with a chain of children, all come to their ends."""
    jobs = Jobs(store=store, concurrency=3, threads=2)
    chains(jobs, **limit)
    async with jobs, asyncio.timeout(DEADLINE):
        parents = [await jobs.submit(kinds[0], 5, kinds) for _ in range(12)]
        assert [await jobs.result(parent.id) for parent in parents] == [5] * 12
        assert (await jobs.health()).threads.busy == 0
        await assert_limits_hold(jobs)


@pytest.mark.parametrize("threaded", [False, True])
async def test_what_is_waited_for_goes_first(store: str, threaded: bool) -> None:
    """A child that is waited for does not queue behind all the parents: of many of these, no more
    have begun at a time than there are places, and one more for each that goes on."""
    jobs = Jobs(store=store, concurrency=2, threads=2)
    begun, ended, most = [0], [0], [0]

    def count(change: list[int]) -> None:
        change[0] += 1
        most[0] = max(most[0], begun[0] - ended[0])

    @jobs.function(name="child")
    async def child() -> None:
        await asyncio.sleep(0)

    @jobs.function(name="parent")
    async def parent() -> None:
        count(begun)
        await jobs.result((await jobs.submit("child")).id)
        count(ended)

    @jobs.function(name="parent in a thread")
    def parent_in_thread() -> None:
        count(begun)
        in_thread(jobs, current_job.submit("child").id)
        count(ended)

    async with jobs, asyncio.timeout(DEADLINE):
        name = "parent in a thread" if threaded else "parent"
        for parent_job in [await jobs.submit(name) for _ in range(60)]:
            await jobs.wait(parent_job.id)
        assert ended == [60]
        assert most[0] <= 8


async def test_the_places_are_right_after_parents_were_stopped(store: str) -> None:
    """Parents that are cancelled or timed out while they wait leave as many places as there were,
    in whatever part of the wait it hits them."""
    jobs = Jobs(store=store, concurrency=2, threads=2)
    go_on = asyncio.Event()
    begun: list[str] = []

    @jobs.function(name="child", concurrency=1)
    async def child() -> None:
        await go_on.wait()

    @jobs.function(name="patient")
    async def patient() -> None:
        job = await jobs.submit("child")
        begun.append(current_job.id)
        await jobs.result(job.id)

    @jobs.function(name="threaded")
    def threaded() -> None:
        job = current_job.submit("child")
        begun.append(current_job.id)
        in_thread(jobs, job.id)

    @jobs.function(name="hasty", timeout=0.05)
    async def hasty() -> None:
        await jobs.result((await jobs.submit("child")).id)

    @jobs.function(name="hasty thread", timeout=0.05)
    def hasty_thread() -> None:
        in_thread(jobs, current_job.submit("child").id)

    async with jobs, asyncio.timeout(DEADLINE):
        for name in ("patient", "threaded"):
            stopped = [await jobs.submit(name) for _ in range(4)]
            await until(lambda ids={job.id for job in stopped}: ids <= set(begun))
            for job in stopped:
                await jobs.cancel(job.id)
            assert [(await jobs.wait(job.id)).state for job in stopped] == [State.CANCELLED] * 4
        for name in ("hasty", "hasty thread"):
            job = await jobs.submit(name)
            with pytest.raises(JobTimedOut):
                await jobs.result(job.id)
        go_on.set()
        await all_ended(jobs)
        await assert_limits_hold(jobs)


async def test_a_parent_that_goes_on_comes_before_new_jobs(store: str) -> None:
    """Who has waited has its place again before jobs that have not begun yet, and there are never
    more handlers at work than places."""
    jobs = Jobs(store=store, concurrency=1)
    order: list[str] = []

    @jobs.function(name="child")
    async def child() -> None:
        order.append("child")

    @jobs.function(name="new")
    async def new() -> None:
        order.append("new")

    @jobs.function(name="parent")
    async def parent() -> None:
        job = await jobs.submit("child")
        await jobs.submit("new")
        await jobs.submit("new")
        await jobs.result(job.id)
        order.append("parent")

    async with jobs, asyncio.timeout(DEADLINE):
        await jobs.result((await jobs.submit("parent")).id)
        await all_ended(jobs)
    assert order[0] == "child"
    assert order.index("parent") < len(order) - 1


async def test_a_parent_that_waits_for_several(store: str) -> None:
    """A job may wait for several others at a time; it gives its one place back once."""
    jobs = Jobs(store=store, concurrency=1)

    @jobs.function(name="child")
    async def child(number: int) -> int:
        return number

    @jobs.function(name="parent")
    async def parent() -> list[int]:
        children = [await jobs.submit("child", number) for number in range(5)]
        return list(await asyncio.gather(*(jobs.result(child.id) for child in children)))

    async with jobs, asyncio.timeout(DEADLINE):
        assert await jobs.result((await jobs.submit("parent")).id) == [0, 1, 2, 3, 4]
        await assert_limits_hold(jobs)


async def test_a_wait_that_is_given_up_goes_on_in_its_place(store: str) -> None:
    """A job that stops waiting, by a time-out of its own, has its place when it goes on. It is told
    how the other one is by then: it may have had the place until it ended."""
    jobs = Jobs(store=store, concurrency=1)
    go_on = asyncio.Event()

    @jobs.function(name="child")
    async def child() -> None:
        await go_on.wait()

    @jobs.function(name="parent")
    async def parent() -> str:
        job = await jobs.submit("child")
        with suppress(TimeoutError):
            await asyncio.gather(jobs.result(job.id, 0.01), set_soon())
        return (await jobs.get(job.id)).state

    async def set_soon() -> None:
        await asyncio.sleep(0.02)
        go_on.set()

    async with jobs, asyncio.timeout(DEADLINE):
        assert await jobs.result((await jobs.submit("parent")).id) in ("succeeded", "running")
        await assert_limits_hold(jobs)


async def test_submit_from_a_sync_handler_only(store: str) -> None:
    """`current_job.submit` says where it belongs, and what async handlers do."""
    jobs = Jobs(store=store)

    @jobs.function(name="child")
    async def child() -> None:
        """Never runs."""

    @jobs.function(name="parent")
    async def parent() -> None:
        with pytest.raises(TypeError, match=r"await jobs\.submit"):
            current_job.submit("child")

    async with jobs:
        await jobs.result((await jobs.submit("parent")).id, DEADLINE)
        assert len(await jobs.find(Query())) == 1


async def test_a_drain_stops_who_waits_for_what_will_not_start(store: str) -> None:
    """A job that waits for one that is still queued when the server stops is not answered with
    half a result: it is given back, as any other that did not end in time."""
    jobs = Jobs(store=store, drain_time=0.05)
    blocked = asyncio.Event()

    @jobs.function(name="child", concurrency=1)
    async def child() -> None:
        blocked.set()
        await asyncio.Event().wait()

    @jobs.function(name="parent", idempotent=True)
    async def parent() -> None:
        await jobs.submit("child")
        job = await jobs.submit("child")
        await jobs.result(job.id)

    async with jobs, asyncio.timeout(DEADLINE):
        job = await jobs.submit("parent")
        await blocked.wait()
        await jobs.drain()
        assert (await jobs.get(job.id)).state is State.QUEUED


async def all_ended(jobs: Jobs) -> None:
    while await jobs.find(Query(states=frozenset({State.QUEUED, State.RUNNING}))):
        await asyncio.sleep(0.005)


async def assert_limits_hold(jobs: Jobs) -> None:
    """As many handlers of each kind run at a time as the settings say: no more, and no fewer."""
    for limit, threaded in ((jobs.settings.concurrency, False), (jobs.settings.threads, True)):
        assert limit == await most_at_a_time(jobs, limit, threaded)


async def most_at_a_time(jobs: Jobs, limit: int, threaded: bool) -> int:
    """How many handlers run at once when there is work for more."""
    running = asyncio.Semaphore(0)
    go_on, in_threads = asyncio.Event(), threading.Event()
    name = f"probe {threaded}"

    async def probe() -> None:
        running.release()
        await go_on.wait()

    def probe_in_thread() -> None:
        jobs.loop.call_soon_threadsafe(running.release)
        in_threads.wait(DEADLINE)

    jobs.function(probe_in_thread if threaded else probe, name=name)
    probes = [await jobs.submit(name) for _ in range(limit + 2)]
    for _ in range(limit):
        await running.acquire()
    states = [(await jobs.get(probe.id)).state for probe in probes]
    go_on.set()
    in_threads.set()
    for each in probes:
        await jobs.wait(each.id)
    return states.count(State.RUNNING)


async def test_programs_that_wait_for_each_other(tmp_path: Path) -> None:
    """A job that waits for one of another program, which waits for one of the first, comes to its
    end: it gives its place back as well."""
    one, two = (
        Jobs(store=f"sqlite:///{tmp_path / 'jobs.db'}", name=name, concurrency=1)
        for name in ("one", "two")
    )

    @one.function(name="outer")
    async def outer() -> int:
        return 1 + int(await two.result((await two.submit("middle")).id))

    @two.function(name="middle")
    async def middle() -> int:
        return 1 + int(await one.result((await one.submit("inner")).id))

    @one.function(name="inner")
    async def inner() -> int:
        return 1

    async with one, two:
        assert await one.result((await one.submit("outer")).id, DEADLINE) == 3


async def test_a_thread_that_comes_back_is_given_to_who_waits_for_one(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync job that waits to go on does so once a thread that was stuck has returned."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.05)
    jobs = Jobs(store=store, threads=1)
    come_back = threading.Event()

    @jobs.function(name="stuck", timeout=0.05)
    def stuck() -> None:
        come_back.wait(DEADLINE)

    @jobs.function(name="parent")
    def parent() -> str:
        with suppress(JobTimedOut):
            in_thread(jobs, current_job.submit("stuck").id)
        return "went on"

    async with jobs:
        job = await jobs.submit("parent")
        async with asyncio.timeout(DEADLINE):
            while not (await jobs.health()).threads.stuck:
                await asyncio.sleep(0.005)
        assert not (await jobs.health()).accepting
        come_back.set()
        assert await jobs.result(job.id, DEADLINE) == "went on"
        assert (await jobs.health()).accepting


async def test_threads_that_were_lent_end(store: str) -> None:
    """When nobody waits any more there are no more threads than the setting says."""
    jobs = Jobs(store=store, threads=2)
    chains(jobs)
    async with jobs, asyncio.timeout(DEADLINE):
        parents = [await jobs.submit("sync", 3, ["sync"]) for _ in range(10)]
        for parent in parents:
            await jobs.result(parent.id)
        await until(lambda: sum(is_worker(each) for each in threading.enumerate()) <= 2)


def is_worker(thread: threading.Thread) -> bool:
    return re.fullmatch(r"asyncjobs-\d+", thread.name) is not None
