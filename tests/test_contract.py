"""The contract of a decorated route, to the byte, as a real hypercorn serves it."""

from __future__ import annotations

import copy
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from apps.signals import Signals
from conftest import Serve
from server import Server, count_jobs, received, result, submit, until

UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """An app with nothing but defaults."""
    return serve("apps.contract:app")


@pytest.fixture(scope="module")
def mounted(serve: Serve) -> Server:
    """The same app under a root path, with error handlers and a limit of its own."""
    return serve(
        "apps.contract:app",
        config={"OWN_ERRORS": True, "QUART_JOBS_MAX_WAIT": 1},
        options=("--root-path", "/mounted"),
    )


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


class Raw:
    """A response as it came over the wire, but for the header that tells the time."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        self.status = int(status.split()[1])
        self.lines = [line for line in lines if not line.lower().startswith(b"date:")]
        self.headers = {
            name.decode().lower(): value.decode()
            for name, value in (line.split(b": ", 1) for line in lines)
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raw) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Raw({self.status}, {self.lines}, {self.body!r})"


def fetch(server: Server, target: str, method: str = "GET", *headers: str) -> Raw:
    """The answer to a request whose target goes over the wire exactly as it is written here."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    answer = server.exchange("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    raw = Raw(answer)
    raw.lines.remove(b"Connection: close")
    raw.headers.pop("date")
    return raw


def not_stored(answer: Raw) -> Raw:
    """The same answer, if no cache is to keep it."""
    answer = copy.deepcopy(answer)
    answer.lines.insert(-1, b"cache-control: no-store")
    answer.headers["cache-control"] = "no-store"
    return answer


@contextmanager
def running(client: httpx.Client, signals: Signals, name: str, kind: str = "wait") -> Iterator[str]:
    """A job that runs until the end of the block, or until it is cancelled; its poll URL."""
    poll = submit(client, "GET", f"/{kind}/{name}")
    try:
        signals.wait(f"{name}.started")
        yield poll
    finally:
        signals.send(f"{name}.go")


# The table of the seed.


def test_a_submission_is_answered_202_with_an_id_and_nothing_else(server: Server) -> None:
    """A submission's answer is 202, JSON, and `{"TaskId":"<32 hex>"}` with a line end."""
    answer = fetch(server, "/foo")

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(rb'\{"TaskId":"[0-9a-f]{32}"\}\n', answer.body)
    assert answer.headers["content-length"] == str(len(answer.body))


def test_each_submission_is_a_job_of_its_own(client: httpx.Client, server: Server) -> None:
    """The same request twice is two jobs with two ids."""
    before = count_jobs(server.store)

    ids = {client.get("/foo").json()["TaskId"] for _ in range(2)}

    assert len(ids) == 2
    assert count_jobs(server.store) == before + 2


def test_a_poll_of_an_unfinished_job_is_answered_202_with_its_id(
    client: httpx.Client, server: Server, signals: Signals, name: str
) -> None:
    """Until a job is finished, its poll is 202, JSON, and `{"TaskID":"<id>"}`: a capital D."""
    with running(client, signals, name) as poll:
        answer = fetch(server, poll)

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == b'{"TaskID":"%b"}\n' % poll.rpartition("/")[2].encode()


def test_the_seeds_own_example_comes_to_its_result(client: httpx.Client) -> None:
    """`/foo` of the article, polled at `/foo/<TaskId>`, answers what its handler returned."""
    task_id = client.get("/foo").json()["TaskId"]

    answer = result(client, f"/foo/{task_id}")

    assert answer.status_code == 200
    assert answer.json() == {"Result": True}


def test_a_finished_poll_is_the_handlers_own_response(client: httpx.Client) -> None:
    """A poll of a finished job has the handler's own status, headers and body."""
    answer = result(client, submit(client, "GET", "/made"))

    assert answer.status_code == 201
    assert answer.headers["X-Made"] == "by hand"
    assert answer.headers["Content-Type"] == "text/x-made"
    assert answer.content == b"made"


