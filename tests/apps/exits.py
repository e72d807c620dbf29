"""Views that start threads of the app's own, for which Python waits when the process ends."""

from __future__ import annotations

import asyncio
import threading

from quart import Quart

from apps import configuration
from apps.signals import Signals
from asyncjobs import QuartJobs

app = Quart(__name__)
app.config.from_mapping(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])
tasks: set[asyncio.Task[None]] = set()


def work(name: str) -> None:
    signals.send(f"{name}-started")
    signals.wait(f"{name}-go-on")


@app.get("/to_thread/<name>")
async def to_thread(name: str) -> str:
    tasks.add(asyncio.create_task(asyncio.to_thread(work, name)))
    return "begun"


@app.get("/thread/<name>")
async def thread(name: str) -> str:
    threading.Thread(target=work, args=[name], name="of-the-app").start()
    return "begun"
