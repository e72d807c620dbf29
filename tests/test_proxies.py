"""Behind a real nginx, under a path that it strips, with TLS in front."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from nginx import Nginx
from server import Server, count_jobs, result, submit, until

#: With the path as it came: hypercorn is told of `/sub` by ``--root-path``.
LOCATIONS = """
        location /sub/ {{
            proxy_pass http://127.0.0.1:{port};
        }}
"""

#: One that gives up early, and knows of a second server; what is open here is closed by
#: what comes after it.
IMPATIENT = """
        location / {{
            proxy_pass http://two;
            proxy_read_timeout {patience}s;
            {more}
        }}
    }}
    upstream two {{
        server 127.0.0.1:{port};
        server 127.0.0.1:{port};
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, signals: Signals
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    options = ["--root-path", "/sub"]
    config = {"SIGNALS": str(signals.folder)}
    with Server(
        "apps.contract:app", folder, config=config, workers=request.param, options=options
    ) as server:
        yield server


@pytest.fixture(scope="module")
def nginx(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), LOCATIONS.format(port=server.port)) as nginx:
        yield nginx


def test_all_urls_of_a_job_lead_through_the_proxy(nginx: Nginx) -> None:
    """Each URL that a client is told of a job leads there through the proxy, under its path, and
    the result is the same at all of them."""
    with nginx.client() as client:
        submitted = client.get("/sub/foo")
        poll, status = submitted.headers["Location"], submitted.links["status"]["url"]
        assert (poll[:9], status[:10]) == ("/sub/foo/", "/sub/jobs/")
        answer = result(client, poll)
        assert (answer.status_code, answer.json()) == (200, {"Result": True})
        links = client.get(status).json()["links"]
        assert links["self"] == status
        assert client.get(links["result"]).content == answer.content
        assert client.delete(links["result"]).status_code == 409
    assert nginx.log() == ""


def test_a_poll_is_held_through_the_proxy(nginx: Nginx, signals: Signals, name: str) -> None:
    """`Prefer: wait` reaches the server, and its answer the client, when the job ends."""
    with nginx.client() as client, ThreadPoolExecutor() as threads:
        poll = submit(client, "GET", f"/sub/wait/{name}")
        held = threads.submit(client.get, poll, headers={"Prefer": "wait=30"})
        signals.wait(f"{name}.started")
        signals.send(f"{name}.go")
        assert held.result().json() == {"waited": name}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_events_come_through_the_proxy_as_they_happen(
    nginx: Nginx, signals: Signals, name: str, version: str
) -> None:
    """It passes them on one by one, with its defaults: what is said first is there before the job
    goes on, and the end of the job ends the stream."""
    with nginx.client(http2=version == "HTTP/2") as client:
        submitted = client.get(f"/sub/wait/{name}")
        signals.wait(f"{name}.started")
        status = submitted.links["status"]["url"]
        with client.stream("GET", status, headers={"Accept": "text/event-stream"}) as answer:
            assert (answer.status_code, answer.http_version) == (200, version)
            documents = (
                json.loads(line.removeprefix("data: "))
                for line in answer.iter_lines()
                if line.startswith("data: ")
            )
            assert next(documents)["state"] == "running"
            signals.send(f"{name}.go")
            *_, last = documents
        assert (last["state"], last["links"]["self"]) == ("succeeded", status)
    assert nginx.log() == ""


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_reaches_the_job_through_the_proxy(nginx: Nginx, method: str) -> None:
    """A body that the proxy had to put aside is there in the job, to the byte."""
    body = bytes(range(256)) * 2000
    with nginx.client() as client:
        poll = submit(client, method, "/sub/echo", content=body)
        assert result(client, poll).content == body


@pytest.mark.parametrize(
    ("method", "patience", "more", "status", "jobs"),
    [
        ("GET", 1, "", 504, 2),
        ("GET", 1, "proxy_next_upstream off;", 504, 1),
        ("POST", 1, "", 504, 1),
        ("GET", 15, "", 202, 1),
    ],
    ids=["tried again", "not tried again", "POST", "max_wait"],
)
def test_a_proxy_that_gives_up_before_the_wait_is_over(
    serve: Serve,
    tmp_path: Path,
    method: str,
    patience: int,
    more: str,
    status: int,
    jobs: int,
) -> None:
    """Its client is not told of the job, and a GET that it tries again makes one more; unless it is
    told not to. With a `max_wait` that is shorter, there is one job, and the client knows it."""
    server = serve("apps.deploys:app", config={"QUART_JOBS_MAX_WAIT": 3})
    locations = IMPATIENT.format(port=server.port, patience=patience, more=more)
    with Nginx(tmp_path / "nginx", locations) as nginx, nginx.client() as client:
        answer = client.request(method, "/work/never", headers={"Prefer": "wait=20"})
    assert answer.status_code == status
    assert ("Location" in answer.headers) == (status == 202)
    until(lambda: count_jobs(server.store) == jobs, "the jobs")


@pytest.mark.parametrize(
    ("setting", "is_answered"), [("read_timeout", False), ("keep_alive_timeout", True)]
)
def test_time_outs_of_hypercorns_own(
    serve: Serve, tmp_path: Path, setting: str, is_answered: bool
) -> None:
    """Its `read_timeout` closes the connection of a client that waits; the time that it keeps one
    open between requests does not."""
    config = tmp_path / "hypercorn.toml"
    config.write_text(f"{setting} = 2")
    server = serve(
        "apps.deploys:app",
        config={"QUART_JOBS_MAX_WAIT": 5},
        options=["--config", str(config)],
    )
    with server.client(Prefer="wait=5") as client:
        if is_answered:
            assert client.get("/work/never").status_code == 202
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                client.get("/work/never")
    until(lambda: count_jobs(server.store) == 1, "the job")
