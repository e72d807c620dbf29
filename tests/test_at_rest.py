"""What a store keeps of a request once its job has ended, and of a job that is forgotten: nothing,
where nothing is to be kept, in no row and no free page."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request

from asyncjobs import Jobs, QuartJobs, State, current_job, transitions
from asyncjobs.errors import InvalidTransition, JobNotFound
from asyncjobs.job import Job, Progress, Request, Response
from asyncjobs.settings import ERASED_IN
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import NOW, a_job, purge_all
from luck import NoWait
from test_routes import poll, serving, submit

DEADLINE = 20
#: What is looked for, in each part of a request a text of its own.
PARTS = {
    part: f"secret-in-the-{part}-0123456789" for part in ("body", "query", "header", "context")
}
#: A small request has all of it in one page, a large one has pages of its own.
SIZES = 40, 3_000, 300_000


def on_disk(path: Path) -> bytes:
    """What is in the database, with all that was written to it.

    Read by another process: for this one to open and close it past SQLite would drop its locks.
    """
    with closing(sqlite3.connect(path)) as connection:
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            pass
    return subprocess.run(["cat", str(path)], stdout=subprocess.PIPE, check=True).stdout


def found(path: Path, texts: dict[str, str] = PARTS) -> set[str]:
    """Which of the texts are somewhere in the database."""
    data = on_disk(path)
    return {part for part, text in texts.items() if text.encode() in data}


def filled(text: str, size: int) -> bytes:
    return (text * (size // len(text) + 1)).encode()


# Of an app.


def secretive(path: Path, **settings: Any) -> tuple[Quart, asyncio.Event]:
    """An app whose requests have secrets in all of their parts, and whose jobs wait."""
    app, let_go = Quart("secretive"), asyncio.Event()
    jobs = QuartJobs(
        app,
        store=f"sqlite:///{path}",
        principal=lambda: {"name": PARTS["context"]},
        keep_headers=["X-Token"],
        **settings,
    )

    def told(view: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(view)
        async def tell() -> Any:
            return await view(told=f"{PARTS['context']} as an argument")

        return tell

    @app.post("/report")
    @told
    @jobs.background
    async def report(told: str) -> Any:
        assert PARTS["context"] in told
        assert current_job.principal == {"name": PARTS["context"]}
        assert PARTS["body"].encode() in await request.get_data()
        await let_go.wait()
        return {"done": True}, int(request.args["status"])

    return app, let_go


async def submit_secrets(client: Any, size: int, status: int = 200) -> str:
    return await submit(
        client,
        f"/report?status={status}&q={PARTS['query']}",
        "POST",
        data=filled(PARTS["body"], size),
        headers={"X-Token": PARTS["header"]},
    )


@pytest.mark.parametrize("size", SIZES)
async def test_the_request_of_a_job_that_succeeds_is_erased(path: Path, size: int) -> None:
    """Body, query, headers and context of its request are in the store until a job has succeeded,
    and nowhere in its database from then on; nor are they when the store is closed."""
    app, let_go = secretive(path)
    async with serving(app) as client:
        polls = [await submit_secrets(client, size) for _ in range(3)]
        assert found(path) == {*PARTS}
        let_go.set()
        for url in polls:
            answer = await poll(client, url)
            assert (answer.status_code, await answer.get_json()) == (200, {"done": True})
        assert found(path) == set()
    assert not Path(f"{path}-wal").exists()
    assert found(path) == set()


@pytest.mark.parametrize("kept", ERASED_IN)
async def test_what_is_kept_is_set(path: Path, kept: str) -> None:
    """By the setting `keep_requests`, the request of a job that has failed is kept for a retry, or
    that of any job, or of none."""
    app, let_go = secretive(path, keep_requests=kept)
    let_go.set()
    async with serving(app) as client:
        for status, is_kept in ((200, kept == "always"), (500, kept != "never")):
            url = await submit_secrets(client, 3_000, status)
            assert (await poll(client, url)).status_code == status
            job_id = url.rpartition("/")[2]
            if is_kept:
                stored = await app.extensions["QUART_JOBS"].jobs.request(job_id)
                assert stored.body == filled(PARTS["body"], 3_000)
            else:
                with pytest.raises(JobNotFound):
                    await app.extensions["QUART_JOBS"].jobs.request(job_id)
        assert found(path) == (set() if kept == "never" else {*PARTS})


# Of a program.


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{path}"


class Program:
    """Functions that come to every end there is."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.jobs = Jobs(store=url, concurrency=4, random=NoWait(), **settings)
        self.let_go = asyncio.Event()
        for threaded in (False, True):
            kind = "thread" if threaded else "task"
            self.jobs.function(name=f"works in a {kind}")(
                self.work_thread if threaded else self.work
            )
            self.jobs.function(name=f"fails in a {kind}", retries=1)(
                self.fail_thread if threaded else self.fail
            )
        self.jobs.function(name="takes too long", timeout=0.01)(self.hold)
        self.jobs.function(name="is cancelled as it runs")(self.hold)
        self.jobs.function(name="is cancelled before", concurrency=1)(self.hold)

    async def work(self, text: str) -> str:
        return "done"

    def work_thread(self, text: str) -> str:
        return "done"

    async def fail(self, text: str) -> None:
        raise RuntimeError("no")

    def fail_thread(self, text: str) -> None:
        raise RuntimeError("no")

    async def hold(self, text: str) -> None:
        await asyncio.Event().wait()

    async def end(self, name: str) -> Job:
        job = await self.jobs.submit(name, "a text")
        if name == "is cancelled before":
            job = await self.jobs.submit(name, "a text")
            await self.jobs.cancel(job.id)
        if name == "is cancelled as it runs":
            async with asyncio.timeout(DEADLINE):
                while (await self.jobs.get(job.id)).state is State.QUEUED:
                    await asyncio.sleep(0.005)
            await self.jobs.cancel(job.id)
        job = await self.jobs.wait(job.id, DEADLINE)
        assert job.state.is_final
        return job


