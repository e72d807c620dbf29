"""Each recipe of the docs runs as it is there, and does what it says."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import test_ecosystem
from recipes import COMMANDS, DOCS, FILES, PAGE, transcript, type_recipe, write_files
from server import DEADLINE, Server, count_jobs, has_socket, listener_at, result, submit, until

#: In the place of the program that counts primes: says who it is and what it has started, and
#: takes its time. The second one ends if the first one does so by itself.
SLOW_WORK = """
import os, subprocess, sys, time
from pathlib import Path

def count(limit):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    partial = Path(f"{limit}.partial")
    partial.write_text(f"{os.getpid()} {child.pid}")
    partial.rename(f"{limit}.pids")
    time.sleep(120)  # nobody waits for that, and it ends if a test has failed
    return 42

if __name__ == "__main__":
    print(count(int(sys.argv[1])), flush=True)
"""

#: In the place of a second's sleep, in a test that wants to tell its end.
UNTIL_TOLD = """from pathlib import Path
    while not Path("go-on").exists():
        await asyncio.sleep(0.01)"""


#: The head of an upload that is above the limit of the recipe's own.
FAR_TOO_LARGE = (
    b"POST /films HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (2**40)
)

#: Has the app of a recipe tell how often each of its URLs was asked for.
COUNTING = """
from collections import Counter
from quart import request
asked = Counter()

@app.before_request
async def count():
    asked[f"{request.method} {request.path}"] += request.path != "/requests"

@app.get("/requests")
async def requests():
    return {what: count for what, count in asked.items() if count}
"""

#: Has the first two answers of the app to orders be lost, as by a proxy that loses its connection.
LOSING_TWO = """
lost = 2
whole_app = app.asgi_app

async def losing_two(scope, receive, send):
    global lost
    if scope["type"] != "http" or scope["path"] != "/orders" or not lost:
        return await whole_app(scope, receive, send)
    lost -= 1

    async def lose(message):
        if message["type"] == "http.response.start":
            message = {"type": "http.response.start", "status": 502, "headers": []}
        else:
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    await whole_app(scope, receive, lose)

