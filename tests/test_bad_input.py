"""Bad input: a clear answer, nothing lost, and the next job runs as if nothing had been."""

from __future__ import annotations

import os
import select
import socket
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Blueprint, Quart, request

from apps.signals import Signals
from asyncjobs import QuartJobs
from asyncjobs.errors import SetupError
from conftest import Serve
from mounts import mounting
from server import Server, count_jobs, received, result, submit, until

MAX_BODY = 50_000
MAX_RESPONSE = 100_000


@pytest.fixture(scope="module")
def running(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    large = tmp_path_factory.mktemp("files") / "large.bin"
    large.write_bytes(bytes(MAX_RESPONSE + 1))
    return serve(
        "apps.bad_input:app",
        config={
            "QUART_JOBS_MAX_BODY": MAX_BODY,
            "QUART_JOBS_MAX_RESPONSE": MAX_RESPONSE,
            "QUART_JOBS_BODY_TIMEOUT": 1,
            "QUART_JOBS_THREADS": 16,
            "LARGE_FILE": str(large),
        },
    )


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, of which every test of this module requires that it survives the test."""
    yield running
    with running.client() as client:
        assert result(client, submit(client, "GET", "/fine")).json() == {"fine": True}


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def is_problem(answer: httpx.Response, status: int, name: str) -> bool:
    """Whether this is the problem document called `name`."""
    assert answer.status_code == status, answer.text[:1000]
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:asyncjobs:problem:{name}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return True


def parsed(data: bytes) -> httpx.Response:
    """A response as it came over the wire."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def hang_up(connection: socket.socket, how: str) -> None:
    if how == "with a reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Bodies.


def test_a_body_at_the_limit_is_taken(client: httpx.Client, name: str) -> None:
    """A body of exactly `max_body` bytes is not too large, whether it has a length or not."""
    body = bytes(MAX_BODY)

    for content in (body, iter([body[:1000], body[1000:]])):
        answer = result(client, submit(client, "POST", f"/upload/{name}", content=content))
        assert answer.json() == {"size": MAX_BODY}


def test_a_body_over_the_limit_makes_no_job(
    client: httpx.Client, server: Server, name: str
) -> None:
    """A body of more than `max_body` bytes is a 413 problem, and no job."""
    before = count_jobs(server.store)
    body = bytes(MAX_BODY + 1)

    for content in (body, iter([body[:1000], body[1000:]])):
        # Refused before it was read to its end, and then the server closes the connection.
        alone = {"Connection": "close"}
        answer = client.post(f"/upload/{name}", content=content, headers=alone)
        assert is_problem(answer, 413, "body-too-large")

    assert count_jobs(server.store) == before


async def test_the_apps_own_limit_holds_as_well(tmp_path: Path) -> None:
    """A body over the app's own MAX_CONTENT_LENGTH makes no job, whatever `max_body` says."""
    app = Quart("small")
    app.config["MAX_CONTENT_LENGTH"] = 1000
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db", max_body=2000)

    @app.post("/upload")
    @jobs.background
    async def upload() -> list[int]:
        return [len(await request.get_data())]

    async with app.test_app() as running:
        client = running.test_client()
        answer = await client.post("/upload", data=bytes(1001))
        assert answer.status_code == 413
        assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:body-too-large"
        assert count_jobs(tmp_path / "jobs.db") == 0
        assert (await client.post("/upload", data=bytes(1000))).status_code == 202


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**15])
def test_a_length_over_the_limit_is_refused_before_the_body(
    server: Server, name: str, length: int
) -> None:
    """A Content-Length over the limit is a 413 problem although not a byte of it was sent."""
    before = count_jobs(server.store)

    with server.connect() as connection:
        connection.sendall(head(f"/upload/{name}", f"Content-Length: {length}"))
        answer = parsed(received(connection))

    assert is_problem(answer, 413, "body-too-large")
    assert count_jobs(server.store) == before


