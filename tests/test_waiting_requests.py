"""A request that waits for a job holds nothing that the app's hooks have taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from quart import (
    Quart,
    abort,
    copy_current_request_context,
    g,
    request,
    websocket,
)
from quart import Response as QuartResponse
from quart.typing import TestClientProtocol as Client

from apps.signals import Signals
from asyncjobs import QuartJobs, watch
from asyncjobs.errors import JobNotFound
from conftest import Serve
from server import DEADLINE, Server, submit, until

POLLS = 20
WAIT = {"Prefer": "wait=30"}


# With a real database, behind a real server.


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.waiting:app")


def plain(server: Server) -> dict[str, int]:
    """What a route that takes a connection answers."""
    with server.client() as client:
        told: dict[str, int] = client.get("/plain").json()
    return told


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("where", ["the poll route", "a route by hand"])
async def test_polls_that_wait_hold_no_connection_to_a_database(
    server: Server, signals: Signals, name: str, version: str, where: str
) -> None:
    """Four times as many polls wait as quart-db has connections: none of them holds one, or keeps a
    thread, and a plain route that takes one is answered meanwhile."""
    with server.client() as client:
        poll = submit(client, "GET", f"/wait/{name}")
    if where == "a route by hand":
        poll = f"/by-hand/{poll.rpartition('/')[2]}"
    before = plain(server)
    options: Any = {"http1": False, "http2": True} if version == "HTTP/2" else {}
    limits = httpx.Limits(max_connections=POLLS)

    async with httpx.AsyncClient(
        base_url=server.url, timeout=DEADLINE, limits=limits, **options
    ) as polling:
        polls = [asyncio.create_task(polling.get(poll, headers=WAIT)) for _ in range(POLLS)]

        def all_wait() -> dict[str, int] | None:
            told = plain(server)
            return told if told["gave back"] - before["gave back"] >= POLLS else None

        meanwhile = await asyncio.to_thread(until, all_wait, "that all polls wait")
        assert not any(poll.done() for poll in polls)
        signals.send(f"{name}.go")
        answers = await asyncio.gather(*polls)

    assert meanwhile is not None
    assert meanwhile["one"] == 1
    assert meanwhile["acquired by others"] == 0
    assert meanwhile["threads"] < before["threads"] + POLLS // 2
    assert {answer.http_version for answer in answers} == {version}
    assert [answer.json() for answer in answers] == [{"waited": name}] * POLLS
    assert {answer.headers["Preference-Applied"] for answer in answers} == {"wait=30"}
    after = plain(server)
    assert after["took"] - before["took"] == after["gave back"] - before["gave back"] == 2 * POLLS


# What is dispatched twice.


class Parts:
    """An app whose hooks and jobs a test can follow."""

    def __init__(self, app: Quart, jobs: QuartJobs) -> None:
        self.app = app
        self.jobs = jobs
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.before: list[str] = []
        self.after: list[int] = []
        self.torn_down = 0

    async def all_left(self, requests: int = 1) -> None:
        """Wait until so many requests with a preference have left their context."""
        async with asyncio.timeout(DEADLINE):
            while self.torn_down < requests:
                self.left.clear()
                await self.left.wait()


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    app = Quart("waiting")
    app.secret_key = "for the sessions of a test"
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")
    parts = Parts(app, jobs)

    @app.before_request
    async def note() -> None:
        if "Prefer" in request.headers:
            parts.before.append(request.method)

    @app.after_request
    async def look(response: Any) -> Any:
        if "Prefer" in request.headers:
            parts.after.append(response.status_code)
            if isinstance(response, QuartResponse):
                response.headers["X-Length"] = str(len(await response.get_data(as_text=False)))
            response.headers["X-Dispatch"] = str(len(parts.after))
            response.set_cookie(f"dispatch-{len(parts.after)}", "yes")
        return response

    @app.teardown_request
    async def leave(error: BaseException | None) -> None:
        if "Prefer" in request.headers:
            parts.torn_down += 1
            parts.left.set()

    @app.get("/slow")
    @jobs.background
    async def slow() -> str:
        await parts.go.wait()
        return "done"

    return parts


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[Client]:
    async with parts.app.test_app() as running:
        yield running.test_client()
        parts.go.set()


async def submitted(client: Client) -> str:
    return str((await client.get("/slow")).headers["Location"])


async def answered(polling: Awaitable[Any]) -> QuartResponse:
    async with asyncio.timeout(DEADLINE):
        answer: QuartResponse = await polling
    return answer


async def test_the_answer_is_that_of_the_second_dispatch(parts: Parts, client: Client) -> None:
    """A poll that waits is dispatched twice, each time with all hooks, and nothing of the first
    answer is sent: after_request functions have seen the body that the client gets."""
    poll = await submitted(client)

    polling = asyncio.create_task(client.get(poll, headers=WAIT))
    await parts.all_left()
    parts.go.set()
    answer = await answered(polling)

    assert await answer.get_data(as_text=True) == "done"
    assert answer.headers["X-Length"] == "4"
    assert answer.headers["X-Dispatch"] == "2"
    assert [cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")] == [
        "dispatch-2"
    ]
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert parts.after == [202, 200]
    assert (len(parts.before), parts.torn_down) == (2, 2)


async def test_a_poll_that_need_not_wait_is_dispatched_once(parts: Parts, client: Client) -> None:
    """The job is final already, or the wait is one of no seconds: one dispatch."""
    poll = await submitted(client)

    at_once = await client.get(poll, headers={"Prefer": "wait=0"})
    assert parts.after == [202]
    assert at_once.headers["Preference-Applied"] == "wait=0"
    parts.go.set()
    await client.get(poll, headers=WAIT)
    waited = len(parts.after)
    final = await client.get(poll, headers=WAIT)

    assert final.headers["Preference-Applied"] == "wait=30"
    assert len(parts.after) == waited + 1


async def test_a_poll_that_need_not_wait_follows_nothing(
    parts: Parts, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is read first: only where it is not final yet, and there is time, it is followed."""
    poll = await submitted(client)
    followed = []
    follow = watch.Watch.follow

    def note(watched: watch.Watch, job_id: str, **how: Any) -> Any:
        followed.append(job_id)
        return follow(watched, job_id, **how)

    monkeypatch.setattr(watch.Watch, "follow", note)
    await client.get(poll, headers={"Prefer": "wait=0"})
    parts.go.set()
    await client.get(poll, headers=WAIT)
    del followed[:]
    await client.get(poll, headers=WAIT)

    assert followed == []


