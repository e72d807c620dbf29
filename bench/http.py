"""Submit and poll over HTTP: our durable jobs against a handler that only answers the contract, or
against those of another checkout.

All are driven in turn by the same client for several rounds; the machine may be shared, so the
median of the ratios within a round is what to trust. At half the highest rate of the slowest, it is
then measured how long it is until the 202, and until the result.
`python -m bench.http --help` has the options.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

import click

from .client import Way, run_jobs
from .paced import Latencies, Paced
from .percentiles import percentile, tail, told
from .server import Server

WIDTH = 24


@dataclass(frozen=True)
class Round:
    """What one round measured: jobs a second, and seconds of server CPU and requests a job."""

    rate: float
    cpu: float
    requests: float


@dataclass(frozen=True)
class Variant:
    """What is measured: the contract at `path` of a server, and a way to the result."""

    server: Server
    path: str = "/job"
    way: Way = Way.POLL_WAITS


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--jobs", default=3000, show_default=True, help="Jobs in each round.")
@click.option("--connections", default=32, show_default=True)
@click.option(
    "--paced", default=3, show_default=True, help="Rounds at half the highest rate; 0 for none."
)
@click.option(
    "--submissions", default=1000, show_default=True, help="In each of those: 1,000 tell a p99."
)
@click.option(
    "--worker-class", default="asyncio", show_default=True, help="hypercorn's; or uvloop."
)
@click.option(
    "--python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another interpreter to serve with, such as that of a .venv.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Another checkout, with its .venv: its jobs are measured in the place of the floor.",
)
def main(
    rounds: int,
    jobs: int,
    connections: int,
    paced: int,
    submissions: int,
    worker_class: str,
    python: Path | None,
    against: Path | None,
) -> None:
    """Compare jobs/s, CPU and latencies of a job with those of the floor, or another checkout."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as serving:

        def serve(name: str, app: str, checkout: Path | None = None) -> Server:
            Path(folder, name).mkdir()
            server = Server(
                f"bench.apps:{app}",
                Path(folder, name),
                checkout=checkout,
                python=python if checkout is None else None,
                worker_class=worker_class,
            )
            return serving.enter_context(server)

        ours = serve("ours", "ours")
        if against is None:
            variants = {
                "floor": Variant(serve("floor", "floor")),
                "plain route beside jobs": Variant(ours, "/plain"),
            }
        else:
            variants = {"theirs": Variant(serve("theirs", "ours", against))}
        variants |= {
            "ours": Variant(ours),
            "ours, one request": Variant(ours, way=Way.SUBMISSION_WAITS),
        }
        rates = measure_rates(variants, rounds, jobs, connections)
        report_rates(rates)
        if paced:
            slowest = min(median(r.rate for r in each) for each in rates.values())
            click.echo(f"\nat half the rate of the slowest, {slowest / 2:.0f} jobs/s:")
            report_latencies(measure_latencies(variants, paced, slowest / 2, submissions))


def measure_rates(
    variants: dict[str, Variant], rounds: int, jobs: int, connections: int
) -> dict[str, list[Round]]:
    measured: dict[str, list[Round]] = {name: [] for name in variants}
    for number in range(-1, rounds):
        for name, each in variants.items():
            driving = drive(each.server, jobs, connections, path=each.path, way=each.way)
            measure = asyncio.run(driving)
            if number >= 0:  # the first round warms up
                measured[name].append(measure)
                click.echo(f"round {number + 1}  {name:{WIDTH}} {describe(measure)}")
    return measured


async def drive(
    server: Server,
    jobs: int,
    connections: int,
    *,
    path: str = "/job",
    way: Way = Way.POLL_WAITS,
) -> Round:
    """Submit `jobs` jobs over so many connections, and follow each until it has its result."""
    cpu, start = server.cpu(), time.perf_counter()
    requests = await run_jobs(server.port, jobs, connections, path=path, way=way)
    seconds = time.perf_counter() - start
    return Round(jobs / seconds, (server.cpu() - cpu) / jobs, requests / jobs)


def measure_latencies(
    variants: dict[str, Variant], rounds: int, rate: float, submissions: int
) -> dict[str, list[Latencies]]:
    measured: dict[str, list[Latencies]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, each in variants.items():
            paced = Paced(each.server.port, each.path, rate=rate, way=each.way)
            measured[name].append(asyncio.run(paced.run(submissions)))
    return measured


def report_rates(measured: dict[str, list[Round]]) -> None:
    """The medians; and the medians of the ratios within a round to the first variant, of the jobs a
    second, and of its CPU a job to that of each."""
    base, first = next(iter(measured.items()))
    click.echo(f"\n{'median':{WIDTH}} {'':60}  rate : {base}   CPU, {base} : it")
    for name, rounds in measured.items():
        middle = Round(
            median(r.rate for r in rounds),
            median(r.cpu for r in rounds),
            median(r.requests for r in rounds),
        )
        rates = [it.rate / other.rate for it, other in zip(rounds, first, strict=True)]
        cpus = [other.cpu / it.cpu for it, other in zip(rounds, first, strict=True)]
        click.echo(f"{name:{WIDTH}} {describe(middle):60}  {spread(rates)}  {spread(cpus)}")


def report_latencies(measured: dict[str, list[Latencies]]) -> None:
    """Percentiles of all rounds together; and the median of the ratios within a round to the first
    variant. Where the first answer is the result there is no 202."""
    accepted = {name: [r.accepted for r in rounds] for name, rounds in measured.items()}
    report_tails("202", {name: rounds for name, rounds in accepted.items() if any(rounds)})
    report_tails("result", {name: [r.results for r in each] for name, each in measured.items()})


def report_tails(until: str, measured: dict[str, list[list[float]]]) -> None:
    base, first = next(iter(measured.items()))
    percent = tail(min(len(times) for rounds in measured.values() for times in rounds))
    for name, rounds in measured.items():
        ratios = [
            percentile(times, percent) / percentile(other, percent)
            for times, other in zip(rounds, first, strict=True)
        ]
        click.echo(
            f"{name:{WIDTH}} until the {until:6}  {told([*chain(*rounds)])}"
            f"  p{percent} : {base}  {spread(ratios)}"
        )


def spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def describe(r: Round) -> str:
    return f"{r.rate:7.0f} jobs/s  {r.cpu * 1e6:6.0f} us CPU a job  {r.requests:.2f} requests a job"


if __name__ == "__main__":
    main()
