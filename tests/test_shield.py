"""`current_job.shield()`: what must not be cut is not, and then a stop that was put off comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Quart

from asyncjobs import Jobs, QuartJobs, State, current_job
from asyncjobs.errors import JobCancelled
from asyncjobs.events import Draining, Overran
from asyncjobs.job import Job
from asyncjobs.running.shield import Stopping

DEADLINE = 20.0
#: Longer than any of these tests may take.
FOR_EVER = 3600.0


class Work:
    """A handler that a test steers, and what it has come to.

    Attributes:
        jobs: that run it.
        inside: it is in its shield.
        go: it may leave that.
        told: what it has gone through, in order.
    """

    def __init__(self, **options: Any) -> None:
        self.jobs = Jobs(**{"store": "memory:", "shield_time": FOR_EVER, **options})
        self.inside = asyncio.Event()
        self.go = asyncio.Event()
        self.told: list[str] = []

    def does(self, handler: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> None:
        self.jobs.function(name="work", **options)(handler)

    async def begun(self) -> Job:
        """The job, once it is in its shield."""
        job = await self.jobs.submit("work")
        await in_time(self.inside.wait())
        return job

    async def shielded(self) -> None:
        """Go through the shield, and on, where that is possible."""
        try:
            async with current_job.shield():
                self.inside.set()
                await self.go.wait()
                self.told.append("shielded")
            self.told.append("went on")
        except asyncio.CancelledError:
            self.told.append("cancelled")
            await asyncio.sleep(0)
            self.told.append("cleaned up")
            raise


async def in_time(what: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await what


async def is_asked(jobs: Jobs, job: Job) -> None:
    """Wait until the handler of a job knows that it shall stop."""
    running = jobs._opened.runner._attempts[job.id]._current  # type: ignore[union-attr]
    async with asyncio.timeout(DEADLINE):
        while not running.is_cancelled:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def stopped(work: Work, how: str) -> AsyncIterator[Job]:
    """Within this a job that is in its shield has been told to stop, in one of three ways."""
    async with work.jobs as jobs:
        job = await work.begun()
        draining = None
        if how == "cancelled":
            await jobs.cancel(job.id)
        elif how == "drained":
            draining = asyncio.create_task(jobs.drain())
        await is_asked(jobs, job)
        yield job
        if draining is not None:
            await in_time(draining)


STOPS = {"cancelled": State.CANCELLED, "timed out": State.FAILED, "drained": State.INTERRUPTED}


@pytest.mark.parametrize("how", STOPS)
async def test_what_is_shielded_is_not_cut(how: str) -> None:
    """Neither a cancellation, nor a time-out, nor the stop of the server cuts what is shielded; it
    takes effect when the shield is left, and once: who cleans up is not cancelled again."""
    work = Work(drain_time=0)
    work.does(work.shielded, timeout=0.05 if how == "timed out" else None, idempotent=False)
    async with stopped(work, how) as job:
        for _ in range(10):
            await asyncio.sleep(0)
        assert (await work.jobs.get(job.id)).state is State.RUNNING
        assert work.told == []
        work.go.set()
        async with asyncio.timeout(DEADLINE):
            while not (job := await work.jobs.get(job.id)).state.is_final:
                await asyncio.sleep(0.001)
    assert (job.state, work.told) == (STOPS[how], ["shielded", "cancelled", "cleaned up"])


@pytest.mark.parametrize("how", STOPS)
async def test_a_shield_holds_no_longer_than_its_time(how: str) -> None:
    """A stop is put off for `shield_time` at most; what is shielded is cut then."""
    work = Work(drain_time=0, shield_time=0.05)
    work.does(work.shielded, timeout=0.05 if how == "timed out" else None, idempotent=False)
    async with stopped(work, how) as job:
        async with asyncio.timeout(DEADLINE):
            while not (job := await work.jobs.get(job.id)).state.is_final:
                await asyncio.sleep(0.001)
    assert (job.state, work.told) == (STOPS[how], ["cancelled", "cleaned up"])


async def test_shields_within_shields_count() -> None:
    """A stop takes effect when the outermost shield is left, and in it others may be entered."""
    work = Work()

    async def nested() -> None:
        async with current_job.shield():
            work.inside.set()
            await work.go.wait()
            async with current_job.shield():
                work.told.append("inner")
            await asyncio.sleep(0)
            current_job.check_cancelled()
            current_job.progress(1)
            work.told.append("outer")
        work.told.append("went on")

    work.does(nested)
    async with stopped(work, "cancelled") as job:
        work.go.set()
        ended = await work.jobs.wait(job.id, DEADLINE)
    assert (ended.state, work.told) == (State.CANCELLED, ["inner", "outer"])
    assert ended.reason == "the job was cancelled while it ran"


async def test_a_handler_that_swallows_its_cancellation_changes_nothing() -> None:
    """A job that was cancelled while it was shielded is cancelled, whatever its handler makes of
    the cancellation, and returns."""
    work = Work()

    async def stubborn() -> str:
        try:
            await work.shielded()
        except asyncio.CancelledError:
            work.told.append("swallowed")
        return "done"

    work.does(stubborn)
    async with stopped(work, "cancelled") as job:
        work.go.set()
        assert (await work.jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert work.told[-1] == "swallowed"


async def test_who_has_been_told_to_stop_begins_nothing_new() -> None:
    """A shield that is entered after the job was told to stop raises: nothing in it begins."""
    work = Work()

    async def late() -> None:
        work.inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            try:
                async with current_job.shield():
                    work.told.append("began")
            except JobCancelled:
                work.told.append("refused")

    work.does(late)
    async with work.jobs as jobs:
        job = await work.begun()
        await jobs.cancel(job.id)
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert work.told == ["refused"]


@pytest.mark.parametrize("how", ["in a group", "gathered"])
async def test_what_a_task_of_the_handler_shields_is_not_cut(how: str) -> None:
    """A task that the handler has started, and waits for, shields as the handler itself: the stop
    takes effect when the last of them has left its shield, in all of them, and once."""
    work = Work()
    others = [asyncio.Event(), asyncio.Event()]

    async def part(name: str, go: asyncio.Event) -> None:
        try:
            async with current_job.shield():
                await go.wait()
                work.told.append(f"{name} shielded")
            work.told.append(f"{name} went on")
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            work.told.append(f"{name} cleaned up")
            raise

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            parts = [part("a", others[0]), part("b", others[1])]
            if how == "in a group":
                for each in parts:
                    group.create_task(each)
            else:
                group.create_task(gathered(*parts))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            work.inside.set()

    async def gathered(*parts: Coroutine[Any, Any, None]) -> None:
        await asyncio.gather(*parts)

    work.does(handler)
    async with stopped(work, "cancelled") as job:
        others[0].set()
        async with asyncio.timeout(DEADLINE):
            while work.told != ["a shielded", "a went on"]:
                await asyncio.sleep(0)
        assert (await work.jobs.get(job.id)).state is State.RUNNING
        others[1].set()
        assert (await work.jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert work.told[2:] == ["b shielded", "b cleaned up"]


async def test_a_shielded_handler_is_not_given_up() -> None:
    """A handler is taken for one that does not stop only once it has been cut: not while it is
    shielded, however long that takes."""
    work = Work()
    work.does(work.shielded)
    told: list[Overran] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
        async with stopped(work, "cancelled") as job:
            work.jobs.events.subscribe(
                lambda event: told.append(event) if isinstance(event, Overran) else None
            )
            await until_timers_of(0.05)
            assert (await work.jobs.get(job.id)).state is State.RUNNING
            work.go.set()
            assert (await work.jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert told == []


async def until_timers_of(seconds: float) -> None:
    """Until a timer that is set now has come, and all that were set before for as long."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


