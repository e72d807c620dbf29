"""The command line as people use it: within this process, in one of its own, and at a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from click.testing import CliRunner, Result

from asyncjobs import transitions
from asyncjobs.cli import main
from asyncjobs.errors import JobWasCancelled
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.problem import problem
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import a_job
from server import DEADLINE, SOURCE, TESTS, until

#: What moves the cursor, or colours.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

REQUEST = Request("POST", "/report", b"a=1", ((b"x-a", b"1"),), b"the body")


def run(*words: str, store: Path | None = None, given: str | None = None) -> Result:
    """What a command prints, and its exit code, where it is typed in this process, at no terminal.

    Args:
        store: the file that ``--store`` names.
        given: what comes on standard input.
    """
    named = [] if store is None else ["--store", f"sqlite:///{store}"]
    return CliRunner().invoke(main, [*words, *named], input=given, prog_name="asyncjobs")


async def kept(path: Path, *jobs: Job) -> list[str]:
    """Leave a store behind with these jobs, each with its request, and with a result if it is
    final; their ids."""
    async with SqliteStore(path) as store:
        for job in jobs:
            await store.add(job, REQUEST)
            if job.state.is_final:
                response = Response(job.status or 500, (), b"the result")
                await store.replace(job, job._replace(version=job.version + 1), response)
    return [job.id for job in jobs]


def keep(path: Path, *jobs: Job) -> list[str]:
    """The same, where no loop runs."""
    return asyncio.run(kept(path, *jobs))


def ended(state: State, status: int = 500, reason: str | None = None, **fields: object) -> Job:
    """A job that has come to this end, after a second, just now."""
    now = time.time() - 1
    started = transitions.start(a_job(created=now, **fields), "nobody", now)
    return started._replace(
        state=state,
        worker=None,
        finished=now + 1,
        expires=now + 3600,
        status=status,
        reason=reason,
    )


def cancelled(job: Job) -> tuple[Job, Response]:
    why = JobWasCancelled("it was cancelled")
    return transitions.cancel(job, time.time(), why), problem(why)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUART_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(TESTS), str(SOURCE)]), **more}


def started(*words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A command in a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "asyncjobs", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
    )


async def run_beside(*words: str, store: Path) -> str:
    """What a command prints that goes well, while this process goes on."""
    process = started(*words, "--store", f"sqlite:///{store}")
    printed, said = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
    assert process.returncode == 0, said
    return printed


class Terminal:
    """A command in a process of its own, at a terminal; used as a context manager, which kills it.

    Attributes:
        raw: all that has come so far, as it came.
    """

    def __init__(
        self, words: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asyncjobs", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=cwd,
            env=environment(**{"TERM": "xterm-256color", "COLUMNS": "110", **(env or {})}),
        )
        os.close(theirs)
        self.raw = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    @property
    def text(self) -> str:
        """The same, without what moves the cursor or colours."""
        return ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def until(self, words: str) -> None:
        """Read until it has printed this."""
        while words not in self.text:
            assert self._read(), f"no {words!r} in {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, once it waits for something: one that comes right before a read is seen behind
        that."""
        until(lambda: _state(self._process.pid) == "S", "its wait")
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self._process.wait(DEADLINE)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], DEADLINE)
        assert ready, f"nothing comes behind {self.text!r}"
        with suppress(OSError):  # so the end of a terminal is told
            data = os.read(self._fd, 65536)
            self.raw += data.decode(errors="replace")
            return bool(data)
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
