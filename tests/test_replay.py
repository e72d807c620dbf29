"""A view sees in a job what it would see live, and what it answers is what is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
import pytest
import quart
from quart import Quart, jsonify

from apps.signals import Signals
from asyncjobs import QuartJobs, transitions
from asyncjobs.job import Job, Request, Response
from asyncjobs.stores import SqliteStore
from asyncjobs.web.answering import answers
from conftest import Serve
from server import DEADLINE, Server, result, submit


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.replay:app")


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def client_of_http_2(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, http1=False, http2=True, verify=False) as client:
        yield client


# Headers of the connection, of the moment, and those that every result of a job has.
_NOT_THE_VIEWS = {"date", "server", "content-length", "transfer-encoding", "job-state"}
_ADDED_UNLESS_THERE = {"etag", "cache-control", "x-content-type-options"}


def the_views_own(answer: httpx.Response, live: httpx.Response) -> list[tuple[str, str]]:
    """The headers of `answer` that the view has set, knowing what it sets when it is `live`."""
    return sorted(
        (name, value)
        for name, value in answer.headers.multi_items()
        if name not in _NOT_THE_VIEWS
        and not (name == "link" and 'rel="status"' in value)
        and not (name in _ADDED_UNLESS_THERE and name not in live.headers)
    )


VIEWS = [
    "text",
    "text-from-a-thread",
    "no-ascii",
    "nothing",
    "some-bytes",
    "much",
    "a-dict",
    "a-dict-from-a-thread",
    "a-list",
    "with-status",
    "with-headers",
    "with-status-and-headers",
    "no-content",
    "a-response",
    "a-response-without-a-type",
    "a-made-response",
    "a-werkzeug-response",
    "a-werkzeug-response-in-a-tuple",
    "a-header-that-is-no-ascii",
    "a-template",
    "a-file",
    "an-attachment",
    "a-file-in-memory",
    "a-redirect",
    "a-redirect-to-itself",
    "changed-after-this-request",
    "async-generator",
    "async-generator-of-strings",
    "sync-generator",
    "returned-generator",
    "returned-sync-generator",
    "generator-in-a-response",
    "sync-generator-in-a-response",
    "generator-with-context?word=w",
    "aborted",
    "aborted-in-a-thread",
    "aborted-with-a-response",
    "too-many",
    "not-allowed",
    "teapot",
    "teapot-in-a-thread",
    "out-of-stock",
    "out-of-stock-in-a-thread",
    "out-of-mind",
    "gone",
    "error-in-an-error-handler",
    "broken",
]


@pytest.mark.parametrize("view", VIEWS)
def test_a_result_is_what_the_view_would_have_answered_live(
    client: httpx.Client, view: str
) -> None:
    """Status, headers and body of a job's result are those that the same view answers without
    the decorator, whatever kind of view, response or error it is."""
    live = client.get(f"/live/{view}")

    answer = result(client, submit(client, "GET", f"/job/{view}"))

    assert answer.status_code == live.status_code
    assert answer.content.replace(b"/job/", b"/live/") == live.content
    own = [(name, value.replace("/job/", "/live/")) for name, value in the_views_own(answer, live)]
    assert own == the_views_own(live, live)


FORM = b"a=1&a=2&name=Zo%C3%AB&empty="
MULTIPART = (
    b'--cut\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n'
    b"Content-Type: application/x-file\r\n\r\n\x00\xff\r\n\r\n--cut--\r\n"
)
MULTIPART_TYPE = "multipart/form-data; boundary=cut"
FORM_TYPE = "application/x-www-form-urlencoded"

BODIES: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "raw bytes": ("seen-data", bytes(range(256)), {}),
    "no body": ("seen-data", b"", {}),
    "a megabyte": ("seen-data", b"0123456789abcdef" * 65536, {}),
    "a form as bytes": ("seen-data", FORM, {"Content-Type": FORM_TYPE}),
    "a multipart form as bytes": ("seen-data", MULTIPART, {"Content-Type": MULTIPART_TYPE}),
    "a form": ("seen-form", FORM, {"Content-Type": FORM_TYPE}),
    "a multipart form": ("seen-form", MULTIPART, {"Content-Type": MULTIPART_TYPE}),
    "JSON": ("seen-json", b'{"a": [1, "\\u00e9"]}', {"Content-Type": "application/json"}),
    "JSON that is none": ("seen-json", b"{", {"Content-Type": "application/json"}),
    "JSON by no name": ("seen-json", b"{}", {"Content-Type": "text/plain"}),
    "part by part": ("seen-part-by-part", b"in one part", {}),
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", BODIES)
def test_the_body_is_there_in_the_job(client: httpx.Client, method: str, body: str) -> None:
    """A view in the background reads its request's body as it would live: data, form, files or
    JSON, in all methods that may have a body."""
    view, content, headers = BODIES[body]
    # A live view may answer before it has read the body, and then the server closes the connection.
    alone = {**headers, "Connection": "close"}
    live = client.request(method, f"/live/{view}", content=content, headers=alone)

    poll = submit(client, method, f"/job/{view}", content=content, headers=headers)

    answer = result(client, poll)
    assert (answer.status_code, answer.content) == (live.status_code, live.content)


@pytest.mark.parametrize("body", BODIES)
def test_a_chunked_body_is_there_in_the_job(client: httpx.Client, body: str) -> None:
    """A body that comes in chunks, without a length, is in the job like any other."""
    view, content, headers = BODIES[body]
    half = len(content) // 2
    known = client.post(f"/live/{view}", content=content, headers=headers)

    chunks = iter([content[:half], content[half:]])
    poll = submit(client, "POST", f"/job/{view}", content=chunks, headers=headers)

    answer = result(client, poll)
    assert (answer.status_code, answer.content) == (known.status_code, known.content)


def test_a_chunked_request_has_its_length_in_the_job(client: httpx.Client) -> None:
    """In a job, a body that came in chunks is whole: it has a length and no transfer coding."""
    poll = submit(client, "POST", "/job/seen", content=iter([b"12345", b"67890"]))

    seen = result(client, poll).json()

    assert seen["content_length"] == 10
    assert "Transfer-Encoding" not in dict(seen["headers"])


@pytest.mark.parametrize("hook", ["X-Parse", "X-Read"])
@pytest.mark.parametrize("body", BODIES)
def test_a_hook_that_reads_the_body_leaves_it_for_the_job(
    client: httpx.Client, body: str, hook: str
) -> None:
    """A before_request hook that parses a form, or reads the data, takes nothing from the job."""
    view, content, headers = BODIES[body]
    plain = result(client, submit(client, "POST", f"/job/{view}", content=content, headers=headers))

    poll = submit(
        client, "POST", f"/job/{view}", content=content, headers={**headers, hook: "please"}
    )

    answer = result(client, poll)
    assert (answer.status_code, answer.content) == (plain.status_code, plain.content)


def seen(server: Server, request: bytes) -> dict[str, Any]:
    """What the view sees of these very bytes; `{path}` stands for where the view is."""
    with server.client() as client:
        answer = server.exchange(request.replace(b"{path}", b"/job/seen"))
        head, _, body = answer[answer.find(b"HTTP/1.1 202") :].partition(b"\r\n\r\n")
        assert b" 202 " in head, answer
        poll = f"/job/seen/{json.loads(body)['TaskId']}"
        return dict(json.loads(result(client, poll).text.replace("/job/", "/live/")))


def seen_live(server: Server, request: bytes) -> dict[str, Any]:
    """What the view sees of these very bytes without the decorator."""
    answer = server.exchange(request.replace(b"{path}", b"/live/seen"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head, answer
    return dict(json.loads(body))


def raw(*lines: bytes, target: bytes = b"{path}", body: bytes = b"") -> bytes:
    head = [b"POST " + target + b" HTTP/1.1", b"Host: shop.example:81", b"Connection: close"]
    head += [*lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, b"", body])


REQUESTS = {
    "plain": raw(),
    "with a body": raw(b"Content-Type: text/x; charset=latin-1", body=b"12345"),
    "with a query": raw(target=b"{path}?a=1&a=2&b=%C3%A9&c=%FF&d=+%20&empty=&bare&=x"),
    "with a query that has question marks": raw(target=b"{path}?a?b=c?d&%3F=%26"),
    "with slashes in its query": raw(target=b"{path}?/..//%2F"),
    "with an empty query": raw(target=b"{path}?"),
    "with headers many times": raw(b"X-Many: 1", b"Accept: a/b", b"X-Many: 2", b"x-many: 3"),
    "with latin-1 in a header": raw(b"X-Name: Zo\xeb", b"X-More: \xff\x80\xfe"),
    "with UTF-8 in a header": raw("X-Name: Zoë ☃".encode()),
    "with empty headers": raw(b"X-Empty:", b"X-Space:   "),
    "with colons in a header": raw(b"X-Colons: a: b: c:"),
    "with languages": raw(b"Accept-Language: fr;q=0.5, de, en;q=0.9"),
    "through a proxy": raw(b"X-Forwarded-For: 9.9.9.9, 8.8.8.8", b"X-Forwarded-Proto: https"),
    "with a forged address": raw(b"Remote-Addr: 6.6.6.6", b"REMOTE-ADDR: 7.7.7.7"),
    "with preferences": raw(b"Prefer: respond-async, wait=0"),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_view_sees_the_request_as_it_was(server: Server, request_: str) -> None:
    """Method, path, query, headers, client: the view in the background sees what it would live,
    byte for byte."""
    expected = seen_live(server, REQUESTS[request_])

    actual = seen(server, REQUESTS[request_])

    # The connection is no longer there.
    for request in (expected, actual):
        for kind in ("headers", "raw_headers"):
            request[kind] = [pair for pair in request[kind] if pair[0].lower() != "connection"]
    assert actual == expected


def test_a_request_of_http_1_0_is_seen_as_it_was(server: Server) -> None:
    """An old client that names no host is answered as it would be live."""
    request = b"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"

    assert seen(server, request) == seen_live(server, request)


@pytest.mark.parametrize(
    "host",
    [b"me:hush@shop.example", b"shop.example?hush", b"shop.example/hush", b"shop_example:81"],
)
def test_a_host_that_is_none_is_none_in_the_job(server: Server, host: bytes) -> None:
    """Where a live view, and a hook, finds no host in the request, as it has something in it that
    belongs in none, the job's view finds none either: not one that nobody has checked."""
    request = raw().replace(b"shop.example:81", host)
    live, job = seen_live(server, request), seen(server, request)

    if live["host"].startswith("me:"):
        pytest.skip("this werkzeug takes anything for a host")
    same = ("host", "url", "base_url", "root_url")
    assert [job[name] for name in same] == [live[name] for name in same]
    assert "hush" not in str(job)


