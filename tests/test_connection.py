"""A client that has gone leaves nothing behind, although what it has submitted becomes a job."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from quart import Quart

from asyncjobs import QuartJobs
from asyncjobs.store import Query
from asyncjobs.web.answering import outlasting

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
