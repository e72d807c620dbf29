"""How long a handler takes to hear that its job was cancelled: in the process that is asked, and in
another one; an async handler, and a thread that looks once in a millisecond.

`python -m bench.cancel`. From the DELETE, as its client sends it, to the `CancelledError` in the
handler, on one clock of the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import click
from quart import Quart

from asyncjobs import QuartJobs, current_job

from .client import Connection
from .percentiles import told
from .server import Server

#: Seconds that a worker is looked for.
PATIENCE = 20.0
#: Seconds between two looks of the thread.
LOOK = 0.001

app = Quart("cancel", instance_path=str(Path.cwd() / "instance"))
jobs = QuartJobs(app)


@app.get("/who")
async def who():
    return {"pid": os.getpid()}


@app.post("/task")
@jobs.background
async def task():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note()
        raise


@app.post("/thread")
@jobs.background
def thread():
    try:
        while True:
            time.sleep(LOOK)
            current_job.check_cancelled()
    except asyncio.CancelledError:
        note()
        raise


def note() -> None:
    """Leave when the handler has heard of it."""
    path = Path.cwd() / current_job.id
    path.with_suffix(".new").write_text(str(time.monotonic()))
    path.with_suffix(".new").rename(path)


@click.command()
@click.option("--cancelled", default=200, show_default=True, help="Jobs, in each way.")
def main(cancelled: int) -> None:
    """Measure how soon handlers hear that their jobs were cancelled."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("bench.cancel:app", Path(folder), workers=2) as server,
    ):
        asyncio.run(measure(server, cancelled))


async def measure(server: Server, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        one, other = await one_of_each(server.port)
    for path in ("/task", "/thread"):
        for where, asked in (("the same process", one), ("another process", other)):
            times = [await heard(server.folder, one, asked, path) for _ in range(count)]
            click.echo(
                f"    {path[1:]:6}, DELETE in {where:16}: {told(times)}  "
                f"longest {max(times) * 1000:.1f} ms"
            )


async def one_of_each(port: int) -> tuple[Connection, Connection]:
    """A connection to each of two workers: it stays with who has accepted it."""
    found: dict[int, Connection] = {}
    while len(found) < 2:
        connection = await Connection(port).__aenter__()
        _, body = await connection.request("GET", "/who")
        found.setdefault(json.loads(body)["pid"], connection)
    first, second = found.values()
    return first, second


async def heard(folder: Path, runs: Connection, asked: Connection, path: str) -> float:
    """Seconds from the DELETE of a job to its handler's hearing of it."""
    _, body = await runs.request("POST", path)
    job_id = json.loads(body)["TaskId"]
    await asyncio.sleep(0.02)  # until the handler runs
    start = time.monotonic()
    status, _ = await asked.request("DELETE", f"/jobs/{job_id}")
    assert status == 200
    note = folder / job_id
    async with asyncio.timeout(PATIENCE):
        while not note.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(LOOK)
    return float(note.read_text()) - start


if __name__ == "__main__":
    main()
