"""Submit and poll over HTTP: our durable jobs against a handler that only answers the contract, or
against those of another checkout.

The two servers are driven in turn by the same client for several rounds; the machine may be shared,
so the ratio of the medians is what to trust. `python -m bench.http --help` has the options.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
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
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Another checkout, with its .venv: its jobs are measured in the place of the floor.",
)
def main(rounds: int, jobs: int, connections: int, against: Path | None) -> None:
    """Compare jobs/s and CPU per job with those of the floor, or of another checkout."""
    other = "floor" if against is None else "theirs"
    measured: dict[str, list[Round]] = {other: [], "ours": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as serving:
        for name in measured:
            Path(folder, name).mkdir()
        app = "floor" if against is None else "ours"
        theirs = Server(f"bench.apps:{app}", Path(folder, other), checkout=against)
        servers = {other: serving.enter_context(theirs)}
        servers["ours"] = serving.enter_context(Server("bench.apps:ours", Path(folder, "ours")))
        for number in range(-1, rounds):
            for name, server in servers.items():
                measure = asyncio.run(drive(server, jobs, connections))
                if number >= 0:  # the first round warms up
                    measured[name].append(measure)
                    click.echo(f"round {number + 1} {name:6} {describe(measure)}")
    report(other, measured[other], measured["ours"])


def report(other: str, their_rounds: list[Round], our_rounds: list[Round]) -> None:
    theirs, ours = median(their_rounds), median(our_rounds)
    click.echo(f"median  {other:6} {describe(theirs)}")
    click.echo(f"median  ours   {describe(ours)}")
    click.echo(f"jobs/s, ours : {other:6}       {ours.rate / theirs.rate:6.2f}")
    pairs = zip(our_rounds, their_rounds, strict=True)
    ratio = statistics.median(a.rate / b.rate for a, b in pairs)
    click.echo(f"the same, median of pairs   {ratio:6.2f}")
    click.echo(f"CPU a job over {other:6}       {(ours.cpu - theirs.cpu) * 1e6:6.0f} us")


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
