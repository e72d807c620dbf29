"""A client that has gone is noticed, and leaves nothing behind, although its job goes on."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from quart import Quart, Response

from asyncjobs import QuartJobs
from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.web.answering import connection, outlasting

DEADLINE = 10.0


@pytest.fixture
def app(tmp_path: Path) -> Quart:
    app = Quart("connections")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")

    @app.post("/foo")
    @jobs.background
    async def foo() -> str:
        return "done"

    return app


def scope(query: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": "/foo",
        "raw_path": b"/foo",
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
    }


async def gone_at_once(messages: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return next(messages, {"type": "http.disconnect"})


def whole_request() -> Iterator[dict[str, Any]]:
    yield {"type": "http.request", "body": b"", "more_body": False}


async def test_an_answer_that_nobody_takes_is_given_up(
    app: Quart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request of a client that has gone is over once there is an answer to it, although the
    server does not get rid of that: hypercorn waits for ever to send on an HTTP/2 connection that
    is closed. The job is made all the same."""
    monkeypatch.setattr(outlasting, "SEND_TIME", 0.01)
    messages = whole_request()

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    async with app.test_app(), asyncio.timeout(DEADLINE):
        await app(scope(), lambda: gone_at_once(messages), send)  # type: ignore[arg-type]
        assert len(await app.extensions["QUART_JOBS"].jobs.find(Query())) == 1


async def test_who_has_gone_may_still_listen(app: Quart) -> None:
    """A client that only says nothing more, as one that has closed its own side of the connection,
    has its answer to the end."""
    messages = whole_request()
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    async with app.test_app(), asyncio.timeout(DEADLINE):
        await app(scope(), lambda: gone_at_once(messages), send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 202
    assert sent[-1]["body"].startswith(b'{"TaskId":')
    assert not sent[-1]["more_body"]


async def test_a_query_that_is_no_text_is_the_apps_affair(app: Quart) -> None:
    """A client that goes after a query which Quart cannot read causes no error of ours: what Quart
    says of it is all there is, and no exception that nobody was told of."""
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    messages = whole_request()

    async def send(message: Any) -> None: ...

    async with app.test_app(), asyncio.timeout(DEADLINE):
        with pytest.raises((UnicodeDecodeError, ExceptionGroup)) as raised:
            await app(scope(b"\xff"), lambda: gone_at_once(messages), send)  # type: ignore[arg-type]
        assert "_leads_to_job" not in "".join(traceback.format_exception(raised.value))
        await asyncio.sleep(0)
    assert not unheard


async def test_a_target_that_is_no_path_is_quarts_affair(app: Quart) -> None:
    """What is raised of a request that Quart cannot read, and stands in the server's log, is not
    of ours."""
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Any) -> None: ...

    async with app.test_app(), asyncio.timeout(DEADLINE):
        with pytest.raises(IndexError) as raised:
            await app({**scope(), "path": ""}, messages.get, send)  # type: ignore[typeddict-item]
    assert Path(raised.traceback[-1].path).parent.name == "quart"


class Messages(asyncio.Queue[Any]):
    """A client's, which say when somebody waits for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.listened_to = asyncio.Event()

    def empty(self) -> bool:
        is_empty = super().empty()
        if is_empty:
            self.listened_to.set()
        return is_empty


class Held:
    """An app with a view and a job that wait until a test says so, and a request to one of them.

    Attributes:
        ended: how the view has.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.app = Quart("held")
        self.messages = Messages()
        self.sent: list[dict[str, Any]] = []
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.ended = ""
        jobs = QuartJobs(self.app, store=f"sqlite:///{tmp_path}/jobs.db")

        async def wait() -> str:
            self.reached.set()
            await self.go.wait()
            return "done"

        @self.app.post("/view")
        async def view() -> str:
            try:
                done = await wait()
            except asyncio.CancelledError:
                self.ended = "cancelled"
                raise
            self.ended = "returned"
            return done

        self.app.post("/job")(jobs.background(wait))

    async def ask(self, path: str, *headers: tuple[bytes, bytes]) -> None:
        """Send the request, all of which is there, and be answered."""
        asked = {**scope(), "path": path, "headers": [(b"host", b"localhost"), *headers]}
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        await self.app(asked, self.messages.get, self._send)  # type: ignore[arg-type]

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


async def test_who_goes_while_a_view_waits_is_noticed(held: Held) -> None:
    """However long that would take, its handler is stopped: by what is listened to its client
    after a while, which no test has shortened."""
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(held.ask("/view"))
        await held.reached.wait()
        held.hang_up()
        await asking

    assert held.ended == "cancelled"
    assert not held.sent


async def test_who_goes_long_after_is_noticed_too(held: Held) -> None:
    """Once somebody listens, whoever goes is noticed at once."""
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(held.ask("/view"))
        await held.reached.wait()
        await held.messages.listened_to.wait()
        held.hang_up()
        await asking

    assert held.ended == "cancelled"


async def test_who_goes_while_the_result_is_waited_for_is_let_go(held: Held) -> None:
    """Whoever has submitted a job, and waits for it, is noticed as well: the request is over, and
    the job goes on to its end."""
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(held.ask("/job", (b"prefer", b"wait=1000")))
        await held.reached.wait()
        held.hang_up()
        await asking
        jobs = held.app.extensions["QUART_JOBS"].jobs
        (job,) = await jobs.find(Query())
        assert job.state is State.RUNNING
        held.go.set()
        assert (await jobs.wait(job.id, DEADLINE)).state is State.SUCCEEDED

    assert not held.sent


async def test_who_stays_is_answered_whoever_listens(held: Held) -> None:
    """A client that is listened to, and says nothing more, has its answer to the end."""
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(held.ask("/view"))
        await held.messages.listened_to.wait()
        held.go.set()
        await asking

    assert held.ended == "returned"
    assert [message.get("more_body") for message in held.sent] == [None, False]


async def test_nobody_listens_to_who_is_answered_soon(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is over in time is handled to its end, whoever has gone meanwhile."""
    monkeypatch.setattr(connection, "PATIENCE", 1000 * DEADLINE)
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(held.ask("/view"))
        await held.reached.wait()
        held.hang_up()
        held.go.set()
        await asking

    assert held.ended == "returned"
    assert held.messages.qsize() == 1


@pytest.mark.parametrize("whose", ["the app's", "the response's"])
async def test_an_answer_with_a_time_out_is_sent_at_once(held: Held, whose: str) -> None:
    """One that is in memory goes in two messages, whoever limits the time that it may take."""
    held.go.set()

    @held.app.after_request
    async def limit(response: Response) -> Response:
        if whose == "the response's":
            response.timeout = DEADLINE
        return response

    held.app.config["RESPONSE_TIMEOUT"] = DEADLINE if whose == "the app's" else 0
    async with held.app.test_app(), asyncio.timeout(DEADLINE):
        await held.ask("/view")

    assert [message.get("more_body") for message in held.sent] == [None, False]


async def test_a_time_out_of_anyio_around_the_app(app: Quart) -> None:
    """A middleware that limits the time of a request is told what has become of it, as with Quart
    alone: its own cancellation comes back to it, and no other one."""

    @app.post("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    async def send(message: Any) -> None: ...

    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    async with app.test_app(), asyncio.timeout(DEADLINE):
        with anyio.move_on_after(0.05) as limited:
            await app({**scope(), "path": "/slow"}, messages.get, send)  # type: ignore[typeddict-item]

    assert limited.cancelled_caught
