"""Very many: jobs that sleep, jobs in the queue, jobs through one file, waiters, minutes. Is there
a size at which something takes more than in proportion?

`python -m bench.scale` is the short form of all of it, `python -m bench.scale PART --full` the full
one of a part: `steady` takes half an hour, and each other one some minutes. Each part runs in a
process of its own. Where the machine is shared, time of the processor is what to trust.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
from quart import Quart

from asyncjobs import Jobs, QuartJobs

from . import queue
from .memory import submit
from .paced import Paced
from .percentiles import percentile, tail, told
from .server import Server

#: What is submitted or looked at together.
BATCH = 1000
#: How many submit and wait at a time.
CLIENTS = 64
#: Jobs that are started out of each queue.
STARTS = 500
#: Of the highest rate.
STEADY = 0.8
#: Of the rate that is asked for: who does fewer does not keep up.
KEPT_UP = 0.95
#: Jobs a second that nobody can do, and how many of them are asked for.
FLOOD, FLOODED = 100_000.0, 20_000
#: Seconds that its results are kept.
KEPT = 15
#: How often a look is taken at what is steady; a fifth of them is compared with another.
SPANS = 15
_PAGE = os.sysconf("SC_PAGE_SIZE")

app = Quart("scale", instance_path=str(Path.cwd() / "instance"))
web_jobs = QuartJobs(app, concurrency=200_000, drain_time=0)


def say_nothing() -> None:
    """Else there is a line in the log for each job that is stopped."""
    logging.getLogger("asyncjobs").setLevel(logging.CRITICAL)


@app.before_serving
async def serve_quietly() -> None:
    say_nothing()


@app.post("/sleep")
@web_jobs.background
async def sleep():
    await asyncio.sleep(36_000)
    return {"Result": True}


@app.post("/job")
@web_jobs.background(ttl=float(os.environ.get("KEPT", "60")))
async def job():
    return {"Result": True}


@dataclass
class Span:
    """What some work has taken: seconds, and those of the processor, with what garbage took."""

    wall: float = 0.0
    cpu: float = 0.0
    garbage: float = 0.0

    def each(self, count: int) -> str:
        wall, cpu, garbage = (value / count * 1e6 for value in (self.wall, self.cpu, self.garbage))
        return f"{wall:6.0f} us, {cpu:5.0f} us CPU, of which {garbage:4.0f} us garbage collection"

    def __add__(self, other: Span) -> Span:
        return Span(self.wall + other.wall, self.cpu + other.cpu, self.garbage + other.garbage)


@contextmanager
def timed() -> Iterator[Span]:
    """Times what is done within."""
    span, began = Span(), 0.0

    def collecting(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            span.garbage += time.thread_time() - began

    gc.callbacks.append(collecting)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield span
    finally:
        span.wall, span.cpu = time.perf_counter() - wall, time.process_time() - cpu
        gc.callbacks.remove(collecting)


def memory() -> int:
    """Bytes of resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def size_of(store: Path) -> int:
    """Bytes of the store's files."""
    return sum(
        file.stat().st_size for file in store.parent.glob(f"{store.name}*") if file.is_file()
    )


