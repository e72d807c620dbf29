"""A system without flock, as Windows is: one process has the store to itself.

It is played here by a process that finds nothing of what Windows lacks. SQLite's own locks are the
system's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncjobs.stores.sqlite.processes.locks import FileLock, _ThreadLock
from server import DEADLINE, until

_PROGRAM = """
import asyncio, os, socket, sys
sys.modules["fcntl"] = None
from asyncjobs import Jobs

async def main(store, *old):
    del os.O_CLOEXEC, os.O_DIRECTORY, os.fdatasync, socket.AF_UNIX
    jobs = Jobs(store=f"sqlite:///{store}", drain_time=0)

    @jobs.function(name="echo")
    async def echo(text):
        return text

    @jobs.function(name="hang")
    async def hang():
        await asyncio.sleep(3600)

    async with jobs:
        for job_id in old:
            print((await jobs.wait(job_id)).state, flush=True)
        job = await jobs.submit("echo", "hello")
        print(job.id, await jobs.result(job.id), flush=True)
        print((await jobs.submit("hang")).id, flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def process(store: Path, *old: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has no flock. It says what has become of `old` jobs, and makes two."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(store), *old],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def says(started: subprocess.Popen[str], lines: int) -> list[str]:
    assert started.stdout is not None
    said = [started.stdout.readline() for _ in range(lines)]
    assert all(said), started.communicate()[1]
    return [line.strip() for line in said]


def stop(started: subprocess.Popen[str]) -> None:
    _, log = started.communicate("stop\n", DEADLINE)
    assert started.returncode == 0, log


def test_without_flock_one_process_works_as_ever(tmp_path: Path) -> None:
    """It runs jobs, and the next one finds their results; what ran at its end is interrupted."""
    with process(tmp_path / "jobs.db") as first:
        echoed, hung = says(first, 2)
        stop(first)
    job_id, result = echoed.split()
    assert result == "hello"
    with process(tmp_path / "jobs.db", job_id, hung) as second:
        assert says(second, 2) == ["succeeded", "interrupted"]


def test_without_flock_a_second_process_is_refused(tmp_path: Path) -> None:
    """While one process has the store open, another is told why it cannot, and what to do."""
    with process(tmp_path / "jobs.db") as first:
        says(first, 2)
        with process(tmp_path / "jobs.db") as second:
            said, why = second.communicate(timeout=DEADLINE)
        assert (said, second.returncode) == ("", 1)
        assert "StoreInUse" in why
        assert "this system has no flock" in why
        assert "run one process only (hypercorn -w 1)" in why
        stop(first)


def test_without_flock_a_killed_process_makes_room(tmp_path: Path) -> None:
    """Once a process is killed another can start, and decides about the jobs that it left."""
    with process(tmp_path / "jobs.db") as first:
        _, hung = says(first, 2)
        first.kill()
        first.wait(DEADLINE)
    with process(tmp_path / "jobs.db", hung) as second:
        assert says(second, 1) == ["interrupted"]
        until(lambda: len(list((tmp_path / "jobs.db-procs").glob("*.lock"))) == 1, "the burial")


def test_locks_of_threads_are_like_those_of_files(tmp_path: Path) -> None:
    """Without flock a lock excludes another one on the same file, and may be released twice."""
    one, two, other = (_ThreadLock(tmp_path / name) for name in ("a", "a", "b"))
    assert one.acquire()
    assert one.acquire()
    assert [two.acquire(), other.acquire()] == [False, True]
    assert [one.is_free(), two.is_free()] == [False, False]
    one.release()
    one.release()
    assert two.acquire()
    two.close()
    assert one.acquire()
    file_lock, again = FileLock(tmp_path / "c"), FileLock(tmp_path / "c")
    assert [file_lock.try_acquire(), again.try_acquire()] == [True, False]
    for lock in (file_lock, again):
        lock.close()