async def test_the_drain_waits_for_what_is_shielded_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stop of a server takes as long as something is shielded; a handler that does not stop
    holds it up no longer for that than otherwise."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
    monkeypatch.setattr("asyncjobs.engines.local.STOP_DEADLINE", 0.1)
    work = Work(drain_time=0)
    work.does(work.shielded)
    stuck = asyncio.Event()

    @work.jobs.function(name="stuck")
    async def never() -> None:
        stuck.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                work.told.append("does not stop")

    drains: list[Draining] = []
    work.jobs.events.subscribe(
        lambda event: drains.append(event) if isinstance(event, Draining) else None
    )
    async with work.jobs as jobs:
        job = await work.begun()
        other = await jobs.submit("stuck")
        await in_time(stuck.wait())
        draining = asyncio.create_task(jobs.drain())
        await is_asked(jobs, job)
        await until_timers_of(0.3)  # after which the stuck one alone would have been ended
        assert not draining.done()
        assert (await jobs.get(other.id)).state.is_final  # its job has not waited
        work.go.set()
        await in_time(draining)  # type: ignore[arg-type]
        assert (await jobs.get(job.id)).state is State.INTERRUPTED
    assert "shielded" in work.told


async def test_a_drain_with_nothing_shielded_does_not_wait_for_the_time_of_shields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing is shielded, `shield_time` is no part of the stop, be it for ever."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
    monkeypatch.setattr("asyncjobs.engines.local.STOP_DEADLINE", 0.1)
    work = Work(drain_time=0, shield_time=float("inf"))
    begun = asyncio.Event()

    async def plain() -> None:
        async with current_job.shield():
            pass
        begun.set()
        await asyncio.Event().wait()

    work.does(plain)
    async with work.jobs as jobs:
        await jobs.submit("work")
        await in_time(begun.wait())
        await in_time(jobs.drain())