async def sleepers(count: int) -> None:
    """Jobs asleep in one process: embedded, then over HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder, "jobs.db"), count + BATCH) as jobs:
            await asyncio.gather(*(jobs.submit("sleep") for _ in range(BATCH)))
            before, total = memory(), Span()
            for done in range(count // 10, count + 1, count // 10):
                with timed() as span:
                    for _ in range(count // 10 // BATCH):
                        await asyncio.gather(*(jobs.submit("sleep") for _ in range(BATCH)))
                total += span
                each = (memory() - before) / done / 1000
                click.echo(f"{done:8} submitted: {span.each(count // 10)}; {each:.1f} kB each")
            click.echo(f"in all {total.wall:.1f} s, {total.cpu:.1f} s CPU: {total.each(count)}")
            with timed() as span:
                await asyncio.sleep(5)
            click.echo(f"while nothing happens: {span.cpu / span.wall:.1%} of a core")
            start, cpu = time.perf_counter(), time.process_time()
        click.echo(
            f"stopped in {time.perf_counter() - start:.1f} s, {time.process_time() - cpu:.1f} s CPU"
        )
    await sleepers_over_http(count)


async def sleepers_over_http(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Server("bench.scale:app", Path(folder)) as server:
        await submit(server, "/sleep", BATCH)
        before = server.memory()
        for done in range(count // 5, count + 1, count // 5):
            cpu, start = server.cpu(), time.perf_counter()
            times = await submit(server, "/sleep", count // 5)
            wall, cpu = time.perf_counter() - start, server.cpu() - cpu
            click.echo(
                f"{done:8} over HTTP: {wall / count * 5e6:6.0f} us,"
                f" {cpu / count * 5e6:5.0f} us CPU; {told(times)};"
                f" {(server.memory() - before) / done / 1000:.1f} kB each"
            )


@asynccontextmanager
async def embedded(store: Path, concurrency: int) -> AsyncIterator[Jobs]:
    jobs = Jobs(store=f"sqlite:///{store}", concurrency=concurrency, drain_time=0)

    @jobs.function(name="sleep")
    async def sleep() -> None:
        await asyncio.sleep(36_000)

    @jobs.function(name="nothing")
    async def nothing() -> None:
        pass

    async with jobs:
        yield jobs


async def queued(count: int) -> None:
    """Jobs behind one slot, of one route and of 50: what a start takes, by how many wait."""
    for routes, depth in itertools.product((1, 50), (1000, count)):
        names = [f"route {number}" for number in range(routes)]
        with tempfile.TemporaryDirectory() as folder:
            store = queue.Watched(Path(folder, "jobs.db"))
            await queue.fill(store, names, depth // routes)
            with timed() as span:
                await queue.run(store, names, 1, STARTS)
        click.echo(
            f"{depth:7} queued over {routes:2} routes, one slot:"
            f" {STARTS / span.wall:5.0f} starts/s, {span.cpu / STARTS * 1e6:5.0f} us CPU each;"
            f" {queue.report(store, STARTS)}"
        )


async def through(count: int) -> None:
    """Empty jobs through one file that keeps them all, by tenths: rate, CPU, what goes into the
    log, latency, and how large file and process have become."""
    tenth = count // 10
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "jobs.db")
        async with embedded(store, 20_000) as jobs:
            for done in range(tenth, count + 1, tenth):
                written = written_here()
                with timed() as span:
                    times = await submit_and_wait(jobs, tenth)
                click.echo(
                    f"{done:9,}: {tenth / span.wall:5.0f} jobs/s, {span.cpu / tenth * 1e6:4.0f} us"
                    f" CPU and {(written_here() - written) / tenth:5.0f} bytes of log each;"
                    f" {told(times)}; so far {size_of(store) / done:4.0f} bytes on disk each,"
                    f" {memory() / 1e6:.0f} MB resident"
                )


def written_here() -> int:
    """Bytes that this thread has written into files: on the loop of an embedded store the log, as
    checkpoints have a thread of their own."""
    lines = Path("/proc/thread-self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


async def submit_and_wait(jobs: Jobs, count: int) -> list[float]:
    """The seconds that each took, from its submission to its result."""
    left, times = iter(range(count)), []

    async def client() -> None:
        for _ in left:
            start = time.perf_counter()
            await jobs.result((await jobs.submit("nothing")).id)
            times.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


async def waiters(count: int) -> None:
    """Those who wait for jobs of another process: see `bench.waiters`."""
    command = [sys.executable, "-m", "bench.waiters", "--waiters", str(count), "--floods", "0"]
    await asyncio.to_thread(subprocess.run, command, check=True)


async def steady(minutes: int) -> None:
    """Minutes over HTTP at 80 % of the highest rate: does anything drift?"""
    seconds = minutes * 60 / SPANS
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("bench.scale:app", Path(folder), KEPT=str(KEPT)) as server,
    ):
        store = Path(folder, "instance", "jobs.db")
        # By the clients of the looks: a few that wait for their jobs make larger commits.
        # But for the first one, while as many are forgotten as come.
        floods = [await look_at(server, store, FLOOD, FLOODED / FLOOD) for _ in range(4)]
        highest = median(flood.rate for flood in floods[1:])
        rate = STEADY * highest
        click.echo(f"highest rate {highest:.0f} jobs/s; from now on {rate:.0f}")
        looks = []
        for number in range(1, SPANS + 1):
            look = await look_at(server, store, rate, seconds)
            looks.append(look)
            click.echo(f"{number * seconds:5.0f} s: {look}; load {os.getloadavg()[0]:.0f}")
    report_drift(looks[: SPANS // 5], looks[-SPANS // 5 :])
    if late := sum(look.rate < KEPT_UP * rate for look in looks):
        click.echo(
            f"in {late} of {SPANS} looks the server, or this client, did not keep up: the machine"
            " was too busy to tell latencies"
        )


@dataclass(frozen=True)
class Look:
    """Some seconds at a rate.

    Attributes:
        times: seconds from when each job was due to its result.
        wall: seconds until all had theirs.
        cpu: seconds of the processor that the server has used.
        memory: bytes that are resident in the end.
        disk: bytes of the store's files in the end.
    """

    times: list[float]
    wall: float
    cpu: float
    memory: int
    disk: int

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return len(self.times) / self.wall

    @property
    def cpu_each(self) -> float:
        """Microseconds of the processor for each job."""
        return self.cpu / len(self.times) * 1e6

    def __str__(self) -> str:
        return (
            f"{self.rate:5.0f} jobs/s, {self.cpu_each:5.0f} us CPU each;"
            f" {told(self.times)}; {self.memory / 1e6:.1f} MB resident,"
            f" {self.disk / 1e6:.2f} MB on disk"
        )


async def look_at(server: Server, store: Path, rate: float, seconds: float) -> Look:
    """Submit so many jobs a second; who comes late counts that as well."""
    cpu, start = server.cpu(), time.perf_counter()
    latencies = await Paced(server.port, "/job", rate=rate).run(int(rate * seconds))
    wall, cpu = time.perf_counter() - start, server.cpu() - cpu
    return Look(latencies.results, wall, cpu, server.memory(), size_of(store))


def report_drift(first: list[Look], last: list[Look]) -> None:
    """The last fifth beside the first: latencies of all jobs, and of all else the median look."""
    ends = first, last
    times = [[*itertools.chain(*(look.times for look in end))] for end in ends]
    percent = tail(min(map(len, times)))
    drifts = {
        "p50, ms": [percentile(end, 50) * 1e3 for end in times],
        f"p{percent}, ms": [percentile(end, percent) * 1e3 for end in times],
        "CPU a job, us": [median(look.cpu_each for look in end) for end in ends],
        "memory, MB": [median(look.memory / 1e6 for look in end) for end in ends],
        "file, MB": [median(look.disk / 1e6 for look in end) for end in ends],
    }
    click.echo("from the first fifth to the last:")
    for what, (before, after) in drifts.items():
        click.echo(f"  {what:14} {before:8.2f} -> {after:8.2f}  ({after / before - 1:+.1%})")


@dataclass(frozen=True)
class Part:
    """What is measured, and how much of it: shortly, and in full."""

    measure: Callable[[int], Coroutine[Any, Any, None]]
    short: int
    full: int
    unit: str


PARTS = {
    "sleepers": Part(sleepers, 10_000, 100_000, "jobs"),
    "queued": Part(queued, 20_000, 100_000, "jobs"),
    "through": Part(through, 50_000, 1_000_000, "jobs"),
    "waiters": Part(waiters, 1000, 5000, "waiters"),
    "steady": Part(steady, 1, 30, "minutes"),
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--full", is_flag=True, help="100,000 sleepers, a million jobs, half an hour.")
def main(parts: tuple[str, ...], full: bool) -> None:
    """Measure all parts, or those that are named: sleepers, queued, through, waiters, steady."""
    if len(parts) != 1:
        for name in parts or PARTS:
            options = ["--full"] if full else []
            subprocess.run([sys.executable, "-m", "bench.scale", name, *options], check=True)
        return
    say_nothing()
    (name,) = parts
    part = PARTS[name]
    size = part.full if full else part.short
    whole = "" if full else f" (the whole, {part.full:,}: python -m bench.scale {name} --full)"
    click.echo(f"{name}: {size:,} {part.unit}{whole}, load {os.getloadavg()[0]:.0f}")
    asyncio.run(part.measure(size))


if __name__ == "__main__":
    main()