@pytest.mark.parametrize("path", ["/foo", "/made", "/stream", "/stream-in-thread", "/teapot"])
def test_a_result_can_be_read_again_and_again(
    client: httpx.Client, server: Server, path: str
) -> None:
    """Every poll of a finished job is answered with the same bytes, a generator's result too."""
    poll = submit(client, "GET", path)
    result(client, poll)

    first, second, third = (fetch(server, poll) for _ in range(3))

    assert first.body
    assert first == second == third


@pytest.mark.parametrize("path", ["/stream", "/stream-in-thread"])
def test_all_that_a_generator_yields_is_the_body(client: httpx.Client, path: str) -> None:
    """The result of a generator is all of its parts, in their order."""
    assert result(client, submit(client, "GET", path)).text == "one two three"


def test_an_http_exception_is_answered_as_such(client: httpx.Client) -> None:
    """A handler that aborts with an HTTP status has that exception's response for a result."""
    answer = result(client, submit(client, "GET", "/forbidden"))

    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "not for you" in answer.text


def test_an_http_exception_goes_through_the_apps_error_handler(client: httpx.Client) -> None:
    """If the app has an error handler for a job's HTTPException, its response is the result."""
    answer = result(client, submit(client, "GET", "/teapot"))

    assert answer.status_code == 418
    assert answer.json() == {"error": "short and stout"}


def test_any_other_exception_is_a_500_and_in_the_log(client: httpx.Client, server: Server) -> None:
    """A handler that raises has the app's 500 for a result, and its traceback in the log."""
    answer = result(client, submit(client, "GET", "/boom"))

    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "barrel" not in answer.text
    log = until(lambda: server.log() if "ZeroDivisionError" in server.log() else "")
    assert "Traceback (most recent call last)" in log
    assert "the bottom of the barrel" in log
    assert "in boom" in log


def test_an_apps_own_500_answers_for_its_jobs(mounted: Server) -> None:
    """An app's error handler for 500 makes the result of a handler that raised."""
    with mounted.client() as client:
        answer = result(client, submit(client, "GET", "/mounted/boom"))

    assert answer.status_code == 500
    assert answer.headers["X-Handler"] == "the app's own"
    assert answer.json() == {"error": "broken"}


@pytest.mark.parametrize(
    ("outcome", "status", "attempts"), [("works", 200, 2), ("fails", 500, 2), ("forbidden", 403, 1)]
)
def test_retries(client: httpx.Client, outcome: str, status: int, attempts: int) -> None:
    """A route with retries is tried again after an exception; an HTTPException is a result."""
    poll = submit(client, "GET", f"/unsteady/{outcome}")

    assert result(client, poll).status_code == status
    assert client.get(f"/jobs/{poll.rpartition('/')[2]}").json()["attempt"] == attempts


def test_head_starts_nothing(server: Server) -> None:
    """HEAD on a submission route makes no job, and has no body."""
    before = count_jobs(server.store)

    answer = fetch(server, "/foo", "HEAD")

    assert answer.status == 202
    assert answer.body == b""
    assert "location" not in answer.headers
    assert count_jobs(server.store) == before


