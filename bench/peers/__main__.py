"""Ours beside SAQ, arq, taskiq, Celery, huey and the pattern of the article.

`python -m bench.peers`, with `--only NAME` for some of them. Each has an environment of its own,
which is made the first time, and a Redis of its own, if it needs one. Who can't be measured is left
out by name. The machine may be shared: each round of a peer comes right after one of ours, and the
median of the ratios is what to trust.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import click

from . import environments, redis_server
from .embedded_rounds import EmbeddedPairs
from .environments import Unavailable
from .http_rounds import Load, Pairs
from .pairing import FAILURES
from .peers import OURS, PEERS, Keeper, Peer
from .table import Row, embedded_table, http_table, version_table

ENVIRONMENTS = Path(__file__).parent / ".envs"


@click.command()
@click.option("--only", multiple=True, type=click.Choice([peer.name for peer in PEERS]))
@click.option("--rounds", default=5, show_default=True, help="Of each, in turn with ours.")
@click.option("--jobs", default=300, show_default=True, help="In each round.")
@click.option("--connections", default=16, show_default=True)
@click.option("--rate", default=40.0, show_default=True, help="Jobs a second for the latencies.")
@click.option(
    "--paced",
    default=250,
    show_default=True,
    help="Jobs at that rate in each round: 1,000 in all rounds tell a p99.",
)
@click.option("--http/--no-http", default=True, help="Measure over HTTP.")
@click.option("--embedded/--no-embedded", default=True, help="Measure in one program.")
@click.option(
    "--environments",
    "folder",
    type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
    default=ENVIRONMENTS,
    help="Where the environments are, and are made. [default: bench/peers/.envs]",
)
def main(
    only: tuple[str, ...],
    rounds: int,
    jobs: int,
    connections: int,
    rate: float,
    paced: int,
    http: bool,
    embedded: bool,
    folder: Path,
) -> None:
    """Measure ours beside others, and print the tables."""
    pythons = dict(prepare([peer for peer in PEERS if not only or peer.name in only], folder))
    tables = []
    if http:
        load = Load(jobs, connections, rate, paced)
        tables.append(http_table(over_http(pythons, load, rounds)))
    if embedded:
        tables.append(embedded_table(in_one_program(pythons, jobs, connections, rounds)))
    found = {peer: environments.versions(peer, python) for peer, python in pythons.items()}
    found = {OURS: environments.versions(OURS, environments.python_of(OURS, folder)), **found}
    tables.append(version_table((p.title, each, p.settings) for p, each in found.items()))
    click.echo("\n\n".join(["", machine(), *tables]))


def prepare(peers: Sequence[Peer], folder: Path) -> Iterator[tuple[Peer, Path]]:
    """Those that can be measured, with the Python of each."""
    for peer in peers:
        try:
            say(f"{peer.title}: its environment")
            yield peer, environments.python_of(peer, folder)
        except (Unavailable, OSError, subprocess.CalledProcessError) as error:
            leave_out(peer.title, error)


def over_http(pythons: dict[Peer, Path], load: Load, rounds: int) -> list[Row]:
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Pairs(Path(folder), load, rounds, say) as pairs,
    ):
        ours = pairs.ours()
        for peer, keeper in kept(pythons, "keepers"):
            try:
                rows.append(pairs.peer(peer, keeper, pythons[peer]))
            except FAILURES as error:
                leave_out(f"{peer.title}, {keeper.title}", error)
        return [pairs.baseline(), *ours, *rows]


def in_one_program(pythons: dict[Peer, Path], jobs: int, at_a_time: int, rounds: int) -> list[Row]:
    rows, pairs = [], EmbeddedPairs(jobs, at_a_time, rounds, say)
    for peer, keeper in kept(pythons, "embedded"):
        try:
            rows.append(pairs.peer(peer, keeper, pythons[peer]))
        except FAILURES as error:
            leave_out(f"{peer.title}, {keeper.title}", error)
    return [pairs.baseline(), *rows] if rows else []


def kept(peers: dict[Peer, Path], where: str) -> Iterator[tuple[Peer, Keeper]]:
    """Each peer with each of its keepers that there is on this machine."""
    redis = redis_server.version()
    for peer in peers:
        for keeper in getattr(peer, where):
            if keeper.redis is None or redis is not None:
                yield peer, keeper
            else:
                leave_out(f"{peer.title}, {keeper.title}", "there is no redis-server: install it")


def machine() -> str:
    """When and where this was measured."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{date.today()}, {os.cpu_count()} cores, load {load}, Linux {platform.release()}, "
        f"Redis {redis_server.version()}. The 202 and the result are told in ms since the job was "
        "due, in one program since it was submitted. In brackets: times ours, with `Prefer: wait` "
        "on the poll, in the same rounds."
    )


def leave_out(title: str, why: object) -> None:
    say(f"{title} is left out: {why}")


def say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
