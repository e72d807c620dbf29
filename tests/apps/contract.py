"""The seed's own app, and one handler for each line of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn, cast

from quart import Blueprint, Quart, abort, request
from quart import Response as QuartResponse

from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app, owner=lambda: request.headers.get("X-User"))
signals = Signals(app.config["SIGNALS"])


@app.before_request
async def tell_of_arrival() -> None:
    if (name := request.headers.get("X-Arrival")) is not None:
        signals.send(name)


@app.route("/foo")
@jobs.background
def foo() -> dict[str, bool]:
    return {"Result": True}


@app.route("/wait/<name>")
@jobs.background
async def wait(name: str) -> dict[str, str]:
    signals.send(f"{name}.started")
    try:
        await signals.arrive(f"{name}.go")
    except asyncio.CancelledError:
        signals.send(f"{name}.cancelled")
        raise
    return {"waited": name}


@app.route("/wait-in-thread/<name>")
@jobs.background
def wait_in_thread(name: str) -> dict[str, str]:
    signals.send(f"{name}.started")
    try:
        signals.wait(f"{name}.go", meanwhile=current_job.check_cancelled)
    except asyncio.CancelledError:
        signals.send(f"{name}.cancelled")
        raise
    return {"waited": name}


@app.route("/one-at-a-time/<name>")
@jobs.background(concurrency=1)
async def one_at_a_time(name: str) -> dict[str, str]:
    signals.send(f"{name}.started")
    await signals.arrive(f"{name}.go")
    return {"waited": name}


@app.route("/made")
@jobs.background
async def made() -> tuple[str, int, dict[str, str]]:
    return "made", 201, {"X-Made": "by hand", "Content-Type": "text/x-made"}


@app.route("/own/<int:status>")
@jobs.background
async def own(status: int) -> tuple[str, int]:
    return "the handler's own", status


@app.route("/cached")
@jobs.background
async def cached() -> QuartResponse:
    return QuartResponse(
        "cached", headers={"ETag": '"mine"', "Cache-Control": "max-age=60", "Link": "</up>; rel=up"}
    )


@app.route("/stream")
@jobs.background
async def stream() -> AsyncIterator[bytes]:
    for word in (b"one ", b"two ", b"three"):
        yield word


@app.route("/stream-in-thread")
@jobs.background
def stream_in_thread() -> Iterator[str]:
    yield from ("one ", "two ", "three")


@app.route("/forbidden")
@jobs.background
async def forbidden() -> NoReturn:
    abort(403, "not for you")


@app.route("/teapot")
@jobs.background
async def teapot() -> NoReturn:
    abort(418)


@app.errorhandler(418)
async def short_and_stout(error: Exception) -> tuple[dict[str, str], int]:
    return {"error": "short and stout"}, 418


@app.route("/boom")
@jobs.background
async def boom() -> NoReturn:
    raise ZeroDivisionError("the bottom of the barrel")


@app.route("/unsteady/<outcome>")
@jobs.background(retries=1)
async def unsteady(outcome: str) -> dict[str, int]:
    if current_job.attempt == 1 or outcome == "fails":
        if outcome == "forbidden":
            abort(403)
        raise ConnectionError("no line to the ledger")
    return {"attempt": current_job.attempt}


@app.route("/files/<path:name>", methods=["GET", "POST"])
@jobs.background
async def files(name: str) -> dict[str, str]:
    return {"file": name}


@app.route("/echo", methods=["POST", "PUT"])
@jobs.background
async def echo() -> bytes:
    return cast("bytes", await request.get_data())


@app.route("/names/<name>")
@jobs.background
async def names(name: str) -> dict[str, str]:
    return {"name": name}


@app.route("/items/<int:number>")
@jobs.background
async def items(number: int) -> dict[str, int]:
    return {"item": number}


shop = Blueprint("shop", __name__, url_prefix="/shop")


@shop.route("/orders/<int:number>")
@jobs.background
async def orders(number: int) -> dict[str, int]:
    return {"order": number}


@shop.errorhandler(404)
async def not_in_this_shop(error: Exception) -> tuple[str, int]:
    return "not in this shop", 404


app.register_blueprint(shop)

if app.config.get("OWN_ERRORS"):

    @app.errorhandler(404)
    async def nowhere(error: Exception) -> Any:
        return {"error": "nowhere"}, 404, {"X-Handler": "the app's own"}

    @app.errorhandler(500)
    async def broken(error: Exception) -> Any:
        return {"error": "broken"}, 500, {"X-Handler": "the app's own"}
