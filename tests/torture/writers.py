"""What the power harness records: processes that write to one store under load.

Run as ``python -m asyncjobs.torture.writers FOLDER SEED JOBS ROUNDS [BUG]``. In each round the
processes open the store, take `JOBS` jobs each through their lives, and close it again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from asyncjobs import transitions
from asyncjobs.errors import Conflict, HandlerFailed, JobWasCancelled
from asyncjobs.job import Job, Progress, State
from asyncjobs.stores.sqlite import SqliteStore
from asyncjobs.stores.sqlite.writing import checkpoints, moving

from .acks import AckFile
from .bugs import POWER_BUGS
from .contents import request_of, response_of
from .recording import ACKS, DATABASE

PROCESSES = 2
#: How many jobs a process has on their way at a time.
COROUTINES = 16
#: Most jobs are kept for ever; the others may be purged once so many later ones have begun.
PURGE_BEHIND = 40
FOR_EVER = 1e9
#: Between the writes to one job, in seconds: batches shall be small and large.
PAUSES = (0, 0, 0.001, 0.003, 0.01)


def main() -> None:
    folder, seed, jobs, rounds, *bug = sys.argv[1:]
    # Forks, as this process has no threads, and all that they import is there already.
    fork = multiprocessing.get_context("fork")
    for first in range(0, int(rounds) * int(jobs), int(jobs)):
        numbers = range(first, first + int(jobs))
        processes = [
            fork.Process(target=write, args=(Path(folder), f"{seed}/{process}", numbers, *bug))
            for process in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode != 0 for process in processes):
            raise SystemExit("a writer has failed")


def write(folder: Path, seed: str, numbers: Iterable[int], bug: str | None = None) -> None:
    """Be one of the processes."""
    # So that the log is begun anew, and its file cut back, many times in a short run.
    checkpoints.CHECKPOINT_AT = 20
    moving.TRUNCATE_ABOVE = 400_000
    store = (POWER_BUGS[bug] if bug else SqliteStore)(folder / DATABASE)
    acks = AckFile(folder / ACKS)
    asyncio.run(_write(store, acks, iter(numbers), seed))
    acks.close()


async def _write(store: SqliteStore, acks: AckFile, numbers: Iterator[int], seed: str) -> None:
    async def one_after_the_other() -> None:
        for number in numbers:  # shared by all
            random = Random(f"{seed}/{number}")
            if random.random() < 0.05:
                acks.purging(number - PURGE_BEHIND)
                await store.purge(number - PURGE_BEHIND)
            await _live(store, acks, number, random)

    async with store, asyncio.TaskGroup() as group:
        for _ in range(COROUTINES):
            group.create_task(one_after_the_other())


async def _live(store: SqliteStore, acks: AckFile, number: int, random: Random) -> None:
    """Take a job through its life, or through a part of it."""
    expires = number if random.random() < 0.3 else FOR_EVER
    job_id = f"{random.getrandbits(128):032x}"
    job = Job(job_id, "power", request_of(job_id).path, number, ttl=expires)
    if random.random() < 0.5:
        job = transitions.start(job, store.worker, number)
    job = await store.add(job, request_of(job_id))
    acks.stored(job, expires)
    while (new := _next(job, store.worker, random)) is not None:
        await asyncio.sleep(random.choice(PAUSES))
        response = response_of(job_id, new.version) if new.state.is_final else None
        try:
            await store.replace(job, new, response)
        except Conflict:
            return  # purged by the other process
        acks.stored(new, expires)
        job = new


def _next(job: Job, worker: str, random: Random) -> Job | None:
    """The job after its next event; None if it shall stay as it is."""
    dice = random.random()
    if job.state is State.QUEUED:
        if dice < 0.8:
            return transitions.start(job, worker, 0)
        return transitions.cancel(job, 0, JobWasCancelled("unwanted"))
    if job.state is State.RUNNING:
        if dice < 0.4:
            return transitions.report(job, Progress(dice, 1, "so far"))
        if dice < 0.5:
            return transitions.ask_to_cancel(job)
        if dice < 0.55:
            return transitions.release(job, "given back")
        if dice < 0.85:
            return transitions.finish(job, 200, 0)
        if dice < 0.95:
            return transitions.fail(job, 0, HandlerFailed("broken"))
        return None
    if dice < 0.2 and job.state is not State.SUCCEEDED:
        return transitions.retry(job, job.created)
    return None


if __name__ == "__main__":
    main()
