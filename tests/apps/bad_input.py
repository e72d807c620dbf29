"""Handlers that misbehave in every way that we could think of."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from itertools import repeat
from typing import Any, NoReturn

import werkzeug
from quart import Quart, Response, request, send_file

from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


class Witness:
    """Signals that a request with an ``X-Witness`` begins, and that it has come to its end."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        names = [value.decode() for key, value in scope.get("headers", ()) if key == b"x-witness"]
        for name in names:
            signals.send(f"{name}.begun")
        try:
            await self._app(scope, receive, send)
        finally:
            for name in names:
                signals.send(f"{name}.ended")


app.asgi_app = Witness(app.asgi_app)  # type: ignore[method-assign]


@app.before_request
async def take_your_time() -> None:
    if "X-Slow" in request.headers:
        await asyncio.sleep(0.02)


@app.route("/fine")
@jobs.background
async def fine() -> dict[str, bool]:
    return {"fine": True}


@app.post("/upload/<name>")
@jobs.background
async def upload(name: str) -> dict[str, int]:
    size = len(await request.get_data())
    signals.send(f"{name}.ran")
    return {"size": size}


@app.route("/visit/<name>")
@jobs.background
async def visit(name: str) -> dict[str, str]:
    signals.send(f"{name}.ran")
    return {"visited": name}


@app.route("/wait/<name>")
@jobs.background
async def wait(name: str) -> dict[str, str]:
    signals.send(f"{name}.started")
    await signals.arrive(f"{name}.go")
    return {"waited": name}


# What no response can be made of.

LIMIT = 100_000


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even that")


def with_itself(value: dict[str, Any]) -> dict[str, Any]:
    value["itself"] = value
    return value


RESULTS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "an object": object,
    "a number": lambda: 42,
    "a set": lambda: {1, 2},
    "an empty tuple": lambda: (),
    "a tuple of four": lambda: ("", 200, {}, "more"),
    "None with a status": lambda: (None, 200),
    "a dict with an object in it": lambda: {"value": object()},
    "a dict with bytes in it": lambda: {"value": b""},
    "a dict with itself in it": lambda: with_itself({}),
    "a status that is none": lambda: ("", "none"),
    "a generator of numbers": lambda: (number for number in (1, 2)),
    "a header with a line break": lambda: ("", {"X-Header": "a\r\nSet-Cookie: b=c"}),
    "a header's name with a line break": lambda: ("", {"X-Header\r\nX-More": "a"}),
    "a header's name with a colon": lambda: ("", {"X-Header: a\r\nX-More": "a"}),
    "a header's name with a space": lambda: ("", {"X Header": "a"}),
    "a header without a name": lambda: ("", {"": "a"}),
    "a header's name that is no ASCII": lambda: ("", {"X-Zoë": "a"}),
    "half a character": lambda: "\ud800",
    "half a character in a header": lambda: ("", {"X-Header": "\ud800"}),
    "a status that HTTP does not have": lambda: ("", 1000),
    "a status that is not for results": lambda: ("", 101),
}


@app.route("/result/<kind>")
@jobs.background
async def result(kind: str) -> Any:
    value = RESULTS[kind]()
    return await value if inspect.iscoroutine(value) else value


@app.route("/result-in-a-thread/<kind>")
@jobs.background
def result_in_a_thread(kind: str) -> Any:
    return RESULTS[kind]()


# Far too large, and yet not endless: a test that fails must not take the machine's memory.
PARTS = 20_000


def many_parts() -> Iterator[bytes]:
    yield from repeat(b"x" * 1000, PARTS)
    signals.send("exhausted")


async def many_parts_async() -> AsyncIterator[bytes]:
    for part in many_parts():
        yield part


LARGE: dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(LIMIT + 1),
    "text": lambda: "é" * (LIMIT // 2 + 1),
    "JSON": lambda: ["x" * LIMIT],
    "a generator": many_parts_async,
    "a sync generator": many_parts,
    "a generator in a response": lambda: Response(many_parts_async()),
    "a sync generator in a response": lambda: Response(many_parts()),
    "a sync generator in a werkzeug response": lambda: werkzeug.Response(many_parts()),
    "a werkzeug response": lambda: werkzeug.Response(bytes(LIMIT + 1)),
    "a file in memory": lambda: send_file(BytesIO(bytes(LIMIT + 1)), mimetype="text/plain"),
    "a file": lambda: send_file(app.config["LARGE_FILE"]),
    "an error page": lambda: werkzeug.exceptions.abort(Response(bytes(LIMIT + 1), 400)),
}


@app.route("/large/<kind>")
@jobs.background
async def large(kind: str) -> Any:
    value = LARGE[kind]()
    return await value if inspect.iscoroutine(value) else value