ENDS = {
    "works in a task": State.SUCCEEDED,
    "works in a thread": State.SUCCEEDED,
    "fails in a task": State.FAILED,
    "fails in a thread": State.FAILED,
    "takes too long": State.FAILED,
    "is cancelled as it runs": State.CANCELLED,
    "is cancelled before": State.CANCELLED,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kept", ERASED_IN)
async def test_whatever_a_job_comes_to(url: str, kept: str, end: str) -> None:
    """Whichever end a job comes to, in a task or a thread, its request is kept or not as the
    setting says. Where it is, the job can be retried; where not, that is no step that it can take,
    and the message says why."""
    program = Program(url, keep_requests=kept)
    async with program.jobs as jobs:
        job = await program.end(end)
        assert job.state is ENDS[end]
        is_kept = kept == "always" or (kept == "failed" and job.state is not State.SUCCEEDED)
        if is_kept:
            assert b"a text" in (await jobs.request(job.id)).body
        else:
            with pytest.raises(JobNotFound):
                await jobs.request(job.id)
        if job.state is State.SUCCEEDED:
            with pytest.raises(InvalidTransition, match="succeeded and cannot be retried"):
                await jobs.retry(job.id)
        elif is_kept:
            assert (await jobs.retry(job.id)).state is State.QUEUED
        else:
            with pytest.raises(InvalidTransition, match=r"request is not kept.*'keep_requests'"):
                await jobs.retry(job.id)
            assert await jobs.get(job.id) == job


async def test_a_job_that_is_not_there_cannot_be_retried_for_that(url: str) -> None:
    """Of a job that does not exist, or is somebody else's, nothing is said of its request."""
    program = Program(url, keep_requests="never")
    async with program.jobs as jobs:
        job = await program.end("fails in a task")
        for job_id, owner in (("0" * 32, None), (job.id, "eve")):
            with pytest.raises(JobNotFound):
                await jobs.retry(job_id, owner=owner)


async def test_a_job_that_is_run_again_has_its_request(url: str) -> None:
    """As long as a job may still be run, its request is there, also where none is kept."""
    program = Program(url, keep_requests="never")
    calls = []

    async def work(text: str) -> str:
        calls.append(text)
        if len(calls) < 3:
            raise RuntimeError("not yet")
        return text

    program.jobs.function(name="works in the end", retries=2)(work)
    async with program.jobs as jobs:
        job = await jobs.submit("works in the end", "a text")
        assert await jobs.result(job.id, DEADLINE) == "a text"
        assert calls == ["a text"] * 3


# Of a store.


def secret_job(size: int) -> tuple[Job, Job, Request, Response, dict[str, str]]:
    """A running job and its end, which have secrets in everything that is written of them."""
    texts = {
        part: f"secret-{part}-abcdefghij"
        for part in (
            *("body", "query", "header", "context", "path", "owner", "route"),
            *("reason", "response-header", "response-body", "progress", "matched"),
        )
    }
    job = transitions.start(
        a_job(
            route=texts["route"],
            owner=texts["owner"],
            path=f"/{texts['path']}",
            matched=texts["matched"],
        ),
        "worker",
        NOW,
    )
    job = transitions.report(job, Progress(1, message=texts["progress"]))
    final = transitions.finish(job, 500, NOW, texts["reason"])
    asked = Request(
        "POST",
        f"/{texts['path']}",
        query=texts["query"].encode(),
        headers=((b"x-a", texts["header"].encode()),),
        body=filled(texts["body"], size),
        context=texts["context"].encode(),
    )
    answer = Response(
        500,
        ((b"x-b", texts["response-header"].encode()),),
        filled(texts["response-body"], size),
    )
    return job, final, asked, answer, texts


@pytest.mark.parametrize("size", SIZES)
async def test_a_job_that_is_forgotten_leaves_nothing(path: Path, size: int) -> None:
    """Once a job is purged, nothing that was in it, in its request or in its response is anywhere
    in the database, whatever is kept of other jobs; nor when the store is closed."""
    plain = replace(secret_job(size)[2], query=b"", headers=(), body=bytes(size), context=b"")
    async with SqliteStore(path) as store:
        for _ in range(3):
            await store.add(a_job(), plain)
            job, final, asked, answer, texts = secret_job(size)
            await store.add(job, asked)
            await store.add(a_job(), plain)
            assert found(path, texts) == {*texts} - {"reason", "response-header", "response-body"}
            await store.replace(job, final, answer)
            assert found(path, texts) == {*texts}
            assert await purge_all(store, NOW + 61) == 1
            # The others of these tests have its path as well.
            assert found(path, texts) == {"path"}
    assert not Path(f"{path}-wal").exists()
    assert found(path, texts) == {"path"}


async def test_a_result_that_is_forgotten_leaves_nothing(path: Path) -> None:
    """A job that is retried loses its response, of which nothing is left either."""
    job, final, asked, answer, texts = secret_job(3_000)
    answers = {part: text for part, text in texts.items() if part.startswith("response")}
    async with SqliteStore(path) as store:
        await store.add(job, asked)
        await store.replace(job, final, answer)
        assert found(path, answers) == {*answers}
        await store.replace(final, transitions.retry(final, NOW))
        assert found(path, answers) == set()
        assert await store.request(job.id) == asked


async def test_a_copy_has_nothing_of_it_either(path: Path, tmp_path: Path) -> None:
    """What is erased is in no backup that is made from then on."""
    job, _, asked, _, texts = secret_job(3_000)
    copy = tmp_path / "copy.db"
    async with SqliteStore(path) as store:
        await store.add(job, asked)
        final = transitions.finish(job, 200, NOW)
        await store.replace(job, final, Response(200), erase=True)
        await store.backup(copy)
    assert found(copy, texts) == {"path", "owner", "route", "progress", "matched"}
