"""What very many expired results cost: the start of a server, and the jobs while it forgets them.

`python -m bench.expired`, with `--rows`, `--workers`, `--against`; it has `--help`. In each round,
two servers are started one after the other, on copies of one store: there, the results of the first
have not expired, which shows what is usual on this machine with a store of that size.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from asyncjobs.stores import SqliteStore

from .client import Connection, run_job
from .percentiles import percentile, tail, told
from .server import Server

#: Seconds that a server may take to start, and to cut its file back.
PATIENCE = 300.0
STORE = "instance/jobs.db"

_NUMBERS = "WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < :rows)"
_FILL = (
    "INSERT INTO jobs (seq, id, route, path, created, repeatable, state, version, attempt, crashes,"
    f" cancel_requested, due, started, finished, expires) {_NUMBERS} SELECT seq, randomblob(16),"
    " 'job', '/job', 1e9, 0, 'succeeded', 3, 1, 0, 0, 1e9, 1e9, 1e9, 1e9 + seq FROM n",
    f"INSERT INTO requests {_NUMBERS} SELECT seq, 'POST', '/job', x'', randomblob(150),"
    " randomblob(80), 'http', '', '1.1', NULL, NULL, x'' FROM n",
    f"INSERT INTO responses {_NUMBERS} SELECT seq, 200, randomblob(60), randomblob(:body) FROM n",
)


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Expired results.")
@click.option("--body", default=100, show_default=True, help="Bytes of each.")
@click.option("--workers", default=1, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="So long are jobs submitted.")
@click.option("--connections", default=4, show_default=True)
@click.option("--brief", is_flag=True, help="Stop each server before it has forgotten all.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Another checkout, with its .venv, that is measured in turn.",
)
def main(
    rows: int,
    body: int,
    workers: int,
    rounds: int,
    seconds: float,
    connections: int,
    brief: bool,
    against: Path | None,
) -> None:
    """Start servers on a store with so many expired results, and have them run jobs meanwhile."""
    checkouts = {"ours": None} if against is None else {"theirs": against, "ours": None}
    ratios: dict[str, list[float]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        expired, kept = Path(folder, "expired.db"), Path(folder, "kept.db")
        fill(expired, rows, body)
        shutil.copy(expired, kept)
        with closing(sqlite3.connect(kept)) as connection, connection:
            connection.execute("UPDATE jobs SET expires = expires + 1e12")
        for number in range(rounds):
            for name, checkout in checkouts.items():
                click.echo(f"round {number + 1}, {name}")
                with serve(kept, workers, checkout) as server:
                    usual = asyncio.run(latencies(server, seconds, connections))
                click.echo(f"  usual            {describe(usual)}")
                try:
                    server = serve(expired, workers, checkout)
                except RuntimeError as error:
                    click.echo(f"  {error}")
                    continue
                with server:
                    begun, before = time.perf_counter(), left(server)
                    forgetting = asyncio.run(latencies(server, seconds, connections))
                    click.echo(f"  while it forgets {describe(forgetting)}")
                    click.echo(f"  expired results  {before} at first, {left(server)} now")
                    percent = tail(min(len(forgetting), len(usual)))
                    ratio = percentile(forgetting, percent) / percentile(usual, percent)
                    ratios[name].append(ratio)
                    click.echo(f"  p{percent}, to the usual {ratio:.2f}")
                    if not brief:
                        wait_until_small(server, expired.stat().st_size, begun)
    for name, each in ratios.items():
        if each:
            median = statistics.median(each)
            click.echo(f"{name}: that is {median:.2f} times the usual, median of {len(each)}")


def serve(store: Path, workers: int, checkout: Path | None) -> Server:
    """A server on a copy of the store, once it answers."""
    folder = Path(tempfile.mkdtemp(dir=store.parent))
    (folder / "instance").mkdir(mode=0o700)
    shutil.copy(store, folder / STORE)
    os.sync()  # else the first commits wait for that
    start = time.perf_counter()
    try:
        return Server(
            "bench.apps:ours", folder, workers=workers, checkout=checkout, patience=PATIENCE
        )
    finally:
        click.echo(f"  start            {time.perf_counter() - start:.2f} s")


def wait_until_small(server: Server, size: int, begun: float) -> None:
    """Tell when all is forgotten, and the file, which had this size, is small."""
    store = server.folder / STORE
    while left(server, limit=1):
        time.sleep(0.1)
    forgotten = time.perf_counter() - begun
    click.echo(f"  all forgotten    {forgotten:.1f} s later")
    while (now := store.stat().st_size) > size // 8 + 2_000_000:
        time.sleep(0.1)
        if time.perf_counter() - begun - forgotten > PATIENCE:
            break
    click.echo(
        f"  the file         {size / 1e6:.1f} MB at first, {now / 1e6:.1f} MB"
        f" {time.perf_counter() - begun:.1f} s later"
    )


def fill(store: Path, rows: int, body: int) -> None:
    """A store with so many results that have expired, in the order in which they came."""

    async def make() -> None:
        async with SqliteStore(store):
            pass

    asyncio.run(make())
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA cache_size = -400000")
        for statement in _FILL:
            values = {"rows": rows, "body": body}
            connection.execute(
                statement, {name: values[name] for name in values if f":{name}" in statement}
            )
        connection.commit()


def left(server: Server, limit: int = -1) -> int:
    """How many results have expired, as far as that limit."""
    store = server.folder / STORE
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
        ((number,),) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE expires < ? LIMIT ?)",
            (time.time(), limit),
        )
    return int(number)


async def latencies(server: Server, seconds: float, connections: int) -> list[float]:
    """The seconds that each job took, from its submission to its result."""
    times: list[float] = []
    clock: Callable[[], float] = time.perf_counter
    end = clock() + seconds

    async def client() -> None:
        async with Connection(server.port) as connection:
            while (start := clock()) < end:
                times.append((await run_job(connection, "/job")).ended - start)

    await asyncio.gather(*(client() for _ in range(connections)))
    return times


def describe(times: list[float]) -> str:
    return f"{len(times):6} jobs, {told(times)}"


if __name__ == "__main__":
    main()