@pytest.mark.parametrize("kind", ["with a length", "chunked"])
def test_a_client_that_goes_on_sending_is_told_too(server: Server, name: str, kind: str) -> None:
    """A client that sends far more than the limit and does not look at the answer meanwhile finds
    the 413 problem when it does look, and there is no job."""
    before = count_jobs(server.store)
    much = 64 * 1024 * 1024

    with server.connect() as connection:
        if kind == "chunked":
            connection.sendall(head(f"/upload/{name}", "Transfer-Encoding: chunked"))
            part = chunk(bytes(65536))
        else:
            connection.sendall(head(f"/upload/{name}", f"Content-Length: {much}"))
            part = bytes(65536)
        try:
            for _ in range(much // 65536):
                connection.sendall(part)
        except ConnectionError:
            pass  # the server has heard enough
        answer = parsed(received(connection))

    assert is_problem(answer, 413, "body-too-large")
    assert count_jobs(server.store) == before


@pytest.mark.parametrize("drip", ["that stops", "that drips"])
@pytest.mark.parametrize("kind", ["with a length", "chunked"])
def test_a_body_that_does_not_arrive_makes_no_job(
    server: Server, name: str, kind: str, drip: str
) -> None:
    """A body that is not there after `body_timeout` seconds is a 408 problem, and no job: whether
    nothing comes any more, or always a little."""
    before = count_jobs(server.store)
    chunked = kind == "chunked"
    header = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY}"
    drop = chunk(b"x") if chunked else b"x"

    with server.connect() as connection:
        connection.sendall(head(f"/upload/{name}", header, "Connection: close") + drop)
        while drip == "that drips" and not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(drop)
        answer = parsed(received(connection))

    assert is_problem(answer, 408, "body-timeout")
    assert count_jobs(server.store) == before


@pytest.mark.parametrize("how", ["politely", "with a reset"])
@pytest.mark.parametrize("kind", ["with a length", "chunked"])
def test_a_client_that_hangs_up_in_mid_upload_makes_no_job(
    server: Server, signals: Signals, name: str, kind: str, how: str
) -> None:
    """Half a body is no body: if its client hangs up there is no job, and nothing in the log."""
    before = count_jobs(server.store)
    logged = server.log()
    chunked = kind == "chunked"
    header = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY}"
    some = chunk(bytes(1000)) if chunked else bytes(1000)

    with server.connect() as connection:
        connection.sendall(head(f"/upload/{name}", header, f"X-Witness: {name}") + some)
        signals.wait(f"{name}.begun")
        hang_up(connection, how)

    signals.wait(f"{name}.ended")
    assert count_jobs(server.store) == before
    assert not signals.is_sent(f"{name}.ran")
    assert server.log() == logged


@pytest.mark.parametrize("hooks", ["with no hooks", "with a hook that takes its time"])
@pytest.mark.parametrize("kind", ["without a body", "with a body", "chunked", "in two parts"])
def test_a_client_that_hangs_up_after_its_request_has_its_job_run(
    server: Server, signals: Signals, name: str, kind: str, hooks: str
) -> None:
    """A request that has arrived in full becomes a job, although its client did not stay for the
    answer: every one of them, also if the app looks at it first."""
    names = [f"{name}{number}" for number in range(20)]
    before = count_jobs(server.store)
    slow = "X-Slow: yes" if hooks == "with a hook that takes its time" else "X-Fast: yes"

    for each in names:
        with server.connect() as connection:
            match kind:
                case "without a body":
                    connection.sendall(head(f"/visit/{each}", slow).replace(b"POST", b"GET"))
                case "with a body":
                    length = "Content-Length: 1000"
                    connection.sendall(head(f"/upload/{each}", slow, length) + bytes(1000))
                case "in two parts":
                    connection.sendall(head(f"/upload/{each}", slow, "Content-Length: 1000"))
                    connection.sendall(bytes(1000))
                case "chunked":
                    coding = "Transfer-Encoding: chunked"
                    body = chunk(bytes(1000)) + chunk(b"")
                    connection.sendall(head(f"/upload/{each}", slow, coding) + body)

    for each in names:
        signals.wait(f"{each}.ran")
    assert count_jobs(server.store) == before + len(names)


