"""Jobs in an asyncio program: functions, results, waiting, cancelling, limits, stopping."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from asyncjobs import Jobs, Query, State, current_job, transitions
from asyncjobs.engines.queue import MAX_REACH, reach_after
from asyncjobs.errors import (
    HandlerFailed,
    HandlerGone,
    InvalidTransition,
    JobInterrupted,
    JobNotFound,
    JobTimedOut,
    JobWasCancelled,
    ResponseTooLarge,
    SetupError,
    ShuttingDown,
    Unstorable,
)
from asyncjobs.events import Event, Finished, Released, Started, Submitted
from asyncjobs.handler import Handler
from asyncjobs.health import Health
from asyncjobs.job import Job, Progress, Request, Response
from asyncjobs.running.threads import ThreadsInUse
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import NOW, REQUEST, FakeClock, a_job
from heard import heard
from luck import LongWait, NoWait

DEADLINE = 20


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


async def eventually(jobs: Jobs, job_id: str, holds: Callable[[Job], bool]) -> Job:
    """Wait until something holds of a job."""
    async with asyncio.timeout(DEADLINE):
        while not holds(job := await jobs.get(job_id)):
            await asyncio.sleep(0.005)
    return job


async def test_a_functions_result(store: str) -> None:
    """A function gets its arguments and its result comes back, as JSON."""
    jobs = Jobs(store=store)

    @jobs.function
    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    async with jobs:
        job = await jobs.submit(add, 1, b=2)
        assert await jobs.result(job.id, DEADLINE) == {"sum": 3}
        assert await jobs.result(job.id) == {"sum": 3}
        done = await jobs.get(job.id)
        assert (done.state, done.attempt) == (State.SUCCEEDED, 1)


async def test_a_sync_function_runs_in_a_thread_of_ours(store: str) -> None:
    """A sync function does not block the loop, and has its job at hand."""
    jobs = Jobs(store=store)

    @jobs.function(name="where")
    def where() -> list[str]:
        return [threading.current_thread().name, current_job.id]

    async with jobs:
        job = await jobs.submit("where")
        name, job_id = await jobs.result(job.id, DEADLINE)
    assert name.startswith("asyncjobs-")
    assert job_id == job.id


async def test_a_slot_that_is_free_saves_a_write(store: str) -> None:
    """A job that can start at once is stored as started."""
    jobs = Jobs(store=store)
    go_on = asyncio.Event()

    @jobs.function
    async def wait() -> None:
        await go_on.wait()

    async with jobs:
        job = await jobs.submit(wait)
        assert (job.state, job.attempt) == (State.RUNNING, 1)
        go_on.set()
        assert await jobs.result(job.id, DEADLINE) is None


async def test_a_job_that_has_ended_leaves_nothing_in_circles(store: str) -> None:
    """All that it took is let go at once, and nothing of it waits for the garbage collector."""
    jobs = Jobs(store=store)

    @jobs.function
    async def work() -> int:
        current_job.progress(1)
        return 1

    async with jobs:
        assert await jobs.result((await jobs.submit(work)).id) == 1
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                assert await jobs.result((await jobs.submit(work)).id) == 1
            gc.collect()
            circles = {type(each).__name__ for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    assert not circles & {"Attempt", "Claim", "Job", "Request", "Response", "RunningJob", "Slot"}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("threaded", [False, True])
async def test_a_function_that_raises(
    store: str, error: type[BaseException], threaded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a function raises is its job's failure, is logged, and harms nothing else."""
    jobs = Jobs(store=store)

    def fail() -> None:
        raise error("on purpose")

    async def fail_async() -> None:
        fail()

    async with jobs:
        function = jobs.function(fail if threaded else fail_async)
        job = await jobs.submit(function)
        with pytest.raises(HandlerFailed, match=error.__name__):
            await jobs.result(job.id, DEADLINE)
        assert (await jobs.get(job.id)).state is State.FAILED
    assert "on purpose" in caplog.text


async def test_a_thread_that_raises_stop_iteration(store: str) -> None:
    """A StopIteration out of a thread is a failure like any other, and hangs nothing."""
    jobs = Jobs(store=store)

    @jobs.function
    def fail() -> None:
        raise StopIteration

    async with jobs:
        job = await jobs.submit(fail)
        with pytest.raises(HandlerFailed):
            await jobs.result(job.id, DEADLINE)


