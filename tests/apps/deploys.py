"""Handlers that wait for a word, and handlers that hear none."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from typing import NoReturn

from quart import Quart

from apps import configuration
from apps.signals import Signals
from asyncjobs import QuartJobs, current_job

logging.basicConfig(level=logging.INFO)
app = Quart(__name__)
app.config.from_mapping(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


@app.route("/work/<name>", methods=["GET", "POST"])
@jobs.background
async def work(name: str) -> dict[str, int]:
    return await inner_work(name)


async def inner_work(name: str) -> dict[str, int]:
    attempt = current_job.attempt
    signals.send(f"{name}-by-{os.getpid()}")
    signals.send(f"{name}-started-{attempt}")
    await signals.arrive(f"{name}-go-on")
    return {"pid": os.getpid(), "attempt": attempt}


@app.route("/stuck/<name>")
@jobs.background
def stuck(name: str) -> None:
    signals.send(f"{name}-started-1")
    threading.Event().wait()


@app.route("/stubborn/<name>")
@jobs.background
async def stubborn(name: str) -> NoReturn:
    signals.send(f"{name}-started-1")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@app.route("/poison/<name>")
@jobs.background
async def poison(name: str) -> NoReturn:
    await signals.arrive(f"{name}-go-on")
    signals.send(f"{name}-started-{current_job.attempt}")
    while True:
        os.kill(os.getpid(), signal.SIGKILL)


@app.route("/told/<name>")
@jobs.background
async def told(name: str) -> dict[str, int]:
    """In its first moment the process is told to stop."""
    os.kill(os.getpid(), signal.SIGTERM)
    return {"attempt": current_job.attempt}


@app.route("/sworn/<name>", methods=["GET", "POST"])
@jobs.background(idempotent=True)
async def sworn(name: str) -> dict[str, int]:
    return await inner_work(name)


@app.route("/once/<name>", methods=["GET", "POST"])
@jobs.background(idempotent=False)
async def once(name: str) -> dict[str, int]:
    return await inner_work(name)


@app.get("/pid")
async def pid() -> dict[str, int]:
    return {"pid": os.getpid()}
