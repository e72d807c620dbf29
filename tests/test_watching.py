"""The status of a job as a stream of events."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart, Response, abort, g, request, session
from quart.typing import TestClientProtocol as Client

from asyncjobs import Job, Jobs, QuartJobs, transitions
from asyncjobs.errors import JobNotFound, StoreUnavailable
from asyncjobs.job import Progress
from asyncjobs.watch import Follower
from asyncjobs.web.answering import answers, watching
from asyncjobs.web.http import event_stream
from asyncjobs.web.quart_side import current_context
from waits import until

DEADLINE = 20.0
#: Seconds that no test lasts.
NEVER = 3600.0
EVENTS = {"Accept": "text/event-stream"}


class Parts:
    """An app whose jobs end when a test says so."""

    def __init__(self, store: str, **settings: Any) -> None:
        self.app = Quart("watched")
        self.app.secret_key = "for the sessions of a test"
        self.quart_jobs = QuartJobs(
            self.app, store=store, owner=lambda: request.headers.get("X-User"), **settings
        )
        self.go = asyncio.Event()
        self.streams: list[Stream] = []

        @self.app.get("/slow")
        @self.quart_jobs.background
        async def slow() -> str:
            await self.go.wait()
            return "done"

        @self.app.get("/one-at-a-time")
        @self.quart_jobs.background(concurrency=1)
        async def one_at_a_time() -> str:
            await self.go.wait()
            return "done"

    @property
    def jobs(self) -> Jobs:
        jobs: Jobs = self.app.extensions["QUART_JOBS"].jobs
        return jobs

    async def submitted(self, path: str = "/slow", **headers: str) -> str:
        """The id of a new job."""
        answer = await self.app.test_client().get(path, headers=headers)
        return str((await answer.get_json())["TaskId"])

    async def final(self, **headers: str) -> Job:
        """A new job that has come to its end."""
        self.go.set()
        return await self.jobs.wait(await self.submitted(**headers), DEADLINE)

    async def report(self, job_id: str, done: int) -> Job:
        """Have the job tell how far it has come, and that be stored."""
        store = self.jobs._opened.store  # type: ignore[union-attr]
        job = await store.get(job_id)
        reported = transitions.report(job, Progress(done, 10))
        await store.replace(job, reported)
        return reported

    def watch(self, job_id: str, **options: Any) -> Stream:
        stream = Stream(self.app, f"/jobs/{job_id}", **options)
        self.streams.append(stream)
        return stream

    def followers(self, job_id: str) -> int:
        followed = self.jobs._opened.watch._followed.get(job_id)  # type: ignore[union-attr]
        return 0 if followed is None else len(followed.followers)


class Stream:
    """A client that watches, over a connection as a server brings it.

    Args:
        way: whether the server's `receive` is that of a queue, as hypercorn's is, by which our
            connection knows that all of the request is there.
        takes: whether the client takes what it is sent; set it to have it go on.

    Attributes:
        handled: the call of the app.
        fault: what the server raises instead of sending something.
    """

    def __init__(
        self,
        app: Quart,
        path: str,
        *,
        way: str = "a queue",
        method: str = "GET",
        root_path: str = "",
        takes: bool = True,
        **headers: str,
    ) -> None:
        headers = {"host": "localhost", "accept": "text/event-stream", **headers}
        scope: Any = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": root_path + path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": root_path,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self.takes = asyncio.Event()
        if takes:
            self.takes.set()
        self.fault: Exception | None = None
        self._is_quarts = way != "a queue"
        receive: Any = self._receive if self._is_quarts else self._messages.get
        send: Any = self._send
        self.handled = asyncio.create_task(app(scope, receive, send))

    async def opened(self) -> tuple[int, dict[str, str]]:
        """The status and the headers."""
        message = await self._next()
        assert message["type"] == "http.response.start"
        headers = {name.decode(): value.decode() for name, value in message["headers"]}
        return message["status"], headers

    async def part(self) -> bytes:
        """The next part of the body; empty at its end."""
        message = await self._next()
        while message["type"] == "http.response.start":
            message = await self._next()
        body: bytes = message["body"]
        assert body or not message["more_body"]
        return body

    async def event(self) -> dict[str, Any]:
        """The next event, with its document."""
        fields = fields_of(await self.part())
        assert fields["event"] == "status"
        return {"version": int(fields["id"]), **json.loads(fields["data"])}

    async def rest(self) -> list[bytes]:
        """All that is sent until the server is done."""
        parts = [part async for part in self._parts()]
        if self._is_quarts:  # which may wait for the client to go
            self.hang_up()
        async with asyncio.timeout(DEADLINE):
            await self.handled
        return parts

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    def waiting(self) -> int:
        """How many messages have been sent that the test has not looked at."""
        return self._sent.qsize()

    async def _parts(self) -> AsyncIterator[bytes]:
        while part := await self.part():
            yield part

    async def _next(self) -> Any:
        async with asyncio.timeout(DEADLINE):
            return await self._sent.get()

    async def _receive(self) -> Any:
        return await self._messages.get()

    async def _send(self, message: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self._sent.put_nowait(message)
        await self.takes.wait()


def fields_of(part: bytes) -> dict[str, str]:
    """The fields of an event; a comment is a field without a name."""
    text = part.decode()
    assert text.endswith("\n\n")
    assert text.count("\n\n") == 1
    pairs = [line.partition(":") for line in text.splitlines() if line]
    return {name: value.removeprefix(" ") for name, _, value in pairs}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
async def parts(store: str) -> AsyncIterator[Parts]:
    parts = Parts(store)
    async with parts.app.test_app():
        yield parts
        parts.go.set()
    await ended(parts)


async def ended(parts: Parts) -> None:
    for stream in parts.streams:
        stream.hang_up()
        stream.takes.set()
        await asyncio.wait([stream.handled], timeout=DEADLINE)
        assert stream.handled.done()


@pytest.fixture
def client(parts: Parts) -> Client:
    return parts.app.test_client()


@pytest.fixture
def without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE", 0)


ways = pytest.mark.parametrize("way", ["a queue", "a function"])


# What is sent.


@ways
async def test_it_begins_with_the_status_and_ends_with_the_job(parts: Parts, way: str) -> None:
    """The first event comes at once, and is the status as it is; the last one is the final state,
    after which the stream ends. Each has the job's version as its id, and is the document that JSON
    has."""
    job_id = await parts.submitted()
    stream = parts.watch(job_id, way=way)

    first = await stream.event()
    job = await parts.jobs.get(job_id)
    assert (first["version"], first["state"]) == (job.version, "running")
    parts.go.set()
    last = await stream.event()
    assert await stream.rest() == []

    assert last.pop("version") == (await parts.jobs.get(job_id)).version
    assert last == await (await parts.app.test_client().get(f"/jobs/{job_id}")).get_json()
    assert last["state"] == "succeeded"


@pytest.mark.usefixtures("without_a_pause")
async def test_each_change_is_an_event(parts: Parts) -> None:
    """Progress that is told one by one is sent one by one, to all who watch."""
    job_id = await parts.submitted()
    streams = [parts.watch(job_id) for _ in range(3)]
    for stream in streams:
        assert (await stream.event())["progress"] is None
    for done in (1, 2, 3):
        job = await parts.report(job_id, done)
        for stream in streams:
            event = await stream.event()
            assert (event["version"], event["progress"]["current"]) == (job.version, done)


async def test_a_queued_job_is_watched_from_its_place_to_its_end(parts: Parts) -> None:
    """Queued, running, final: the states that it comes to are all told, where they last."""
    await parts.submitted("/one-at-a-time")
    stream = parts.watch(await parts.submitted("/one-at-a-time"))

    assert (await stream.event())["state"] == "queued"
    parts.go.set()
    states = [json.loads(fields_of(part)["data"])["state"] for part in await stream.rest()]
    assert states[-1] == "succeeded"
    assert set(states) <= {"running", "succeeded"}


@pytest.mark.usefixtures("without_a_pause")
async def test_who_watches_a_queued_job_sees_it_move_up(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is looked at every few seconds, and told where it is another one, by an event with
    the version that the job still has; a sign of life says that it is the same."""
    assert watching.LOOK_AT_QUEUE == 5
    monkeypatch.setattr(watching, "LOOK_AT_QUEUE", 0.01)
    _, second, third = [await parts.submitted("/one-at-a-time") for _ in range(3)]
    stream = parts.watch(third)
    first = await stream.event()
    assert first["ahead"] == 1
    assert await stream.part() == b":\n\n"
    await parts.jobs.cancel(second)
    while (part := await stream.part()) == b":\n\n":
        pass
    fields = fields_of(part)
    moved = {"version": int(fields["id"]), **json.loads(fields["data"])}
    assert moved == {**first, "ahead": 0}


