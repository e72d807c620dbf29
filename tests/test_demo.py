"""The demo, as whoever types the command sees it."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from server import DEADLINE, until

DEMO = [sys.executable, "-m", "asyncjobs", "demo"]

# The demo, with one expectation that its server cannot meet.
EXPECTING_TOO_MUCH = """
import dataclasses
from asyncjobs.cli import main
from asyncjobs.demo import play

right = play.scenarios
play.scenarios = lambda text: [dataclasses.replace(right(text)[0], expected={"Result": False})]
main(["demo"])
"""

# The demo, on a machine where its server does not start.
WITHOUT_A_SERVER = """
import shutil, sys
from asyncjobs.cli import main

sys.executable = shutil.which("false")
main(["demo"])
"""


class Command:
    """A running command, with the folder that is its place for temporary files.

    Args:
        stdout: a file descriptor; what the command prints can be read from it elsewhere.
    """

    def __init__(self, command: list[str], folder: Path, stdout: int | None = None) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._output = folder / "output"
        self._errors = folder / "errors"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(self.temporary), "TERM": "xterm-256color"},
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=errors,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def server_pid(self) -> int:
        """The process of its server, as that says itself."""
        logs = [self._errors, *self.temporary.glob("*/server.log")]
        words = "".join(log.read_text() for log in logs)
        found = re.search(r"\[(\d+)\] \[INFO\] Running on", words)
        assert found, words
        return int(found[1])

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Its exit status, once it has ended: behind a server's start and five jobs, with waits."""
        return self._process.wait(4 * DEADLINE)

    def kill(self) -> None:
        """End it, if it has not: by a signal that leaves it time to end its server."""
        self.send(signal.SIGTERM)
        self.end()


Run = Callable[..., Command]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a command that ends with the test."""
    commands = []

    def run(command: list[str], stdout: int | None = None) -> Command:
        commands.append(Command(command, tmp_path, stdout))
        return commands[-1]

    yield run
    for command in commands:
        command.kill()


@pytest.fixture
def serving(run: Run) -> Command:
    """A demo that serves, and has printed all that it prints."""
    command = run([*DEMO, "--serve"])
    until(lambda: "--data-binary" in command.output, "the last of the curl lines")
    return command


def test_the_demo_ends_by_itself_with_every_result_as_expected(run: Run) -> None:
    """Off a terminal it prints plain lines: each job's way, its result, and a summary."""
    demo = run(DEMO)
    assert demo.end() == 0, demo.output
    lines = demo.output.splitlines()
    assert re.match(r"5 jobs, 5 as expected, \d+\.\d s", lines[-3])
    for news in (
        r'GET  /foo +succeeded +100%  200 {"Result":true}',
        r"POST /words +running +\d+%  counting words",
        r'POST /words +succeeded +100%  200 {"words":\d+}',
        r"GET  /report +running +40%  draw the charts",
        r'GET  /report +succeeded +100%  200 {"steps":5}',
        r'GET  /unlucky +failed +60%  500 {"error":"bad luck"}',
        r"POST /gzip +succeeded +100%  200 \S+\.gz, \S+ kB",
    ):
        assert [line for line in lines if re.search(rf"\d+\.\d\d s  {news}$", line)], news
    assert "\x1b" not in demo.output
    assert demo.errors == ""


@pytest.mark.parametrize("start", ["on the PATH", "off it", "beside another", "as a module"])
def test_the_demo_ends_with_a_command_that_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: str
) -> None:
    """What it says is next can be typed where it was started: also off the PATH, as by make, and
    where another program has its name there."""
    installed = Path(sys.executable).parent / "asyncjobs"
    (other := tmp_path / "bin" / "asyncjobs").parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    module = f"{shlex.quote(sys.executable)} -m asyncjobs"
    command, folder, expected = {
        "on the PATH": ([str(installed)], installed.parent, "asyncjobs"),
        "off it": ([str(installed)], "/nowhere", str(installed)),
        "beside another": ([str(installed)], other.parent, str(installed)),
        "as a module": (DEMO[:3], "/nowhere", module),
    }[start]
    monkeypatch.setenv("PATH", str(folder))
    demo = run([*command, "demo"])
    assert demo.end() == 0, demo.output
    assert f"Next: `{expected} demo --serve`" in demo.output