async def test_a_function_that_cancels_itself(store: str) -> None:
    """A CancelledError that nobody asked for is a failure, not a cancellation."""
    jobs = Jobs(store=store)

    @jobs.function
    async def fail() -> None:
        raise asyncio.CancelledError

    async with jobs:
        job = await jobs.submit(fail)
        with pytest.raises(HandlerFailed, match="from within"):
            await jobs.result(job.id, DEADLINE)


async def test_a_result_that_is_not_json(store: str) -> None:
    """A result that cannot be stored is a failure that says so."""
    jobs = Jobs(store=store)
    function = jobs.function(name="f")(lambda: object())
    async with jobs:
        assert function is not None
        job = await jobs.submit("f")
        with pytest.raises(HandlerFailed, match="not JSON"):
            await jobs.result(job.id, DEADLINE)


async def test_an_outcome_that_cannot_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the store cannot take a handler's response, its job fails, and does not run for ever."""
    jobs = Jobs(store=f"sqlite:///{tmp_path / 'jobs.db'}")

    async def respond(request: Request) -> Response:
        return Response(200, ((b"broken\n", b"header"),))

    jobs.register(Handler("f", respond, threaded=False, timeout=None, concurrency=None, ttl=60))
    async with jobs:
        job, _ = await jobs.accept("f", Request("GET", "/"))
        assert (await jobs.wait(job.id, DEADLINE)).state is State.FAILED
        assert (await jobs.response(job.id)).status == 500
    assert "breaks its line" in caplog.text


async def test_a_result_over_the_limit(store: str) -> None:
    """A result over the limit is a failure; it is never cut short."""
    jobs = Jobs(store=store, max_response=10)
    jobs.function(name="f")(lambda: "x" * 9)
    async with jobs:
        job = await jobs.submit("f")
        with pytest.raises(ResponseTooLarge, match="11 bytes, over the limit of 10"):
            await jobs.result(job.id, DEADLINE)


async def test_arguments_that_are_not_json() -> None:
    """Arguments that cannot be stored are an error at once, and make no job."""
    jobs = Jobs(store="memory:")
    jobs.function(name="f")(lambda x: x)
    async with jobs:
        with pytest.raises(
            Unstorable, match="'x' of 'f' cannot be stored: x is no JSON but a object"
        ):
            await jobs.submit("f", object())
        assert await jobs.find(Query()) == []


async def test_a_function_by_a_name_of_its_own(store: str) -> None:
    """A function that has a name is submitted by that name, or as itself."""
    jobs = Jobs(store=store)

    @jobs.function(name="sum")
    def add(a: int, b: int) -> int:
        return a + b

    async with jobs:
        for job in (await jobs.submit("sum", 1, 2), await jobs.submit(add, 1, 2)):
            assert job.route == "sum"
            assert await jobs.result(job.id, DEADLINE) == 3


async def test_functions_that_are_not_registered() -> None:
    """To submit an unknown function, or to register a name twice, is an error that says so."""
    jobs = Jobs(store="memory:")
    jobs.function(name="f")(lambda: 1)
    with pytest.raises(SetupError, match="'f' already"):
        jobs.function(name="f")(lambda: 2)
    async with jobs:
        with pytest.raises(SetupError, match="no handler is registered for 'g'"):
            await jobs.submit("g")


async def test_unknown_jobs(store: str) -> None:
    """An id that no job has is not found, by whatever is asked of it."""
    async with Jobs(store=store) as jobs:
        for ask in (jobs.get, jobs.wait, jobs.result, jobs.cancel, jobs.response):
            with pytest.raises(JobNotFound):
                await ask("0" * 32)


async def test_waiting(store: str) -> None:
    """`wait` returns at the end of the job, or when its time is up."""
    jobs = Jobs(store=store)
    go_on = asyncio.Event()

    @jobs.function
    async def wait() -> str:
        await go_on.wait()
        return "done"

    async with jobs:
        job = await jobs.submit(wait)
        assert (await jobs.wait(job.id, 0.01)).state is State.RUNNING
        with pytest.raises(TimeoutError):
            await jobs.result(job.id, 0)
        waiting = [asyncio.create_task(jobs.wait(job.id)) for _ in range(10)]
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(DEADLINE):
            assert {(await each).state for each in waiting} == {State.SUCCEEDED}


