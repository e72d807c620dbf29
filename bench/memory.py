"""What many jobs at once, very many one after the other, and very many requests that are no jobs
cost in memory.

`python -m bench.memory sleepers`, `... soak` and `... plain`; each has `--help`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from .client import BODY, WAIT, Connection, run_jobs
from .server import Server

CONNECTIONS = 32


@click.group()
def main() -> None:
    """Measure the memory of a server with many jobs."""


@main.command()
@click.option("--jobs", default=10_000, show_default=True)
def sleepers(jobs: int) -> None:
    """Have so many async jobs sleep at once, and see what each takes and how the server answers."""
    with tempfile.TemporaryDirectory() as folder, Server("bench.apps:ours", Path(folder)) as server:
        asyncio.run(submit(server, "/job", 500))  # imports, caches, threads
        before = server.memory()
        asyncio.run(submit(server, "/sleep", jobs))
        each = (server.memory() - before) / jobs
        click.echo(f"{jobs} jobs asleep: {each / 1000:.1f} kB of resident memory each")
        times = asyncio.run(submit(server, "/sleep", 200, connections=1))
        click.echo(f"a further submission: median {statistics.median(times) * 1000:.1f} ms")
        server.kill()  # else each job would be told of, as it does not end


@main.command()
@click.option("--jobs", default=200_000, show_default=True)
def soak(jobs: int) -> None:
    """Run so many short jobs whose results expire soon, and see whether anything grows."""
    with tempfile.TemporaryDirectory() as folder, Server("bench.apps:ours", Path(folder)) as server:
        store = Path(folder, "instance", "jobs.db")
        first_quarter = 0
        for done in range(jobs // 20, jobs + 1, jobs // 20):
            start = time.perf_counter()
            asyncio.run(submit(server, "/short", jobs // 20, follow=True))
            rate = jobs / 20 / (time.perf_counter() - start)
            memory = server.memory()
            first_quarter = first_quarter or (memory if done >= jobs / 4 else 0)
            files = sum(
                file.stat().st_size for file in store.parent.glob("jobs.db*") if file.is_file()
            )
            click.echo(
                f"{done:7} jobs  {rate:5.0f} jobs/s  {memory / 1e6:6.1f} MB resident"
                f"  {files / 1e6:6.1f} MB on disk"
            )
        click.echo(
            f"growth of memory over the last three quarters: {memory / first_quarter - 1:+.1%}"
        )


@main.command()
@click.option("--requests", default=100_000, show_default=True)
@click.option("--warming", default=10_000, show_default=True, help="Requests before the first.")
def plain(requests: int, warming: int) -> None:
    """Send so many requests to plain routes, in an app with asyncjobs and in one without it."""
    for name, app, path in (("with asyncjobs", "ours", "/plain"), ("without", "floor", "/job")):
        with (
            tempfile.TemporaryDirectory() as folder,
            Server(f"bench.apps:{app}", Path(folder)) as server,
        ):
            looks = []
            for number in (warming, requests // 2, requests // 2):  # a job of theirs takes two
                asyncio.run(run_jobs(server.port, number // 2, CONNECTIONS, path=path))
                looks.append(server.memory())
        first, half, last = looks
        click.echo(
            f"{name:14} {first / 1e6:.1f} MB resident, after {requests} plain requests more"
            f" {last / 1e6:.1f} MB: {(last - first) / requests:.1f} bytes a request,"
            f" of the second half of them {(last - half) / requests * 2:.1f}"
        )


async def submit(
    server: Server,
    path: str,
    jobs: int,
    *,
    connections: int = CONNECTIONS,
    follow: bool = False,
) -> list[float]:
    """Submit so many jobs and perhaps wait for their results; the seconds of each submission."""
    left = iter(range(jobs))
    times: list[float] = []

    async def client(clock: Callable[[], float] = time.perf_counter) -> None:
        async with Connection(server.port) as connection:
            for _ in left:
                start = clock()
                status, body = await connection.request("POST", path, BODY)
                times.append(clock() - start)
                assert status == 202, body
                poll = f"{path}/{json.loads(body)['TaskId']}"
                while follow and status == 202:
                    status, body = await connection.request("GET", poll, headers=WAIT)

    await asyncio.gather(*(client() for _ in range(connections)))
    return times


if __name__ == "__main__":
    main()
