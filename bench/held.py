"""What polls that wait keep from all others: how long a plain route takes meanwhile that needs a
connection to the database too, and how many threads there are.

`python -m bench.held`, with `--against CHECKOUT` for the figures of another checkout before ours.
Each request takes a connection, by quart-db, which has a thread for each with SQLite.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import click
from quart import Quart, g
from quart_db import QuartDB
from quart_db.interfaces import ConnectionABC

from asyncjobs import QuartJobs

from .client import Connection
from .server import Server

#: Seconds that the polls have for beginning to wait.
SETTLE = 1.0


class Pool(QuartDB):
    """quart-db with so many connections to SQLite at a time."""

    async def before_serving(self) -> None:
        await super().before_serving()
        self.free = asyncio.Semaphore(int(os.environ["POOL"]))

    async def acquire(self) -> ConnectionABC:
        await self.free.acquire()
        return await super().acquire()

    async def release(self, connection: ConnectionABC) -> None:
        await super().release(connection)
        self.free.release()


app = Quart("held", instance_path=str(Path.cwd() / "instance"))
Pool(app, url=f"sqlite:///{Path.cwd() / 'app.db'}", migrations_folder=None)
jobs = QuartJobs(app)


@app.post("/sleep")
@jobs.background
async def sleep():
    await asyncio.sleep(3600)
    return {}


@app.get("/plain")
async def plain():
    assert await g.connection.fetch_val("SELECT 1") == 1
    return {"threads": threading.active_count()}


@click.command()
@click.option("--polls", default=100, show_default=True, help="That wait at the same time.")
@click.option("--seconds", default=2, show_default=True, help="That each of them waits.")
@click.option("--pool", default=5, show_default=True, help="Connections in the small pool.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Another checkout, which is measured first.",
)
def main(polls: int, seconds: int, pool: int, against: Path | None) -> None:
    """Measure a plain route while polls wait."""
    ours = Path(__file__).parent.parent
    for checkout in ([] if against is None else [against]) + [ours]:
        click.echo(f"{checkout.name}:")
        for size in (polls * 2, pool):
            with (
                tempfile.TemporaryDirectory() as folder,
                Server(
                    "bench.held:app",
                    Path(folder),
                    POOL=str(size),
                    PYTHONPATH=os.pathsep.join([str(checkout / "src"), str(ours)]),
                ) as server,
            ):
                asyncio.run(measure(server.port, polls, seconds, size))


async def measure(port: int, polls: int, seconds: int, size: int) -> None:
    async with Connection(port) as connection:
        _, body = await connection.request("POST", "/sleep")
        poll = f"/sleep/{json.loads(body)['TaskId']}"
        idle, before = await ask(connection)

        async def wait() -> None:
            async with Connection(port) as waiting:
                status, _ = await waiting.request(
                    "GET", poll, headers=f"Prefer: wait={seconds}\r\n"
                )
                assert status == 202

        waits = [asyncio.create_task(wait()) for _ in range(polls)]
        await asyncio.sleep(SETTLE)
        held, during = await ask(connection)
        await asyncio.gather(*waits)
    click.echo(
        f"    {polls} polls, {size} connections: the plain route in {held * 1000:.0f} ms "
        f"(without polls {idle * 1000:.0f} ms); {during} threads ({before})"
    )


async def ask(connection: Connection) -> tuple[float, int]:
    """How many seconds the plain route takes, and how many threads it finds."""
    start = time.perf_counter()
    status, body = await connection.request("GET", "/plain")
    assert status == 200
    return time.perf_counter() - start, json.loads(body)["threads"]


if __name__ == "__main__":
    main()