def test_the_connection_is_of_use_after_head(server: Server) -> None:
    """What follows a HEAD on the same connection is the next answer, and nothing before it."""
    with server.connect() as connection:
        connection.sendall(b"HEAD /foo HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        connection.sendall(b"GET /foo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 202")
    assert b'{"TaskId":"' in answer


def test_head_on_a_poll_has_the_headers_of_the_result_and_no_body(
    client: httpx.Client, server: Server
) -> None:
    """HEAD on a poll route tells what a GET would, but for the body."""
    poll = submit(client, "GET", "/made")
    result(client, poll)

    head, get = fetch(server, poll, "HEAD"), fetch(server, poll)

    assert (head.status, head.headers) == (get.status, get.headers)
    assert head.body == b""


def test_options_starts_nothing(server: Server) -> None:
    """OPTIONS on a submission route tells the methods, as for any route, and makes no job."""
    before = count_jobs(server.store)

    answer = fetch(server, "/foo", "OPTIONS")

    assert answer.status == 200
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert count_jobs(server.store) == before


# Ids that lead to no job.

MISSES = {
    "unknown": f"/foo/{UNKNOWN}",
    "too short": f"/foo/{UNKNOWN[:-1]}",
    "too long": f"/foo/{UNKNOWN}0",
    "much too long": f"/foo/{UNKNOWN * 100}",
    "no hex": "/foo/not-an-id",
    "of another alphabet": "/foo/%D9%A0%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7",
    "a zero byte": "/foo/%00",
    "bytes that are no text": "/foo/%FF%FE",
    "in upper case": "/foo/{ID}",
    "with a space after it": "/foo/{id}%20",
    "with a line end after it": "/foo/{id}%0A",
    "with a slash after it": "/foo/{id}/",
    "as a UUID": "/foo/{uuid}",
    "of another route": "/made/{id}",
    "of another blueprint": "/shop/orders/1/{id}",
    "unknown in a blueprint": f"/shop/orders/1/{UNKNOWN}",
    "malformed in a blueprint": "/shop/orders/1/nonsense",
    "of another path": "/items/2/{item}",
    "of another file": "/files/b/{file}",
    "of a path that goes on": "/files/a/b/{file}",
    "unknown to the status": f"/jobs/{UNKNOWN}",
    "malformed for the status": "/jobs/nonsense",
}


@pytest.fixture(scope="module", params=["server", "mounted"])
def strict(request: pytest.FixtureRequest) -> tuple[Server, dict[str, str], Raw]:
    """A server, finished jobs of it, and its 404 to a path that nobody has ever heard of."""
    server: Server = request.getfixturevalue(request.param)
    root = "/mounted" if request.param == "mounted" else ""
    with server.client() as client:
        foo = submit(client, "GET", f"{root}/foo").rpartition("/")[2]
        item = submit(client, "GET", f"{root}/items/1").rpartition("/")[2]
        file = submit(client, "GET", f"{root}/files/a").rpartition("/")[2]
        foreign = client.get(f"{root}/foo", headers={"X-User": "mallory"}).json()["TaskId"]
        result(client, f"{root}/foo/{foo}")
        result(client, f"{root}/items/1/{item}")
        result(client, f"{root}/files/a/{file}")
    known = {
        "root": root,
        "id": foo,
        "ID": foo.upper(),
        "uuid": f"{foo[:8]}-{foo[8:12]}-{foo[12:16]}-{foo[16:20]}-{foo[20:]}",
        "item": item,
        "file": file,
        "foreign": foreign,
    }
    nowhere = fetch(server, f"{root}/nowhere")
    assert nowhere.status == 404
    assert (b"nowhere" in nowhere.body) == (request.param == "mounted")
    return server, known, nowhere


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("miss", MISSES)
def test_an_id_that_leads_to_no_job_is_the_apps_own_404(
    strict: tuple[Server, dict[str, str], Raw], miss: str, method: str
) -> None:
    """An unknown or malformed id, and one of another route or path, is answered with the same
    bytes as a path that the app does not have, by its own error handler if it has one; where it
    could be an id, no cache keeps that."""
    server, known, nowhere = strict

    target = known["root"] + MISSES[miss].format_map(known)
    answer = fetch(server, target, method)

    if re.search("/[0-9a-f]{32}$", target):
        nowhere = not_stored(nowhere)
    assert answer == nowhere


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/foo/{foreign}", "/jobs/{foreign}"])
def test_a_foreign_id_is_the_apps_own_404(
    strict: tuple[Server, dict[str, str], Raw], path: str, method: str
) -> None:
    """The id of somebody else's job is answered with the same bytes as one of no job at all."""
    server, known, nowhere = strict
    target = known["root"] + path.format_map(known)

    nowhere = not_stored(nowhere)
    assert fetch(server, target, method) == nowhere
    assert fetch(server, target, method, "X-User: alice") == nowhere
    assert fetch(server, target, "GET", "X-User: mallory").status in (200, 202)


# What was added to the seed's contract: headers, and other URLs.


def test_a_submission_tells_where_to_poll(client: httpx.Client) -> None:
    """Location is the poll URL, without scheme and host: proxies know those better."""
    answer = client.get("/foo")

    assert answer.headers["Location"] == f"/foo/{answer.json()['TaskId']}"
    assert result(client, answer.headers["Location"]).json() == {"Result": True}


@pytest.mark.parametrize(
    ("target", "location", "expected"),
    [
        ("/shop/orders/7", "/shop/orders/7", {"order": 7}),
        ("/files/what%3F", "/files/what%3F", {"file": "what?"}),
        ("/files/what%3Fa=b?c=d", "/files/what%3Fa=b", {"file": "what?a=b"}),
        ("/files/a%2Fb", "/files/a/b", {"file": "a/b"}),
        ("/files/a%252Fb", "/files/a%252Fb", {"file": "a%2Fb"}),
        ("/files/100%25", "/files/100%25", {"file": "100%"}),
        ("/files/a%23b", "/files/a%23b", {"file": "a#b"}),
        ("/files/a%20b+c", "/files/a%20b+c", {"file": "a b+c"}),
        ("/files/caf%E9", "/files/caf%EF%BF%BD", {"file": "caf\ufffd"}),
        ("/files/a%00b", "/files/a%00b", {"file": "a\0b"}),
        ("/files/caf%C3%A9", "/files/caf%C3%A9", {"file": "café"}),
        ("/names/a%0D%0Ab", "/names/a%0D%0Ab", {"name": "a\r\nb"}),
        ("/files/;v=1,2&x='()*!@$", "/files/;v=1,2&x='()*!@$", {"file": ";v=1,2&x='()*!@$"}),
    ],
)
@pytest.mark.parametrize("root", ["", "/mounted"])
def test_location_leads_to_the_result_from_any_path(
    request: pytest.FixtureRequest,
    root: str,
    target: str,
    location: str,
    expected: dict[str, object],
) -> None:
    """Location is right below the request's own path, under root_path and blueprint prefix, and
    what was escaped there and must be is escaped again: it can be followed as it is."""
    server: Server = request.getfixturevalue("mounted" if root else "server")

    answer = fetch(server, f"{root}{target}")

    job_id = answer.body.split(b'"')[3].decode()
    assert answer.headers["location"] == f"{root}{location}/{job_id}"
    poll = answer.headers["location"]
    final = until(lambda: raw if (raw := fetch(server, poll)).status == 200 else None)
    assert httpx.Response(200, content=final.body).json() == expected


def test_a_submission_by_post_is_polled_by_get(client: httpx.Client) -> None:
    """Whatever the method of the submission, its result is polled with GET."""
    assert result(client, submit(client, "POST", "/files/x")).json() == {"file": "x"}


def test_every_answer_about_a_job_has_the_same_marks(
    client: httpx.Client, signals: Signals, name: str
) -> None:
    """Submission, poll and result tell the state, where the status is, and that none of it may be
    kept by a cache; what is polled has an ETag that changes with it."""
    with running(client, signals, name) as poll:
        submission = client.get(f"/wait/{name}")
        pending = client.get(poll)
    final = result(client, poll)

    for answer, states in [
        (submission, {"running", "queued"}),
        (pending, {"running"}),
        (final, {"succeeded"}),
    ]:
        job_id = answer.json().get("TaskId") or poll.rpartition("/")[2]
        assert answer.headers["Job-State"] in states
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Link"] == f'</jobs/{job_id}>; rel="status"'
    for answer in (pending, final):
        assert re.fullmatch(r'"[^"]+"', answer.headers["ETag"])
    assert pending.headers["ETag"] != final.headers["ETag"]


def test_the_status_link_is_under_the_root_path(mounted: Server) -> None:
    """The status document is found where Link says it is, under a root_path too."""
    with mounted.client() as client:
        answer = client.get("/mounted/foo")
        job_id = answer.json()["TaskId"]

        assert answer.headers["Link"] == f'</mounted/jobs/{job_id}>; rel="status"'
        assert client.get(answer.links["status"]["url"]).json()["id"] == job_id


def test_who_has_to_wait_is_told_how_long(
    client: httpx.Client, signals: Signals, name: str
) -> None:
    """A submission and a poll of an unfinished job have Retry-After in whole seconds; a result
    has none."""
    with running(client, signals, name) as poll:
        waiting = [client.get("/foo"), client.get(poll)]

    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in waiting)
    assert "Retry-After" not in result(client, poll).headers