async def test_an_end_before_the_wait_has_begun_is_not_missed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ends after its poll has read it, and before anybody follows it, is answered then,
    although there is no hint of that any more, and no look."""
    monkeypatch.setattr(watch, "REREAD_INTERVAL", 3600.0)

    @parts.app.teardown_request
    async def end(error: BaseException | None) -> None:
        if "Prefer" in request.headers and not parts.go.is_set():
            parts.go.set()
            assert (await parts.jobs.jobs.wait(job_id, DEADLINE)).state.is_final

    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = await submitted(client)
        job_id = poll.rpartition("/")[2]
        answer = await answered(client.get(poll, headers=WAIT))

    assert answer.status_code == 200
    assert parts.after == [202, 200]


async def test_a_wait_that_is_over_before_the_job_is_answered_202(
    parts: Parts, client: Client
) -> None:
    """A job that takes longer than the wait: the answer is the second one, with its preference."""
    answer = await client.get(await submitted(client), headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.headers["Job-State"] == "running"
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert parts.after == [202, 202]


async def test_head_waits_as_well(parts: Parts, client: Client) -> None:
    """HEAD with a preference waits outside of its context, as GET does."""
    poll = await submitted(client)

    polling = asyncio.create_task(client.head(poll, headers=WAIT))
    await parts.all_left()
    parts.go.set()
    answer = await answered(polling)

    assert answer.status_code == 200
    assert parts.before == ["HEAD", "HEAD"]


async def test_rights_that_are_withdrawn_meanwhile_count(parts: Parts, client: Client) -> None:
    """A guard that lets a poll in, and would not any more when the wait is over, is obeyed."""
    allowed = True

    @parts.app.before_request
    async def guard() -> None:
        if not allowed:
            abort(401)

    poll = await submitted(client)
    polling = asyncio.create_task(client.get(poll, headers=WAIT))
    await parts.all_left()
    allowed = False
    parts.go.set()
    answer = await answered(polling)

    assert answer.status_code == 401


async def test_who_is_not_let_in_does_not_wait(parts: Parts, client: Client) -> None:
    """A guard's answer, and a 404, are sent as they are: there is nothing to wait for."""
    poll = await submitted(client)
    unknown = await client.get(f"/slow/{'0' * 32}", headers=WAIT)

    @parts.app.before_request
    async def guard() -> None:
        abort(401)

    refused = await client.get(poll, headers=WAIT)

    assert (unknown.status_code, refused.status_code) == (404, 401)
    assert parts.after == [404, 401]