async def test_concurrency_and_order(store: str) -> None:
    """No more jobs run at a time than there are slots; the others follow in their order."""
    jobs = Jobs(store=store, concurrency=2)
    running: set[int] = set()
    order: list[int] = []
    most = 0
    go_on = asyncio.Event()

    @jobs.function
    async def work(number: int) -> None:
        nonlocal most
        running.add(number)
        order.append(number)
        most = max(most, len(running))
        await go_on.wait()
        await asyncio.sleep(0)
        running.discard(number)

    async with jobs:
        submitted = [await jobs.submit(work, number) for number in range(30)]
        go_on.set()
        for job in submitted:
            await jobs.result(job.id, DEADLINE)
    assert most == 2
    assert order == list(range(30))


async def test_a_routes_own_concurrency(store: str) -> None:
    """A route with a limit of its own queues, while others overtake it."""
    jobs = Jobs(store=store)
    go_on = asyncio.Event()

    @jobs.function(concurrency=1)
    async def narrow() -> None:
        await go_on.wait()

    @jobs.function
    async def wide() -> str:
        return "overtook"

    async with jobs:
        first, second = await jobs.submit(narrow), await jobs.submit(narrow)
        assert (first.state, second.state) == (State.RUNNING, State.QUEUED)
        assert await jobs.result((await jobs.submit(wide)).id, DEADLINE) == "overtook"
        assert (await jobs.get(second.id)).state is State.QUEUED
        go_on.set()
        assert await jobs.result(second.id, DEADLINE) is None


async def test_threads_are_bounded(store: str) -> None:
    """No more sync functions run at a time than there are threads; async ones are not held up."""
    jobs = Jobs(store=store, threads=2)
    go_on = threading.Event()
    at_a_time = 0
    most = 0
    lock = threading.Lock()

    @jobs.function
    def block() -> None:
        nonlocal at_a_time, most
        with lock:
            at_a_time += 1
            most = max(most, at_a_time)
        go_on.wait(DEADLINE)
        with lock:
            at_a_time -= 1

    @jobs.function
    async def quick() -> str:
        return "quick"

    async with jobs:
        blocked = [await jobs.submit(block) for _ in range(6)]
        assert await jobs.result((await jobs.submit(quick)).id, DEADLINE) == "quick"
        async with asyncio.timeout(DEADLINE):
            while at_a_time < 2:
                await asyncio.sleep(0.005)
        go_on.set()
        for job in blocked:
            await jobs.result(job.id, DEADLINE)
    assert most == 2


async def test_progress(store: str) -> None:
    """Progress can be seen while the job runs, and the last one after it."""
    jobs = Jobs(store=store)
    go_on = asyncio.Event()

    @jobs.function
    async def work() -> None:
        current_job.progress(1, total=3, message="begun")
        await go_on.wait()
        current_job.progress(3, 3)

    async with jobs:
        job = await jobs.submit(work)
        seen = await eventually(jobs, job.id, lambda job: job.progress is not None)
        assert seen.progress == Progress(1, 3, "begun")
        go_on.set()
        assert (await jobs.wait(job.id, DEADLINE)).progress == Progress(3, 3)


async def test_progress_of_a_thread(store: str) -> None:
    """The same call works in a thread; of a thousand only the newest matters."""
    jobs = Jobs(store=store)

    @jobs.function
    def work() -> list[int]:
        return list(current_job.track(range(1000), message="counting"))

    async with jobs:
        job = await jobs.submit(work)
        done = await jobs.wait(job.id, DEADLINE)
        assert done.progress == Progress(1000, 1000, "counting")
        assert done.version < 100
        assert await jobs.result(job.id) == list(range(1000))


async def test_tracking_an_async_iterable(store: str) -> None:
    """What has no length is tracked without a total, also asynchronously."""
    jobs = Jobs(store=store)

    async def numbers() -> AsyncIterator[int]:
        for number in range(5):
            yield number

    @jobs.function
    async def work() -> int:
        return sum([number async for number in current_job.track(numbers())])

    async with jobs:
        job = await jobs.submit(work)
        assert await jobs.result(job.id, DEADLINE) == 10
        assert (await jobs.get(job.id)).progress == Progress(5)