# Results.

RESULTS = [
    "None",
    "an object",
    "a number",
    "a set",
    "an empty tuple",
    "a tuple of four",
    "None with a status",
    "a dict with an object in it",
    "a dict with bytes in it",
    "a dict with itself in it",
    "a status that is none",
    "a generator of numbers",
    "a header with a line break",
    "a header's name with a line break",
    "a header's name with a colon",
    "a header's name with a space",
    "a header without a name",
    "a header's name that is no ASCII",
    "half a character",
    "half a character in a header",
    "a status that HTTP does not have",
    "a status that is not for results",
]


@pytest.mark.parametrize("view", ["result", "result-in-a-thread"])
@pytest.mark.parametrize("kind", RESULTS)
def test_what_is_no_response_is_a_500(client: httpx.Client, kind: str, view: str) -> None:
    """A handler that returns None, or anything else that no response can be made of, has failed,
    once: its result is the app's own 500."""
    answer = result(client, submit(client, "GET", f"/{view}/{kind}"))

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Job-State"] == "failed"
    status = client.get(answer.links["status"]["url"]).json()
    assert (status["state"], status["attempt"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("None", "cannot be None"), ("a dict with an object in it", "not JSON serializable")],
)
def test_the_log_says_what_is_wrong_with_a_response(
    client: httpx.Client, server: Server, kind: str, said: str
) -> None:
    """What was wrong with a handler's return value is in the log."""
    logged = len(server.log())

    result(client, submit(client, "GET", f"/result/{kind}"))

    until(lambda: said in server.log()[logged:], f"{said!r} in the log")


LARGE = [
    ("large", "bytes"),
    ("large", "text"),
    ("large", "JSON"),
    ("large", "a generator"),
    ("large", "a sync generator"),
    ("large", "a generator in a response"),
    ("large", "a sync generator in a response"),
    ("large", "a sync generator in a werkzeug response"),
    ("large", "a werkzeug response"),
    ("large", "a file in memory"),
    ("large", "a file"),
    ("large", "an error page"),
    ("large-in-a-thread", "bytes"),
    ("large-in-a-thread", "a generator"),
    ("large-in-a-thread", "a sync generator"),
]


@pytest.mark.parametrize(("view", "kind"), LARGE)
def test_a_response_over_the_limit_is_a_500(
    client: httpx.Client, signals: Signals, view: str, kind: str
) -> None:
    """A response of more than `max_response` bytes, from a generator too, fails its job with a
    problem document: it is never cut short, and a generator is not asked for more than that."""
    answer = result(client, submit(client, "GET", f"/{view}/{kind}"))

    assert is_problem(answer, 500, "response-too-large")
    assert answer.headers["Job-State"] == "failed"
    assert str(MAX_RESPONSE) in answer.json()["detail"]
    assert not signals.is_sent("exhausted")


def test_a_response_at_the_limit_is_kept(client: httpx.Client) -> None:
    """A response of exactly `max_response` bytes is not too large."""
    answer = result(client, submit(client, "GET", f"/of-size/{MAX_RESPONSE}"))

    assert answer.status_code == 200
    assert len(answer.content) == MAX_RESPONSE
    answer = result(client, submit(client, "GET", f"/of-size/{MAX_RESPONSE + 1}"))
    assert is_problem(answer, 500, "response-too-large")


# Exceptions that are none.