app.asgi_app = losing_two
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the recipes."""
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def slow(folder: Path) -> Path:
    """The same, where the work begins and waits."""
    (folder / "primes.py").write_text(SLOW_WORK)
    return folder


def test_every_file_of_a_recipe_is_run_here() -> None:
    """No block is left out: what is added to the page has to be added here, or in
    `test_ecosystem`."""
    assert sorted(set(FILES) - set(test_ecosystem.FILES_RUN)) == [
        "ask.js",
        "ask.py",
        "ask.sh",
        "asked.py",
        "developed.py",
        "film.js",
        "films.py",
        "hypercorn.toml",
        "nightly.sh",
        "order.py",
        "orders.py",
        "pooled.py",
        "primes.py",
        "processes.py",
        "read.js",
        "reports.service",
        "reports.socket",
        "retried.py",
        "test_mails.py",
        "watch.js",
        "watched.py",
    ]
    typed = [
        *test_ecosystem.FILES_TYPED,
        "asked.py",
        "films.py",
        "orders.py",
        "retried.py",
        "watched.py",
    ]
    elsewhere = {command for name in typed for command, _ in transcript(name)}
    assert [command for command in COMMANDS if command not in elsewhere] == [
        "systemctl enable --now reports.socket reports.service",
        "systemctl restart reports.service",
        "pytest -q test_mails.py",
        "hypercorn --reload developed:app",
        "hypercorn --config hypercorn.toml pooled:app",
    ]
    assert PAGE.count("```") == 2 * (len(FILES) + PAGE.count("```console"))


@pytest.mark.parametrize("answered", ["the result", "the 202"])
def test_clients_that_ask_once(folder: Path, answered: str) -> None:
    """Each of them comes to the result in the one request, and where that is answered the 202, by
    polls."""
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    (folder / "package.json").write_text('{"type": "module"}')
    if answered == "the 202":
        for name in ("ask.sh", "ask.py", "poll.js"):
            client = folder / name
            assert "wait=20" in client.read_text()
            client.write_text(client.read_text().replace("wait=20", "wait=0"))
    app = folder / "asked.py"
    app.write_text(app.read_text() + COUNTING)
    with Server("asked:app", folder) as server, server.client() as asking:
        type_recipe("asked.py", folder, server.url)
        requests = asking.get("/requests").json()
    asked = {"POST /reports/1": 4}
    if answered == "the result":
        assert requests == asked
    else:
        assert requests.pop("POST /reports/1") == 4
        assert len(requests) == 3  # of those that curl's one call has not polled


def test_what_is_repeated_is_one_job(folder: Path) -> None:
    """A client has its job made once, though the answers to it are lost on the way, and a timer
    that fires twice has one job."""
    app = folder / "orders.py"
    app.write_text(app.read_text() + LOSING_TWO + COUNTING)
    with Server("orders:app", folder) as server, server.client() as asking:
        type_recipe("orders.py", folder, server.url)
        requests = asking.get("/requests").json()
        assert count_jobs(folder / "instance" / "jobs.db") == 2
    assert (requests["POST /orders"], requests["POST /reports"]) == (3, 2)


def test_clients_that_watch(folder: Path) -> None:
    """In a shell, and by `fetch`; `watch.js` is for browsers, and tried in one elsewhere."""
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    (folder / "package.json").write_text('{"type": "module"}')
    with Server("watched:app", folder) as server:
        type_recipe("watched.py", folder, server.url)


@pytest.mark.parametrize("route", ["primes", "threaded"])
def test_a_process_of_its_own(folder: Path, route: str) -> None:
    """A handler, async or in a thread, gives work to a process and has its result; one that fails
    is a job that failed."""
    with Server("processes:app", folder) as server, server.client() as client:
        assert result(client, submit(client, "POST", f"/{route}/100")).json() == {"primes": 25}
        (folder / "primes.py").write_text("raise SystemExit(3)")
        failed = result(client, submit(client, "POST", f"/{route}/100"))
        assert (failed.status_code, failed.headers["Job-State"]) == (500, "failed")
        assert "the process ended with 3" in server.log()


@pytest.mark.parametrize("route", ["primes", "threaded"])
def test_a_cancelled_job_takes_its_process_along(slow: Path, route: str) -> None:
    """Both the process and what that has started end with the job."""
    with Server("processes:app", slow) as server, server.client() as client:
        poll = submit(client, "POST", f"/{route}/7")
        started = pids(slow / "7.pids")
        assert client.delete(poll).status_code == 200
        assert result(client, poll).headers["Job-State"] == "cancelled"
        until(lambda: not any(map(lives, started)), "the end of the processes")


@pytest.mark.parametrize("route", ["primes", "threaded"])
def test_a_job_past_its_time_out_takes_its_process_along(slow: Path, route: str) -> None:
    """Both the process and what that has started end with the job."""
    app = (slow / "processes.py").read_text()
    assert "timeout=600" in app
    (slow / "processes.py").write_text(app.replace("timeout=600", "timeout=1"))
    with Server("processes:app", slow) as server, server.client() as client:
        poll = submit(client, "POST", f"/{route}/7")
        assert result(client, poll).status_code == 504
        until(lambda: not any(map(lives, pids(slow / "7.pids"))), "the end of the processes")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("route", ["primes", "threaded"])
def test_the_end_of_a_drain_takes_the_process_along(slow: Path, route: str, workers: int) -> None:
    """A process that takes longer than the drain holds up no server, and does not outlive it."""
    app = (slow / "processes.py").read_text()
    (slow / "processes.py").write_text(
        app.replace("QuartJobs(app)", "QuartJobs(app, drain_time=1)")
    )
    with Server("processes:app", slow, workers=workers) as server, server.client() as client:
        submit(client, "POST", f"/{route}/7")
        started = pids(slow / "7.pids")
        assert server.stop() == 0
        until(lambda: not any(map(lives, started)), "the end of the processes")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_fails_in_hypercorns_workers(folder: Path, workers: int) -> None:
    """They are daemonic, also a single one: the job fails with the words that the recipe has."""
    with Server("pooled:app", folder, workers=workers) as server, server.client() as client:
        failed = result(client, submit(client, "POST", "/primes/100"))
        assert (failed.status_code, failed.headers["Job-State"]) == (500, "failed")
        (words,) = re.findall(r"`(AssertionError: .*?)`", PAGE)
        assert words in server.log()


def hypercorn_options(app: str) -> list[str]:
    """The options with which a recipe starts hypercorn."""
    (command,) = [command for command in COMMANDS if command.endswith(f"{app}:app")]
    return shlex.split(command)[1:-1]


def test_a_pool_works_in_workers_that_are_not_daemonic(folder: Path) -> None:
    """The pool's functions run with the configuration file of the recipe, and without workers."""
    options = hypercorn_options("pooled")
    for workers, more in ((1, options), (2, options), (0, [])):
        with (
            Server("pooled:app", folder, workers=workers, options=more) as server,
            server.client() as client,
        ):
            assert result(client, submit(client, "POST", "/primes/100")).json() == {"primes": 25}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_does_not_keep_the_server_from_ending(slow: Path, workers: int) -> None:
    """What the pool still does when the drain is over ends with the server."""
    app = (slow / "pooled.py").read_text()
    (slow / "pooled.py").write_text(app.replace("QuartJobs(app)", "QuartJobs(app, drain_time=1)"))
    options = hypercorn_options("pooled")
    with (
        Server("pooled:app", slow, workers=workers, options=options) as server,
        server.client() as client,
    ):
        submit(client, "POST", "/primes/7")
        (at_work, _) = pids(slow / "7.pids")
        server.stop()
        until(lambda: not lives(at_work), "the end of the pool's process")


