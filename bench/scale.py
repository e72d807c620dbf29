"""Very many: jobs that sleep, jobs in the queue, jobs through one file, waiters, minutes. Is there
a size at which something takes more than in proportion?

`python -m bench.scale` is the short form of all of it, `python -m bench.scale PART --full` the full
one of a part: for `through` and `steady` that is half an hour. Each part runs in a process of its
own. Where the machine is shared, time of the processor is what to trust.
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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from quart import Quart

from asyncjobs import Jobs, QuartJobs

from . import queue
from .client import BODY, Connection, follow
from .http import drive
from .memory import submit
from .server import Server
from .waiters import percentiles

#: What is submitted or looked at together.
BATCH = 1000
#: How many submit and wait at a time.
CLIENTS = 64
#: Jobs that are started out of each queue.
STARTS = 500
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
@web_jobs.background(ttl=60)
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


async def sleepers(full: bool) -> None:
    """Jobs asleep in one process: embedded, then over HTTP."""
    count = 100_000 if full else 20_000
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
    await sleepers_over_http(count if full else 5000)


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
                f" {cpu / count * 5e6:5.0f} us CPU; {percentiles(times)};"
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


async def queued(full: bool) -> None:
    """Jobs behind one slot, of one route and of 50: what a start takes, by how many wait."""
    for routes, depth in itertools.product((1, 50), (1000, 100_000 if full else 20_000)):
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


async def through(full: bool) -> None:
    """Empty jobs through one file that keeps them all: rate, latency, file and memory."""
    count = 1_000_000 if full else 50_000
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "jobs.db")
        async with embedded(store, 20_000) as jobs:
            for done in range(count // 10, count + 1, count // 10):
                with timed() as span:
                    times = await submit_and_wait(jobs, count // 10)
                click.echo(
                    f"{done:8} done: {len(times) / span.wall:5.0f} jobs/s, {span.each(len(times))};"
                    f" {percentiles(times)}; {size_of(store) / done:4.0f} bytes on disk each,"
                    f" {memory() / 1e6:.0f} MB resident"
                )


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


async def waiters(full: bool) -> None:
    """Those who wait for jobs of another process: see `bench.waiters`."""
    short = ["--waiters", "1000", "--seconds", "4", "--ends", "50", "--floods", "0"]
    command = [sys.executable, "-m", "bench.waiters", *([] if full else short)]
    await asyncio.to_thread(subprocess.run, command, check=True)


async def steady(full: bool) -> None:
    """Minutes over HTTP at 80 % of the highest rate: does anything drift?"""
    minutes = 30 if full else 2
    with tempfile.TemporaryDirectory() as folder, Server("bench.scale:app", Path(folder)) as server:
        await drive(server, 2000, CLIENTS)
        highest = max([(await drive(server, 3000, CLIENTS)).rate for _ in range(3)])
        rate = 0.8 * highest
        click.echo(f"highest rate {highest:.0f} jobs/s; from now on {rate:.0f} for {minutes} min")
        store = Path(folder, "instance", "jobs.db")
        for minute in range(1, minutes + 1):
            cpu, start = server.cpu(), time.perf_counter()
            times = await at_rate(server.port, rate, 60)
            wall, cpu = time.perf_counter() - start, server.cpu() - cpu
            click.echo(
                f"minute {minute:2}: {len(times) / wall:5.0f} jobs/s,"
                f" {cpu / len(times) * 1e6:5.0f} us CPU each; {percentiles(times)};"
                f" {server.memory() / 1e6:.0f} MB resident, {size_of(store) / 1e6:.1f} MB on disk;"
                f" load {os.getloadavg()[0]:.0f}"
            )


async def at_rate(port: int, rate: float, seconds: float) -> list[float]:
    """Submit so many jobs a second, and poll each to its end; how long after the time at which it
    was due to be submitted each had its result. Who comes late counts that as well."""
    times: list[float] = []
    start = time.perf_counter()
    due_times = (start + number / rate for number in range(int(rate * seconds)))

    async def client(clock: Callable[[], float] = time.perf_counter) -> None:
        async with Connection(port) as connection:
            for due in due_times:
                if (early := due - clock()) > 0:
                    await asyncio.sleep(early)
                answer = await connection.request("POST", "/job", BODY)
                await follow(connection, "/job", *answer)
                times.append(clock() - due)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


PARTS = {
    "sleepers": sleepers,
    "queued": queued,
    "through": through,
    "waiters": waiters,
    "steady": steady,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--full", is_flag=True, help="100,000 sleepers, a million jobs, half an hour.")
def main(parts: tuple[str, ...], full: bool) -> None:
    """Measure all parts, or those that are named: sleepers, queued, through, waiters, steady."""
    if len(parts) != 1:
        for part in parts or PARTS:
            options = ["--full"] if full else []
            subprocess.run([sys.executable, "-m", "bench.scale", part, *options], check=True)
        return
    say_nothing()
    (part,) = parts
    click.echo(f"{part}, {'full' if full else 'short'}, load {os.getloadavg()[0]:.0f}:")
    asyncio.run(PARTS[part](full))


if __name__ == "__main__":
    main()
