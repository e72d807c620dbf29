"""Submit and poll over HTTP: our durable jobs against a handler that only answers the contract.

The two servers are driven in turn by the same client for several rounds; the machine may be shared,
so the ratio of the medians is what to trust. `python -m bench.http --help` has the options.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from .client import Connection
from .server import Server

BODY = json.dumps({"rows": list(range(20)), "name": "report"}).encode()
WAIT = "Prefer: wait=20\r\n"


@dataclass(frozen=True)
class Round:
    """What one round measured: jobs a second, and seconds of server CPU and requests a job."""

    rate: float
    cpu: float
    requests: float


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--jobs", default=3000, show_default=True, help="Jobs in each round.")
@click.option("--connections", default=32, show_default=True)
def main(rounds: int, jobs: int, connections: int) -> None:
    """Compare jobs/s and CPU per job with those of the floor."""
    with tempfile.TemporaryDirectory() as folder:
        floor_folder, our_folder = Path(folder, "floor"), Path(folder, "ours")
        floor_folder.mkdir()
        our_folder.mkdir()
        with (
            Server("bench.apps:floor", floor_folder) as floor,
            Server("bench.apps:ours", our_folder) as ours,
        ):
            measured: dict[str, list[Round]] = {"floor": [], "ours": []}
            for number in range(-1, rounds):
                for name, server in (("floor", floor), ("ours", ours)):
                    measure = asyncio.run(drive(server, jobs, connections))
                    if number >= 0:  # the first round warms up
                        measured[name].append(measure)
                        click.echo(f"round {number + 1} {name:5}  {describe(measure)}")
    floor_median, our_median = median(measured["floor"]), median(measured["ours"])
    click.echo(f"median  floor  {describe(floor_median)}")
    click.echo(f"median  ours   {describe(our_median)}")
    click.echo(f"jobs/s, ours : floor        {our_median.rate / floor_median.rate:6.2f}")
    click.echo(f"CPU a job over the floor's  {(our_median.cpu - floor_median.cpu) * 1e6:6.0f} us")


async def drive(server: Server, jobs: int, connections: int, *, path: str = "/job") -> Round:
    """Submit `jobs` jobs over so many connections, and poll each until it has its result."""
    left = iter(range(jobs))
    requests = 0

    async def client() -> None:
        nonlocal requests
        async with Connection(server.port) as connection:
            for _ in left:
                status, body = await connection.request("POST", path, BODY)
                assert status == 202, body
                poll = f"{path}/{json.loads(body)['TaskId']}"
                requests += 1
                while status == 202:
                    status, body = await connection.request("GET", poll, headers=WAIT)
                    requests += 1
                assert (status, body) == (200, b'{"Result":true}\n'), body

    cpu, start = server.cpu(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    seconds = time.perf_counter() - start
    return Round(jobs / seconds, (server.cpu() - cpu) / jobs, requests / jobs)


def median(rounds: list[Round]) -> Round:
    return Round(
        statistics.median(r.rate for r in rounds),
        statistics.median(r.cpu for r in rounds),
        statistics.median(r.requests for r in rounds),
    )


def describe(r: Round) -> str:
    return f"{r.rate:7.0f} jobs/s  {r.cpu * 1e6:6.0f} us CPU a job  {r.requests:.2f} requests a job"


if __name__ == "__main__":
    main()
