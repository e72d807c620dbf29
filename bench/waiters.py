"""What many waiters cost while nothing happens, how soon one of them is woken among all the others,
and how long a job takes while another process floods this one with questions.

`python -m bench.waiters`, with `--no-datagrams` for a system without them, and with
`--against CHECKOUT` for the figures of another checkout before ours. Costs are in time of the
processor, as the machine may be shared.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click

from asyncjobs import Jobs
from asyncjobs.stores.sqlite.neighbours.datagrams import Mailbox

from .percentiles import told

#: Ids in one datagram of the flood, which are all that fit.
FLOOD_IDS = 50


@click.command()
@click.option("--waiters", default=5000, show_default=True)
@click.option("--seconds", default=10, show_default=True, help="How long nothing happens.")
@click.option("--ends", default=200, show_default=True, help="Jobs whose ends are waited for.")
@click.option("--floods", default=100, show_default=True, help="Jobs that run during the flood.")
@click.option("--datagrams/--no-datagrams", default=True)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Another checkout, which is measured first.",
)
@click.option("--sibling", hidden=True, help="Be the other process, which runs the jobs.")
@click.option(
    "--flood", hidden=True, help="Be the other process, which asks: where the sockets are."
)
def main(
    waiters: int,
    seconds: int,
    ends: int,
    floods: int,
    datagrams: bool,
    against: Path | None,
    sibling: str | None,
    flood: str | None,
) -> None:
    """Measure a process in which so many wait for jobs that another one runs."""
    if not datagrams:
        Mailbox.open = lambda *args: None
    if sibling is not None:
        asyncio.run(run_jobs(sibling, waiters, ends))
        return
    if flood is not None:
        ask_without_end(flood)
    if against is not None:
        measure_other(against)
    with tempfile.TemporaryDirectory() as folder:
        for kind, different in (("different jobs", True), ("one job", False)):
            store = f"{folder}/{different}.db"
            asyncio.run(measure_waiters(store, kind, waiters, seconds, different=different))
        if datagrams and floods:
            asyncio.run(measure_flood(f"{folder}/flood.db", floods))


def measure_other(checkout: Path) -> None:
    """The same with the sources of another checkout."""
    click.echo(f"{checkout.name}:")
    options = [option for option in sys.argv[1:] if not option.startswith("--against")]
    options = [option for option in options if Path(option).resolve() != checkout]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    subprocess.run([sys.executable, "-m", "bench.waiters", *options], env=environment, check=True)
    click.echo("ours:")


async def measure_waiters(
    store: str, kind: str, waiters: int, seconds: int, *, different: bool
) -> None:
    """What they cost while nothing happens, and how soon one more is woken among them."""
    async with sibling_of(store) as (process, lines), Jobs(store=f"sqlite:///{store}") as jobs:
        ids = [await anext(lines) for _ in range(waiters)]
        await anext(lines)
        waiting = [
            asyncio.create_task(jobs.wait(job_id if different else ids[0])) for job_id in ids
        ]
        await asyncio.sleep(2)  # the first reads, and what they ask for
        cpu, start = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - start)
        click.echo(f"{waiters} wait for {kind}: {share:6.1%} of a core while nothing happens")
        latencies = []
        assert process.stdin is not None
        process.stdin.write(b"go on\n")
        while job_id := await anext(lines):
            job = await jobs.wait(job_id)
            latencies.append(time.time() - (job.finished or 0))
        click.echo(f"    from the end of one more job to its waiter: {told(latencies)}")
        for task in waiting:
            task.cancel()


async def measure_flood(store: str, count: int) -> None:
    """How long a job takes, from its submission to its result."""
    jobs = Jobs(store=f"sqlite:///{store}")

    @jobs.function(name="nothing")
    async def nothing() -> None:
        pass

    async with jobs:
        await measure_jobs(jobs, 10)
        click.echo(f"submit and wait: {told(await measure_jobs(jobs, count))}")
        flood = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.waiters", "--flood", f"{store}-procs"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert flood.stdout is not None
            await flood.stdout.readline()
            times = await measure_jobs(jobs, count)
        finally:
            flood.kill()
            await flood.wait()
        click.echo(f"    the same while another process asks without end: {told(times)}")


async def measure_jobs(jobs: Jobs, count: int) -> list[float]:
    """The seconds that each of so many took, one after the other; no more than a minute of them."""
    times: list[float] = []
    stop = time.perf_counter() + 60
    while len(times) < count and time.perf_counter() < stop:
        start = time.perf_counter()
        await jobs.wait((await jobs.submit("nothing")).id)
        times.append(time.perf_counter() - start)
    return times


@asynccontextmanager
async def sibling_of(
    store: str,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, AsyncIterator[str]]]:
    """Another process, and the lines that it writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.waiters", *sys.argv[1:], "--sibling", store),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process, (line.decode().strip() async for line in process.stdout)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run_jobs(store: str, waiters: int, ends: int) -> None:
    """What the sibling does. It writes the id of each job that shall be waited for."""
    jobs = Jobs(store=f"sqlite:///{store}", concurrency=100_000, timeout=None, drain_time=0)

    @jobs.function(name="nap")
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with jobs:
        for _ in range(waiters):
            print((await jobs.submit("nap", 36_000)).id, flush=True)
        print("all", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(ends):
            # Not in step with anything that looks now and then.
            print((await jobs.submit("nap", 0.05 + number % 50 / 1000)).id, flush=True)
            await asyncio.sleep(0.12)
        print(flush=True)
        await asyncio.Event().wait()


def ask_without_end(folder: str) -> None:
    """Ask the process whose socket is in this folder about jobs that it has never heard of, as fast
    as it takes the questions."""
    (mailbox,) = Path(folder).glob("*.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.connect(str(mailbox))
        head = f"ask {'f' * 16}"
        asked = [f"{os.urandom(16).hex()}:1" for _ in range(FLOOD_IDS)]
        question = " ".join([head, *asked]).encode()
        print("begun", flush=True)
        while True:
            asking.send(question)


if __name__ == "__main__":
    main()