def test_there_is_no_current_job_outside_of_one() -> None:
    """To use current_job elsewhere is an error that says where it is there."""
    with pytest.raises(RuntimeError, match=r"outside of a background job.*jobs\.background"):
        current_job.progress(1)


async def test_cancelling_a_running_function(store: str) -> None:
    """A running async function gets a CancelledError, may clean up, and its job is cancelled."""
    jobs = Jobs(store=store)
    cleaned_up = asyncio.Event()

    @jobs.function
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            assert current_job.is_cancelled
            cleaned_up.set()

    async with jobs:
        job = await jobs.submit(work)
        assert (await jobs.cancel(job.id)).cancel_requested
        with pytest.raises(JobWasCancelled):
            await jobs.result(job.id, DEADLINE)
        assert cleaned_up.is_set()
        assert (await jobs.get(job.id)).state is State.CANCELLED
        with pytest.raises(InvalidTransition, match="cancelled already"):
            await jobs.cancel(job.id)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, SystemExit])
async def test_a_subscriber_that_fails(store: str, error: type[BaseException]) -> None:
    """Whatever it raises, such as what a future that was cancelled does: no job notices."""
    jobs = Jobs(store=store, concurrency=1)
    told: list[Event] = []

    def fail(event: Event) -> None:
        told.append(event)
        raise error

    @jobs.function
    async def work() -> int:
        return 7

    jobs.events.subscribe(fail)
    async with jobs:
        for _ in range(2):
            job = await jobs.submit(work)
            assert await jobs.result(job.id, DEADLINE) == 7
    assert [type(event) for event in told] == 2 * [Submitted, Started, Finished]


async def test_a_cancellation_outlives_its_caller(store: str) -> None:
    """A client that goes away while its queued job is being cancelled leaves no job that has ended
    without a word."""
    jobs = Jobs(store=store, concurrency=1)
    ended: list[str] = []
    jobs.events.subscribe(lambda e: ended.append(e.job.id) if isinstance(e, Finished) else None)

    @jobs.function
    async def work() -> None:
        await asyncio.Event().wait()

    async with jobs:
        running, queued = await jobs.submit(work), await jobs.submit(work)
        for turns in range(20):
            cancelling = asyncio.create_task(jobs.cancel(queued.id))
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelling.cancel()
            await asyncio.wait([cancelling])
            if turns and (await jobs.wait(queued.id, 0.5)).state is State.CANCELLED:
                break
        await jobs.cancel(running.id)
        await jobs.wait(running.id, DEADLINE)
        assert ended == [queued.id, running.id]


async def test_cancelling_a_thread(store: str) -> None:
    """A thread learns at its next look that it shall stop."""
    jobs = Jobs(store=store)
    stopped = threading.Event()

    @jobs.function
    def work() -> None:
        try:
            for number in current_job.track(range(10**9)):
                time.sleep(0.001 * (number >= 0))
        finally:
            stopped.set()

    async with jobs:
        job = await jobs.submit(work)
        await eventually(jobs, job.id, lambda job: job.progress is not None)
        await jobs.cancel(job.id)
        with pytest.raises(JobWasCancelled):
            await jobs.result(job.id, DEADLINE)
        assert stopped.is_set()


async def test_cancelling_a_queued_job(store: str) -> None:
    """A queued job that is cancelled never starts."""
    jobs = Jobs(store=store, concurrency=1)
    go_on = asyncio.Event()
    started = []

    @jobs.function
    async def work(number: int) -> None:
        started.append(number)
        await go_on.wait()

    async with jobs:
        first = await jobs.submit(work, 1)
        second = await jobs.submit(work, 2)
        third = await jobs.submit(work, 3)
        assert (await jobs.cancel(second.id)).state is State.CANCELLED
        go_on.set()
        for job in (first, third):
            await jobs.result(job.id, DEADLINE)
    assert started == [1, 3]


async def test_a_job_past_its_timeout(store: str) -> None:
    """A function that runs too long is stopped, and its job fails with 504."""
    jobs = Jobs(store=store)

    @jobs.function(timeout=0.05)
    async def work() -> None:
        await asyncio.Event().wait()

    async with jobs:
        job = await jobs.submit(work)
        with pytest.raises(JobTimedOut, match=r"past the 0\.05 s"):
            await jobs.result(job.id, DEADLINE)
        assert (await jobs.response(job.id)).status == 504