async def test_the_second_dispatch_is_fresh(parts: Parts, client: Client) -> None:
    """It has a request and a `g` of its own, and finds no context variable as a hook has left it
    the first time; the context of the app has been torn down in between."""
    variable: ContextVar[str] = ContextVar("variable", default="untouched")
    seen: list[Any] = []
    torn_down: list[Any] = []

    @parts.app.before_request
    async def touch() -> None:
        if "Prefer" in request.headers:
            seen.append((variable.get(), g.get("mark"), len(torn_down)))
            variable.set("touched")
            g.mark = request.mark = "touched"  # type: ignore[attr-defined]

    @parts.app.teardown_appcontext
    async def tear_down(error: BaseException | None) -> None:
        if g.get("mark"):
            torn_down.append(error)

    poll = await submitted(client)
    polling = asyncio.create_task(client.get(poll, headers=WAIT))
    await parts.all_left()
    parts.go.set()
    await answered(polling)

    assert seen == [("untouched", None, 0), ("untouched", None, 1)]
    assert torn_down == [None, None]


async def test_what_goes_wrong_meanwhile_is_answered_by_the_second_dispatch(
    parts: Parts, client: Client
) -> None:
    """A job that is gone while its poll waits is the app's own 404, as soon as that is known."""
    poll = await submitted(client)

    polling = asyncio.create_task(client.get(poll, headers=WAIT))
    await parts.all_left()
    async with parts.app.app_context():
        jobs = parts.jobs.jobs
    jobs._opened.store.result = jobs._opened.store.get = missing  # type: ignore[method-assign]
    parts.go.set()
    answer = await answered(polling)

    assert answer.status_code == 404
    assert parts.after == [202, 404]


async def missing(job_id: str, *args: Any) -> NoReturn:
    """A fault of the store: it has the job no more."""
    raise JobNotFound(job_id)


async def test_a_client_that_hangs_up_ends_the_wait(parts: Parts, client: Client) -> None:
    """The wait of a client that has gone is over, and its request is not dispatched once more."""
    connection = client.request(await submitted(client), headers=WAIT)
    polling = asyncio.create_task(exchange(connection))
    await parts.all_left()
    await connection.disconnect()
    await asyncio.wait([polling], timeout=DEADLINE)
    parts.go.set()

    assert polling.done()
    assert parts.after == [202]


async def test_a_client_that_hangs_up_just_before_the_wait(parts: Parts, client: Client) -> None:
    """Nobody waits for a client who goes before the wait has begun, whatever has kept the first
    answer up meanwhile, and although that has caught the cancellation."""

    @parts.app.teardown_request
    async def catch(error: BaseException | None) -> None:
        if "Prefer" in request.headers:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    connection = client.request(await submitted(client), headers=WAIT)
    polling = asyncio.create_task(exchange(connection))
    async with asyncio.timeout(DEADLINE):
        while not parts.after:
            await asyncio.sleep(0.005)
    await connection.disconnect()
    await asyncio.wait([polling], timeout=DEADLINE)
    parts.go.set()

    assert polling.done()
    assert parts.after == [202]


async def exchange(connection: Any) -> None:
    """Send a request without a body, and wait until the server has done with it."""
    with suppress(Exception, asyncio.CancelledError):
        async with connection:
            await connection.send_complete()


async def test_a_shutdown_answers_who_waits(parts: Parts) -> None:
    """Polls that wait when the server stops are answered at once, and outlast nothing."""
    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = await submitted(client)
        polling = asyncio.create_task(client.get(poll, headers={"Prefer": "wait=3600"}))
        await parts.all_left()
    answer = await answered(polling)

    assert (answer.status_code, answer.headers["Job-State"]) == (202, "running")
    assert len(parts.after) == 2


# Polls in views of the app's own.


async def test_a_view_may_do_with_the_answer_what_it_likes(parts: Parts, client: Client) -> None:
    """What a route written by hand makes of `jobs.poll` is what is sent, made of the last answer,
    also if it streams, raises, or answers something else."""

    @parts.app.get("/by-hand/<job_id>")
    async def by_hand(job_id: str) -> Any:
        response = await parts.jobs.poll(job_id)
        if response.status_code == 202:
            abort(409)

        async def stream() -> AsyncIterator[bytes]:
            yield b"<" + await response.get_data(as_text=False) + b">"

        return stream()

    poll = (await submitted(client)).replace("slow", "by-hand")
    polling = asyncio.create_task(client.get(poll, headers=WAIT))
    await parts.all_left()
    parts.go.set()
    answer = await answered(polling)

    assert (answer.status_code, await answer.get_data(as_text=True)) == (200, "<done>")
    assert parts.after == [409, 200]


