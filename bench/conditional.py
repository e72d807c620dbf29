"""Polls that are answered by 304, as their client has the result, against those that are answered
in full: of a small result, and of one of 1 MiB.

Both are asked for in turn, by the same client, for several rounds; the machine may be shared, so
the median of the ratios within a round is what to trust. `python -m bench.conditional --help` has
the options.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from .client import Connection
from .http import spread
from .server import Server

SIZES = {"small": "/noted", "1 MiB": "/large"}


@click.command()
@click.option("--rounds", default=15, show_default=True)
@click.option("--polls", default=3000, show_default=True, help="Of each kind in each round.")
@click.option("--connections", default=8, show_default=True)
def main(rounds: int, polls: int, connections: int) -> None:
    """Compare the rate of 304 answers with that of full ones."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("bench.apps:ours", Path(folder)) as server,
    ):
        for name, path in SIZES.items():
            asyncio.run(measure(server, name, path, rounds, polls, connections))


async def measure(
    server: Server, name: str, path: str, rounds: int, polls: int, connections: int
) -> None:
    poll, tag = await finished(server.port, path)
    held = f"If-None-Match: {tag}\r\n"
    full_rates, held_rates, cpus = [], [], []
    for number in range(-1, rounds):
        full, full_cpu = await rate(server, poll, 200, "", polls, connections)
        known, known_cpu = await rate(server, poll, 304, held, polls, connections)
        if number >= 0:  # the first round warms up
            full_rates.append(full)
            held_rates.append(known)
            cpus.append(full_cpu / known_cpu)
    ratios = [known / full for known, full in zip(held_rates, full_rates, strict=True)]
    click.echo(
        f"{name:6} in full {median(full_rates):6.0f}/s, 304 {median(held_rates):6.0f}/s; "
        f"304 : in full {spread(ratios)}, CPU in full : 304 {spread(cpus)}"
    )


async def finished(port: int, path: str) -> tuple[str, str]:
    """Where the result of a job is, and its tag."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nPrefer: wait=20\r\n"
        "Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    answer = (await reader.read()).partition(b"\r\n\r\n")[0].decode().splitlines()
    writer.close()
    headers = dict(line.split(": ", 1) for line in answer[1:])
    return headers["content-location"], headers["etag"]


async def rate(
    server: Server, url: str, status: int, headers: str, polls: int, connections: int
) -> tuple[float, float]:
    """So many polls a second, and seconds of the server's CPU for one."""
    left = iter(range(polls))

    async def client() -> None:
        async with Connection(server.port) as connection:
            for _ in left:
                assert (await connection.request("GET", url, headers=headers))[0] == status

    cpu, start = server.cpu(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return polls / (time.perf_counter() - start), (server.cpu() - cpu) / polls


if __name__ == "__main__":
    main()