@app.route("/large-in-a-thread/<kind>")
@jobs.background
def large_in_a_thread(kind: str) -> Any:
    return LARGE[kind]()


@app.route("/of-size/<int:size>")
@jobs.background
async def of_size(size: int) -> bytes:
    return bytes(size)


# What is raised.


class Whatever(BaseException):
    """Not an Exception, and nothing that anybody knows."""


def nested_deeply() -> NoReturn:
    nested_deeply()


RAISED: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration("value"),
    "StopAsyncIteration": StopAsyncIteration,
    "TimeoutError": TimeoutError,
    "MemoryError": MemoryError,
    "BaseException": lambda: Whatever("whatever"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("both", [Whatever(), ValueError()]),
    "an exception that cannot be printed": Unprintable,
    "an exception with an odd cause": lambda: _with_cause(ValueError(), KeyboardInterrupt()),
}


def _with_cause(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@app.route("/raise/async-view/<kind>")
@jobs.background
async def raise_in_view(kind: str) -> NoReturn:
    raise RAISED[kind]()


@app.route("/raise/sync-view/<kind>")
@jobs.background
def raise_in_sync_view(kind: str) -> NoReturn:
    raise RAISED[kind]()


@app.route("/raise/async-generator/<kind>")
@jobs.background
async def raise_in_generator(kind: str) -> AsyncIterator[str]:
    yield "some"
    raise RAISED[kind]()


@app.route("/raise/sync-generator/<kind>")
@jobs.background
def raise_in_sync_generator(kind: str) -> Iterator[str]:
    yield "some"
    raise RAISED[kind]()


@app.route("/too-deep")
@jobs.background
async def too_deep() -> NoReturn:
    nested_deeply()


@app.route("/cancels-itself")
@jobs.background
async def cancels_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return "not cancelled after all"


# What does not stop. `stubborn` ends only when the test says so, whatever it is told.


def stubborn_views(prefix: str, timeout: float | None) -> None:  # noqa: C901 - it is a list
    def view(function: Any) -> Any:
        endpoint = f"{prefix}-{function.__name__}"
        rule = f"/{prefix}/{function.__name__.replace('_', '-')}/<name>"
        return app.route(rule, endpoint=endpoint)(jobs.background(timeout=timeout)(function))

    @view
    async def patient(name: str) -> str:
        signals.send(f"{name}.started")
        try:
            await signals.arrive(f"{name}.go")
        finally:
            signals.send(f"{name}.stopped")
        return "the end"

    @view
    def patient_in_a_thread(name: str) -> str:
        signals.send(f"{name}.started")
        try:
            signals.wait(f"{name}.go", meanwhile=current_job.check_cancelled)
        finally:
            signals.send(f"{name}.stopped")
        return "the end"

    @view
    async def patient_generator(name: str) -> AsyncIterator[str]:
        signals.send(f"{name}.started")
        try:
            yield "half"
            await signals.arrive(f"{name}.go")
            yield "the end"
        finally:
            signals.send(f"{name}.stopped")

    @view
    async def stubborn(name: str) -> str:
        signals.send(f"{name}.started")
        while not signals.is_sent(f"{name}.go"):
            try:
                await signals.arrive(f"{name}.go")
            except asyncio.CancelledError:
                signals.send(f"{name}.told")
        signals.send(f"{name}.stopped")
        return "too late"

    @view
    def stubborn_in_a_thread(name: str) -> str:
        signals.send(f"{name}.started")
        signals.wait(f"{name}.go")
        signals.send(f"{name}.stopped")
        return "too late"

    @view
    def stubborn_generator_in_a_thread(name: str) -> Iterator[str]:
        signals.send(f"{name}.started")
        signals.wait(f"{name}.go")
        signals.send(f"{name}.stopped")
        yield "too late"

    @view
    async def stubborn_and_fails(name: str) -> NoReturn:
        signals.send(f"{name}.started")
        while not signals.is_sent(f"{name}.go"):
            try:
                await signals.arrive(f"{name}.go")
            except asyncio.CancelledError:
                signals.send(f"{name}.told")
        signals.send(f"{name}.stopped")
        raise LookupError("too late, and wrong")

    @view
    async def answers_instead(name: str) -> str:
        signals.send(f"{name}.started")
        try:
            await signals.arrive(f"{name}.go")
        except asyncio.CancelledError:
            signals.send(f"{name}.stopped")
        return "an answer to a cancellation"

    @view
    async def fails_instead(name: str) -> str:
        signals.send(f"{name}.started")
        try:
            await signals.arrive(f"{name}.go")
        except asyncio.CancelledError:
            signals.send(f"{name}.stopped")
            raise LookupError("failed at cleaning up") from None
        return "the end"


stubborn_views("timed", timeout=0.3)
stubborn_views("untimed", timeout=None)
