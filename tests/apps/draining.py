"""Views whose responses are read bit by bit: each kind of iterator, each way for it to end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Self

import werkzeug
from quart import Quart, Response, request, stream_with_context
from quart.utils import run_sync

from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


class Diary:
    """What one iterator tells of the moment that it is closed in; written into a file."""

    def __init__(self) -> None:
        self.job = current_job.id
        self.read_in: set[str] = set()

    def read(self) -> None:
        """An item is being made, in this thread."""
        if not self.read_in:
            signals.send(f"{self.job}.started")
        self.read_in.add(threading.current_thread().name)

    def close(self) -> None:
        where = {
            "path": request.path,
            "job": current_job.id,
            "read in": sorted(self.read_in),
            "closed in": threading.current_thread().name,
        }
        with (signals.folder / f"{self.job}.closed").open("a") as file:
            file.write(json.dumps(where) + "\n")


def items(end: str) -> Iterator[Any]:
    """Items that are read in vain, unless the `end` is a good one."""
    if end == "done":
        yield from ("one ", b"two ", "three")
        return
    if end == "raises":
        yield "half of it"
        raise LookupError("where is the other half?")
    if end == "no-bytes":
        yield 3
    while True:
        yield bytes(1000) if end == "limit" else b""


def parts(end: str) -> Iterator[Any]:
    diary = Diary()
    try:
        for item in items(end):
            diary.read()
            yield item
            if end == "stuck":
                signals.wait(f"{diary.job}.go-on")
            time.sleep(0.0005)
    finally:
        diary.close()


async def async_parts(end: str) -> AsyncIterator[Any]:
    diary = Diary()
    try:
        for item in items(end):
            diary.read()
            yield item  # and no await: the loop has no turn but the one that the reader gives it
    finally:
        await asyncio.sleep(0)
        diary.close()


class Parts:
    """An iterator that is no generator, and has a `close`."""

    def __init__(self, end: str) -> None:
        self._diary = Diary()
        self._items = items(end)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self._diary.read()
        time.sleep(0.0005)
        return next(self._items)

    def close(self) -> None:
        self._diary.close()


class AsyncParts:
    """The same, with an `aclose`."""

    def __init__(self, end: str) -> None:
        self._diary = Diary()
        self._items = items(end)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        self._diary.read()
        for item in self._items:
            return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._diary.close()


def a_generator(end: str) -> Iterator[Any]:
    yield from parts(end)


def a_generator_in_a_tuple(end: str) -> Any:
    return parts(end), 201, {"X-Kind": "tuple"}


def a_generator_in_a_response(end: str) -> Any:
    return Response(parts(end))


async def a_generator_of_an_async_view(end: str) -> Any:
    return parts(end)


async def a_generator_in_a_response_of_an_async_view(end: str) -> Any:
    return Response(parts(end)), 201


async def a_generator_of_run_sync(end: str) -> Any:
    return await run_sync(parts)(end)


async def a_generator_below_others(end: str) -> Any:
    return Response(chain(parts(end), [""]))  # which has no `close`


async def an_iterator(end: str) -> Any:
    return Response(Parts(end))


async def a_werkzeug_response(end: str) -> Any:
    return werkzeug.Response(parts(end))


async def an_error_handlers_generator(end: str) -> Any:
    raise KeyError(end)


@app.errorhandler(KeyError)
async def answer_at_length(error: KeyError) -> Any:
    return parts(error.args[0]), 200


async def an_async_generator(end: str) -> AsyncIterator[Any]:
    diary = Diary()
    try:
        for item in items(end):
            diary.read()
            yield item
    finally:
        diary.close()


async def an_async_generator_in_a_response(end: str) -> Any:
    return Response(async_parts(end)), 201


def an_async_generator_of_a_sync_view(end: str) -> Any:
    return async_parts(end)


async def an_async_iterator(end: str) -> Any:
    return Response(AsyncParts(end))  # type: ignore[arg-type] # it is one


async def an_async_generator_with_context(end: str) -> Any:
    diary = Diary()

    @stream_with_context
    async def streamed() -> AsyncIterator[Any]:
        try:
            for item in items(end):
                diary.read()
                yield item
        finally:
            diary.close()

    return Response(streamed())


SYNC: list[Callable[..., Any]] = [
    a_generator,
    a_generator_in_a_tuple,
    a_generator_in_a_response,
    a_generator_of_an_async_view,
    a_generator_in_a_response_of_an_async_view,
    a_generator_of_run_sync,
    a_generator_below_others,
    an_iterator,
    a_werkzeug_response,
    an_error_handlers_generator,
]
ASYNC: list[Callable[..., Any]] = [
    an_async_generator,
    an_async_generator_in_a_response,
    an_async_generator_of_a_sync_view,
    an_async_iterator,
    an_async_generator_with_context,
]

for kind in [*SYNC, *ASYNC]:
    name = kind.__name__
    app.add_url_rule(f"/{name}/<end>", name, jobs.background(kind))
    in_time = f"{name}_in_time"
    app.add_url_rule(f"/{in_time}/<end>", in_time, jobs.background(timeout=0.3)(kind))


# Those that do not let themselves be closed.


def finally_raises() -> Iterator[bytes]:
    try:
        yield from items("limit")
    finally:
        raise LookupError("nothing to close")


async def async_finally_raises() -> AsyncIterator[bytes]:
    try:
        for item in items("limit"):
            yield item
    finally:
        raise LookupError("nothing to close")


def will_not_end() -> Iterator[bytes]:
    for item in items("limit"):
        try:
            yield item
        except GeneratorExit:
            yield b"a last word"


async def async_will_not_end() -> AsyncIterator[bytes]:
    for item in items("limit"):
        try:
            yield item
        except GeneratorExit:
            yield b"a last word"


class BadlyClosed(Parts):
    def close(self) -> None:
        raise LookupError("nothing to close")


class AsyncBadlyClosed(AsyncParts):
    async def aclose(self) -> None:
        raise asyncio.CancelledError("nobody has cancelled it")


async def good_but_badly_closed() -> Any:
    return Response(BadlyClosed("done"))


async def good_but_cancelled_when_closed() -> Any:
    return Response(AsyncBadlyClosed("done"))  # type: ignore[arg-type] # it is one


for kind in (
    finally_raises,
    async_finally_raises,
    will_not_end,
    async_will_not_end,
    good_but_badly_closed,
    good_but_cancelled_when_closed,
):
    app.add_url_rule(f"/{kind.__name__}", kind.__name__, jobs.background(kind))


@app.route("/close-blocks")
@jobs.background(timeout=0.3)
def close_blocks() -> Iterator[bytes]:
    diary = Diary()
    try:
        for item in items("limit"):
            diary.read()
            yield item
    finally:
        signals.wait(f"{diary.job}.go-on")
        diary.close()


@app.route("/aclose-blocks")
@jobs.background(timeout=0.3)
async def aclose_blocks() -> AsyncIterator[bytes]:
    try:
        for item in items("limit"):
            yield item
    finally:
        await asyncio.Event().wait()


@app.route("/an-open-file/<end>")
@jobs.background
async def an_open_file(end: str) -> Any:
    path = Path(__file__).with_name("signals.py") if end == "done" else Path(__file__)
    file = path.open("rb")
    app.config.setdefault("FILES", {})[current_job.id] = file
    return Response(file)


@app.route("/is-closed/<job_id>")
async def is_closed(job_id: str) -> dict[str, bool]:
    return {"closed": app.config["FILES"].pop(job_id).closed}


@app.route("/nothing-in-a-response")
@jobs.background
async def nothing_in_a_response() -> Any:
    return Response(status=204)


@app.route("/all-threads-free")
async def all_threads_free() -> dict[str, bool]:
    return {"free": jobs.jobs.threads.in_use.busy == 0}