RAISED = [
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
    "CancelledError",
    "StopIteration",
    "StopAsyncIteration",
    "TimeoutError",
    "MemoryError",
    "BaseException",
    "BaseExceptionGroup",
    "an exception that cannot be printed",
    "an exception with an odd cause",
]


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("code", ["async-view", "sync-view", "async-generator", "sync-generator"])
def test_whatever_is_raised_is_a_500_and_in_the_log(
    client: httpx.Client, server: Server, code: str, kind: str
) -> None:
    """A handler that raises what is not even an Exception takes nothing down with it: the result
    is the app's own 500, and the traceback is in the log."""
    logged = len(server.log())

    answer = result(client, submit(client, "GET", f"/raise/{code}/{kind}"))

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Job-State"] == "failed"
    where = f"in raise_in_{code.replace('-', '_').replace('async_', '')}"
    until(lambda: where in server.log()[logged:], "the traceback in the log")


@pytest.mark.parametrize("path", ["/too-deep", "/cancels-itself"])
def test_a_handler_that_ruins_itself_is_a_500(client: httpx.Client, path: str) -> None:
    """A handler that recurses without end, or cancels its own task, has failed."""
    answer = result(client, submit(client, "GET", path))

    assert answer.status_code == 500
    assert answer.headers["Job-State"] == "failed"


# Handlers that do not end.

PATIENT = ["patient", "patient-in-a-thread", "patient-generator"]
STUBBORN = [
    "stubborn",
    "stubborn-in-a-thread",
    "stubborn-generator-in-a-thread",
    "stubborn-and-fails",
    "answers-instead",
    "fails-instead",
]


def end_of(client: httpx.Client, poll: str, why: str) -> httpx.Response:
    """The result of a job that has run past its timeout, or was cancelled."""
    answer = result(client, poll)
    if why == "timed":
        assert is_problem(answer, 504, "timeout")
        assert answer.headers["Job-State"] == "failed"
    else:
        assert is_problem(answer, 410, "cancelled")
        assert answer.headers["Job-State"] == "cancelled"
    return answer


@pytest.mark.parametrize("why", ["timed", "untimed"])
@pytest.mark.parametrize("kind", PATIENT)
def test_a_handler_that_is_to_stop_is_stopped(
    client: httpx.Client, signals: Signals, name: str, kind: str, why: str
) -> None:
    """A handler that runs past its timeout, or is cancelled, is stopped where it awaits, or where
    it looks whether it shall stop. Its result is a 504 or 410 problem."""
    poll = submit(client, "GET", f"/{why}/{kind}/{name}")
    signals.wait(f"{name}.started")
    if why == "untimed":
        assert client.delete(poll).status_code == 200

    signals.wait(f"{name}.stopped")
    end_of(client, poll, why)


@pytest.mark.parametrize("why", ["timed", "untimed"])
@pytest.mark.parametrize("kind", STUBBORN)
def test_a_handler_that_does_not_stop_does_not_keep_its_job(
    client: httpx.Client, signals: Signals, name: str, kind: str, why: str
) -> None:
    """The job of a handler that swallows its cancellation, or never looks, ends as a 504 or 410
    all the same, and whatever the handler comes to later changes nothing."""
    poll = submit(client, "GET", f"/{why}/{kind}/{name}")
    signals.wait(f"{name}.started")
    if why == "untimed":
        assert client.delete(poll).status_code == 200
    before = end_of(client, poll, why)

    signals.send(f"{name}.go")

    signals.wait(f"{name}.stopped")
    result(client, submit(client, "GET", "/fine"))  # what the handler set off has happened by then
    after = client.get(poll)
    assert after.content == before.content
    for header in ("Job-State", "ETag", "Content-Type"):
        assert after.headers[header] == before.headers[header]


# Stores that cannot be.


