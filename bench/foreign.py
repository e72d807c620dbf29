"""Whether a clock tells the job of somebody else from one that never was: the 404 of each, in turn.

`python -m bench.foreign`, with `--requests`; it has `--help`. Of two lots of the same kind, unknown
ids, the medians differ as well: by so much any two may. What is the caller's own, of another
program on the store or of another route, is looked at before it is a 404, and that takes longer.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import click

from asyncjobs import SqliteStore, State
from asyncjobs.job import Request, Response
from asyncjobs.testing import a_job

from .client import Connection
from .server import Server

#: The method, the URL, and whether the job of another route is a foreign one there.
ASKED = [
    ("GET", "/owned/{id}", True),
    ("GET", "/jobs/{id}", False),
    ("GET", "/jobs/{id}/result", False),
    ("DELETE", "/jobs/{id}", False),
    ("POST", "/jobs/{id}/retry", False),
]
#: Who asks, and who has the jobs.
ME, OTHER = "ada", "bob"
#: So many jobs of each kind, asked for in turn, so that none is nearer than another.
JOBS = 50


@click.command()
@click.option("--requests", default=1000, show_default=True, help="For each kind of id.")
def main(requests: int) -> None:
    """Compare how long the answers take."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("bench.apps:owned", Path(folder)) as server,
    ):
        ids = asyncio.run(kept(Path(folder) / "instance" / "jobs.db"))
        for method, url, with_routes in ASKED:
            kinds = {kind: of for kind, of in ids.items() if with_routes or "route" not in kind}
            times = asyncio.run(timed(server.port, method, url, kinds, requests))
            click.echo(f"{method} {url}")
            for kind, taken in times.items():
                click.echo(f"  {kind:30} {compared(taken, times['never was'])}")


async def kept(path: Path) -> dict[str, list[str]]:
    """The ids of each kind, which are in the store where they have ever been in one."""
    now = time.time()
    kinds = {
        "another owner's": {"owner": OTHER},
        "another owner's, of 1 MB": {"owner": OTHER},
        "another owner's and program's": {"owner": OTHER, "program": "other"},
        "their own, another program's": {"owner": ME, "program": "other"},
        "their own, of another route": {"owner": ME, "route": "another", "path": "/another"},
    }
    ids = {"never was": [uuid.uuid4().hex for _ in range(JOBS)]}
    ids["never was, once more"] = [uuid.uuid4().hex for _ in range(JOBS)]
    async with SqliteStore(path) as store:
        for kind, fields in kinds.items():
            body = bytes(2**20 if "MB" in kind else 16)
            end = {"state": State.FAILED, "status": 500, "started": now, "finished": now}
            known = {"route": "owned", "path": "/owned", "program": "owned", "created": now}
            ended = {**known, **fields, **end, "expires": now + 3600}
            jobs = [a_job(**ended) for _ in range(JOBS)]
            for job in jobs:  # the server would run what is not final
                await store.add(job, Request("POST", job.path))
                await store.replace(job, job._replace(version=2), Response(500, (), body))
            ids[kind] = [job.id for job in jobs]
    return ids


async def timed(
    port: int, method: str, url: str, kinds: dict[str, list[str]], requests: int
) -> dict[str, list[float]]:
    """The times of each kind, in seconds: one of each, then one of each once more, in any order."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with Connection(port) as connection:
        for number in range(-20, requests):  # the first ones warm up
            for kind in random.sample([*kinds], len(kinds)):
                target = url.format(id=kinds[kind][number % JOBS])
                begun = time.perf_counter()
                status, _ = await connection.request(method, target, headers=f"X-User: {ME}\r\n")
                taken = time.perf_counter() - begun
                assert status == 404, f"{method} {target}: {status}"
                if number >= 0:
                    times[kind].append(taken)
    return times


def compared(taken: list[float], unknown: list[float]) -> str:
    """The median, and that of the differences to what was asked in the same round."""
    differences = [one - other for one, other in zip(taken, unknown, strict=True)]
    return (
        f"median {statistics.median(taken) * 1e6:6.0f} us,"
        f" paired difference {statistics.median(differences) * 1e6:+5.1f} us"
    )


if __name__ == "__main__":
    main()
