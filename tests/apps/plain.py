"""An app without one decorated route, that may have jobs all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, Response, request

from asyncjobs import QuartJobs

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
signals = Signals(app.config["SIGNALS"])
if app.config["WITH_JOBS"]:
    QuartJobs(app)


@app.get("/number/<int:number>")
async def number(number: int) -> dict[str, int]:
    return {"number": number}


@app.get("/unmeasured")
async def unmeasured() -> Response:
    response = Response("of any length")
    del response.headers["Content-Length"]
    return response


@app.get("/broken")
async def broken() -> str:
    raise ValueError("broken")


@app.post("/read/<name>")
async def read(name: str) -> dict[str, Any]:
    """Tells of each piece of the body when it has come."""
    body = b""
    async for piece in request.body:
        body += piece
        signals.send(f"{name}.{len(body)}")
    return {"body": body.decode()}


@app.route("/slow/<name>", methods=["GET", "POST"])
async def slow(name: str) -> str:
    signals.send(f"{name}.begun")
    try:
        await signals.arrive(f"{name}.go")
    except asyncio.CancelledError:
        signals.send(f"{name}.cancelled")
        raise
    return "waited"


@app.route("/stream/<name>", methods=["GET", "POST"])
async def stream(name: str) -> Any:
    async def generate() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            signals.send(f"{name}.begun")
            await signals.arrive(f"{name}.go")
            yield b"two"
        except (asyncio.CancelledError, GeneratorExit):
            signals.send(f"{name}.cancelled")
            raise

    return generate()