async def test_a_timeout_of_the_functions_own(store: str) -> None:
    """A TimeoutError of the function's own is a failure like any other."""
    jobs = Jobs(store=store)

    @jobs.function(timeout=60)
    async def work() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async with jobs:
        job = await jobs.submit(work)
        with pytest.raises(HandlerFailed, match="TimeoutError"):
            await jobs.result(job.id, DEADLINE)


async def test_a_function_that_does_not_stop(store: str) -> None:
    """The job of a function that swallows its cancellation ends without it, its slot is free for
    others, and what it returns at last changes nothing."""
    jobs = Jobs(store=store, concurrency=1)
    go_on, returned = asyncio.Event(), asyncio.Event()

    @jobs.function(timeout=0.05)
    async def stubborn() -> str:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        returned.set()
        return "too late"

    @jobs.function
    async def quick() -> str:
        return "quick"

    async with jobs:
        job = await jobs.submit(stubborn)
        with pytest.raises(JobTimedOut):
            await jobs.result(job.id, DEADLINE)
        assert not returned.is_set()
        assert await jobs.result((await jobs.submit(quick)).id, DEADLINE) == "quick"
        ended = await jobs.get(job.id)
        go_on.set()
        await returned.wait()
    assert ended.state is State.FAILED


async def test_an_unwatched_thread_is_still_busy() -> None:
    """A thread that nobody waits for any more counts as busy for as long as it runs."""
    jobs = Jobs(store="memory:", threads=1)
    go_on = threading.Event()

    @jobs.function(timeout=0.05)
    def stuck() -> None:
        go_on.wait(DEADLINE)

    @jobs.function
    def quick() -> str:
        return "quick"

    async with jobs:
        with pytest.raises(JobTimedOut):
            await jobs.result((await jobs.submit(stuck)).id, DEADLINE)
        job = await jobs.submit(quick)
        assert job.state is State.QUEUED
        go_on.set()
        assert await jobs.result(job.id, DEADLINE) == "quick"


async def test_stopping_waits_for_running_jobs(tmp_path: Path) -> None:
    """Jobs that end within the drain time have their results."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    jobs = Jobs(store=url, drain_time=DEADLINE)
    started, go_on = asyncio.Event(), asyncio.Event()

    @jobs.function
    async def work() -> str:
        started.set()
        await go_on.wait()
        return "done"

    async with jobs:
        job = await jobs.submit(work)
        await started.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    async with Jobs(store=url) as later:
        assert await later.result(job.id) == "done"


async def test_stopping_interrupts_what_must_not_run_twice(tmp_path: Path) -> None:
    """A job that does not end within the drain time, and may have had effects, is interrupted."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    jobs = Jobs(store=url, drain_time=0)

    @jobs.function
    async def work() -> None:
        await asyncio.Event().wait()

    async with jobs:
        job = await jobs.submit(work)
    async with Jobs(store=url) as later:
        with pytest.raises(JobInterrupted, match="server was stopped"):
            await later.result(job.id, DEADLINE)
        assert (await later.get(job.id)).state is State.INTERRUPTED


async def test_a_loop_that_ends_under_its_jobs(tmp_path: Path) -> None:
    """What runs when all tasks are cancelled, as at the end of a loop, is given back, or says that
    it was interrupted; it has not failed. A thread learns that it shall stop."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    jobs = Jobs(store=url)
    started, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
    learnt = threading.Event()

    @jobs.function(idempotent=True)
    async def again() -> str:
        started.release()
        if current_job.attempt == 1:
            await asyncio.Event().wait()
        return "done"

    @jobs.function
    async def once() -> None:
        started.release()
        await asyncio.Event().wait()

    @jobs.function
    def in_a_thread() -> None:
        loop.call_soon_threadsafe(started.release)
        while not current_job.is_cancelled:
            time.sleep(0.001)
        learnt.set()

    async with jobs:
        repeatable, unique = await jobs.submit(again), await jobs.submit(once)
        await jobs.submit(in_a_thread)
        for _ in range(3):
            await started.acquire()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
    assert learnt.wait(DEADLINE)
    async with Jobs(store=url) as later:
        later.register(jobs.handlers[repeatable.route])
        assert await later.result(repeatable.id, DEADLINE) == "done"
        job = await later.get(repeatable.id)
        assert (job.attempt, job.crashes, job.errors) == (2, 0, 0)
        with pytest.raises(JobInterrupted, match="loop ended"):
            await later.result(unique.id, DEADLINE)


async def test_queued_jobs_run_after_a_restart(tmp_path: Path) -> None:
    """What was queued when the program stopped runs when it starts again."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"

    def make() -> Jobs:
        jobs = Jobs(store=url, concurrency=1, drain_time=0)

        @jobs.function(name="work")
        async def work(number: int) -> int:
            if number == 0:
                await asyncio.Event().wait()
            return number

        return jobs

    async with make() as jobs:
        submitted = [await jobs.submit("work", number) for number in range(4)]
    async with make() as later:
        assert [await later.result(job.id, DEADLINE) for job in submitted[1:]] == [1, 2, 3]


