"""A real hypercorn in a process of its own, and plain ways to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

import asyncjobs

T = TypeVar("T")

TESTS = Path(__file__).parent
#: Where the tests import `asyncjobs` from.
SOURCE = Path(asyncjobs.__path__[0]).parent
#: Nothing here takes a second on an idle machine. So long may it take on a busy one.
DEADLINE = 30.0

_RUNNING_ON = re.compile(r"Running on http://127\.0\.0\.1:(\d+)")
_numbers = count(1)
# Not a shell, as some know file descriptors of one digit only.
_GIVE_AS_3 = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
# What asyncio says of an exception that nobody was told of, wherever it happens.
_UNHEARD = ("was never retrieved", "was never awaited", "was destroyed but it is pending")
# Quart's own, of its background tasks, where the server does not wait for its shutdown.
_OF_QUART = "_GatheringFuture exception was never retrieved"


def until(condition: Callable[[], T | None], what: str = "it") -> T:
    """What `condition` returns, once that is true."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {DEADLINE:g} s")
        time.sleep(0.005)
    return value


class Server:
    """One hypercorn. Used as a context manager: it answers when the block begins.

    One that has ended may be started again, on another port.

    Args:
        app: ``module:app``, seen from the folder of the tests.
        folder: a folder for its store (unless `config` names another) and its log.
        config: goes into the app's configuration; see `apps.configuration`.
        workers: hypercorn's ``--workers``.
        options: more arguments for hypercorn.
        launcher: a command that starts the command given to it as its arguments.
        source: the folder to import `asyncjobs` from, if not from where the tests have it.
        listener: a socket that it is given as file descriptor 3; `options` name that.
    """

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        config: Mapping[str, Any] | None = None,
        workers: int = 1,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
        source: Path | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.store = folder / "jobs.db"
        self._config = {"QUART_JOBS_STORE": f"sqlite:///{self.store}", **(config or {})}
        self._source = source or SOURCE
        self._given = [] if listener is None else [listener.fileno()]
        if listener is not None:
            launcher = [sys.executable, "-c", _GIVE_AS_3, str(listener.fileno()), *launcher]
        self._command = [
            *launcher,
            *(sys.executable, "-m", "hypercorn", app),
            *(() if self._given else ("--bind", "127.0.0.1:0")),
            *("--workers", str(workers)),
            *("--graceful-timeout", "1"),
            *("--keep-alive", "60"),  # a test that is held up must not find its connection closed
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / f"server-{next(_numbers)}.log"
        self._before = ""
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        try:
            self.port = until(self._announced_port, "the start of the server")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        heard = self.log().replace(_OF_QUART, "")
        for words in _UNHEARD:
            assert words not in heard, heard

    def start(self) -> None:
        """Start the process, and do not wait for it."""
        self._before = self.log() if self._log.exists() else ""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(self._source)]),
            "PYTHONUNBUFFERED": "1",
            "APP_CONFIG": json.dumps(self._config),
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self._given,
                start_new_session=True,  # so that `kill` gets hold of the workers, too
            )

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        assert self._process is not None
        return self._process.wait(DEADLINE)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, in which hypercorn's workers have no part."""
        assert self._process is not None
        self._process.send_signal(number)

    def workers(self) -> list[int]:
        """The processes that hypercorn has started and that have not ended."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if _is_worker(int(child))]

    def stop(self) -> int:
        """End the server as its operator would, by SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the server and its workers without any chance to clean up; may be done twice."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)

    def log(self) -> str:
        """All that the server has written to its standard output and error so far."""
        return self._log.read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        """A client of this server that sends `headers` with each request."""
        # There is nothing to verify, and to load the certificates takes longer than most tests.
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE, verify=False)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def exchange(self, request: bytes) -> bytes:
        """The bytes that the server answers to these, until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return received(connection)

    def _announced_port(self) -> int | None:
        assert self._process is not None
        if (announced := _RUNNING_ON.search(self.log(), len(self._before))) is not None:
            return int(announced.group(1))
        if self._process.poll() is not None:
            raise RuntimeError(f"the server has ended:\n{self.log()}")
        return None


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def listener_at(port: int) -> int | None:
    """The inode of the socket that listens on a port of IPv4; None if there is none."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, state = fields[1], fields[3]
        if state == "0A" and int(local.rpartition(":")[2], 16) == port:
            return int(fields[9])
    return None


def has_socket(pid: int, inode: int | None) -> bool:
    """Whether a process has the socket with this inode open."""
    folder = f"/proc/{pid}/fd"
    with suppress(FileNotFoundError):  # of a process, or a file, that has just gone
        for fd in os.listdir(folder):
            with suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{fd}") == f"socket:[{inode}]":
                    return True
    return False


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes the connection."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def submit(client: httpx.Client, method: str, path: str, **options: Any) -> str:
    """Have a request become a job; the address to poll."""
    answer = client.request(method, path, **options)
    assert answer.status_code == 202, answer.text[:1000]
    return answer.headers["Location"]


def result(client: httpx.Client, poll: str) -> httpx.Response:
    """The answer to a poll, once the job has come to its end."""

    def final() -> httpx.Response | None:
        answer = client.get(poll)
        state = answer.headers.get("Job-State")
        assert state is not None, f"{poll} is no job: {answer.status_code} {answer.text[:1000]}"
        return None if state in ("queued", "running") else answer

    return until(final, f"the end of {poll}")


def count_jobs(store: Path) -> int:
    """How many jobs there are in an SQLite store."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(count)