@pytest.mark.parametrize("status", [202, 404, 410, 504])
def test_a_handlers_own_status_can_be_told_from_ours(client: httpx.Client, status: int) -> None:
    """A handler's own 202, 404, 410 or 504 has a Job-State that says that the job is finished."""
    answer = result(client, submit(client, "GET", f"/own/{status}"))

    assert answer.status_code == status
    assert answer.headers["Job-State"] == ("failed" if status >= 500 else "succeeded")
    assert answer.text == "the handler's own"


def test_a_handlers_own_headers_are_left_as_they_are(client: httpx.Client) -> None:
    """A handler's own ETag, Cache-Control and Link are in its result."""
    headers = result(client, submit(client, "GET", "/cached")).headers

    assert headers["ETag"] == '"mine"'
    assert headers["Cache-Control"] == "max-age=60"
    assert "</up>; rel=up" in headers.get_list("Link")


def test_the_status_document_tells_how_a_job_does(
    client: httpx.Client, signals: Signals, name: str
) -> None:
    """`/jobs/<id>` is always 200, and tells state, route, times and links."""
    with running(client, signals, name) as poll:
        job_id = poll.rpartition("/")[2]
        during = client.get(f"/jobs/{job_id}")
    result(client, poll)
    after = client.get(f"/jobs/{job_id}")

    assert during.status_code == after.status_code == 200
    assert during.json()["state"] == during.headers["Job-State"] == "running"
    assert during.json()["finished"] is None
    assert after.json()["state"] == after.headers["Job-State"] == "succeeded"
    assert after.json()["id"] == job_id
    assert after.json()["route"] == "wait"
    assert after.json()["attempt"] == 1
    links = {"self": f"/jobs/{job_id}", "result": f"/jobs/{job_id}/result"}
    assert after.json()["links"] == links
    assert client.get(links["result"]).content == client.get(poll).content
    times = [after.json()[moment] for moment in ("created", "started", "finished")]
    assert times == sorted(times)


