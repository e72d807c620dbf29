"""How soon a process hears of what another does, and what it costs one with many waiters.

`python -m bench.hints`, and the same with `--no-datagrams`, for what the datagrams are worth.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from asyncjobs import Jobs
from asyncjobs.stores.sqlite.neighbours.datagrams import Mailbox

from .percentiles import told


@click.command()
@click.option("--ends", default=300, show_default=True, help="Jobs whose ends are waited for.")
@click.option("--waiters", default=1000, show_default=True)
@click.option("--seconds", default=10, show_default=True, help="How long the waiters wait.")
@click.option("--datagrams/--no-datagrams", default=True)
@click.option("--sibling", nargs=2, hidden=True, help="Be the other process: store and errand.")
def main(
    ends: int, waiters: int, seconds: int, datagrams: bool, sibling: tuple[str, str] | None
) -> None:
    """Measure a process beside another that shares its store and runs all the jobs."""
    if not datagrams:
        Mailbox.open = lambda *args: None
    if sibling is not None:
        asyncio.run(run_jobs(*sibling, ends, waiters))
        return
    with tempfile.TemporaryDirectory() as folder:
        latencies = asyncio.run(measure_latency(f"{folder}/latency.db"))
        click.echo(f"end of a job -> waiter elsewhere: {told(latencies)}")
        for errand in ("rest", "work"):
            cpu = asyncio.run(measure_cpu(f"{folder}/{errand}.db", errand, waiters, seconds))
            click.echo(f"{waiters} waiters, the sibling at {errand}: {cpu:6.1%} of a processor")


async def measure_latency(store: str) -> list[float]:
    """The seconds from the end of each job in another process to its waiter here."""
    latencies = []
    async with Jobs(store=f"sqlite:///{store}") as jobs, sibling(store, "end") as job_ids:
        async for job_id in job_ids:
            job = await jobs.wait(job_id)
            latencies.append(time.time() - (job.finished or 0))
    return latencies


async def measure_cpu(store: str, errand: str, waiters: int, seconds: int) -> float:
    """The share of a processor that the waiters take."""
    async with Jobs(store=f"sqlite:///{store}") as jobs, sibling(store, errand) as job_ids:
        waiting = [asyncio.create_task(jobs.wait(await anext(job_ids))) for _ in range(waiters)]
        await anext(job_ids)
        cpu, start = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        for task in waiting:
            task.cancel()
        return share


@asynccontextmanager
async def sibling(store: str, errand: str) -> AsyncIterator[AsyncIterator[str]]:
    """Another process, and the lines that it writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.hints", *sys.argv[1:], "--sibling", store, errand),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (line.decode().strip() async for line in process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run_jobs(store: str, errand: str, ends: int, waiters: int) -> None:
    """What the sibling does. It writes the id of each job that shall be waited for."""
    jobs = Jobs(store=f"sqlite:///{store}", concurrency=100_000, timeout=None, drain_time=0)

    @jobs.function(name="nap")
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with jobs:
        if errand == "end":
            for number in range(ends):
                # Not in step with anything that looks now and then.
                print((await jobs.submit("nap", 0.05 + number % 50 / 1000)).id, flush=True)
                await asyncio.sleep(0.12)
            return
        for _ in range(waiters):
            print((await jobs.submit("nap", 3600)).id, flush=True)
        print("all", flush=True)
        while True:
            await asyncio.sleep(0.02)
            if errand == "work":
                await asyncio.gather(*(jobs.submit("nap", 0) for _ in range(10)))


if __name__ == "__main__":
    main()