def test_the_clients_address_cannot_be_forged(server: Server) -> None:
    """`request.remote_addr` in a job is the address of the client, whatever its headers say."""
    request = seen(server, REQUESTS["with a forged address"])

    assert request["remote_addr"] == request["client"] == "127.0.0.1"


CONNECTION = [
    b"TE: trailers",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Expect: 100-continue",
]


@pytest.mark.parametrize("header", CONNECTION, ids=lambda header: header.split(b":")[0].decode())
def test_headers_of_the_connection_are_not_in_the_job(server: Server, header: bytes) -> None:
    """Hop-by-hop headers tell of a connection that the job does not have, and are not in it."""
    request = seen(server, raw(header, b"X-Kept: 1"))

    names = {name.lower() for name, _ in request["headers"]}
    assert "x-kept" in names
    assert names.isdisjoint({"connection", header.split(b":")[0].decode().lower()})


NAMED = [
    b"Connection: X-Tenant, Host, Content-Type, Content-Length",
    b"X-Tenant: acme",
    b"Content-Type: text/x",
]


def test_headers_that_connection_names_are_in_the_job(server: Server) -> None:
    """What a client's `Connection` names besides is for proxies: a live view sees it, and the job
    does, to its host and its type. Else a client could take from the job what a hook has seen."""
    expected = seen_live(server, raw(*NAMED, body=b"12345"))

    request = seen(server, raw(*NAMED, body=b"12345"))

    named = {"Host": "shop.example:81", "X-Tenant": "acme", "Content-Type": "text/x"}
    assert named.items() <= dict(request["headers"]).items()
    same = ("url", "host", "mimetype", "content_length")
    assert [request[what] for what in same] == [expected[what] for what in same]