# Waiting for a result.


def test_a_poll_that_prefers_to_wait_is_held_until_the_result(
    client: httpx.Client, server: Server, signals: Signals, name: str
) -> None:
    """`Prefer: wait=N` on a poll: its answer is the result, as soon as that is there."""
    with running(client, signals, name) as poll, server.connect() as waiting:
        waiting.sendall(
            f"GET {poll} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Prefer: wait=30\r\nX-Arrival: {name}.polled\r\n\r\n".encode()
        )
        signals.wait(f"{name}.polled")
        assert client.get(poll).status_code == 202
        signals.send(f"{name}.go")
        answer = Raw(received(waiting))

    assert answer.status == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.body == b'{"waited":"%b"}\n' % name.encode()


def test_a_poll_does_not_wait_longer_than_it_prefers_to(
    client: httpx.Client, signals: Signals, name: str
) -> None:
    """`Prefer: wait=N` on a poll of a job that takes longer: 202, and the wait that it had."""
    with running(client, signals, name) as poll:
        answer = client.get(poll, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_there_is_a_limit_to_waiting(mounted: Server, signals: Signals, name: str) -> None:
    """More than `max_wait` seconds are not waited, and the client is told how many were."""
    with mounted.client() as client, running(client, signals, name, "mounted/wait") as poll:
        answer = client.get(poll, headers={"Prefer": "respond-async, wait=86400"})

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=1"


@pytest.mark.parametrize(
    "preference", ["wait", "wait=soon", "wait=-1", "wait=1e3", "wait=", "=", ""]
)
def test_a_preference_that_makes_no_sense_is_ignored(
    client: httpx.Client, signals: Signals, name: str, preference: str
) -> None:
    """A `Prefer` header that is not understood is as good as none."""
    with running(client, signals, name) as poll:
        answer = client.get(poll, headers={"Prefer": preference})

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_who_waits_only_watches(
    client: httpx.Client, server: Server, signals: Signals, name: str
) -> None:
    """A client that hangs up while its poll waits ends nothing but its own wait."""
    with running(client, signals, name) as poll:
        with server.connect() as waiting:
            waiting.sendall(
                f"GET {poll} HTTP/1.1\r\nHost: localhost\r\n"
                f"Prefer: wait=30\r\nX-Arrival: {name}.polled\r\n\r\n".encode()
            )
            signals.wait(f"{name}.polled")
            reset(waiting)
        assert client.get(poll).headers["Job-State"] == "running"

    assert result(client, poll).status_code == 200
    assert not signals.is_sent(f"{name}.cancelled")


def reset(connection: socket.socket) -> None:
    """Hang up without any of TCP's politeness."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Cancelling.


def is_cancelled(answer: httpx.Response) -> bool:
    """Whether this is what the poll of a cancelled job answers."""
    assert answer.status_code == 410
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Job-State"] == "cancelled"
    problem = answer.json()
    assert problem["type"] == "urn:asyncjobs:problem:cancelled"
    assert problem["status"] == 410
    assert problem["title"]
    return True


@pytest.mark.parametrize("where", ["the poll URL", "the status URL"])
def test_a_queued_job_is_cancelled_at_once(
    client: httpx.Client, server: Server, signals: Signals, name: str, where: str
) -> None:
    """DELETE on a job that has not started: it is cancelled when the answer is there, and its
    handler never starts."""
    with running(client, signals, name, "one-at-a-time"):
        poll = submit(client, "GET", f"/one-at-a-time/{name}2")
        assert client.get(poll).headers["Job-State"] == "queued"
        after = submit(client, "GET", f"/one-at-a-time/{name}3")
        signals.send(f"{name}2.go")
        signals.send(f"{name}3.go")

        answer = client.delete(poll if where == "the poll URL" else f"/jobs/{poll[-32:]}")

        assert answer.status_code == 200
        assert answer.headers["Job-State"] == answer.json()["state"] == "cancelled"
        assert is_cancelled(client.get(poll))
    assert result(client, after).status_code == 200
    assert not signals.is_sent(f"{name}2.started")
    assert is_cancelled(client.get(poll))


@pytest.mark.parametrize("kind", ["wait", "wait-in-thread"])
def test_a_running_handler_is_stopped(
    client: httpx.Client, signals: Signals, name: str, kind: str
) -> None:
    """DELETE on a running job raises in its handler: at its next `await` if it is async, where it
    looks for it if it runs in a thread. The result is a 410 that says so."""
    with running(client, signals, name, kind) as poll:
        answer = client.delete(poll)
        assert answer.status_code == 200
        assert answer.json()["cancel_requested"] or answer.json()["state"] == "cancelled"
        signals.wait(f"{name}.cancelled")

        assert is_cancelled(result(client, poll))


def test_a_cancelled_result_stays(client: httpx.Client, signals: Signals, name: str) -> None:
    """A cancelled job is a 410 at every poll from then on."""
    with running(client, signals, name) as poll:
        client.delete(poll)
        first = result(client, poll)

    assert is_cancelled(first)
    assert is_cancelled(client.get(poll))


@pytest.mark.parametrize("url", ["/foo/{id}", "/jobs/{id}"])
def test_a_finished_job_cannot_be_cancelled(client: httpx.Client, url: str) -> None:
    """DELETE on a finished job is a 409 problem, and its result is still there."""
    poll = submit(client, "GET", "/foo")
    before = result(client, poll)

    answer = client.delete(url.format(id=poll.rpartition("/")[2]))

    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 409
    assert client.get(poll).content == before.content


def test_a_cancelled_job_cannot_be_cancelled_once_more(
    client: httpx.Client, signals: Signals, name: str
) -> None:
    """DELETE on a job that was cancelled is 409, as for any other finished job."""
    with running(client, signals, name) as poll:
        client.delete(poll)
        result(client, poll)

    assert client.delete(poll).status_code == 409


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_sites_cancel_nothing(
    client: httpx.Client, server: Server, signals: Signals, name: str, headers: dict[str, str]
) -> None:
    """DELETE that a browser says comes from another site's page is a 403 problem, and the job
    goes on."""
    headers = {header: value.format(own=server.url) for header, value in headers.items()}
    with running(client, signals, name) as poll:
        for url in (poll, f"/jobs/{poll[-32:]}"):
            answer = client.delete(url, headers=headers)

            assert answer.status_code == 403
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:asyncjobs:problem:cross-site-request"

    assert result(client, poll).status_code == 200


BEHIND_THE_OWN = [
    ["Origin: {own}", "Origin: https://evil.example"],
    ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
]
WITHOUT_A_HOST = [["Origin: null"], ["Origin:"], ["Origin: https://evil.example"], ["Origin: x"]]


@pytest.mark.parametrize(
    ("version", "lines"),
    [("1.1", ["Host: {host}", *lines]) for lines in BEHIND_THE_OWN]
    + [("1.0", lines) for lines in WITHOUT_A_HOST],
    ids=str,
)
def test_what_no_browser_says_of_its_own_page_cancels_nothing(
    client: httpx.Client,
    server: Server,
    signals: Signals,
    name: str,
    version: str,
    lines: list[str],
) -> None:
    """A foreign word behind one of its own is heard as well, and a request without a Host comes
    from no page of its own: 403, and the job goes on."""
    with running(client, signals, name) as poll:
        for url in (poll, f"/jobs/{poll[-32:]}"):
            head = [f"DELETE {url} HTTP/{version}", "Connection: close", *lines, "", ""]
            sent = "\r\n".join(head).format(own=server.url, host=server.url[7:])
            assert server.exchange(sent.encode()).startswith(b"HTTP/1.1 403 ")

    assert result(client, poll).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "{own}"}],
    ids=str,
)
def test_pages_of_the_own_site_cancel(
    client: httpx.Client, server: Server, signals: Signals, name: str, headers: dict[str, str]
) -> None:
    """DELETE from a page of the server's own origin cancels."""
    headers = {header: value.format(own=server.url) for header, value in headers.items()}
    with running(client, signals, name) as poll:
        assert client.delete(poll, headers=headers).status_code == 200

        assert is_cancelled(result(client, poll))


def test_nobody_cancels_somebody_elses_job(server: Server, signals: Signals, name: str) -> None:
    """DELETE on the id of another owner's job is a 404, and the job goes on."""
    with server.client(**{"X-User": "alice"}) as alice, server.client() as mallory:
        with running(alice, signals, name) as poll:
            assert mallory.delete(poll).status_code == 404
            assert mallory.delete(poll, headers={"X-User": "mallory"}).status_code == 404

        assert result(alice, poll).status_code == 200


def test_the_contract_is_the_same_over_http_2(server: Server, signals: Signals, name: str) -> None:
    """Submission, poll, and a cancellation from a page of the own origin work over HTTP/2."""
    with httpx.Client(base_url=server.url, http1=False, http2=True, verify=False) as client:
        submission = client.get("/foo")
        assert submission.http_version == "HTTP/2"
        assert re.fullmatch(r'\{"TaskId":"[0-9a-f]{32}"\}\n', submission.text)
        assert result(client, submission.headers["Location"]).json() == {"Result": True}
        with running(client, signals, name) as poll:
            assert (
                client.delete(poll, headers={"Origin": "https://evil.example"}).status_code == 403
            )
            assert client.delete(poll, headers={"Origin": server.url}).status_code == 200
            assert is_cancelled(result(client, poll))