def pids(file: Path) -> list[int]:
    """The processes that the slow work says it consists of, once it has begun."""
    until(file.exists, "the start of the work")
    return [int(pid) for pid in file.read_text().split()]


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # one whose parent is gone waits for whoever adopts it


def held(folder: Path) -> Path:
    """The recipe's app, where a job takes until there is a file `go-on`; the file of the app."""
    app = folder / "developed.py"
    code = app.read_text()
    assert "await asyncio.sleep(1)" in code
    app.write_text(code.replace("await asyncio.sleep(1)", UNTIL_TOLD))
    return app


def change(file: Path) -> None:
    """Give a file a time of change that no look at it has seen."""
    changed = file.stat().st_mtime + 10
    os.utime(file, (changed, changed))


def test_hypercorns_reloader_lets_jobs_end(folder: Path) -> None:
    """A change of a file is as a deploy: the job that runs meanwhile has its result."""
    app = held(folder)
    server = Server("developed:app", folder, options=hypercorn_options("developed"))
    with server:
        with server.client() as client:
            poll = submit(client, "POST", "/mails")
            (worker,) = server.workers()
            listener = listener_at(server.port)
            change(app)
            until(lambda: not has_socket(worker, listener), "the stop of the worker")
            (folder / "go-on").touch()
        with server.client() as client:
            answer = result(client, poll)
        assert (answer.status_code, answer.json()) == (200, {"sent": 3})
        until(lambda: worker not in server.workers(), "the end of the old worker")


def test_the_test_of_an_app(folder: Path) -> None:
    """It passes as it is typed, and leaves no job behind."""
    (command,) = [command for command in COMMANDS if command.startswith("pytest")]
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert not (folder / "instance").exists()


@pytest.mark.parametrize(
    "command",
    [["quart", "--app", "developed", "--debug", "run", "--port", "0"], ["developed.py"]],
    ids=["quart run", "app.run"],
)
def test_quarts_reloader_interrupts_jobs(folder: Path, command: list[str]) -> None:
    """At a change of a file a job of POST ends as interrupted: nothing drains there."""
    app = held(folder)
    app.write_text(app.read_text().replace("use_reloader=False", "debug=True, port=0"))
    first = ["-m", *command] if command[0] == "quart" else command
    with running([sys.executable, *first], folder) as log:
        with httpx.Client(base_url=announced(log, 0), timeout=DEADLINE) as client:
            poll = submit(client, "POST", "/mails")
        change(app)
        with httpx.Client(base_url=announced(log, 1), timeout=DEADLINE) as client:
            answer = result(client, poll)
        assert answer.headers["Job-State"] == "interrupted"
        assert answer.json()["type"] == "urn:asyncjobs:problem:interrupted"


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[Path]:
    """Runs a command in a folder; gives the file of what it prints."""
    path = folder / "command.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield path
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def announced(log: Path, starts: int) -> str:
    """The address of the server after so many starts before."""

    def addresses() -> list[str]:
        return re.findall(r"Running on (http://127\.0\.0\.1:[1-9]\d*)", log.read_text())[starts:]

    return until(addresses, "the start of the server")[0]