CHUNKS = b"3\r\n123\r\n2\r\n45\r\n0\r\n\r\n"
FRAMED = {
    "before": [b"Content-Length: 3", b"Transfer-Encoding: chunked"],
    "behind": [b"Transfer-Encoding: chunked", b"Content-Length: 99"],
    "twice": [b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Content-Length: 3"],
}


@pytest.mark.parametrize("order", FRAMED)
def test_a_length_beside_chunks_is_not_believed(server: Server, order: str) -> None:
    """A body that comes in chunks and with a length (RFC 9112, section 6.3) has one length in the
    job, the true one."""
    head = [b"POST {path} HTTP/1.1", b"Host: h", b"Connection: close", *FRAMED[order], b"", b""]

    request = seen(server, b"\r\n".join(head) + CHUNKS)

    assert [value for name, value in request["headers"] if name == "Content-Length"] == ["5"]
    assert request["content_length"] == 5


def test_a_request_of_http_2_is_seen_as_it_was(client_of_http_2: httpx.Client) -> None:
    """A request of HTTP/2, whose host comes in no header of that name, has its URL in the job; a
    body that was sent without its length has one there."""
    headers = {"Host": "shop.example:81"}
    live = client_of_http_2.get("/live/seen", headers=headers).json()
    chunks = iter([b"12", b"345"])
    poll = submit(client_of_http_2, "POST", "/job/seen", headers=headers, content=chunks)

    request = result(client_of_http_2, poll).json()

    assert request["url"].replace("/job/", "/live/") == live["url"]
    assert request["url"] == "http://shop.example:81/job/seen"
    assert (request["http_version"], request["content_length"]) == ("2", 5)


def test_an_authority_that_is_no_host_is_none_in_the_job(client_of_http_2: httpx.Client) -> None:
    """What HTTP/2 names in the place of a host is no other than a `Host` header."""
    headers = {"Host": "me:hush@shop.example"}
    request = result(
        client_of_http_2, submit(client_of_http_2, "POST", "/job/seen", headers=headers)
    ).json()

    assert request["host"] == ""
    assert "shop.example" not in str(request)


@pytest.mark.parametrize(
    "header",
    [
        {"Range": "bytes=0-3"},
        {"Range": "bytes=99-"},
        {"Range": "bytes=0-3", "If-Range": '"the-etag"'},
        {"If-None-Match": '"the-etag"'},
        {"If-None-Match": "*"},
        {"If-Match": '"another"'},
        {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ],
    ids=str,
)
def test_a_result_is_never_a_part_or_an_absence(
    client: httpx.Client, header: dict[str, str]
) -> None:
    """Range and If-* of the submission are not for the job: a 206 or 304 would be its result for
    everybody, for good."""
    answer = result(client, submit(client, "GET", "/conditional", headers=header))

    assert answer.status_code == 200
    assert answer.text == "0123456789"


# Secrets.

SECRETS = {
    "Authorization": "Bearer hush-authorization",
    "Proxy-Authorization": "Basic hush-proxy",
    "Cookie": "session=hush-cookie",
    "X-Api-Key": "hush-api-key",
    "X-ApiKey": "hush-apikey",
    "Api_Key": "hush-underscored",
    "X-Auth-Token": "hush-auth-token",
    "X-Access-Token": "hush-access-token",
    "X-CSRF-Token": "hush-csrf-token",
    "X-CSRFToken": "hush-csrftoken",
    "X-XSRF-TOKEN": "hush-xsrf",
    "X-Client-Secret": "hush-client-secret",
    "X-Session-Id": "hush-session-id",
    "X-Amz-Security-Token": "hush-amz",
}


def bytes_of(store: Path) -> bytes:
    """All that there is in the store's files."""
    files = [file for file in store.parent.glob(f"{store.name}*") if file.is_file()]
    return b"".join(file.read_bytes() for file in files)


def test_no_credentials_are_stored(client: httpx.Client, server: Server) -> None:
    """Headers that look like credentials are nowhere in the store's files, and not in the job."""
    headers = {**SECRETS, "X-Kept": "kept-in-the-store"}

    request = result(client, submit(client, "POST", "/job/seen", headers=headers)).json()

    names = {name.lower() for name, _ in request["headers"]}
    assert "x-kept" in names
    assert names.isdisjoint({name.lower() for name in SECRETS})
    stored = bytes_of(server.store)
    assert b"kept-in-the-store" in stored
    assert b"hush-" not in stored


def test_a_result_sets_no_cookies(client: httpx.Client, server: Server) -> None:
    """A cookie that a job sets is for nobody: whoever polls may be somebody else. It is neither
    answered nor stored, nor is the session that the job has changed."""
    answer = result(client, submit(client, "GET", "/cookies"))

    assert answer.text == "eaten"
    assert "Set-Cookie" not in answer.headers
    stored = bytes_of(server.store)
    assert b"kept-in-the-response" in stored
    assert b"chocolate-crumbs" not in stored


# The context that a view runs in.


def test_g_is_fresh_in_a_job(client: httpx.Client) -> None:
    """`g` in a job has nothing of the request's hooks, and nothing of other jobs."""
    for _ in range(2):
        seen = result(client, submit(client, "GET", "/g", headers={"X-User": "alice"})).json()

        assert seen["user"] is None
        assert seen["left_behind"] is None


def test_before_run_makes_what_views_expect_in_g(client: httpx.Client) -> None:
    """Functions given to `jobs.before_run`, async or not, run in the job before its view and see
    its request."""
    poll = submit(client, "GET", "/g")

    seen = result(client, poll).json()

    assert seen["restored"] == f"for job {poll.rpartition('/')[2]}"
    assert seen["more"] == "/g"


@pytest.mark.parametrize(
    "kind",
    ["async-view", "sync-view", "async-generator", "sync-generator", "error-handler", "before-run"],
)
def test_current_job_is_there_in_every_kind_of_code(client: httpx.Client, kind: str) -> None:
    """`current_job` in async and sync views, in generators, in error handlers and in before_run
    functions is the job that they run for."""
    poll = submit(client, "GET", f"/current/{kind}")

    seen = result(client, poll).json()

    assert seen == [poll.rpartition("/")[2], kind.replace("-", "_"), 1]


def test_the_context_of_a_job_is_torn_down(client: httpx.Client, signals: Signals) -> None:
    """teardown_appcontext functions run when a job ends: they close what its view has opened."""
    poll = submit(client, "GET", "/torn-down")
    result(client, poll)

    signals.wait(f"{poll.rpartition('/')[2]}.torn-down")


@pytest.mark.parametrize(
    ("view", "status"),
    [("half-way", 500), ("half-way-in-a-thread", 500), ("half-way-aborted", 418)],
)
def test_half_a_response_is_no_result(client: httpx.Client, view: str, status: int) -> None:
    """A generator that raises half way has the error for a result: nothing is cut short."""
    answer = result(client, submit(client, "GET", f"/{view}"))

    assert answer.status_code == status
    assert "half of it" not in answer.text


# Responses that have no body.


@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("view", ["bodiless", "bodiless-from-a-thread", "bodiless-generator"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_status_without_a_body_has_none(
    client: httpx.Client,
    client_of_http_2: httpx.Client,
    server: Server,
    version: str,
    view: str,
    status: int,
) -> None:
    """A handler's 204, 205 or 304 with a body is stored without it, and answered without its
    length: an HTTP/2 client would wait for that body, and fail."""
    chosen = client if version == "HTTP/1.1" else client_of_http_2
    poll = submit(chosen, "GET", f"/job/{view}?status={status}")

    answer = result(chosen, poll)

    assert answer.http_version == version
    assert (answer.status_code, answer.content) == (status, b"")
    assert answer.headers.get("Content-Length") == ("0" if status == 205 else None)
    assert chosen.get(poll).status_code == chosen.head(poll).status_code == status
    assert b"nobody sees" not in bytes_of(server.store)


async def test_a_body_that_an_older_version_has_stored() -> None:
    """Where a stored 204 has a body, it is answered without it."""
    job = transitions.finish(
        transitions.start(Job("0" * 32, "route", "/path", created=0.0, due=0.0), "worker", 1.0),
        204,
        2.0,
    )

    answer = answers.result(
        Quart("older"), job, Response(204, (), b"a body"), answers.Links(job, "", "/jobs")
    )

    assert (answer.status_code, await answer.get_data()) == (204, b"")
    assert "Content-Length" not in answer.headers


# Debug and testing modes, in which Quart raises what it would handle.


@pytest.mark.parametrize("mode", ["DEBUG", "TESTING", "PROPAGATE_EXCEPTIONS", "none of them"])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_job_has_a_500_in_every_mode(tmp_path: Path, mode: str, kind: str) -> None:
    """A handler's exception is its job's 500 also where Quart would raise it to the server."""
    app = Quart("modes")
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{tmp_path}/jobs.db"
    app.config[mode] = True
    jobs = QuartJobs(app)

    async def broken() -> NoReturn:
        raise LookupError("lost")

    def broken_in_a_thread() -> NoReturn:
        raise LookupError("lost")

    view = broken if kind == "async" else broken_in_a_thread
    app.add_url_rule("/broken", "broken", jobs.background(view))

    @app.route("/next")
    @jobs.background
    async def next_job() -> str:
        return "runs"

    async with app.test_app() as running:
        client = running.test_client()
        for path, status in (("/broken", 500), ("/next", 200)):
            location = (await client.get(path)).headers["Location"]
            answer = await client.get(location, headers={"Prefer": "wait=30"})
            assert answer.status_code == status


@pytest.mark.parametrize("catch", [500, Exception])
async def test_an_app_that_handles_all_errors_handles_those_of_jobs(
    tmp_path: Path, catch: Any
) -> None:
    """An error handler for 500, or for every exception, makes the result, in testing mode too."""
    app = Quart("handlers")
    app.testing = True
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{tmp_path}/jobs.db"
    jobs = QuartJobs(app)

    @app.errorhandler(catch)
    async def handle(error: Exception) -> Any:
        original = getattr(error, "original_exception", error)
        return jsonify(handled=type(original).__name__), 500

    @app.route("/broken")
    @jobs.background
    async def broken() -> NoReturn:
        raise LookupError("lost")

    async with app.test_app() as running:
        client = running.test_client()
        location = (await client.get("/broken")).headers["Location"]
        answer = await client.get(location, headers={"Prefer": "wait=30"})

    assert answer.status_code == 500
    assert await answer.get_json() == {"handled": "LookupError"}


# The log.

FORGED = "/a\n2026-01-01 CRITICAL all is lost\r\x1b[2K\u0085\u2028\u2029\u202e\u2066é"
SHOWN = r"/a\n2026-01-01 CRITICAL all is lost\r\x1b[2K\x85\u2028\u2029\u202e\u2066é"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_path_forges_no_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A path is logged on one line, whatever a client has put into it (%0a, an escape, a mark that
    turns the writing): where a handler raises, and where the path leads to none any more."""
    app = Quart("forged")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")
    seen = []

    async def broken(rest: str) -> NoReturn:
        seen.append(quart.request.path)
        raise LookupError("lost")

    def broken_in_a_thread(rest: str) -> NoReturn:
        seen.append(quart.request.path)
        raise LookupError("lost")

    view = broken if kind == "async" else broken_in_a_thread
    app.add_url_rule("/broken/<rest>", "broken", jobs.background(view))

    @app.errorhandler(500)
    async def see(error: Exception) -> tuple[str, int]:
        seen.append(quart.request.path)
        return "broken", 500

    gone = Job("0" * 32, "broken", FORGED, created=time.time(), due=time.time())
    async with SqliteStore(tmp_path / "jobs.db") as store:
        await store.add(gone, Request("GET", FORGED))
    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.get(f"/broken{quote(FORGED)}")).headers["Location"]
        answer = await client.get(poll, headers={"Prefer": "wait=30"})
        async with app.app_context():
            await jobs.jobs.wait(gone.id, DEADLINE)
            reason = json.loads((await jobs.jobs.response(gone.id)).body)["detail"]

    assert answer.status_code == 500
    assert seen == [f"/broken{FORGED}"] * 2
    assert SHOWN in reason
    lines = [record.getMessage() for record in caplog.records]
    assert f"Exception on request GET /broken{SHOWN}" in lines
    assert any(f"GET {SHOWN} does not lead to 'broken' any more" in line for line in lines)
    assert all(line.isprintable() for line in lines)
