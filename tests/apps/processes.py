"""An app that several workers serve, each of which tells who it is."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from quart import Quart, Response, request

import asyncjobs
from asyncjobs import QuartJobs, current_job
from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.stores.sqlite.neighbours import neighbours

from . import configuration
from .signals import Signals

# What looks now and then makes up for hints that were lost. Here every hint has to arrive.
FOR_EVER = 3600
asyncjobs.watch.REREAD_INTERVAL = FOR_EVER
asyncjobs.running.sweeper.SWEEP_INTERVAL = FOR_EVER
neighbours.NET_INTERVAL = FOR_EVER

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


@app.before_request
async def tell_of_arrival() -> None:
    if (name := request.headers.get("X-Arrival")) is not None:
        signals.send(name)


@app.after_request
async def tell_who_answers(response: Response) -> Response:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/")
async def hello() -> str:
    return "hello"


@app.get("/running")
async def running() -> list[str]:
    query = Query(states=frozenset({State.RUNNING}), routes=frozenset({"wait"}))
    return [job.path for job in await jobs.jobs.find(query)]


@app.route("/wait/<name>")
@jobs.background
async def wait(name: str) -> dict[str, Any]:
    signals.send(f"{name}.started")
    try:
        await signals.arrive(f"{name}.go")
    except asyncio.CancelledError:
        signals.send(f"{name}.cancelled")
        raise
    return {"waited": name, "worker": os.getpid()}


@app.post("/work")
@jobs.background
async def work() -> dict[str, Any]:
    note(current_job.id)
    await asyncio.sleep(0.01)
    return {"worker": os.getpid()}


def note(job_id: str) -> None:
    """Write down that this job was run."""
    with open(signals.folder / "ledger", "a") as ledger:
        ledger.write(f"{job_id}\n")
