"""Short jobs run by several processes on one store, against one process, in turn.

The machine may be shared, so the ratios are what to trust. Every round also checks that each job
was run exactly once. `python -m bench.processes queue` and `... http`; both have `--help`.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import click

from asyncjobs import Job, Jobs, Request, current_job
from asyncjobs.stores import SqliteStore

from .http import drive
from .server import Server

#: Jobs a second, and seconds of CPU a job.
Measured = tuple[float, float]


@click.group()
def main() -> None:
    """Compare the jobs/s of several processes with those of one."""


@main.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs in the queue.")
@click.option("--processes", default=4, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def queue(jobs: int, processes: int, rounds: int) -> None:
    """Have a queue of jobs in a store run by programs that embed `Jobs`."""
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder, "full.db")
        asyncio.run(fill(full, jobs))

        def run(number: int) -> Measured:
            store = Path(folder, f"{uuid.uuid4().hex}.db")
            shutil.copy(full, store)
            return run_queue(store, jobs, number)

        compare(run, processes, rounds)


@main.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs in each round.")
@click.option("--processes", default=4, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--connections", default=32, show_default=True)
def http(jobs: int, processes: int, rounds: int, connections: int) -> None:
    """Submit jobs to hypercorn with several workers, and poll each until it has its result."""

    def run(number: int) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            with Server("bench.apps:ours", Path(folder), workers=number) as server:
                asyncio.run(drive(server, 500, connections))  # imports, caches, threads
                measured = asyncio.run(drive(server, jobs, connections, path="/noted"))
            notes = Path(folder).glob("*.notes")
            check(jobs, (line for note in notes for line in note.read_text().split()))
            return measured.rate, measured.cpu

    compare(run, processes, rounds)


def compare(run: Callable[[int], Measured], processes: int, rounds: int) -> None:
    """Measure one process and several in turn; `run` measures so many."""
    measured: dict[int, list[Measured]] = {1: [], processes: []}
    for number in range(rounds):
        for count in measured:
            measured[count].append(run(count))
            click.echo(f"round {number + 1}  {describe(count, *measured[count][-1])}")
    for count, each in measured.items():
        medians = [statistics.median(values) for values in zip(*each, strict=True)]
        click.echo(f"median   {describe(count, *medians)}")
    ratios = [several[0] / one[0] for one, several in zip(*measured.values(), strict=True)]
    click.echo(f"jobs/s, {processes} processes : 1  {statistics.median(ratios):.2f}")


def describe(processes: int, rate: float, cpu: float) -> str:
    return f"{processes} processes  {rate:7.0f} jobs/s  {cpu * 1e6:6.0f} us CPU a job"


def check(jobs: int, runs: Iterable[str]) -> None:
    """Each job was run, and once."""
    counts = Counter(runs)
    assert len(counts) == jobs, f"{jobs - len(counts)} jobs were not run"
    assert set(counts.values()) == {1}, f"run more than once: {counts.most_common(5)}"


async def fill(store: Path, jobs: int) -> None:
    """A store with so many jobs in the queue."""
    now = time.time()
    request = Request(method="POST", path="/noted", body=b'{"args": [], "kwargs": {}}')
    async with SqliteStore(store) as opened:
        for _ in range(0, jobs, 1000):
            queued = [Job(uuid.uuid4().hex, "noted", "/noted", now, due=now) for _ in range(1000)]
            await asyncio.gather(*(opened.add(job, request) for job in queued))


def run_queue(store: Path, jobs: int, processes: int) -> Measured:
    """Have so many processes run all that is queued; measured from their start to the end."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.processes", "worker", str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    start = time.time()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        unfinished = "SELECT 1 FROM jobs WHERE state = 'queued' OR state = 'running' LIMIT 1"
        while connection.execute(unfinished).fetchall():
            time.sleep(0.05)
        ((end,),) = connection.execute("SELECT max(finished) FROM jobs").fetchall()
    # They stop at the end of their input, and then say what they have run.
    said = [worker.communicate()[0].split() for worker in workers]
    check(jobs, (job_id for _, *job_ids in said for job_id in job_ids))
    return jobs / (end - start), sum(float(cpu) for cpu, *_ in said) / jobs


@main.command(hidden=True)
@click.argument("store")
def worker(store: str) -> None:
    """One of the processes."""
    asyncio.run(work(store))


async def work(store: str) -> None:
    jobs = Jobs(store=f"sqlite:///{store}")
    ran = []

    @jobs.function(name="noted")
    async def noted() -> None:
        ran.append(current_job.id)

    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    async with jobs:
        await asyncio.to_thread(sys.stdin.read)
    print(time.process_time() - cpu, *ran)


if __name__ == "__main__":
    main()
