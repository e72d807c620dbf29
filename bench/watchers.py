"""What event streams cost while nothing happens, how soon one has the end of its job, and what slow
clients take.

`python -m bench.watchers idle`, `... ends` and `... slow`; each has `--help`. What is said of the
streams is beside what a plain stream of Quart's costs, or a poll that waits, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import click
from quart import Quart

from asyncjobs import QuartJobs

from .client import BODY, Connection, run_jobs
from .percentiles import told
from .server import Server

#: So many connections are opened at a time.
AT_ONCE = 50
#: Seconds after which all that was just opened has come to rest.
SETTLE = 2.0
#: Seconds that anything may take.
PATIENCE = 60.0
LARGE = 16 * 1024 * 1024
_EVENTS = "Accept: text/event-stream\r\n"


def with_stream(app: Quart) -> Quart:
    """Give `app` a plain stream, as it is written without any library."""

    @app.get("/stream")
    async def stream():
        async def events():
            yield b"event: status\ndata: {}\n\n"
            await asyncio.Event().wait()

        response = await app.make_response(events())
        response.mimetype = "text/event-stream"
        response.timeout = None
        return response

    return app


floor = with_stream(Quart("floor"))
ours = with_stream(Quart("ours", instance_path=str(Path.cwd() / "instance")))
jobs = QuartJobs(ours, concurrency=20_000, store=os.environ.get("STORE"))


@ours.post("/job")
@jobs.background(ttl=60)
async def job():
    return {"Result": True}


@ours.post("/sleep")
@jobs.background
async def sleep():
    await asyncio.sleep(36_000)
    return {}


@ours.post("/nap/<int:milliseconds>")
@jobs.background(ttl=60)
async def nap(milliseconds: int):
    await asyncio.sleep(milliseconds / 1000)
    return {"Result": True}


@ours.post("/large")
@jobs.background
async def large():
    return bytes(LARGE)


@ours.get("/plain")
async def plain():
    return {"plain": True}


@click.group()
def main() -> None:
    """Measure who watches jobs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# Idle ones.


