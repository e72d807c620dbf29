"""A poll of a finished job against a bare handler that answers the same bytes, in turn."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import click

from .client import BODY, WAIT, Connection
from .server import Server

CONNECTIONS = 16


@click.command()
@click.option("--rounds", default=9, show_default=True)
@click.option("--polls", default=4000, show_default=True, help="Polls in each round.")
def main(rounds: int, polls: int) -> None:
    """Compare polls/s and CPU per poll of a finished job with those of a bare handler."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, name) for name in ("floor", "ours")]
        for each in folders:
            each.mkdir()
        with (
            Server("bench.apps:floor", folders[0]) as floor,
            Server("bench.apps:ours", folders[1]) as ours,
        ):
            finished = asyncio.run(a_finished_job(ours))
            servers = {"floor": (floor, "/job/x"), "ours": (ours, finished)}
            cost: dict[str, list[float]] = {name: [] for name in servers}
            cpu: dict[str, list[float]] = {name: [] for name in servers}
            for number in range(-1, rounds):
                for name, (server, path) in servers.items():
                    used, start = server.cpu(), time.perf_counter()
                    asyncio.run(poll(server, path, polls))
                    if number >= 0:  # the first round warms up
                        cost[name].append((time.perf_counter() - start) / polls)
                        cpu[name].append((server.cpu() - used) / polls)
    for name in servers:
        click.echo(
            f"{name:5}  {1 / statistics.median(cost[name]):6.0f} polls/s"
            f"  {statistics.median(cpu[name]) * 1e6:5.0f} us CPU a poll"
        )
    pairs = zip(cost["ours"], cost["floor"], strict=True)
    click.echo(f"cost, ours : floor  {statistics.median(o / f for o, f in pairs):.2f} (wall)")
    pairs = zip(cpu["ours"], cpu["floor"], strict=True)
    click.echo(f"cost, ours : floor  {statistics.median(o / f for o, f in pairs):.2f} (CPU)")


async def a_finished_job(server: Server) -> str:
    """The poll URL of a job that is finished."""
    async with Connection(server.port) as connection:
        _, body = await connection.request("POST", "/noted", BODY)  # which is kept for longer
        path = f"/noted/{json.loads(body)['TaskId']}"
        status, _ = await connection.request("GET", path, headers=WAIT)
        assert status == 200
        return path


async def poll(server: Server, path: str, polls: int) -> None:
    left = iter(range(polls))

    async def client() -> None:
        async with Connection(server.port) as connection:
            for _ in left:
                assert await connection.request("GET", path) == (200, b'{"Result":true}\n')

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


if __name__ == "__main__":
    main()
