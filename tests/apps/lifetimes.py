"""An app whose handlers need what its `before_serving` and `while_serving` functions make."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

from quart import Quart, request

from apps import configuration
from apps.signals import Signals
from asyncjobs import QuartJobs, current_job

logging.basicConfig(level=logging.INFO)
app = Quart(__name__)
app.config.from_mapping(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])
made: set[str] = set()


@app.before_serving
async def make_pool() -> None:
    # Whoever is allowed to run by now has every opportunity to.
    for _ in range(200):
        await asyncio.sleep(0)
    made.add("pool")
    app.before_serving(make_late)


async def make_late() -> None:
    made.add("late")


@app.while_serving
async def lend_session() -> AsyncIterator[None]:
    made.add("session")
    yield
    made.clear()
    signals.send(f"{os.getpid()}-closed")


@app.route("/async/<name>", methods=["GET", "POST"])
@jobs.background
async def work(name: str) -> list[str]:
    began_with = sorted(made)
    signals.send(f"{name}-started-{current_job.attempt}")
    await signals.arrive(f"{name}-go-on")
    return began_with and sorted(made)


@app.route("/sync/<name>", methods=["GET", "POST"])
@jobs.background
def sync_work(name: str) -> list[str]:
    began_with = sorted(made)
    signals.send(f"{name}-started-{current_job.attempt}")
    signals.wait(f"{name}-go-on")
    return began_with and sorted(made)


@app.get("/ready")
async def ready() -> dict[str, str]:
    return {"method": request.method}