async def test_a_view_that_polls_several_jobs_waits_for_all(parts: Parts, client: Client) -> None:
    """It is called again when each of them is final."""
    go = [asyncio.Event(), asyncio.Event()]

    @parts.app.get("/of/<int:number>")
    @parts.jobs.background
    async def of(number: int) -> str:
        await go[number].wait()
        return "done"

    @parts.app.get("/both/<one>/<other>")
    async def both(one: str, other: str) -> list[int]:
        return [(await parts.jobs.poll(job_id)).status_code for job_id in (one, other)]

    ids = [
        str((await client.get(f"/of/{number}")).headers["Location"]).rpartition("/")[2]
        for number in range(2)
    ]
    polling = asyncio.create_task(client.get(f"/both/{'/'.join(ids)}", headers=WAIT))
    await parts.all_left()
    for event in (go[1], go[0]):
        assert not polling.done()
        event.set()
        await asyncio.sleep(0)
    assert await (await answered(polling)).get_json() == [200, 200]


@pytest.mark.parametrize("what", ["makes the job", "is a POST", "has a body"])
async def test_what_could_be_done_twice_is_done_once(
    parts: Parts, client: Client, what: str
) -> None:
    """A request waits where it is, and its view is called once, if that has made the job itself, if
    its method is not safe, or if it has a body."""
    called: list[Any] = []
    async with parts.app.app_context():
        jobs = parts.jobs.jobs

    @jobs.function(name="work")
    async def work() -> str:
        await parts.go.wait()
        return "done"

    @parts.app.route("/by-hand/<job_id>", methods=["GET", "POST"])
    async def by_hand(job_id: str) -> Any:
        called.append(await request.get_data())
        if what == "makes the job":
            job_id = (await jobs.submit("work")).id
        parts.go.set()
        return await parts.jobs.poll(job_id)

    poll = (await submitted(client)).replace("slow", "by-hand")
    method = "POST" if what == "is a POST" else "GET"
    body = b"a body" if what == "has a body" else None
    answer = await client.open(poll, method=method, headers=WAIT, data=body)

    assert answer.status_code == 200
    assert called == [body or b""]
    assert parts.torn_down == 1


async def test_a_poll_that_outlives_its_request_waits_where_it_is(
    parts: Parts, client: Client
) -> None:
    """`jobs.poll` in a task with a copy of the context, and in `test_request_context`, waits there:
    no connection does so for it."""
    polled: list[asyncio.Task[int]] = []
    async with parts.app.app_context():
        jobs = parts.jobs.jobs

    @parts.app.get("/by-hand/<job_id>")
    async def by_hand(job_id: str) -> str:
        @copy_current_request_context
        async def poll_later() -> int:
            await parts.all_left()
            return (await parts.jobs.poll(job_id)).status_code

        polled.append(asyncio.create_task(poll_later()))
        return "later"

    job_id = (await submitted(client)).rpartition("/")[2]
    answer = await client.get(f"/by-hand/{job_id}", headers=WAIT)

    async def poll_in_a_test() -> int:
        async with parts.app.test_request_context("/", headers=WAIT):
            return (await parts.jobs.poll(job_id)).status_code

    polled.append(asyncio.create_task(poll_in_a_test()))
    async with asyncio.timeout(DEADLINE):
        while (waits := jobs._opened.watch._followed.get(job_id)) is None or len(
            waits.followers
        ) < 2:
            assert not any(task.done() for task in polled)
            await asyncio.sleep(0.005)
        parts.go.set()
        assert await asyncio.gather(*polled) == [200, 200]

    assert await answer.get_data(as_text=True) == "later"


async def test_a_websocket_is_what_it_was(parts: Parts, client: Client) -> None:
    """A websocket's connection is none of a request's: nothing of it is done twice."""
    opened: list[str] = []

    @parts.app.websocket("/socket")
    async def socket() -> None:
        opened.append(await websocket.receive())
        await websocket.send("heard")

    async with client.websocket("/socket", headers=WAIT) as connection:
        await connection.send("hello")
        assert await connection.receive() == "heard"

    assert opened == ["hello"]


async def test_who_was_asked_before_waits_all_the_same(parts: Parts, client: Client) -> None:
    """A task that an earlier cancellation was caught in, by a middleware, is not that of a client
    who has gone."""
    poll = await submitted(client)

    async def asked_before() -> QuartResponse:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        connection = client.request(poll, headers=WAIT)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await parts.app(connection.scope, messages.get, send)  # type: ignore[arg-type]
        return QuartResponse(sent[1]["body"], sent[0]["status"])

    polling = asyncio.create_task(asked_before())
    await parts.all_left()
    parts.go.set()
    answer = await answered(polling)

    assert (answer.status_code, await answer.get_data()) == (200, b"done")
