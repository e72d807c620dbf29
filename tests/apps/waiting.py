"""An app whose every request takes a connection to a database out of a pool of five."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from quart import Quart, g, request
from quart_db import QuartDB
from quart_db.interfaces import ConnectionABC

from asyncjobs import QuartJobs

from . import configuration
from .signals import Signals

app = Quart(__name__)
app.config.update(configuration())
signals = Signals(app.config["SIGNALS"])
#: How many polls have taken a connection, and how many have given theirs back.
took, gave_back = 0, 0


class Pool(QuartDB):
    """quart-db with SQLite, whose backend opens as many connections as are asked for."""

    size = 5

    async def before_serving(self) -> None:
        await super().before_serving()
        self.free = asyncio.Semaphore(self.size)
        self.acquired = 0

    async def acquire(self) -> ConnectionABC:
        await self.free.acquire()
        self.acquired += 1
        return await super().acquire()

    async def release(self, connection: ConnectionABC) -> None:
        await super().release(connection)
        self.acquired -= 1
        self.free.release()


def is_poll() -> bool:
    return "Prefer" in request.headers


# Around quart-db's own, which takes the connection and gives it back.
@app.teardown_request
async def count_what_is_given_back(error: BaseException | None) -> None:
    global gave_back
    gave_back += is_poll()


db = Pool(app, url=f"sqlite:///{Path(signals.folder) / 'app.db'}", migrations_folder=None)
jobs = QuartJobs(app)


@app.before_request
async def count_what_is_taken() -> None:
    global took
    took += is_poll()


@app.get("/wait/<name>")
@jobs.background
async def wait(name: str) -> dict[str, str]:
    await signals.arrive(f"{name}.go")
    return {"waited": name}


@app.get("/by-hand/<job_id>")
async def by_hand(job_id: str) -> Any:
    response = await jobs.poll(job_id)
    response.headers["X-By-Hand"] = "yes"
    return response


@app.get("/plain")
async def plain() -> dict[str, int]:
    """Takes a connection itself, and tells what others hold."""
    return {
        "one": await g.connection.fetch_val("SELECT 1"),
        "acquired by others": db.acquired - 1,
        "threads": threading.active_count(),
        "took": took,
        "gave back": gave_back,
    }
