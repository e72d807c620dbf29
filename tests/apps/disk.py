"""Jobs on a disk that a test gives trouble to."""

from __future__ import annotations

import os
from typing import Any

from quart import Quart, Response, request

from asyncjobs import QuartJobs
from asyncjobs.stores import SqliteStore

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
options: dict[str, Any] = {}
if "LIMIT" in app.config:
    options["store"] = SqliteStore(app.config["STORE"], limit=app.config["LIMIT"])
jobs = QuartJobs(app, **options)
signals = Signals(app.config["SIGNALS"])


@app.after_request
async def name_the_worker(response: Response) -> Response:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/health")
async def health() -> Response:
    return await jobs.health()


@app.post("/upload")
@jobs.background
async def upload() -> bytes:
    return await request.get_data()


@app.get("/fine")
@jobs.background
async def fine() -> dict[str, bool]:
    return {"fine": True}


@app.route("/wait/<name>/<int:size>", methods=["GET", "POST"])
@jobs.background
async def wait(name: str, size: int) -> bytes:
    signals.send(f"{name}.started")
    await signals.arrive(f"{name}.go")
    return bytes(size)
