"""What it costs to take jobs out of a queue of many routes: rows read, and time on the event loop.

`python -m bench.queue`, with `--routes`, `--queued`, `--slots`; it has `--help`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Self

import click

from asyncjobs import Job, Jobs, Query, Request, State
from asyncjobs.store import StoreWrapper
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite import database

CALL = Request(method="POST", path="/work", body=b'{"args": [], "kwargs": {}}')


class Watched(StoreWrapper):
    """A store that counts the rows that it reads, by any statement, and times each `find`."""

    def __init__(self, path: Path) -> None:
        super().__init__(SqliteStore(path))
        self.rows = 0
        self.finds: list[float] = []

    async def __aenter__(self) -> Self:
        connect = database.connect

        def watched(path: Path) -> sqlite3.Connection:
            connection = connect(path)
            connection.row_factory = self._count
            return connection

        database.connect = watched
        try:
            await super().__aenter__()
        finally:
            database.connect = connect
        return self

    async def find(self, query: Query) -> list[Job]:
        start = time.thread_time()
        try:
            return await super().find(query)
        finally:
            self.finds.append(time.thread_time() - start)

    def _count(self, cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
        self.rows += 1
        return row


@click.command()
@click.option("--routes", default=50, show_default=True)
@click.option("--queued", default=1000, show_default=True, help="Jobs of each route.")
@click.option("--slots", default=1, show_default=True, help="Jobs that run at a time.")
@click.option("--jobs", default=1000, show_default=True, help="So many are run.")
def main(routes: int, queued: int, slots: int, jobs: int) -> None:
    """Run some of the jobs in a queue of many routes, and then look where nothing is queued."""
    names = [f"route {number}" for number in range(routes)]
    with tempfile.TemporaryDirectory() as folder:
        store = Watched(Path(folder, "full.db"))
        asyncio.run(fill(store, names, queued))
        asyncio.run(run(store, names, slots, min(jobs, routes * queued)))
        click.echo(f"{routes} routes x {queued} queued, {slots} slots: {report(store, jobs)}")
        idle = Watched(Path(folder, "empty.db"))
        asyncio.run(look(idle, names))
        click.echo(f"nothing queued: {report(idle, 0)}")


async def fill(store: Watched, names: list[str], queued: int) -> None:
    now = time.time()
    async with store:
        for _ in range(queued):
            jobs = [Job(uuid.uuid4().hex, name, "/work", now, program="bench") for name in names]
            await asyncio.gather(*(store.add(job, CALL) for job in jobs))


async def run(store: Watched, names: list[str], slots: int, enough: int) -> None:
    jobs = Jobs(store=store, name="bench", concurrency=slots)
    ran, done = 0, asyncio.Event()

    async def work() -> None:
        nonlocal ran
        ran += 1
        if ran == enough:
            done.set()

    for name in names:
        jobs.function(name=name)(work)
    store.rows, store.finds = 0, []
    async with jobs:
        await done.wait()


async def look(store: Watched, names: list[str]) -> None:
    query = Query(
        states=frozenset({State.QUEUED}), routes=frozenset(names), program="bench", suspects=False
    )
    async with store:
        for _ in range(1000):
            await store.find(query)


def report(store: Watched, jobs: int) -> str:
    rows = f"{store.rows / jobs:.2f} rows read for each of {jobs} jobs, " if jobs else ""
    return f"{rows}{sum(store.finds) / len(store.finds) * 1e6:.0f} us CPU for each find"


if __name__ == "__main__":
    main()