class Threaded:
    """A sync handler that a test steers."""

    def __init__(self, **options: Any) -> None:
        self.jobs = Jobs(store="memory:", **{"shield_time": FOR_EVER, **options})
        self.inside = threading.Event()
        self.go = threading.Event()
        self.told: list[str] = []
        self.jobs.function(name="work")(self.shielded)

    def shielded(self) -> None:
        try:
            with current_job.shield(), current_job.shield():
                self.inside.set()
                assert self.go.wait(DEADLINE)
                current_job.progress(1)
                for _ in current_job.track([1]):
                    current_job.check_cancelled()
                self.told.append("shielded")
            self.told.append("went on")
        except asyncio.CancelledError:
            self.told.append("cancelled")
            raise

    async def begun(self) -> Job:
        job = await self.jobs.submit("work")
        assert await asyncio.to_thread(self.inside.wait, DEADLINE)
        return job


async def test_a_thread_shields_as_well() -> None:
    """In a sync handler it is `with current_job.shield()`: progress, track and check_cancelled do
    not raise within, and leaving it does."""
    work = Threaded()
    async with work.jobs as jobs:
        job = await work.begun()
        await jobs.cancel(job.id)
        await is_asked(jobs, job)
        work.go.set()
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert work.told == ["shielded", "cancelled"]