async def test_no_jobs_are_accepted_once_it_stops() -> None:
    """While jobs drain, a submission is refused with an error that says so."""
    jobs = Jobs(store="memory:", drain_time=0)
    refused = []

    @jobs.function
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await jobs.submit(work)
            except ShuttingDown as error:
                refused.append(error)

    async with jobs:
        await jobs.submit(work)
        await asyncio.sleep(0)
    assert len(refused) == 1
    assert "accepts no more jobs" in str(refused[0])


async def test_a_submission_outlives_its_caller(store: str) -> None:
    """A submission that has begun is completed, even if its caller is cancelled meanwhile."""
    jobs = Jobs(store=store)

    @jobs.function
    async def work() -> str:
        return "done"

    async with jobs:
        with heard(jobs) as events:
            submitting = asyncio.create_task(jobs.submit(work))
            await asyncio.sleep(0)
            submitting.cancel()
            with suppress(asyncio.CancelledError):
                await submitting
            submitted = await events.next(Submitted)
        assert await jobs.result(submitted.job.id, DEADLINE) == "done"


async def test_results_expire(store: str) -> None:
    """A result is kept for its ttl, by the clock of the program, and then forgotten."""
    clock = FakeClock()
    jobs = Jobs(store=store, clock=clock, random=random.Random(1))

    @jobs.function(ttl=100)
    async def work() -> None:
        return None

    async with jobs:
        job = await jobs.submit(work)
        await jobs.result(job.id, DEADLINE)
        clock.advance(99)
        assert (await jobs.get(job.id)).expires == clock() + 1
        clock.advance(2)
        async with asyncio.timeout(DEADLINE):
            while await jobs.find(Query()):
                await asyncio.sleep(0.01)
        with pytest.raises(JobNotFound):
            await jobs.get(job.id)


async def test_two_processes_on_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of one program see each other's jobs, and take over each other's queue."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    go_on = asyncio.Event()
    ran_by: dict[int, str] = {}

    def make(name: str) -> Jobs:
        jobs = Jobs(store=url, concurrency=1)

        @jobs.function(name="work")
        async def work(number: int) -> str:
            if number == 0:
                await go_on.wait()
            ran_by[number] = name
            return name

        return jobs

    async with make("one") as one:
        # As if it were another process: of one program none is open twice in one.
        monkeypatch.setattr("asyncjobs.store._ORIGIN", "another")
        two = await make("two").__aenter__()
        first = await one.submit("work", 0)
        second = await one.submit("work", 1)
        assert (first.state, second.state) == (State.RUNNING, State.QUEUED)
        assert await one.result(second.id, DEADLINE) == "two"
        assert (await two.get(first.id)).state is State.RUNNING
        await two.cancel(first.id)
        with pytest.raises(JobWasCancelled):
            await one.result(first.id, DEADLINE)
        await two.__aexit__()


