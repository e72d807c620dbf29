"""Trouble with the disk under a running server: what its clients and its operator see of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.signals import Signals
from faults import failing
from mounts import mounting, mounting_an_image, remount
from server import Server, result, submit, until

UPLOAD = bytes(100_000)


@pytest.fixture
def config(tmp_path: Path, signals: Signals) -> dict[str, Any]:
    folder = tmp_path / "disk"
    folder.mkdir()
    return {"QUART_JOBS_STORE": f"sqlite:///{folder}/jobs.db", "SIGNALS": str(signals.folder)}


@pytest.fixture
def server(tmp_path: Path, config: dict[str, Any]) -> Iterator[Server]:
    with Server("apps.disk:app", tmp_path, config=config) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "disk" / "jobs.db"


# No room.


def test_a_disk_that_fills_up(
    tmp_path: Path, config: dict[str, Any], signals: Signals, name: str
) -> None:
    """While the disk is full: new jobs are refused, jobs that run are finished or cancelled, their
    results and older ones are read. When there is room again, all goes on by itself."""
    launcher = mounting('mount -t tmpfs -o size=16m none "$folder"', tmp_path / "disk")
    with (
        Server("apps.disk:app", tmp_path, config=config, launcher=launcher) as server,
        server.client() as client,
    ):
        filler = seen_by(worker(client), tmp_path / "disk" / "filler")
        goes_through_full_disk(client, signals, name, lambda: fill(filler), filler.unlink)


def test_a_large_request_keeps_no_job_from_its_end(
    tmp_path: Path, config: dict[str, Any], signals: Signals, name: str
) -> None:
    """A job whose request is larger than what is kept for the ends of jobs comes to its end on a
    full disk all the same: to write over the request, as is done else, would take as much again."""
    launcher = mounting('mount -t tmpfs -o size=32m none "$folder"', tmp_path / "disk")
    with (
        Server("apps.disk:app", tmp_path, config=config, launcher=launcher) as server,
        server.client() as client,
    ):
        poll = submit(client, "POST", f"/wait/{name}/10", content=bytes(6_000_000))
        signals.wait(f"{name}.started")
        filler = seen_by(worker(client), tmp_path / "disk" / "filler")
        fill(filler)
        while client.post("/upload", content=UPLOAD).status_code == 202:  # in what the log has
            pass
        until_running(client, 1)
        signals.send(f"{name}.go")
        assert result(client, poll).content == bytes(10)
        is_refused(client.get("/fine"), "full")
        filler.unlink()
        until_well(client)


def test_a_disk_that_is_nearly_full_at_the_start(tmp_path: Path, config: dict[str, Any]) -> None:
    """If there is room for the store but not for its reserve, the server comes up and takes no jobs
    until there is."""
    prepare = (
        'mount -t tmpfs -o size=16m none "$folder" && head -c 14m /dev/zero > "$folder/filler"'
    )
    launcher = mounting(prepare, tmp_path / "disk")
    with (
        Server("apps.disk:app", tmp_path, config=config, launcher=launcher) as server,
        server.client() as client,
    ):
        is_not_well(client, "full", running=0)
        is_refused(client.get("/fine"), "full")
        seen_by(worker(client), tmp_path / "disk" / "filler").unlink()
        until_well(client)
        assert result(client, submit(client, "GET", "/fine")).json() == {"fine": True}


def test_a_store_at_its_limit(
    tmp_path: Path, config: dict[str, Any], signals: Signals, name: str, store: Path
) -> None:
    """A store that has grown to its own limit is in the same trouble, and gets out of it when jobs
    are forgotten."""
    config = {**config, "LIMIT": 2_000_000, "STORE": str(store)}
    with (
        Server("apps.disk:app", tmp_path, config=config) as server,
        server.client() as client,
    ):

        def fill() -> None:
            while client.post("/upload", content=UPLOAD).status_code == 202:
                pass

        def forget() -> None:
            with closing(sqlite3.connect(store, timeout=30)) as connection:
                for table in ("requests", "responses"):
                    connection.execute(f"DELETE FROM {table} WHERE length(body) > 100")
                connection.commit()

        goes_through_full_disk(client, signals, name, fill, forget)


def goes_through_full_disk(
    client: httpx.Client,
    signals: Signals,
    name: str,
    fill: Callable[[], object],
    make_room: Callable[[], object],
) -> None:
    done = submit(client, "GET", "/fine")
    before = result(client, done)
    names = [f"{name}{number}" for number in range(4)]
    *running, unwanted = [submit(client, "GET", f"/wait/{each}/100000") for each in names]
    for each in names:
        signals.wait(f"{each}.started")
    is_well(client)

    fill()
    is_refused(client.post("/upload", content=UPLOAD), "full")
    until_running(client, 4)  # the last of the uploads has ended
    is_not_well(client, "full", running=4)
    assert client.get(done).content == before.content
    assert client.get(running[0]).status_code == 202
    assert client.delete(unwanted).status_code == 200
    assert result(client, unwanted).status_code == 410
    for each, poll in zip(names, running, strict=False):
        signals.send(f"{each}.go")
        assert result(client, poll).content == bytes(100_000)
    is_refused(client.get("/fine"), "full")
    is_not_well(client, "full", running=0)

    make_room()
    until_well(client)
    poll = submit(client, "POST", "/upload", content=UPLOAD)
    assert result(client, poll).content == UPLOAD


def test_all_workers_refuse_and_recover(tmp_path: Path, config: dict[str, Any]) -> None:
    """When one worker finds the disk full, every other one refuses new jobs at once, and all take
    them again when there is room."""
    launcher = mounting('mount -t tmpfs -o size=16m none "$folder"', tmp_path / "disk")
    with (
        Server("apps.disk:app", tmp_path, config=config, workers=2, launcher=launcher) as server,
        client_of_each_worker(server) as clients,
    ):
        filler = seen_by(worker(clients[0]), tmp_path / "disk" / "filler")
        fill(filler)
        is_refused(clients[0].post("/upload", content=UPLOAD), "full")
        filler.unlink()
        filler.write_bytes(bytes(8_000_000))  # there is room for a job, but not for the reserve
        is_refused(clients[1].get("/fine"), "full")
        for client in clients:
            is_not_well(client, "full", running=0)

        filler.unlink()
        for client in clients:
            until_well(client)
            assert result(client, submit(client, "GET", "/fine")).json() == {"fine": True}


# A disk that cannot be written or read.


@pytest.mark.parametrize("error", ["EROFS", "EIO", "EDQUOT"])
def test_a_disk_that_takes_no_writes_for_a_while(
    server: Server, client: httpx.Client, signals: Signals, name: str, error: str
) -> None:
    """While nothing can be written, new jobs are refused, polls are answered, and a job that ends
    keeps its result for later. Then all goes on by itself."""
    done = submit(client, "GET", "/fine")
    before = result(client, done)
    running = submit(client, "GET", f"/wait/{name}/1000")
    signals.wait(f"{name}.started")

    with failing(worker(client), "pwrite64", error):
        is_refused(client.get("/fine"), "cannot be written")
        is_not_well(client, "cannot be written", running=1)
        signals.send(f"{name}.go")
        until(lambda: "has to wait" in server.log(), "the end of the handler")
        assert client.get(done).content == before.content
        assert client.get(running).status_code == 202
        is_refused(client.delete(running), "cannot be written")
        is_refused(client.get("/fine"), "cannot be written")

    assert result(client, running).content == bytes(1000)
    until_well(client)
    assert result(client, submit(client, "GET", "/fine")).json() == {"fine": True}


def test_a_file_system_that_becomes_read_only(tmp_path: Path, config: dict[str, Any]) -> None:
    """When the system makes a file system read-only, as it does on errors, new jobs are refused and
    finished ones are read."""
    folder = tmp_path / "disk"
    launcher = mounting_an_image(folder, tmp_path / "image", size=32_000_000)
    with (
        Server("apps.disk:app", tmp_path, config=config, launcher=launcher) as server,
        server.client() as client,
    ):
        done = submit(client, "GET", "/fine")
        before = result(client, done)

        remount(worker(client), folder, "abort")
        is_refused(client.get("/fine"), "cannot be written")
        is_not_well(client, "cannot be written", running=0)
        assert client.get(done).content == before.content


def test_a_disk_that_fails_to_keep_what_it_was_given(client: httpx.Client) -> None:
    """After one flush of the disk has failed nothing is accepted any more, even if a later one
    would succeed: what the first was to save is lost."""
    done = submit(client, "GET", "/fine")
    before = result(client, done)

    with failing(worker(client), "fdatasync", "EIO"):
        is_refused(client.get("/fine"), "cannot be written")
    is_refused(client.get("/fine"), "cannot be written")
    is_not_well(client, "cannot be written")
    assert client.get(done).content == before.content


@pytest.mark.parametrize(("error", "stays"), [("EIO", True), ("ENOMEM", False)])
def test_a_disk_that_cannot_be_read(
    server: Server, config: dict[str, Any], tmp_path: Path, error: str, stays: bool
) -> None:
    """A result that cannot be read is a 503 and not the app's own 500. Only if it is for the disk
    that it cannot, which is damage, no job is accepted any more."""
    with server.client() as client:
        done = submit(client, "GET", "/fine")
        assert result(client, done).status_code == 200
    assert server.stop() == 0
    with Server("apps.disk:app", tmp_path, config=config) as again, again.client() as client:
        with failing(worker(client), "pread64", error):
            is_refused(client.get(done), "cannot be read")
        assert client.get(done).json() == {"fine": True}
        if stays:
            is_not_well(client, "damaged")
            is_refused(client.get("/fine"), "damaged")
        else:
            is_well(client)
            assert result(client, submit(client, "GET", "/fine")).status_code == 200


# Files that are not there any more.


def delete(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    new = Path(f"{file}.new")
    new.write_bytes(b"another file")
    new.rename(file)


@pytest.mark.parametrize(
    ("suffix", "happens"), [("", delete), ("-wal", replace), ("-lock", delete)]
)
def test_a_file_is_lost_under_the_server(
    tmp_path: Path,
    config: dict[str, Any],
    signals: Signals,
    name: str,
    store: Path,
    suffix: str,
    happens: Callable[[Path], None],
) -> None:
    """If a file of the store is deleted or replaced, the next submission is refused and not lost.
    The log says which file it is. No file is made or touched, also when the server stops, which a
    result that cannot be stored does not keep it from."""
    config["QUART_JOBS_DRAIN_TIME"] = 0.1  # the result waits in vain
    lost = Path(f"{store}{suffix}")
    with Server("apps.disk:app", tmp_path, config=config) as server, server.client() as client:
        done = submit(client, "GET", "/fine")
        before = result(client, done)
        submit(client, "GET", f"/wait/{name}/1000")
        signals.wait(f"{name}.started")

        happens(lost)
        is_refused(client.get("/fine"), "deleted or replaced")
        is_not_well(client, "deleted or replaced")
        assert client.get(done).content == before.content
        assert f"deleted, moved or replaced under the running server: {lost}" in server.log()
        signals.send(f"{name}.go")
        until(lambda: "has to wait" in server.log(), "the end of the handler")
        assert server.stop() == 0
    if happens is delete:
        assert not lost.exists()
    else:
        assert lost.read_bytes() == b"another file"


def test_a_lost_file_is_seen_by_a_probe(client: httpx.Client, store: Path) -> None:
    """A server that nobody sends jobs to is not ready any more once its database is gone."""
    is_well(client)
    shutil.move(store, store.with_name("moved.db"))
    is_not_well(client, "deleted or replaced")


# Damage.


def test_a_database_that_is_damaged_under_the_server(
    server: Server, client: httpx.Client, config: dict[str, Any], tmp_path: Path, store: Path
) -> None:
    """Whoever asks for what is damaged gets a 503. From then on nothing is accepted, and the file
    stays byte for byte as it is, also when the server stops."""
    polls = [submit(client, "POST", "/upload", content=bytes(500_000)) for _ in range(60)]
    for poll in polls:
        result(client, poll)
    damage(store)
    files = [store, Path(f"{store}-wal")]
    before = [file.read_bytes() for file in files]

    answers = [client.get(poll) for poll in polls]
    assert {answer.status_code for answer in answers} == {200, 503}
    is_not_well(client, "damaged")
    is_refused(client.get("/fine"), "damaged")
    assert server.log().count("the database is damaged") == 1
    assert "nothing in it was touched" in server.log()
    server.stop()
    assert [file.read_bytes() for file in files] == before


def test_a_database_that_is_damaged_before_the_start(
    server: Server, config: dict[str, Any], tmp_path: Path, store: Path
) -> None:
    """A server comes up with a damaged database if it can read what it needs for that. It is in the
    same trouble as soon as somebody asks for what is damaged, and touches the file as little."""
    with server.client() as client:
        polls = [submit(client, "POST", "/upload", content=bytes(500_000)) for _ in range(10)]
        for poll in polls:
            result(client, poll)
    server.stop()
    damage(store)
    before = store.read_bytes()

    with Server("apps.disk:app", tmp_path, config=config) as again, again.client() as client:
        answers = [client.get(poll) for poll in polls]
        assert {answer.status_code for answer in answers} == {200, 503}
        is_not_well(client, "damaged")
        is_refused(client.get("/fine"), "damaged")
        again.stop()
    assert store.read_bytes() == before


def test_a_database_of_which_little_is_left(
    server: Server, config: dict[str, Any], tmp_path: Path, store: Path
) -> None:
    """A server that cannot even read its queue takes no job from the start. The log says which file
    is damaged and what to do, and the file stays byte for byte as it is."""
    with server.client() as client:
        done = submit(client, "GET", "/fine")
        result(client, done)
    server.stop()
    head = store.read_bytes()[:4096]
    store.write_bytes(head + b"\xff" * (store.stat().st_size - len(head)))
    before = store.read_bytes()

    with Server("apps.disk:app", tmp_path, config=config) as again, again.client() as client:
        is_not_well(client, "damaged")
        is_refused(client.get("/fine"), "damaged")
        is_refused(client.get(done), "cannot be read")
        again.stop()
    assert f"the store {store} takes no more jobs: the database is damaged" in again.log()
    assert "restore it or move it away" in again.log()
    assert store.read_bytes() == before


def fill(file: Path) -> None:
    """Write a file until the disk is full."""
    with file.open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError as error:
                if error.errno == ENOSPC:
                    return
                raise


def damage(store: Path) -> None:
    """Overwrite the middle third of a database."""
    size = store.stat().st_size
    with store.open("r+b") as file:
        file.seek(size // 3 // 4096 * 4096)
        file.write(b"\xff" * (size // 3))


def worker(client: httpx.Client) -> int:
    """The process that answers this client."""
    return int(client.get("/health").headers["X-Worker"])


def seen_by(pid: int, path: Path) -> Path:
    """A path as the process sees it, which may have other file systems mounted."""
    return Path(f"/proc/{pid}/root{path}")


@contextmanager
def client_of_each_worker(server: Server) -> Iterator[list[httpx.Client]]:
    """Two clients that two different workers answer, each over a connection that it keeps."""
    with ExitStack() as clients:
        found: dict[int, httpx.Client] = {}

        def another() -> bool:
            client = clients.enter_context(server.client())
            found.setdefault(worker(client), client)
            return len(found) == 2

        until(another, "an answer of the other worker")
        yield list(found.values())


def is_well(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    health = answer.json()
    assert (health["accepting"], health["reason"]) == (True, None)


def until_well(client: httpx.Client) -> None:
    until(lambda: client.get("/health").status_code == 200, "the recovery")


def until_running(client: httpx.Client, jobs: int) -> None:
    until(lambda: client.get("/health").json()["running"] == jobs, f"{jobs} jobs alone")


def is_not_well(client: httpx.Client, reason: str, running: int | None = None) -> None:
    answer = client.get("/health")
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    health = answer.json()
    assert not health["accepting"]
    assert reason in health["reason"]
    assert "jobs.db" not in answer.text
    assert running in (None, health["running"])


def is_refused(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 503, answer.text[:1000]
    assert int(answer.headers["Retry-After"]) > 0
    problem = answer.json()
    assert problem["type"] == "urn:asyncjobs:problem:store-unavailable"
    assert reason in problem["detail"]
    assert "jobs.db" not in answer.text