@pytest.mark.parametrize(("family", "workers"), [("tcp", 1), ("tcp", 2), ("unix", 2)])
def test_a_socket_that_stays_open_while_the_server_is_started_again(
    folder: Path, family: str, workers: int
) -> None:
    """Who connects while the server drains, or while there is none, is answered by the next one."""
    app = held(folder).stem
    with listening(folder, family) as listener:
        options = ["--backlog", "1000", "--bind", "fd://3"]
        assert set(options) <= set(unit_command())
        inode = os.fstat(listener.fileno()).st_ino
        server = Server(f"{app}:app", folder, workers=workers, options=options, listener=listener)
        server.start()
        with client_of(listener) as client:
            poll = submit(client, "POST", "/mails")
        (*processes,) = server.workers()
        server.signal(signal.SIGTERM)
        until(lambda: not any(has_socket(pid, inode) for pid in processes), "the stop")
        in_the_drain = asked(listener)
        (folder / "go-on").touch()
        assert server.wait() == 0
        without_a_server = asked(listener)
        server.start()
        try:
            for connection in (in_the_drain, without_a_server):
                assert connection.recv(1000).startswith(b"HTTP/1.1 404")
                connection.close()
            with client_of(listener) as client:
                assert result(client, poll).json() == {"sent": 3}
        finally:
            server.kill()


@contextmanager
def listening(folder: Path, family: str) -> Iterator[socket.socket]:
    """A socket as systemd would open it."""
    if family == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "socket"))
        listener.listen()
    with listener:
        yield listener


def asked(listener: socket.socket) -> socket.socket:
    """A new connection, over which something is asked already."""
    connection = socket.socket(listener.family)
    connection.settimeout(DEADLINE)
    connection.connect(listener.getsockname())
    connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return connection


def client_of(listener: socket.socket) -> httpx.Client:
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        transport = httpx.HTTPTransport(uds=address)
        return httpx.Client(transport=transport, base_url="http://x", timeout=DEADLINE)
    return httpx.Client(base_url=f"http://127.0.0.1:{address[1]}", timeout=DEADLINE)


def unit_command() -> list[str]:
    """What the unit of the recipe starts."""
    (command,) = re.findall(r"^ExecStart=(.*)$", FILES["reports.service"], re.MULTILINE)
    return shlex.split(command)


def test_the_units_of_the_recipe() -> None:
    """The service needs the socket that is called as itself is, hypercorn takes its options, and
    all else is as in the unit of the operations."""
    assert "Requires=reports.socket" in FILES["reports.service"]
    program, *options = unit_command()
    assert Path(program).name == "hypercorn"
    assert options[options.index("--bind") + 1] == "fd://3"
    (operations,) = re.findall(r"```ini\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL)
    ours = set(FILES["reports.service"].splitlines())
    theirs = {line for line in operations.splitlines() if not line.startswith("ExecStart")}
    assert theirs <= ours


@pytest.mark.parametrize("workers", [1, 2])
def test_an_upload_above_the_limit(folder: Path, workers: int) -> None:
    """What is larger than a job may be is stored first, and a job has it by its name. Of an upload
    that breaks off nothing is left."""
    with Server("films:app", folder, workers=workers) as server, server.client() as client:
        assert server.exchange(FAR_TOO_LARGE).startswith(b"HTTP/1.1 413")
        ids = type_recipe("films.py", folder, server.url)
        (stored,) = films = [*(folder / "instance" / "films").iterdir()]
        answer = result(client, f"/films/{stored.name}/{ids.popitem()[1]}")
        assert answer.json() == {"sha256": hashlib.sha256(bytes(50 * 2**20)).hexdigest()}
        with server.connect() as connection:
            connection.sendall(b"POST /films HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
            until(lambda: len([*films[0].parent.iterdir()]) == 2, "the start of the upload")
        until(lambda: [*films[0].parent.iterdir()] == films, "the end of the upload")


@pytest.mark.parametrize("always", [False, True])
def test_a_time_out_that_is_tried_again(folder: Path, always: bool) -> None:
    """The time-out of the handler's own is tried again, and no time-out of the job's; at last it is
    the app's own 500."""
    app = folder / "retried.py"
    if always:
        app.write_text(app.read_text().replace("attempt == 1", "attempt").replace("=3", "=1"))
    with Server("retried:app", folder) as server, server.client() as client:
        if not always:
            type_recipe("retried.py", folder, server.url)
        else:
            answer = result(client, submit(client, "GET", "/answer"))
            assert (answer.status_code, answer.headers["Job-State"]) == (500, "failed")
            assert "Internal Server Error" in answer.text