async def test_a_thread_is_not_given_up_while_it_shields(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a handler that shields is left alone until it has left that."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
    work = Threaded()
    async with work.jobs as jobs:
        job = await work.begun()
        await jobs.cancel(job.id)
        await is_asked(jobs, job)
        await until_timers_of(0.1)
        assert (await jobs.get(job.id)).state is State.RUNNING
        assert jobs.threads.in_use.stuck == 0
        work.go.set()
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED


async def test_a_thread_that_shields_for_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After `shield_time` a thread is as without: its job ends, and it learns of that at its next
    look, be that in the shield."""
    monkeypatch.setattr("asyncjobs.running.attempt.STOP_GRACE", 0.01)
    work = Threaded(shield_time=0.05)
    async with work.jobs as jobs:
        job = await work.begun()
        await jobs.cancel(job.id)
        assert (await jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
        work.go.set()
        async with asyncio.timeout(DEADLINE):
            while not work.told:
                await asyncio.sleep(0.001)
    assert work.told == ["cancelled"]


async def test_waiting_for_a_job_is_not_cut_in_a_shield() -> None:
    """A job that waits for another one, within a shield, has its result before it stops."""
    work = Work(concurrency=1)
    other_may_end = asyncio.Event()

    @work.jobs.function(name="other")
    async def other() -> str:
        work.inside.set()
        await other_may_end.wait()
        return "from the other"

    async def parent() -> None:
        async with current_job.shield():
            child = await work.jobs.submit("other")
            work.told.append(await work.jobs.result(child.id))
        work.told.append("went on")

    work.does(parent)
    async with stopped(work, "cancelled") as job:
        other_may_end.set()
        assert (await work.jobs.wait(job.id, DEADLINE)).state is State.CANCELLED
    assert work.told == ["from the other"]


async def test_the_sync_form_is_refused_in_an_async_handler() -> None:
    """`with current_job.shield()` in an async handler says what it is there."""
    work = Work()
    said: list[str] = []

    async def wrong() -> None:
        try:
            with current_job.shield():
                pass
        except TypeError as error:
            said.append(str(error))

    work.does(wrong)
    async with work.jobs as jobs:
        job = await jobs.submit("work")
        assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED
    assert said == ["in an async handler it is: async with current_job.shield()"]


async def test_a_shield_without_a_stop_changes_nothing() -> None:
    """A job that nobody stops goes through its shields, also by way of an exception."""
    work = Work()

    async def plain() -> str:
        for _ in range(2):
            with pytest.raises(LookupError):
                async with current_job.shield():
                    raise LookupError
        async with current_job.shield():
            return "done"

    work.does(plain)
    async with work.jobs as jobs:
        job = await jobs.submit("work")
        assert await jobs.result(job.id, DEADLINE) == "done"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_views_shield_as_well(kind: str, tmp_path: Any) -> None:
    """What the view of a route shields is not cut by the DELETE of its job."""
    app = Quart("shields", root_path=str(tmp_path))
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")
    inside, go, told = threading.Event(), threading.Event(), []

    async def of_loop() -> str:
        async with current_job.shield():
            inside.set()
            while not go.is_set():
                await asyncio.sleep(0.001)
            told.append("shielded")
        return "went on"

    def of_thread() -> str:
        with current_job.shield():
            inside.set()
            assert go.wait(DEADLINE)
            told.append("shielded")
        return "went on"

    view = of_loop if kind == "async" else of_thread
    app.post("/work", endpoint="work")(jobs.background(view))  # type: ignore[type-var]
    async with app.test_app() as test_app, app.app_context():
        client = test_app.test_client()
        job_id = (await (await client.post("/work")).get_json())["TaskId"]
        assert await asyncio.to_thread(inside.wait, DEADLINE)
        answer = await client.delete(f"/jobs/{job_id}")
        assert (await answer.get_json())["cancel_requested"]
        await is_asked(jobs.jobs, await jobs.jobs.get(job_id))
        go.set()
        assert (await jobs.jobs.wait(job_id, DEADLINE)).state is State.CANCELLED
    assert told == ["shielded"]


def test_of_a_stop_and_a_shield_at_the_same_time_one_is_first() -> None:
    """A shield in one thread, and a stop in another: the shield is refused, or the stop is put off,
    and told of once when it is left. Never is neither."""
    for _ in range(300):
        stopping, told = Stopping(), []
        at_once: list[bool] = []
        barrier = threading.Barrier(2)

        def ask(
            stopping: Stopping = stopping,
            told: list[str] = told,
            at_once: list[bool] = at_once,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            at_once.append(stopping.ask(lambda: told.append("now")))

        thread = threading.Thread(target=ask)
        thread.start()
        barrier.wait()
        try:
            stopping.enter()
        except JobCancelled:
            thread.join()
            assert (at_once, told) == ([True], [])
        else:
            ends = stopping.leave()
            thread.join()
            assert (at_once, told, ends) in (([True], [], False), ([False], ["now"], True))
