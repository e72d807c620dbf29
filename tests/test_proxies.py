"""Behind a real nginx, under a path that it strips, with TLS in front."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from apps.signals import Signals
from nginx import Nginx
from server import Server, result, submit

#: With the path as it came: hypercorn is told of `/sub` by ``--root-path``.
LOCATIONS = """
        location /sub/ {{
            proxy_pass http://127.0.0.1:{port};
        }}
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


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_reaches_the_job_through_the_proxy(nginx: Nginx, method: str) -> None:
    """A body that the proxy had to put aside is there in the job, to the byte."""
    body = bytes(range(256)) * 2000
    with nginx.client() as client:
        poll = submit(client, method, "/sub/echo", content=body)
        assert result(client, poll).content == body