async def test_changes_that_come_soon_are_one_event(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the pause after an event nothing is sent, and after it the newest state alone."""
    assert watching.PAUSE == 1 / 5
    over = asyncio.Event()
    paused = asyncio.Event()

    async def until_final(self: Follower, job: Job, limit: float) -> None:
        assert limit == watching.PAUSE
        paused.set()
        await over.wait()

    monkeypatch.setattr(Follower, "until_final", until_final)
    job_id = await parts.submitted()
    stream = parts.watch(job_id)
    await stream.event()
    await paused.wait()
    for done in range(1, 6):
        await parts.report(job_id, done)
    assert stream.waiting() == 0
    over.set()
    assert (await stream.event())["progress"]["current"] == 5


async def test_the_final_state_is_never_held_back(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the pause is: the end of the job is its end."""
    monkeypatch.setattr(watching, "PAUSE", NEVER)
    job_id = await parts.submitted()
    stream = parts.watch(job_id)
    await stream.event()
    await parts.report(job_id, 1)
    parts.go.set()
    assert (await stream.event())["state"] == "succeeded"
    assert await stream.rest() == []


@pytest.mark.usefixtures("without_a_pause")
async def test_a_silent_stream_says_that_it_lives(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing changes a comment is sent now and then, which is no event and has no id."""
    assert watching.HEARTBEAT == 15
    monkeypatch.setattr(watching, "HEARTBEAT", 0.01)
    stream = parts.watch(await parts.submitted())
    await stream.event()
    assert {await stream.part() for _ in range(5)} == {b":\n\n"}


@ways
async def test_no_time_out_of_quarts_ends_it(
    parts: Parts, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``RESPONSE_TIMEOUT``, which ends other streams, does not count for this one."""
    monkeypatch.setattr(watching, "HEARTBEAT", 0.05)
    parts.app.config["RESPONSE_TIMEOUT"] = 0.01
    stream = parts.watch(await parts.submitted(), way=way)
    await stream.event()
    for _ in range(3):
        await stream.part()
    parts.go.set()
    assert b'"succeeded"' in (await stream.rest())[-1]


@pytest.mark.usefixtures("without_a_pause")
async def test_a_document_is_made_once_for_all_who_watch(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, each version of a job is written as JSON once, and is the same bytes
    in memory; whoever is told of other links has a document of his own."""
    made: list[int] = []
    status_of = answers.status_of

    def counting(job: Job, *args: Any, **options: Any) -> dict[str, Any]:
        made.append(job.version)
        return status_of(job, *args, **options)

    monkeypatch.setattr(answers, "status_of", counting)
    job_id = await parts.submitted()
    streams = [parts.watch(job_id) for _ in range(20)]
    assert len({id(await stream.part()) for stream in streams}) == 1
    job = await parts.report(job_id, 1)
    assert len({id(await stream.part()) for stream in streams}) == 1
    assert made == [job.version - 1, job.version]

    below = await parts.watch(job_id, root_path="/below").event()
    assert below["links"]["self"] == f"/below/jobs/{job_id}"
    assert made == [job.version - 1, job.version, job.version]


async def test_a_change_is_read_once_for_all_who_watch(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, also for those who are in their pause when it comes."""
    monkeypatch.setattr(watching, "PAUSE", 0.3)
    job_id = await parts.submitted()
    streams = [parts.watch(job_id) for _ in range(20)]
    for stream in streams:
        await stream.event()
    reads: list[str] = []
    store: Any = parts.jobs._opened.store  # type: ignore[union-attr]
    get = store.get

    async def counting(job_id: str, *args: Any) -> Job:
        reads.append(job_id)
        job: Job = await get(job_id, *args)
        return job

    await parts.report(job_id, 1)
    monkeypatch.setattr(store, "get", counting)
    for stream in streams:
        assert (await stream.event())["progress"]["current"] == 1
    assert len(reads) <= 2  # one for all; and one look may fall in between


# Who asks for it.


@pytest.mark.parametrize(
    ("accept", "wants"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream;charset=utf-8", True),
        ("text/event-stream, */*", False),
        ("text/event-stream, */*;q=0.9", True),
        ("text/event-stream, application/json", False),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0.9, application/json;q=0.8", True),
        ("text/event-stream;q=0.8, application/json;q=0.9", False),
        ("application/json;q=0.1, text/event-stream;q=0.5, */*;q=0.8", True),
        ("text/event-stream;q=0.1, */*", False),
        ("text/event-stream;q=0", False),
        ("text/*", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/event-stream;q=much", False),
        ("event-stream", False),
        (";;,,/", False),
    ],
)
async def test_who_would_rather_have_events_has_them(
    parts: Parts, client: Client, accept: str | None, wants: bool
) -> None:
    """By the weights in ``Accept``; in doubt, and where both are liked as much, it is JSON."""
    job = await parts.final()
    headers = {} if accept is None else {"Accept": accept}
    answer = await client.get(f"/jobs/{job.id}", headers=headers)
    kind = "text/event-stream" if wants else "application/json"
    assert (answer.status_code, answer.mimetype) == (200, kind)
    assert "accept" in answer.vary


async def test_several_lines_are_one_list(parts: Parts) -> None:
    """``Accept`` may come in parts."""
    job = await parts.final()
    client = parts.app.test_client()
    headers = [("Accept", "application/json;q=0.5"), ("Accept", "text/event-stream")]
    answer = await client.get(f"/jobs/{job.id}", headers=headers)  # type: ignore[arg-type]
    assert answer.mimetype == "text/event-stream"


async def test_nobody_on_the_way_keeps_or_changes_it(parts: Parts) -> None:
    """What the headers say to caches, proxies and browsers."""
    parts.app.secret_key = None  # nor is it said to vary by a cookie, then
    job_id = await parts.submitted()
    assert await parts.watch(job_id).opened() == (
        200,
        {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",
            "vary": "Accept",
            "link": f'</jobs/{job_id}>; rel="status"',
            "job-state": "running",
        },
    )


@pytest.mark.parametrize("is_final", [False, True])
async def test_head_has_the_headers_alone(parts: Parts, client: Client, is_final: bool) -> None:
    """HEAD is answered as GET, at once, without an event, and nobody watches."""
    job_id = (await parts.final()).id if is_final else await parts.submitted()
    expected = await parts.watch(job_id).opened()
    stream = parts.watch(job_id, method="HEAD")
    assert await stream.opened() == expected
    assert await stream.rest() == []


async def test_to_cancel_is_answered_as_ever(parts: Parts, client: Client) -> None:
    """DELETE has the status document, whatever is accepted."""
    answer = await client.delete(f"/jobs/{await parts.submitted()}", headers=EVENTS)
    assert answer.mimetype == "application/json"
    assert (await answer.get_json())["cancel_requested"]


async def test_who_watches_sees_the_job_cancelled(parts: Parts, client: Client) -> None:
    """Whoever has cancelled it."""
    job_id = await parts.submitted()
    stream = parts.watch(job_id)
    await stream.event()
    await client.delete(f"/jobs/{job_id}")
    (*_, last) = await stream.rest()
    assert json.loads(fields_of(last)["data"])["state"] == "cancelled"


# Who comes back.


@pytest.mark.parametrize(
    ("known", "status"),
    [(None, 200), (-1, 200), (0, 204), (1, 204), (10**18, 204)],
)
async def test_who_has_seen_the_end_is_told_not_to_come_back(
    parts: Parts, known: int | None, status: int
) -> None:
    """Of a final job: 204, which ends an `EventSource`, if the last event that its client has seen
    is no older than the job is now; else what it is now."""
    job = await parts.final()
    headers = {} if known is None else {"last-event-id": str(job.version + known)}
    stream = parts.watch(job.id, **headers)
    code, headers = await stream.opened()
    sent = await stream.rest()
    assert (code, len(sent)) == (status, int(status == 200))
    if status == 204:
        assert "content-type" not in headers
        assert "content-length" not in headers
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("known", ["", "x", "-1", "1.0", " 9", "9" * 20, "٣", "99 "])
async def test_an_id_that_is_none_of_ours_is_none(parts: Parts, known: str) -> None:
    """What is no version of a job says nothing of what its client has seen."""
    job = await parts.final()
    status, _ = await parts.watch(job.id, **{"last-event-id": known}).opened()
    assert status == 200


async def test_a_running_job_is_told_of_in_any_case(parts: Parts) -> None:
    """Who comes back to a running job is sent its state, although it has seen that."""
    job_id = await parts.submitted()
    job = await parts.jobs.get(job_id)
    stream = parts.watch(job_id, **{"last-event-id": str(job.version)})
    event = await stream.event()
    assert (event["version"], event["state"]) == (job.version, "running")


async def test_a_retried_job_is_told_of_again(parts: Parts, client: Client) -> None:
    """The end that a client has seen is not the last one of a job that runs once more."""
    job_id = await parts.submitted()
    await client.delete(f"/jobs/{job_id}")
    cancelled = await parts.jobs.wait(job_id, DEADLINE)
    await parts.jobs.retry(job_id)
    stream = parts.watch(job_id, **{"last-event-id": str(cancelled.version)})
    assert (await stream.opened())[0] == 200
    assert (await stream.event())["version"] > cancelled.version


# Who may watch.


async def test_whom_it_does_not_belong_to_is_told_nothing(parts: Parts, client: Client) -> None:
    """Somebody else's job, an unknown one and no id at all: the 404 of any other URL, each time
    that somebody connects."""
    job_id = await parts.submitted(**{"X-User": "ada"})
    assert (await parts.watch(job_id, **{"x-user": "ada"}).opened())[0] == 200
    told = []
    for path in (f"/jobs/{job_id}", f"/jobs/{'0' * 32}"):
        for headers in ({}, EVENTS, {**EVENTS, "X-User": "eve", "Last-Event-ID": "99"}):
            answer = await client.get(path, headers=headers)
            told.append((answer.status_code, await answer.get_data()))
    assert len(set(told)) == 1
    assert told[0][0] == 404


async def test_guards_of_the_blueprint_are_asked(store: str) -> None:
    """Who is not let in by the hooks of the job's blueprint has what they answer."""
    parts = Parts(store)
    guarded = Blueprint("guarded", __name__)

    @guarded.before_request
    async def guard() -> None:
        if "X-Key" not in request.headers:
            abort(401)

    @guarded.get("/guarded")
    @parts.quart_jobs.background
    async def work() -> str:
        await parts.go.wait()
        return "done"

    parts.app.register_blueprint(guarded)
    async with parts.app.test_app():
        job_id = await parts.submitted("/guarded", **{"X-Key": "yes"})
        assert (await parts.watch(job_id).opened())[0] == 401
        assert (await parts.watch(job_id, **{"x-key": "yes"}).opened())[0] == 200
        parts.go.set()
    await ended(parts)


# What it takes meanwhile.


@ways
async def test_it_holds_nothing_of_the_apps(parts: Parts, way: str) -> None:
    """While the stream is open, the context of its request is left and gone, with its `g` and its
    session; and where our connection sends it, so is the request."""
    seen: list[weakref.ref[Any]] = []
    torn_down = []

    @parts.app.before_request
    async def look() -> None:
        if "text/event-stream" in request.headers["Accept"]:
            g.taken = object()
            session["name"] = "ada"
            held = [current_context(), unproxied(g), unproxied(session)]
            if way == "a queue":
                held.append(unproxied(request))
            seen.extend(map(weakref.ref, held))

    @parts.app.teardown_appcontext
    async def give_back(error: BaseException | None) -> None:
        if "taken" in g:
            torn_down.append(error)

    client = parts.app.test_client()
    answer = await client.get("/slow", headers={"Accept": "*/*"})
    stream = parts.watch((await answer.get_json())["TaskId"], way=way)
    _, headers = await stream.opened()
    assert "set-cookie" in headers
    await stream.event()

    assert torn_down == [None]
    assert len(seen) == (4 if way == "a queue" else 3)
    gc.collect()
    assert [each() for each in seen] == [None] * len(seen)
    assert not stream.handled.done()


def unproxied(proxy: Any) -> Any:
    return proxy._get_current_object()


async def test_what_changes_while_hooks_run_is_in_the_first_event(parts: Parts) -> None:
    """That is the status as it is then, however long the hooks have taken; the headers have been
    said before."""

    @parts.app.after_request
    async def take_long(response: Response) -> Response:
        if response.mimetype == "text/event-stream":
            parts.go.set()
            await parts.jobs.wait(job_id, DEADLINE)
        return response

    job_id = await parts.submitted()
    stream = parts.watch(job_id)
    _, headers = await stream.opened()
    assert headers["job-state"] == "running"
    assert (await stream.event())["state"] == "succeeded"
    assert await stream.rest() == []


async def test_hooks_see_the_answer(parts: Parts) -> None:
    """What `after_request` functions say in the headers of any other answer is said here."""

    @parts.app.after_request
    async def say(response: Any) -> Any:
        response.headers["X-Said"] = str(response.status_code)
        return response

    _, headers = await parts.watch(await parts.submitted()).opened()
    assert headers["x-said"] == "200"


@ways
@pytest.mark.parametrize("state", ["nothing happens", "the client takes nothing"])
async def test_a_client_that_goes_leaves_nothing_behind(
    parts: Parts, way: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its stream ends, in whatever it is, nobody follows the job for it any more, and the log has
    nothing to say of that."""
    caplog.set_level(logging.INFO)
    job_id = await parts.submitted()
    stream = parts.watch(job_id, way=way, takes=state == "nothing happens")
    if state == "nothing happens":
        await stream.event()
        await until(lambda: parts.followers(job_id) == 1)
    else:
        await stream.opened()
    caplog.clear()
    stream.hang_up()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([stream.handled])
    assert stream.handled.exception() is None
    assert parts.followers(job_id) == 0
    assert [record.getMessage() for record in caplog.records] == []


@ways
@pytest.mark.parametrize("fault", [ConnectionResetError, TimeoutError, OSError])
async def test_a_connection_that_breaks_is_no_error(
    parts: Parts, way: str, fault: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """A server that says so by an exception has it heeded, and the log no traceback."""
    caplog.set_level(logging.INFO)
    job_id = await parts.submitted()
    stream = parts.watch(job_id, way=way)
    await stream.event()
    await until(lambda: parts.followers(job_id) == 1)
    caplog.clear()
    stream.fault = fault("the connection is gone")
    await parts.report(job_id, 1)
    if way == "a function":  # Quart listens on
        await until(lambda: parts.followers(job_id) == 0)
        stream.hang_up()
    await asyncio.wait([stream.handled], timeout=DEADLINE)
    assert stream.handled.done()
    assert stream.handled.exception() is None
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.usefixtures("without_a_pause")
@ways
async def test_a_client_that_takes_nothing_is_sent_one_event(parts: Parts, way: str) -> None:
    """While it has not taken that, nothing else is made for it, however much happens; then it is
    sent the newest state."""
    job_id = await parts.submitted()
    slow, quick = parts.watch(job_id, way=way), parts.watch(job_id)
    await slow.event()
    await quick.event()
    await parts.report(job_id, 1)
    slow.takes.clear()
    assert (await slow.event())["progress"]["current"] == 1
    assert (await quick.event())["progress"]["current"] == 1
    for done in range(2, 10):
        await parts.report(job_id, done)
        assert (await quick.event())["progress"]["current"] == done
    assert slow.waiting() == 0
    slow.takes.set()
    assert (await slow.event())["progress"]["current"] == 9


# When it ends before the job does.


@ways
async def test_a_stop_of_the_server_ends_all_streams_at_once(store: str, way: str) -> None:
    """Each is told when to come back, which is not the same for all; none has an event or an id in
    that, and none waits for the drain."""
    parts = Parts(store, drain_time=0)
    async with parts.app.test_app():
        job_id = await parts.submitted()
        streams = [parts.watch(job_id, way=way) for _ in range(10)]
        for stream in streams:
            await stream.event()
    told = []
    for stream in streams:
        *_, last = [await stream.part()]
        if last.startswith(b"event"):  # the job has been given back meanwhile
            last = await stream.part()
        fields = fields_of(last)
        assert list(fields) == ["retry"]
        told.append(int(fields["retry"]))
        assert await stream.rest() == []
    least, most = watching.COME_BACK
    assert all(least <= each <= most for each in told)
    assert len(set(told)) > 1


@ways
@pytest.mark.parametrize("error", [JobNotFound, StoreUnavailable])
async def test_a_job_that_cannot_be_read_any_more(
    parts: Parts, way: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """One that is forgotten ends its streams without a word: who comes back has the 404. While the
    store cannot be read, who watches is told to come back."""
    job_id = await parts.submitted()
    stream = parts.watch(job_id, way=way)
    await stream.event()
    await until(lambda: parts.followers(job_id) == 1)

    async def fail(*args: Any) -> Any:
        raise error("for a test")

    caplog.clear()
    opened: Any = parts.jobs._opened
    store, get = opened.store, opened.store.get
    store.get = fail
    opened.watch._changed(job_id)
    last = await stream.part()
    if error is StoreUnavailable:
        assert list(fields_of(last)) == ["retry"]
        last = await stream.part()
    assert last == b""
    if way == "a function":
        stream.hang_up()
    await asyncio.wait([stream.handled], timeout=DEADLINE)
    store.get = get
    assert stream.handled.exception() is None
    assert parts.followers(job_id) == 0


# How many may watch.


@pytest.fixture
async def few(store: str) -> AsyncIterator[Parts]:
    """Of whose jobs two may be watched at a time."""
    parts = Parts(store, max_watching=2)
    async with parts.app.test_app():
        yield parts
        parts.go.set()
    await ended(parts)


@ways
async def test_more_than_may_watch_are_sent_away(few: Parts, way: str) -> None:
    """They have a problem document that says when to come again, and polls go on; when one of those
    who watch goes, there is room for another."""
    job_id = await few.submitted()
    streams = [few.watch(job_id, way=way) for _ in range(2)]
    for stream in streams:
        await stream.event()

    client = few.app.test_client()
    answer = await client.get(f"/jobs/{job_id}", headers=EVENTS)
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:too-many-watchers"
    assert int(answer.headers["Retry-After"]) > 0
    assert (await client.get(f"/jobs/{job_id}")).status_code == 200
    assert (await client.head(f"/jobs/{job_id}", headers=EVENTS)).status_code == 200

    streams[0].hang_up()
    await asyncio.wait([streams[0].handled], timeout=DEADLINE)
    again = few.watch(job_id, way=way)
    assert (await again.opened())[0] == 200
    assert (await few.watch(job_id, way=way).opened())[0] == 503


async def test_a_stream_that_is_never_sent_takes_no_place(few: Parts) -> None:
    """One that a hook has put something else in the place of is none."""

    @few.app.after_request
    async def instead(response: Any) -> Any:
        if "X-Instead" in request.headers:
            return await few.app.make_response("instead")
        return response

    client = few.app.test_client()
    job_id = await few.submitted()
    for _ in range(5):
        answer = await client.get(f"/jobs/{job_id}", headers={**EVENTS, "X-Instead": "yes"})
        assert await answer.get_data(as_text=True) == "instead"
    gc.collect()
    assert [(await few.watch(job_id).opened())[0] for _ in range(3)] == [200, 200, 503]


# How it is written.


def test_an_event_has_each_line_of_its_data() -> None:
    """Whatever ends a line in the data begins another ``data``: no event can be made up in it."""
    written = event_stream.event("status", 3, b"one\ntwo\r\nthree\rid: 9\n")
    assert written == (b"event: status\nid: 3\ndata: one\ndata: two\ndata: three\ndata: id: 9\n\n")
    assert event_stream.retry(1500) == b"retry: 1500\n\n"
