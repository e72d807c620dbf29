"""A program with `Jobs` that runs beside one of another release, on one store.

It uses of asyncjobs only what the older one has as well. Its arguments: the store, the folder of
the signals, what it is called there, and a file to write its SQL to, if that is wanted. It submits
a job that waits, prints the results of others, and at the end those of all that have waited.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from apps.signals import DEADLINE, Signals
from asyncjobs import Jobs, Query
from asyncjobs.errors import JobNotFound
from asyncjobs.stores.sqlite import database as opening

COUNT = 100
STORE, FOLDER, NAME, *TRACE = sys.argv[1:]
signals = Signals(FOLDER)
jobs = Jobs(store=f"sqlite:///{STORE}", concurrency=4, gone_after=0)


@jobs.function(name="work")
async def work(number: int) -> list[Any]:
    await asyncio.sleep(0.005)
    return [number, NAME]


@jobs.function(name="hold", idempotent=True)
async def hold() -> str:
    signals.send(f"{NAME}-holds")
    await signals.arrive("let-go")
    return NAME


@jobs.function(name="endless", ttl=0)
async def endless() -> None:
    await asyncio.Event().wait()


async def main() -> None:
    async with jobs:
        await jobs.submit(hold)
        signals.send(f"{NAME}-is-open")
        await signals.arrive("start")
        cancelled = await jobs.cancel((await jobs.submit(endless)).id)
        submitted = [await jobs.submit(work, number) for number in range(COUNT)]
        tell([await jobs.result(job.id, DEADLINE) for job in submitted])
        await forgotten(cancelled.id)
        await signals.arrive("let-go")
        held = await jobs.find(Query(routes=frozenset({"hold"})))
        tell([await jobs.result(job.id, DEADLINE) for job in held])


async def forgotten(job_id: str) -> None:
    """Return once a sweep has removed the job."""
    with suppress(JobNotFound):
        async with asyncio.timeout(DEADLINE):
            while await jobs.get(job_id):
                await asyncio.sleep(0.01)


def tell(results: list[Any]) -> None:
    print(json.dumps(results), flush=True)


def traced(path: Path) -> sqlite3.Connection:
    """What a store opens its file with, and writes down each statement that it executes."""
    connection = connect(path)
    connection.set_trace_callback(statements.add)
    return connection


statements: set[str] = set()
connect = vars(opening)["connect"]
if TRACE:
    vars(opening)["connect"] = traced
asyncio.run(main())
for path in TRACE:
    Path(path).write_text(json.dumps(sorted(statements)))