async def test_the_jobs_of_a_dead_program_are_rescued(tmp_path: Path) -> None:
    """When a program is gone its running jobs are decided about by those that live."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with SqliteStore(tmp_path / "jobs.db") as dead:
        once = await dead.add(transitions.start(a_job(route="f"), dead.worker, NOW), REQUEST)
        again = transitions.start(a_job(route="f", repeatable=True), dead.worker, NOW)
        await dead.add(again, REQUEST)
    jobs = Jobs(store=url)
    async with jobs:
        with pytest.raises(JobInterrupted, match="may have had effects"):
            await jobs.result(once.id, DEADLINE)
        rescued = await jobs.get(again.id)
        assert (rescued.state, rescued.crashes) == (State.QUEUED, 1)


async def test_a_function_that_is_tried_again(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """A function that raises runs again as often as it was said, each time as a new attempt."""
    jobs = Jobs(store=store, random=NoWait())
    attempts: list[int] = []

    @jobs.function(retries=2)
    async def works_at_last() -> str:
        attempts.append(current_job.attempt)
        if current_job.attempt < 3:
            raise OSError("not yet")
        return "done"

    async with jobs:
        job = await jobs.submit(works_at_last)
        assert await jobs.result(job.id, DEADLINE) == "done"
        done = await jobs.get(job.id)
    assert attempts == [1, 2, 3]
    assert (done.attempt, done.errors, done.crashes) == (3, 2, 0)
    assert caplog.text.count("is queued now") == 2


async def test_a_function_that_fails_every_time(store: str) -> None:
    """When no retries are left the last exception is the result."""
    jobs = Jobs(store=store, random=NoWait())

    @jobs.function(retries=1)
    def fails() -> None:
        raise OSError("on purpose")

    async with jobs:
        job = await jobs.submit(fails)
        with pytest.raises(HandlerFailed, match="OSError"):
            await jobs.result(job.id, DEADLINE)
        failed = await jobs.get(job.id)
    assert (failed.state, failed.attempt, failed.errors) == (State.FAILED, 2, 1)


async def test_a_job_that_waits_to_be_tried_again(store: str) -> None:
    """A job that waits for its next attempt holds no slot, can be cancelled, and runs when due."""
    jobs = Jobs(store=store, concurrency=1, random=LongWait())

    @jobs.function(retries=1)
    async def fails_once() -> int:
        if current_job.attempt == 1:
            raise OSError("on purpose")
        return current_job.attempt

    @jobs.function
    async def other() -> str:
        return "done"

    async with jobs:
        with heard(jobs) as events:
            job = await jobs.submit(fails_once)
            cancelled = await jobs.submit(fails_once)
            await events.next(Released, cancelled.id)
        started = await jobs.submit(other)
        assert await jobs.result(started.id, DEADLINE) == "done"
        assert (await jobs.cancel(cancelled.id)).state is State.CANCELLED
        assert await jobs.result(job.id, DEADLINE) == 2


@pytest.mark.parametrize("idempotent", [None, False, True])
async def test_what_is_idempotent_is_run_again(tmp_path: Path, idempotent: bool | None) -> None:
    """A call is a POST, and started once; a function that is said to be idempotent runs again."""
    path = tmp_path / "jobs.db"
    programs = [Jobs(store=f"sqlite:///{path}", drain_time=0, random=NoWait()) for _ in range(2)]
    running = asyncio.Event()

    async def work() -> int:
        running.set()
        if current_job.attempt == 1:
            await asyncio.Event().wait()
        return current_job.attempt

    for jobs in programs:
        jobs.function(name="work", idempotent=idempotent)(work)
    async with programs[0] as jobs:
        job = await jobs.submit("work")
        await running.wait()
    async with programs[1] as jobs:
        if idempotent:
            assert await jobs.result(job.id, DEADLINE) == 2
        else:
            with pytest.raises(JobInterrupted):
                await jobs.result(job.id, DEADLINE)


async def test_a_handler_that_has_gone(tmp_path: Path) -> None:
    """A queued job whose handler a deploy has removed is listed, and fails after a grace time."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    before = Jobs(store=url, concurrency=1, drain_time=0)

    @before.function(name="renamed")
    async def wait() -> None:
        await asyncio.Event().wait()

    async with before:
        await before.submit("renamed")
        queued = await before.submit("renamed")
        assert await before.check() == []
    async with Jobs(store=url) as patient:
        assert [job.id for job in await patient.check()] == [queued.id]
        assert (await patient.get(queued.id)).state is State.QUEUED
    after = Jobs(store=url, gone_after=0.1)
    after.function(wait, name="another")
    async with after:
        with pytest.raises(HandlerGone, match="no handler 'renamed' any more"):
            await after.result(queued.id, DEADLINE)
        assert await after.check() == []