@main.command()
@click.option("--watchers", default=5000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--jobs", default=2000, show_default=True, help="Submitted in each round.")
def idle(watchers: int, rounds: int, jobs: int) -> None:
    """Have so many watch a job to which nothing happens: what each takes, and what all of them cost
    who submits others."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure_idle(Path(folder), watchers, rounds, jobs))


async def measure_idle(folder: Path, watchers: int, rounds: int, jobs: int) -> None:
    with serving("floor", folder / "floor") as server:
        plain = await growth(server, ["/stream"] * watchers)
        click.echo(f"{watchers} plain streams without asyncjobs: {plain / 1000:.1f} kB each")
        server.kill()  # which stops with a traceback for each of them
    for kind, different in (("one job", False), ("different jobs", True)):
        with serving("ours", folder / kind) as server:
            ids = [await made(server.port, "/sleep") for _ in range(watchers if different else 1)]
            paths = [f"/jobs/{each}" for each in ids] * (1 if different else watchers)
            each = await growth(server, paths)
            click.echo(
                f"{watchers} who watch {kind}: {each / 1000:.1f} kB each, {each / plain:.2f} times"
                " that"
            )
            server.kill()
    with serving("ours", folder / "rates") as server:
        paths = [f"/jobs/{await made(server.port, '/sleep')}"] * watchers
        await run_jobs(server.port, jobs, 32)  # warms up
        rates, costs = [], []
        for _ in range(rounds):
            without = await load(server, jobs)
            async with watching(server.port, paths):
                await asyncio.sleep(SETTLE)
                cpu, start = server.cpu(), time.perf_counter()
                await asyncio.sleep(SETTLE)
                share = (server.cpu() - cpu) / (time.perf_counter() - start)
                beside = await load(server, jobs)
            rates.append(beside.rate / without.rate)
            costs.append(beside.cpu / without.cpu)
            click.echo(
                f"without them {without}, beside them {beside};"
                f" idle, they take {share:.1%} of a processor"
            )
        click.echo(
            f"beside {watchers} who watch: {median(rates):.2f} times the rate of that without,"
            f" {median(costs):.2f} times the CPU a job"
        )
        server.kill()


async def growth(server: Server, paths: list[str]) -> float:
    """The bytes of memory that each of these streams takes."""
    async with watching(server.port, paths[:200]):  # imports, caches
        await asyncio.sleep(SETTLE)
    await asyncio.sleep(SETTLE)
    before = server.memory()
    async with watching(server.port, paths):
        await asyncio.sleep(SETTLE)
        return (server.memory() - before) / len(paths)


@dataclass(frozen=True)
class Load:
    """So many jobs a second, each for so many seconds of CPU."""

    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rate:.0f} jobs/s for {self.cpu * 1e6:.0f} us CPU each"


async def load(server: Server, jobs: int) -> Load:
    """Have so many jobs submitted and done."""
    cpu, start = server.cpu(), time.perf_counter()
    await run_jobs(server.port, jobs, 32)
    return Load(jobs / (time.perf_counter() - start), (server.cpu() - cpu) / jobs)


# Ends.


@main.command()
@click.option("--waiters", default=200, show_default=True, help="Who wait beside.")
@click.option("--ends", default=1000, show_default=True, help="Jobs whose ends are waited for.")
@click.option("--rounds", default=20, show_default=True, help="Jobs that all of them wait for.")
def ends(waiters: int, ends: int, rounds: int) -> None:
    """See how soon an event, and the answer to a poll that waits, has the end of a job that runs in
    the same process, and in another one."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure_ends(Path(folder), waiters, ends, rounds))


async def measure_ends(folder: Path, waiters: int, ends: int, rounds: int) -> None:
    store = f"sqlite:///{folder}/jobs.db"
    with (
        serving("ours", folder / "one", STORE=store) as runs,
        serving("ours", folder / "other", STORE=store) as other,
    ):
        for where, server in (("the same process", runs), ("another process", other)):
            for way, wait in (("an event", by_event), ("a poll that waits", by_poll)):
                asleep = [f"/jobs/{await made(runs.port, '/sleep')}" for _ in range(waiters)]
                async with watching(server.port, asleep):
                    times = await each_end(runs.port, server.port, wait, ends)
                click.echo(f"{where}, {waiters} others wait, {way} has the end: {told(times)}")
                times = await common_ends(runs.port, server.port, wait, waiters, rounds)
                click.echo(f"{where}, {waiters} wait for one job, by {way}: {told(times)}")
        runs.kill()
        other.kill()


Wait = Callable[[int, str], Awaitable[float]]


async def each_end(runs: int, port: int, wait: Wait, ends: int) -> list[float]:
    """The seconds from the end of each of so many jobs to its only waiter."""
    numbers = iter(range(ends))
    times: list[float] = []

    async def client() -> None:
        for number in numbers:
            job_id = await made(runs, f"/nap/{100 + number % 50}")
            times.append(await end_seen(port, job_id, await wait(port, job_id)))

    await asyncio.gather(*(client() for _ in range(5)))
    return times


async def common_ends(runs: int, port: int, wait: Wait, waiters: int, rounds: int) -> list[float]:
    """The seconds from the end of each of so many jobs to each of its waiters."""
    times: list[float] = []
    for _ in range(rounds):
        job_id = await made(runs, "/nap/1500")
        seen = await asyncio.gather(*(wait(port, job_id) for _ in range(waiters)))
        times += [await end_seen(port, job_id, each) for each in seen[:1]]
        finished = seen[0] - times[-1]
        times += [each - finished for each in seen[1:]]
    return times


async def end_seen(port: int, job_id: str, seen: float) -> float:
    """The seconds from the end of the job until that was seen."""
    async with Connection(port) as connection:
        _, body = await connection.request("GET", f"/jobs/{job_id}")
    return seen - datetime.fromisoformat(json.loads(body)["finished"]).timestamp()


async def by_event(port: int, job_id: str) -> float:
    """When the last event came."""
    async with watching(port, [f"/jobs/{job_id}"]) as (reader,):
        while b'"finished":null' in await reader.readuntil(b"}\n\n"):
            pass
        return time.time()


async def by_poll(port: int, job_id: str) -> float:
    """When the answer came."""
    async with Connection(port) as connection:
        status, _ = await connection.request(
            "GET", f"/jobs/{job_id}/result", headers="Prefer: wait=20\r\n"
        )
        assert status == 200
        return time.time()


# Slow clients.


@main.command()
@click.option("--clients", default=1000, show_default=True)
@click.option("--seconds", default=20, show_default=True, help="How long they read, byte by byte.")
def slow(clients: int, seconds: int) -> None:
    """Have so many read a byte a second, of an event stream and of a large result."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure_slow(Path(folder), clients, seconds))


async def measure_slow(folder: Path, clients: int, seconds: int) -> None:
    with serving("ours", folder / "slow") as server:
        watched = f"/jobs/{await made(server.port, '/sleep')}"
        result = f"/jobs/{await made(server.port, '/large')}/result"
        async with Connection(server.port) as connection:
            await connection.request("GET", result, headers="Prefer: wait=20\r\n")
        alone = await plain_times(server.port, seconds / 2)
        click.echo(f"a plain route, nobody else: {told(alone)}")
        for kind, path in (("an event stream", watched), ("a result of 16 MiB", result)):
            before = server.memory()
            async with AsyncExitStack() as stack:
                for _ in range(clients):
                    await stack.enter_async_context(slowly(server.port, path))
                times = await plain_times(server.port, seconds)
                grown = server.memory() - before
            click.echo(
                f"{clients} read {kind} slowly: {grown / 1e6:.0f} MB more,"
                f" {grown / clients / 1000:.0f} kB each; the plain route: {told(times)}"
            )
        server.kill()


@asynccontextmanager
async def slowly(port: int, path: str) -> AsyncIterator[None]:
    """Somebody who takes a byte a second of that."""
    loop = asyncio.get_running_loop()
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, request_for(path))

        async def read() -> None:
            while True:
                await loop.sock_recv(connection, 1)
                await asyncio.sleep(1)

        await loop.sock_recv(connection, 1)
        task = asyncio.create_task(read())
        try:
            yield
        finally:
            task.cancel()


async def plain_times(port: int, seconds: float) -> list[float]:
    """How long a plain route takes, asked again and again."""
    times = []
    async with Connection(port) as connection:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            await connection.request("GET", "/plain")
            times.append(time.perf_counter() - start)
            await asyncio.sleep(0.005)
    return times


# All of them.


def serving(app: str, folder: Path, **settings: str) -> Server:
    folder.mkdir()
    return Server(f"bench.watchers:{app}", folder, **settings)


async def made(port: int, path: str) -> str:
    """The id of a new job."""
    async with Connection(port) as connection:
        status, body = await connection.request("POST", path, BODY)
    assert status == 202, body
    job_id: str = json.loads(body)["TaskId"]
    return job_id


@asynccontextmanager
async def watching(port: int, paths: list[str]) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open streams, each of which has sent its first event."""
    turn = asyncio.Semaphore(AT_ONCE)
    writers = []

    async def watch(path: str) -> asyncio.StreamReader:
        async with turn, asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(request_for(path))
            head = await reader.readuntil(b"\r\n\r\n")
            assert re.match(rb"HTTP/1.1 200 .*text/event-stream", head, re.DOTALL), head
            await reader.readuntil(b"\n\n")
            return reader

    try:
        yield await asyncio.gather(*map(watch, paths))
    finally:
        for writer in writers:
            writer.close()


def request_for(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{_EVENTS}\r\n".encode()


if __name__ == "__main__":
    main()