def test_the_demo_draws_a_live_table_on_a_terminal(run: Run) -> None:
    """On a terminal it draws over what it has drawn, in colour."""
    master, slave = pty.openpty()
    demo = run(DEMO, stdout=slave)
    os.close(slave)
    output = read_all(master)
    assert demo.end() == 0, output
    for words in ("Job", "Request", "State", "Progress", "✓ 200", "✓ 500", "5 as expected"):
        assert words in output
    assert "\x1b[1A" in output  # the cursor goes up a line
    assert output.count("GET  /foo") > 10


def test_a_wrong_result_fails_the_demo(run: Run) -> None:
    """A wrong result gives a non-zero exit status, and is told with what was expected."""
    demo = run([sys.executable, "-c", EXPECTING_TOO_MUCH])
    assert demo.end() == 1
    assert "WRONG 200" in demo.output
    assert "0 as expected" in demo.output
    assert "GET /foo: result is {'Result': True}, expected {'Result': False}" in demo.output
    assert "The server's log:" in demo.output


def test_a_server_that_does_not_start_is_a_failure_of_the_demo(run: Run) -> None:
    """It says so, with a non-zero exit status and without a traceback."""
    demo = run([sys.executable, "-c", WITHOUT_A_SERVER])
    assert demo.end() == 1
    assert "the server did not start" in demo.output
    assert "Traceback" not in demo.output + demo.errors


def test_the_demo_can_be_stopped(run: Run) -> None:
    """It leaves no server and no file behind, and what it could not check is no success."""
    demo = run(DEMO)
    until(lambda: "counting words" in demo.output, "the first progress")
    server = demo.server_pid
    demo.send(signal.SIGINT)
    assert demo.end() == 1
    assert_gone(server)
    assert not list(demo.temporary.iterdir())
    assert demo.errors.strip() == "Aborted!"


def test_the_curl_lines_work_as_they_are_printed(serving: Command) -> None:
    """Each does what is said above it."""
    lines = [line for line in serving.output.splitlines() if line.startswith("curl ")]
    submit, wait, poll, status, cancel, upload = (answer_to(line) for line in lines)
    assert (submit.status_code, submit.headers["Job-State"]) == (202, "running")
    assert (wait.status_code, wait.json()) == (200, {"Result": True})
    assert (poll.status_code, poll.headers["Job-State"]) == (202, "running")
    assert status.json()["state"] == "running"
    assert cancel.status_code == 200
    assert cancel.json()["id"] == poll.json()["TaskID"]
    assert upload.status_code == 202


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serving_ends_with_a_signal(serving: Command, number: signal.Signals) -> None:
    """That is a success, and leaves no server and no file behind."""
    server = serving.server_pid
    serving.send(number)
    assert serving.end() == 0
    assert_gone(server)
    assert not list(serving.temporary.iterdir())


def test_serving_tells_if_the_server_ends_by_itself(serving: Command) -> None:
    """It does not wait for ever for a server that is gone."""
    os.kill(serving.server_pid, signal.SIGKILL)
    assert serving.end() == 1
    assert "Error: the server ended by itself, with exit status -9" in serving.errors


def read_all(terminal: int) -> str:
    """All that comes from `terminal`, until nobody has its other side open."""
    chunks = []
    try:
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says it
        pass
    finally:
        os.close(terminal)
    return b"".join(chunks).decode()


def answer_to(line: str) -> httpx.Response:
    """The answer to a curl line."""
    words = iter(shlex.split(line)[1:])
    method, url, headers, content = "GET", "", {}, None
    for word in words:
        match word:
            case "-i":
                pass
            case "-X":
                method = next(words)
            case "-H":
                name, value = next(words).split(": ")
                headers[name] = value
            case "--data-binary":
                method, content = "POST", Path(next(words).removeprefix("@")).read_bytes()
                headers["Content-Type"] = "application/x-www-form-urlencoded"  # as curl says
            case _:
                url = word
    with httpx.Client(trust_env=False, timeout=DEADLINE) as client:
        return client.request(method, url, headers=headers, content=content)


def assert_gone(process: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