async def test_a_handler_that_comes_back(tmp_path: Path) -> None:
    """A queued job whose handler is there again in time runs."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    programs = [Jobs(store=url, concurrency=1, drain_time=0) for _ in range(2)]

    async def work(number: int) -> int:
        if number == 0:
            await asyncio.Event().wait()
        return number

    for program in programs:
        program.function(name="work")(work)
    async with programs[0] as jobs:
        await jobs.submit("work", 0)
        queued = await jobs.submit("work", 1)
    async with Jobs(store=url) as without:
        assert [job.id for job in await without.check()] == [queued.id]
    async with programs[1] as jobs:
        assert await jobs.result(queued.id, DEADLINE) == 1


@pytest.mark.parametrize("back", [59, 86400])
async def test_a_clock_that_is_set_back(store: str, back: float) -> None:
    """Jobs that were queued before the clock was set back do not wait until it is there again."""
    clock = FakeClock()
    jobs = Jobs(store=store, concurrency=1, clock=clock)
    go_on = asyncio.Event()

    @jobs.function
    async def work() -> str:
        await go_on.wait()
        return "done"

    async with jobs:
        await jobs.submit(work)
        queued = await jobs.submit(work)
        clock.advance(-back)
        later = await jobs.submit(work)
        go_on.set()
        for job in (queued, later):
            assert await jobs.result(job.id, DEADLINE) == "done"


async def test_a_clock_that_jumps_ahead(store: str) -> None:
    """When the clock jumps ahead by a day no job runs twice, and none is lost."""
    clock = FakeClock()
    jobs = Jobs(store=store, concurrency=1, clock=clock)
    go_on, runs = asyncio.Event(), []

    @jobs.function(idempotent=True)
    async def work() -> str:
        runs.append(current_job.id)
        await go_on.wait()
        return "done"

    async with jobs:
        accepted = [await jobs.submit(work) for _ in range(3)]
        clock.advance(86400)
        go_on.set()
        for job in accepted:
            assert await jobs.result(job.id, DEADLINE) == "done"
    assert sorted(runs) == sorted(job.id for job in accepted)


async def test_a_look_at_the_queue_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """If the queue cannot be read once, the log says so, and its jobs run after the next look."""

    class Unreadable(MemoryStore):
        fails = False

        async def find(self, query: Query) -> list[Job]:
            if self.fails and query.routes is not None:  # how the engine asks for the queue
                self.fails = False
                raise OSError("on purpose")
            return await super().find(query)

    store = Unreadable()
    jobs = Jobs(store=store, concurrency=1)
    go_on = asyncio.Event()

    @jobs.function
    async def work() -> str:
        await go_on.wait()
        return "done"

    async with jobs:
        await jobs.submit(work)
        store.fails = True
        queued = await jobs.submit(work)
        go_on.set()
        assert await jobs.result(queued.id, DEADLINE) == "done"
    assert not store.fails
    assert "the queue could not be read" in caplog.text


def test_processes_keep_out_of_each_others_way() -> None:
    """Who comes too late with many claims looks further into the queue, and less far in time."""
    assert reach_after(1, [True] * 10) == 1
    assert reach_after(1, []) == 1
    assert reach_after(1, [True, False]) == 2
    assert reach_after(4, [False]) == 8
    assert reach_after(MAX_REACH, [False] * 10) == MAX_REACH
    assert reach_after(8, [True] * 9 + [False]) == 7


async def test_health(store: str) -> None:
    """`health` tells how many jobs run here, and that no more are accepted once it is stopping."""
    jobs = Jobs(store=store, threads=3)
    started, go_on = asyncio.Event(), asyncio.Event()
    healthy = Health(True, None, running=0, abandoned=0, threads=ThreadsInUse(3, 0, 0))
    stopping = replace(healthy, accepting=False, reason="the server is stopping")

    @jobs.function
    async def wait() -> None:
        started.set()
        await go_on.wait()

    async with jobs:
        assert await jobs.health() == healthy
        await jobs.submit(wait)
        await started.wait()
        assert await jobs.health() == replace(healthy, running=1)
        draining = asyncio.create_task(jobs.drain())
        await asyncio.sleep(0)
        assert await jobs.health() == replace(stopping, running=1)
        go_on.set()
        await draining
        assert await jobs.health() == stopping