def failed_start(
    store: Path, folder: Path, *, workers: int = 0, launcher: tuple[str, ...] = ()
) -> str:
    """The last line that a server says when it does not come up with this store; of several workers
    all that they say, as the first that fails has the others stopped in the middle of a line."""
    server = Server(
        "apps.contract:app",
        folder / "server",
        config={"QUART_JOBS_STORE": f"sqlite:///{store}", "SIGNALS": str(folder / "signals")},
        workers=workers,
        launcher=launcher,
    )
    server.start()
    try:
        code = server.wait()
    finally:
        server.kill()
    if workers == 0:
        assert code != 0, server.log()
    # hypercorn 0.18 exits with 0 when the last of its worker processes has failed.
    assert "Running on" not in server.log()
    log = server.log().strip()
    return log if workers > 1 else log.splitlines()[-1]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_store_that_is_a_directory_stops_the_start(tmp_path: Path, workers: int) -> None:
    """If the store's path is a directory, the server does not come up, and says to name a file;
    with hypercorn's worker processes, too."""
    said = failed_start(tmp_path, tmp_path, workers=workers)

    assert f"the store {tmp_path} is a directory: name a file in it" in said
    assert {path.name for path in tmp_path.iterdir()} == {"server", "signals"}


def test_a_store_in_a_missing_folder_stops_the_start(tmp_path: Path) -> None:
    """If the folder of the store is missing, the server does not come up and says to make it."""
    store = tmp_path / "no" / "jobs.db"

    said = failed_start(store, tmp_path)

    assert f"the folder of the store {store} does not exist: make it first" in said
    assert not store.parent.exists()


def test_a_folder_that_is_a_file_stops_the_start(tmp_path: Path) -> None:
    """If the folder of the store is a file, the server does not come up and says so."""
    (tmp_path / "file").write_text("a file")
    store = tmp_path / "file" / "jobs.db"

    assert f"the folder of the store {store} does not exist" in failed_start(store, tmp_path)


