"""What a page of a listing costs in a store with very many jobs, beside what `find` takes for it.

`python -m bench.listing`, with `--rows` and `--rounds`; it has `--help`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from asyncjobs import Cursor, Listing, Query, SqliteStore, State
from asyncjobs.paging import Counted, pages

# Of a thousand users, who have a job in ten; a job of 5,000 has failed, and the last 1,000 wait.
_FILL = """
WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < :rows)
INSERT INTO jobs (seq, id, route, path, created, owner, program, repeatable, state, version,
    attempt, crashes, cancel_requested, due, started, finished, expires)
SELECT seq, randomblob(16), 'route ' || (seq % 10), '/job/report', 1e9 + seq,
    iif(seq % 10, NULL, 'user ' || (seq / 10 % 1000)), 'ours', 0,
    iif(seq > :rows - 1000, 'queued', iif(seq % 5000, 'succeeded', 'failed')),
    3, 1, 0, 0, 1e9 + seq, 1e9 + seq, 1e9 + seq, 1e11
FROM n"""

FAILED = frozenset({State.FAILED})
COMMON = frozenset({State.SUCCEEDED})
LISTINGS = {
    "all": Listing(),
    "all, 1,000 of them": Listing(limit=1000),
    "an owner's": Listing(owner="user 7"),
    "nobody's": Listing(owner=None),
    "of a program": Listing(program="ours"),
    "of a rare state": Listing(states=FAILED),
    "of a common state": Listing(states=COMMON),
    "of a route": Listing(routes=frozenset({"route 3"})),
}
FINDS = {
    "all": Query(),
    "an owner's": Query(owner="user 7"),
    "of a rare state": Query(states=FAILED),
    "all, behind the first half": Query(),
}


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Jobs in the store.")
@click.option("--rounds", default=20, show_default=True, help="Times that each page is read.")
def main(rows: int, rounds: int) -> None:
    """Fill a store with so many jobs, and read pages of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.db")
        asyncio.run(fill(path, rows))
        click.echo(f"{rows:,} jobs, {path.stat().st_size / 1e6:.0f} MB")
        asyncio.run(measure(path, rows, rounds))


async def fill(path: Path, rows: int) -> None:
    """A store with so many jobs, each a second younger than the one before."""
    async with SqliteStore(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute(_FILL, {"rows": rows})


async def measure(path: Path, rows: int, rounds: int) -> None:
    """Tell what each page takes, and all of them."""
    async with SqliteStore(path) as store:
        for name, listing in LISTINGS.items():
            for where, place in (("first", None), ("middle", Cursor(1e9 + rows // 2, rows // 2))):
                asked = replace(listing, before=place)
                number = len((await store.list(asked)).jobs)
                times = await timed(lambda asked=asked: store.list(asked), rounds)
                click.echo(f"list, {where:6} {name:28} {number:5} jobs  {times}")
        for name, query in FINDS.items():
            asked_of = replace(query, skip=rows // 2 if "behind" in name else 0)
            times = await timed(lambda asked=asked_of: store.find(asked), min(rounds, 3))
            click.echo(f"find         {name:28}             {times}")
        start = time.perf_counter()
        found = [job async for page in pages(store, LISTINGS["of a rare state"]) for job in page[0]]
        click.echo(f"all {len(found)} of a rare state: {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        counted = Counted()
        async for page in pages(store, Listing(limit=250)):
            counted.add(page)
        click.echo(f"all {counted.counts.total():,} counted: {time.perf_counter() - start:.2f} s")


async def timed(call: Callable[[], Awaitable[Any]], rounds: int) -> str:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await call()
        times.append((time.perf_counter() - start) * 1000)
    return f"median {statistics.median(times):8.2f} ms, most {max(times):8.2f} ms"


if __name__ == "__main__":
    main()
