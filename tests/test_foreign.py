"""What is not the caller's is not there: to the byte, on every URL and verb."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import httpx
import pytest

from asyncjobs import SqliteStore, State
from conftest import Serve
from owners import ADA, BOB, VIEWER, a_job_of_it, id_of, keep
from server import Server, result, submit, until

UNKNOWN = "0123456789abcdef0123456789abcdef"
MALFORMED = [
    *("x", UNKNOWN[:-1], f"{UNKNOWN}0", UNKNOWN.upper(), UNKNOWN.replace("0", "g")),
    *(f"{UNKNOWN[:-1]}%20", f"{UNKNOWN[:-1]}%00", f"{UNKNOWN}%0A", f"%EF%BC%90{UNKNOWN[1:]}"),
]
#: Each URL of a job, with the methods that are for it.
URLS = {
    "/foo/{id}": ("GET", "HEAD", "DELETE"),
    "/inner/bar/{id}": ("GET", "HEAD", "DELETE"),
    "/jobs/{id}": ("GET", "HEAD", "DELETE"),
    "/jobs/{id}/result": ("GET", "HEAD", "DELETE"),
    "/jobs/{id}/retry": ("POST",),
    "/mine/{id}": ("GET", "HEAD"),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
#: What may be said besides, and would be answered otherwise to whose job it is.
SAID: list[dict[str, str]] = [
    {},
    {"Prefer": "wait=20"},
    {"Prefer": "respond-async, wait=0"},
    {"Accept": "text/event-stream"},
    {"Accept": "text/event-stream", "Last-Event-ID": "1"},
    {"If-None-Match": "*"},
    {"If-None-Match": '"2", "3"'},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Range": "bytes=0-1"},
    {"Idempotency-Key": "abc"},
    {"X-Operator": "none"},
]


@dataclass(frozen=True)
class Foreign:
    """The ids of jobs that are not bob's, by what they are instead; each is an attempt of theirs
    to see something."""

    everywhere: dict[str, str]
    at_its_polls: dict[str, dict[str, str]]

    def at(self, url: str) -> dict[str, str]:
        return {**self.everywhere, **self.at_its_polls.get(url, {})}


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.owned:app")


@pytest.fixture(scope="module")
def foreign(server: Server) -> Foreign:
    with server.client(**ADA) as ada, server.client(**BOB) as bob:
        gone = submit(bob, "GET", "/short")
        until(lambda: bob.get(gone).status_code == 404, "the end of the job")
        everywhere = {"purged": id_of(gone)}
        for path in ("/foo", "/inner/bar", "/fails"):
            location = submit(ada, "GET", path)
            result(ada, location)
            everywhere[f"ada's of {path}"] = id_of(location)
        own = {}
        for path in ("/foo", "/inner/bar", "/other"):
            location = submit(bob, "GET", path)
            result(bob, location)
            own[path] = id_of(location)
    for state, owner in ((State.SUCCEEDED, "bob"), (State.FAILED, "bob"), (State.QUEUED, None)):
        job_id = asyncio.run(kept(server, state, owner))
        everywhere[f"another program's, {state}, {owner}"] = job_id
    everywhere["nobody's"] = asyncio.run(kept(server, State.FAILED, None, program="apps.owned"))
    others = {
        f"{path}/{{id}}": {f"of {other}": own[other] for other in own if other != path}
        for path in ("/foo", "/inner/bar")
    }
    return Foreign(everywhere, others)


async def kept(server: Server, state: State, owner: str | None, program: str = "other") -> str:
    """A job that another process has left in the store; its id."""
    async with SqliteStore(server.store) as store:
        (job,) = await keep(store, a_job_of_it(state, owner=owner, program=program))
    return job.id


def asked(
    client: httpx.Client, method: str, url: str, headers: dict[str, str]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """All that is answered, but when, and whether the server closes a connection that it has
    answered a thousand requests on."""
    answer = client.request(method, url, headers=headers)
    raw = [pair for pair in answer.headers.raw if pair[0].lower() not in (b"date", b"connection")]
    return answer.status_code, raw, answer.content


def conversations() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Whatever is said with the methods that are for a URL, and all methods where nothing is."""
    for url, methods in URLS.items():
        yield from ((url, method, said) for method, said in product(methods, SAID))
        yield from ((url, method, {}) for method in METHODS if method not in methods)


@pytest.mark.parametrize("who", [BOB, {}], ids=str)
def test_what_is_foreign_is_unknown_to_the_byte(
    server: Server, foreign: Foreign, who: dict[str, str]
) -> None:
    """On every URL of a job, with each method and whatever is said besides, the answer for a job of
    another owner, of another route, of another program, or that is forgotten is the one for an id
    that never was: status, headers and body. It is the app's own 404, and none of them is changed.
    """
    with server.client(**who) as client, server.client(**VIEWER) as onlooker:
        before = {job: told(onlooker, job) for job in foreign.everywhere.values()}
        page = client.get("/no-such-page").content
        for url, method, said in conversations():
            unknown = asked(client, method, url.format(id=UNKNOWN), said)
            if method in URLS[url]:
                assert unknown[0] == 404
                assert unknown[2] == (b"" if method == "HEAD" else page)
            ids = foreign.at(url)
            if not who:  # then that is hers who is nobody in particular
                ids = {kind: job for kind, job in ids.items() if kind != "nobody's"}
            for kind, job_id in ids.items():
                theirs = asked(client, method, url.format(id=job_id), said)
                assert theirs == unknown, f"{method} {url} {said}: {kind}"
        after = {job: told(onlooker, job) for job in foreign.everywhere.values()}
    assert after == before


def told(client: httpx.Client, job_id: str) -> str:
    """What an operator is told of a job."""
    return client.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize("job_id", MALFORMED)
def test_what_is_no_id_is_unknown(server: Server, job_id: str) -> None:
    """What is none at all gets the same answer, but for the `no-store`, which an app's own 404 has
    not; in a poll route by hand, which takes it for one, it has."""
    with server.client(**BOB) as client:
        for url, methods in URLS.items():
            for method, said in product(methods, SAID):
                status, headers, body = asked(client, method, url.format(id=UNKNOWN), said)
                if not url.startswith("/mine"):
                    headers.remove((b"cache-control", b"no-store"))
                answer = asked(client, method, url.format(id=job_id), said)
                assert answer == (status, headers, body), f"{method} {url} {said}"


def test_the_owner_is_told_otherwise(server: Server, foreign: Foreign) -> None:
    """The same requests have other answers for whose job it is, so that what is compared above
    could tell."""
    with server.client(**ADA) as client:
        job_id = foreign.everywhere["ada's of /foo"]
        for url, methods in URLS.items():
            if url.startswith("/inner"):
                continue
            for method in methods:
                answer = client.request(method, url.format(id=job_id))
                assert answer.status_code == (200 if method in ("GET", "HEAD") else 409)