JUNK = {
    "text": b"hello\n",
    "zeros": bytes(8192),
    "random bytes": os.urandom(10_000),
    "a header and then random bytes": b"SQLite format 3\x00" + os.urandom(10_000),
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_stops_the_start_and_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    """If the store's file is no database, the server does not come up and says what can be done,
    and the file is what it was."""
    store = tmp_path / "jobs.db"
    store.write_bytes(JUNK[kind])

    said = failed_start(store, tmp_path)

    assert f"the store {store} is not an SQLite database, or it is damaged" in said
    assert "move it away or restore it, or name another file" in said
    assert store.read_bytes() == JUNK[kind]
    assert not Path(f"{store}-wal").exists()


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("content", ["with a table", "with nothing but an application_id"])
def test_another_programs_database_stops_the_start_and_is_left_as_it_is(
    tmp_path: Path, content: str, mode: str
) -> None:
    """If the store's file is another program's database, the server does not come up, says to
    name another file, and not a byte of that database has changed."""
    store = tmp_path / "jobs.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        if content == "with a table":
            connection.execute("CREATE TABLE jobs (id TEXT)")
        else:
            connection.execute("PRAGMA application_id = 12345")
        connection.commit()
    before = store.read_bytes()

    said = failed_start(store, tmp_path)

    assert f"the store {store} is the database of another program" in said
    assert "name another file" in said
    assert store.read_bytes() == before


def test_a_newer_schema_stops_the_start_and_is_left_as_it_is(tmp_path: Path) -> None:
    """If a newer version has written the store, the server does not come up, says to upgrade, and
    the jobs in the store are what they were."""
    with Server(
        "apps.contract:app", tmp_path / "before", config={"SIGNALS": str(tmp_path / "signals")}
    ) as server:
        with server.client() as client:
            result(client, submit(client, "GET", "/foo"))
        assert server.stop() == 0
    store = server.store
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA user_version = 1000")
        before = list(connection.iterdump())

    said = failed_start(store, tmp_path)

    assert f"the store {store} has schema 1000" in said
    assert "upgrade quart-asyncjobs" in said
    with closing(sqlite3.connect(store)) as connection:
        assert list(connection.iterdump()) == before


READ_ONLY = 'mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder"'


@pytest.mark.parametrize("content", ["nothing", "a store", "a store that is open elsewhere"])
def test_a_read_only_store_stops_the_start(tmp_path: Path, content: str) -> None:
    """If store and folder cannot be written, the server does not come up, and says to give it
    write access, whether there is a store already or not."""
    folder = tmp_path / "folder"
    folder.mkdir()
    store = folder / "jobs.db"
    config = {"QUART_JOBS_STORE": f"sqlite:///{store}", "SIGNALS": str(tmp_path / "signals")}
    launcher = mounting(READ_ONLY, folder)

    if content == "nothing":
        said = failed_start(store, tmp_path, launcher=launcher)
    else:
        with Server("apps.contract:app", tmp_path / "writer", config=config) as writer:
            if content == "a store":
                assert writer.stop() == 0
            said = failed_start(store, tmp_path, launcher=launcher)

    assert f"the store {store} cannot be written" in said
    assert "give this user write access" in said


FULL = 'mount -t tmpfs -o size={size} none "$folder" && head -c {filler} /dev/zero > "$folder/x"'


@pytest.mark.parametrize(("size", "filler"), [("4k", 4096), ("16k", 0), ("32k", 0), ("64k", 0)])
def test_a_full_disk_stops_the_start(tmp_path: Path, size: str, filler: int) -> None:
    """If there is no room for the store, the server does not come up, and says to make some."""
    folder = tmp_path / "folder"
    folder.mkdir()
    store = folder / "jobs.db"

    launcher = mounting(FULL.format(size=size, filler=filler), folder)
    said = failed_start(store, tmp_path, launcher=launcher)

    assert f"the disk of the store {store} is full: make room, then start again" in said


# Decorators in the wrong order.


def route_on_app(app: Quart, view: Any) -> Callable[[], object]:
    app.route("/report")(view)
    return lambda: None


def route_on_blueprint(app: Quart, view: Any) -> Callable[[], object]:
    blueprint = Blueprint("blueprint", __name__)
    blueprint.route("/report")(view)
    return lambda: app.register_blueprint(blueprint)


def route_on_nested_blueprint(app: Quart, view: Any) -> Callable[[], object]:
    inner, outer = Blueprint("inner", __name__), Blueprint("outer", __name__)
    inner.route("/report")(view)
    outer.register_blueprint(inner)
    return lambda: app.register_blueprint(outer)


@pytest.mark.parametrize("moment", ["before", "after", "between"])
@pytest.mark.parametrize("route", [route_on_app, route_on_blueprint, route_on_nested_blueprint])
@pytest.mark.parametrize("brackets", ["with brackets", "without"])
async def test_the_wrong_order_of_decorators_is_an_error_at_start(
    route: Callable[[Quart, Any], Callable[[], object]], moment: str, brackets: str
) -> None:
    """`@jobs.background` above `@app.route` would have the bare view answer. It is an error that
    names the view and the right order, before anything is served: whatever it is routed on, and
    whether the app has its jobs before, after or in between."""
    app = Quart("wrong")
    jobs = QuartJobs(store="memory:")

    async def report() -> str:
        return "never"

    def module() -> None:
        if moment == "before":
            jobs.init_app(app)
        register = route(app, report)
        if brackets == "without":
            jobs.background(report)
        else:
            jobs.background(timeout=1)(report)
        if moment == "between":
            jobs.init_app(app)
        register()
        if moment == "after":
            jobs.init_app(app)

    module()
    with pytest.raises(SetupError, match=r"report.*put @app.route above") as caught:
        await app.startup()
    assert "@jobs.background below" in str(caught.value)


def test_the_wrong_order_of_decorators_stops_the_start(tmp_path: Path) -> None:
    """A server whose app has its decorators in the wrong order does not come up, and its last
    line says what to do."""
    server = Server("apps.wrong_order:app", tmp_path, workers=0)
    server.start()
    try:
        assert server.wait() != 0
    finally:
        server.kill()

    assert "put @app.route above it" in server.log().strip().splitlines()[-1]


@pytest.mark.parametrize("view", [42, "report", ("/report",)])
def test_what_is_no_view_cannot_be_decorated(view: Any) -> None:
    """`@jobs.background` on what is not callable is an error that says so."""
    jobs = QuartJobs(store="memory:")

    with pytest.raises(SetupError, match="decorates a view, not"):
        jobs.background()(view)


def test_a_view_cannot_be_decorated_twice() -> None:
    """`@jobs.background` twice on one view is an error that names the view."""
    jobs = QuartJobs(store="memory:")

    @jobs.background
    async def report() -> str:
        return "never"

    with pytest.raises(SetupError, match=r"report.*twice"):
        jobs.background(report)


# Two apps on one file.


def test_two_servers_share_a_store(tmp_path: Path, signals: Signals, name: str) -> None:
    """Two servers with the same app on one file: a job that was submitted to one is polled,
    awaited and cancelled at the other."""
    config = {"SIGNALS": str(signals.folder)}
    with (
        Server("apps.contract:app", tmp_path, config=config) as one,
        Server("apps.contract:app", tmp_path, config=config) as two,
        one.client() as at_one,
        two.client() as at_two,
    ):
        for here, there in ((at_one, at_two), (at_two, at_one)):
            poll = submit(here, "GET", "/made")
            assert result(there, poll).text == "made"
            assert there.get(poll).headers["ETag"] == here.get(poll).headers["ETag"]

        poll = submit(at_one, "GET", f"/wait/{name}")
        signals.wait(f"{name}.started")
        assert at_two.get(poll).status_code == 202
        signals.send(f"{name}.go")
        answer = at_two.get(poll, headers={"Prefer": "wait=30"})
        assert answer.json() == {"waited": name}

        poll = submit(at_one, "GET", f"/wait/{name}2")
        signals.wait(f"{name}2.started")
        assert at_two.delete(poll).status_code == 200
        signals.wait(f"{name}2.cancelled")
        assert result(at_one, poll).status_code == result(at_two, poll).status_code == 410


def test_servers_of_different_apps_share_a_store(
    tmp_path: Path, signals: Signals, name: str
) -> None:
    """Two servers with different apps on one file: each runs the jobs of its own routes only, and
    knows nothing of the other's."""
    config = {"SIGNALS": str(signals.folder)}
    with (
        Server("apps.contract:app", tmp_path, config=config) as one,
        Server("apps.bad_input:app", tmp_path, config=config) as two,
        one.client() as at_one,
        two.client() as at_two,
    ):
        foo, fine = submit(at_one, "GET", "/foo"), submit(at_two, "GET", "/fine")

        assert result(at_one, foo).json() == {"Result": True}
        assert result(at_two, fine).json() == {"fine": True}
        assert at_two.get(foo).status_code == at_one.get(fine).status_code == 404


async def test_two_apps_in_one_process_share_a_store(tmp_path: Path) -> None:
    """Two apps in one process on one file: both work, neither knows the other's jobs, though they
    have the same route, and one goes on when the other has ended."""

    def make_app(name: str) -> Quart:
        app = Quart(name)
        jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")

        @app.route("/same")
        @jobs.background
        async def same() -> list[str]:
            return [name]

        return app

    wait = {"Prefer": "wait=30"}
    async with make_app("one").test_app() as one:
        async with make_app("two").test_app() as two:
            for here, there, name in ((one, two, "one"), (two, one, "two")):
                for _ in range(4):
                    submitted = (await here.test_client().get("/same")).headers
                    poll, status = submitted["Location"], submitted["Link"].split(">")[0][1:]
                    for url in (poll, status):
                        assert (await there.test_client().get(url)).status_code == 404
                        assert (await there.test_client().delete(url)).status_code == 404
                    answer = await here.test_client().get(poll, headers=wait)
                    assert await answer.get_json() == [name]

        last = (await one.test_client().get("/same")).headers["Location"]
        answer = await one.test_client().get(last, headers=wait)
        assert await answer.get_json() == ["one"]
