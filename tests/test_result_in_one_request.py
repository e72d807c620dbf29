"""`Prefer: wait=N` on a submission: the result itself, if it is there in time, else the 202."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart, Response, abort, g, request, session
from quart.typing import TestClientProtocol as Client
from werkzeug.datastructures import Headers

from apps.signals import Signals
from asyncjobs import QuartJobs, watch
from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore
from asyncjobs.web.answering import outlasting, submitted
from conftest import Serve
from server import DEADLINE, Server

WAIT = {"Prefer": "wait=20"}


class Parts:
    """An app whose jobs end when a test says so, and what its hooks have seen."""

    def __init__(self, tmp_path: Path) -> None:
        self.app = Quart("one_request")
        self.app.secret_key = "for the sessions of a test"
        self.jobs = QuartJobs(self.app, store=f"sqlite:///{tmp_path}/jobs.db", max_wait=20)
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.ran = 0
        self.before: list[str] = []

        @self.app.before_request
        async def note() -> None:
            self.before.append(request.method)
            g.taken = True

        @self.app.teardown_request
        async def give_back(error: BaseException | None) -> None:
            self.left.set()

        @self.app.route("/slow", methods=["GET", "POST"])
        @self.jobs.background
        async def slow() -> Any:
            self.ran += 1
            await self.go.wait()
            return "done", 201, {"X-Own": "own", "Cache-Control": "public, max-age=60"}

    async def stored(self) -> list[Any]:
        """All jobs."""
        async with self.app.app_context():
            return await self.jobs.jobs.find(Query())


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[Client]:
    async with parts.app.test_app() as running:
        yield running.test_client()
        parts.go.set()


async def answered(asking: Any) -> Response:
    async with asyncio.timeout(DEADLINE):
        answer: Response = await asking
    return answer


# What is answered.


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_job_that_ends_in_time(parts: Parts, client: Client, method: str) -> None:
    """Its submitter has the handler's own response, and where that is asked for again; one job was
    made, and run once."""
    parts.go.set()

    answer = await client.open("/slow", method=method, headers=WAIT)
    again = await client.get(answer.headers["Content-Location"])

    assert (answer.status_code, await answer.get_data()) == (201, b"done")
    assert (again.status_code, await again.get_data()) == (201, b"done")
    assert answer.headers["X-Own"] == "own"
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.headers["Job-State"] == "succeeded"
    assert answer.headers["ETag"] == again.headers["ETag"]
    assert "Location" not in answer.headers
    assert "Retry-After" not in answer.headers
    assert parts.ran == len(await parts.stored()) == 1


async def test_a_job_that_does_not(parts: Parts, client: Client) -> None:
    """Its submitter has the 202 as without the preference, which was obeyed all the same."""
    answer = await client.post("/slow", headers={"Prefer": "wait=1"})
    plain = await client.post("/slow")

    assert answer.status_code == 202
    assert (await answer.get_json()).keys() == {"TaskId"}
    assert answer.headers.pop("Preference-Applied") == "wait=1"
    assert [*answer.headers.keys()] == [*plain.headers.keys()]


@pytest.mark.parametrize(
    ("preferred", "applied"),
    [
        ("wait=0", "wait=0"),
        ("wait=soon", None),
        ("handling=lenient", None),
        ("respond-async", "respond-async"),
        ("respond-async, wait=0", "respond-async, wait=0"),
    ],
)
async def test_a_preference_that_holds_nothing(
    parts: Parts, client: Client, preferred: str, applied: str | None
) -> None:
    """A wait of no seconds, and `respond-async` alone, are answered at once, and what is no wait
    changes nothing."""
    answer = await client.post("/slow", headers={"Prefer": preferred})

    assert answer.status_code == 202
    assert answer.headers.get("Preference-Applied") == applied


async def test_a_wait_is_capped(tmp_path: Path) -> None:
    """`max_wait` is the most, in whole seconds, rounded up."""
    app = Quart("capped")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db", max_wait=0.01)

    @app.post("/slow")
    @jobs.background
    async def slow() -> None:
        await asyncio.Event().wait()

    async with app.test_app() as running:
        answer = await answered(running.test_client().post("/slow", headers=WAIT))

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=1")


async def test_head_starts_nothing(parts: Parts, client: Client) -> None:
    """With a preference as without one."""
    answer = await client.head("/slow", headers=WAIT)

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
    assert not await parts.stored()


async def test_a_job_that_fails(parts: Parts, client: Client) -> None:
    """Its submitter has what a poll would answer: the app's own 500, or the problem document of
    what has become of it."""

    @parts.app.post("/broken")
    @parts.jobs.background
    async def broken() -> None:
        raise ValueError

    @parts.app.post("/late")
    @parts.jobs.background(timeout=0.01)
    async def late() -> None:
        await asyncio.Event().wait()

    answers = [await client.post(path, headers=WAIT) for path in ("/broken", "/late")]

    assert [answer.status_code for answer in answers] == [500, 504]
    assert [answer.headers["Job-State"] for answer in answers] == ["failed", "failed"]


async def test_a_request_that_becomes_no_job(parts: Parts, client: Client) -> None:
    """Nothing is waited for."""
    parts.app.config["MAX_CONTENT_LENGTH"] = 1
    answer = await client.post("/slow", headers=WAIT, data=b"too much")

    assert answer.status_code == 413
    assert not await parts.stored()


async def test_a_result_at_the_url_of_a_submission_is_kept_by_no_cache(
    parts: Parts, client: Client
) -> None:
    """Whoever asks for that URL again wants another job, however long the handler says that its
    response is good; that is said where the result is."""
    parts.go.set()

    answer = await client.get("/slow", headers=WAIT)
    result = await client.get(answer.headers["Content-Location"])

    assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert result.headers["Cache-Control"] == "public, max-age=60"


async def test_a_queued_job_is_waited_for_too(tmp_path: Path) -> None:
    """One that has no slot yet when it is made."""
    app = Quart("queued")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db", concurrency=1)
    go, began = asyncio.Event(), asyncio.Event()

    @app.post("/slow/<int:number>")
    @jobs.background
    async def slow(number: int) -> str:
        began.set()
        await go.wait()
        return f"done {number}"

    async with app.test_app() as running:
        client = running.test_client()
        await client.post("/slow/1")
        await began.wait()
        asking = asyncio.create_task(client.post("/slow/2", headers=WAIT))
        async with app.app_context(), asyncio.timeout(DEADLINE):
            while not await jobs.jobs.find(Query(states=frozenset({State.QUEUED}))):
                await asyncio.sleep(0.005)
        go.set()
        answer = await answered(asking)

    assert await answer.get_data() == b"done 2"


# What waits.


async def test_who_waits_holds_nothing_of_the_app(parts: Parts, client: Client) -> None:
    """The request is dispatched once, and its context is left before the wait."""
    asking = asyncio.create_task(client.post("/slow", headers=WAIT))
    async with asyncio.timeout(DEADLINE):
        await parts.left.wait()
    assert not asking.done()
    parts.go.set()
    answer = await answered(asking)

    assert answer.status_code == 201
    assert parts.before == ["POST"]


async def test_a_client_that_hangs_up_cancels_nothing(
    parts: Parts, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request is over, and its job goes on to its end."""
    monkeypatch.setattr(outlasting, "SEND_TIME", 0.01)
    async with asyncio.timeout(DEADLINE):
        async with client.request("/slow", method="POST", headers=WAIT) as connection:
            await connection.send_complete()
            await parts.left.wait()
            await connection.disconnect()
    (job,) = await parts.stored()
    assert job.state is State.RUNNING
    parts.go.set()
    async with parts.app.app_context():
        job = await parts.jobs.jobs.wait(job.id, DEADLINE)

    assert job.state is State.SUCCEEDED


async def test_a_shutdown_answers_who_waits(parts: Parts) -> None:
    """With the 202, at once."""
    async with parts.app.test_app() as running:
        client = running.test_client()
        asking = asyncio.create_task(client.post("/slow", headers=WAIT))
        async with asyncio.timeout(DEADLINE):
            await parts.left.wait()
        (job,) = await parts.stored()
    answer = await answered(asking)

    assert (answer.status_code, await answer.get_json()) == (202, {"TaskId": job.id})


async def test_where_no_connection_can_wait_the_view_does(parts: Parts, client: Client) -> None:
    """In `test_request_context`, for one: the view returns the result."""
    parts.go.set()
    async with parts.app.test_request_context("/slow", method="POST", headers=WAIT) as context:
        context.request.body.set_complete()
        answer = await parts.app.full_dispatch_request(context)

    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=20"


# What hooks have said.


async def test_what_hooks_say_of_the_202_is_said_of_the_result(
    parts: Parts, client: Client
) -> None:
    """What they have added to its headers stands on the result: cookies and lists beside what the
    handler has there, all else in its place."""

    @parts.app.after_request
    async def say(response: Any) -> Any:
        session["visits"] = 1
        response.headers["Access-Control-Allow-Origin"] = "https://other.example"
        response.headers["X-Own"] = "the hook's"
        response.headers["Retry-After"] = "7"
        response.headers.add("Link", "</style.css>; rel=preload")
        response.headers.add("X-Twice", "1")
        response.headers.add("X-Twice", "2")
        response.headers.add("Preference-Applied", "return=minimal")
        response.set_cookie("seen", "yes")
        return response

    parts.go.set()
    answer = await client.post("/slow", headers=WAIT)

    assert (answer.status_code, await answer.get_data()) == (201, b"done")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://other.example"
    assert answer.headers.getlist("X-Own") == ["the hook's"]
    assert answer.headers.getlist("X-Twice") == ["1", "2"]
    assert answer.headers.getlist("Preference-Applied") == ["wait=20", "return=minimal"]
    assert "Retry-After" not in answer.headers
    assert len(answer.headers.getlist("Link")) == 2
    cookies = [cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie")]
    assert sorted(cookies) == ["seen", "session"]
    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["Content-Length"] == "4"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", sorted(submitted._OF_ACCEPTED))
async def test_what_is_true_of_a_202_alone(parts: Parts, client: Client, name: str) -> None:
    """That is not said of the result, whatever a hook says there; the docs have the whole list."""

    @parts.app.after_request
    async def say(response: Any) -> Any:
        response.headers[name] = "5"
        return response

    parts.go.set()
    answer = await answered(client.post("/slow", headers=WAIT))

    assert (answer.status_code, await answer.get_data()) == (201, b"done")
    assert "5" not in answer.headers.getlist(name)
    page = (Path(__file__).parents[1] / "docs" / "http.md").read_text()
    (listed,) = re.findall(r"what is true of a 202 alone:(.*?)\. ", page, re.DOTALL)
    assert {each.lower() for each in re.findall(r"`([\w-]+)`", listed)} == submitted._OF_ACCEPTED


@pytest.mark.parametrize("how", ["reads the body", "names an ETag", "drops Location", "anew"])
async def test_what_hooks_only_look_at_is_replaced_all_the_same(
    parts: Parts, client: Client, how: str
) -> None:
    """A hook that reads the 202, makes an ETag of it, or writes its headers anew has put nothing in
    its place; and what it says of the 202 alone is not said of the result."""

    @parts.app.after_request
    async def look(response: Any) -> Any:
        if how == "reads the body":
            assert await response.get_json()
        if how == "names an ETag":
            await response.add_etag()
        if how == "drops Location":
            del response.headers["Location"]
        if how == "anew":
            response.headers = Headers([(n.title(), value) for n, value in response.headers])
        return response

    parts.go.set()
    job = asyncio.create_task(client.post("/slow", headers=WAIT))
    answer = await answered(job)

    assert (answer.status_code, await answer.get_data()) == (201, b"done")
    assert answer.headers.getlist("Job-State") == ["succeeded"]
    job_id = answer.headers["Content-Location"].removeprefix("/slow/")
    assert answer.headers.getlist("ETag") == [f'"{job_id}.3"']
    assert len(answer.headers.getlist("Link")) == 1
    assert answer.headers["Content-Location"].startswith("/slow/")


async def test_whatever_goes_wrong_the_job_is_made(
    parts: Parts, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its submitter has the 202 then, and the log has the reason."""
    monkeypatch.setattr(submitted, "kept_by_none", None)
    parts.go.set()
    answer = await answered(client.post("/slow", headers=WAIT))

    assert answer.status_code == 202
    assert f"the result of job {(await answer.get_json())['TaskId']} is not answered" in caplog.text


@pytest.mark.parametrize(
    "what", ["another response", "another status", "another body", "its headers on another"]
)
async def test_what_hooks_put_in_the_place_of_the_202_is_sent(
    parts: Parts, client: Client, what: str
) -> None:
    """At once, as nobody is left to be answered with the result; and it does not say that the
    preference was applied, as it was not waited for."""

    @parts.app.after_request
    async def put(response: Any) -> Any:
        response.headers.add("Preference-Applied", "return=minimal")
        if what == "another response":
            return Response("instead", 202)
        if what == "its headers on another":
            return Response("instead", 202, response.headers)
        if what == "another status":
            response.status_code = 303
        else:
            response.set_data("instead")
        return response

    answer = await answered(client.post("/slow", headers=WAIT))

    assert answer.status_code == (303 if what == "another status" else 202)
    assert (await answer.get_data() == b"instead") == (what != "another status")
    applied = [] if what == "another response" else ["return=minimal"]
    assert answer.headers.getlist("Preference-Applied") == applied
    assert not parts.go.is_set()


async def test_what_a_decorator_puts_in_the_place_of_the_202_is_sent(
    parts: Parts, client: Client
) -> None:
    """As by a hook, be it an exception."""

    @parts.app.post("/refused")
    @parts.jobs.background
    async def refused() -> None: ...

    view = parts.app.view_functions["refused"]

    async def refuse(**view_args: Any) -> Any:
        await view(**view_args)
        abort(409)

    parts.app.view_functions["refused"] = refuse
    refuse._asyncjobs_background = view._asyncjobs_background  # type: ignore[attr-defined]
    answer = await answered(client.post("/refused", headers=WAIT))

    assert answer.status_code == 409


@pytest.mark.parametrize("returned", [0, 1])
async def test_a_decorator_that_makes_two_jobs(parts: Parts, client: Client, returned: int) -> None:
    """The result is that of the job whose 202 it returns."""
    numbers = iter(range(2))

    @parts.app.post("/twice")
    @parts.jobs.background
    async def twice(number: int) -> str:
        return str(number)

    view = parts.app.view_functions["twice"]

    async def submit_twice() -> Any:
        answers = [await view(number=number) for number in numbers]
        return answers[returned]

    parts.app.view_functions["twice"] = submit_twice
    submit_twice._asyncjobs_background = view._asyncjobs_background  # type: ignore[attr-defined]
    answer = await answered(client.post("/twice", headers=WAIT))

    assert (answer.status_code, await answer.get_data()) == (200, b"%d" % returned)
    assert await followed(parts) == []


@pytest.mark.parametrize("end", ["result", "202", "put", "error", "hangs up"])
async def test_a_job_is_followed_no_longer_than_somebody_waits(
    parts: Parts, client: Client, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Whatever has come of the request."""
    monkeypatch.setattr(outlasting, "SEND_TIME", 0.01)

    @parts.app.after_request
    async def say(response: Any) -> Any:
        if end == "error" and response.status_code == 202:
            raise ValueError
        return Response("instead") if end == "put" else response

    if end == "result":
        parts.go.set()
    if end == "hangs up":
        async with asyncio.timeout(DEADLINE):
            async with client.request("/slow", method="POST", headers=WAIT) as connection:
                await connection.send_complete()
                await parts.left.wait()
                await connection.disconnect()
    else:
        wait = {"Prefer": "wait=1"} if end == "202" else WAIT
        answer = await answered(client.post("/slow", headers=wait))
        expected = {"result": 201, "202": 202, "put": 200, "error": 500}
        assert answer.status_code == expected[end]
    async with asyncio.timeout(DEADLINE):
        while await followed(parts):
            await asyncio.sleep(0.005)


async def test_a_job_is_read_twice(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has ended, for all who wait, and with its response: that it was made is known to who
    has made it."""
    reads: list[tuple[str, State]] = []
    for name in ("get", "result"):
        monkeypatch.setattr(SqliteStore, name, noting(name, getattr(SqliteStore, name), reads))
    monkeypatch.setattr(watch, "REREAD_INTERVAL", 3600.0)
    parts.go.set()
    async with parts.app.test_app() as running:
        answer = await answered(running.test_client().post("/slow", headers=WAIT))

    assert answer.status_code == 201
    assert reads == [("get", State.SUCCEEDED), ("result", State.SUCCEEDED)]


def noting(name: str, read: Any, reads: list[tuple[str, State]]) -> Any:
    """`read`, a method of a store, noting the state of what it reads."""

    async def noted(*args: Any) -> Any:
        found = await read(*args)
        reads.append((name, (found if name == "get" else found[0]).state))
        return found

    return noted


async def followed(parts: Parts) -> list[str]:
    """The ids of the jobs that somebody waits for."""
    async with parts.app.app_context():
        opened = parts.jobs.jobs._opened
    assert opened is not None
    return list(opened.watch._followed)


# Behind a real server.


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.waiting:app")


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_behind_a_server(server: Server, signals: Signals, name: str, version: str) -> None:
    """Submissions that wait are answered with their results, by each version of HTTP, however many
    of them there are for a pool of five connections to a database."""
    options: Any = {"http1": False, "http2": True} if version == "HTTP/2" else {}
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, **options) as client:
        asking = [asyncio.create_task(client.get(f"/wait/{name}", headers=WAIT)) for _ in range(20)]
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE) as other:
            plain = await other.get("/plain")
        signals.send(f"{name}.go")
        answers = await asyncio.gather(*asking)

    assert plain.status_code == 200
    assert {answer.http_version for answer in answers} == {version}
    assert [answer.json() for answer in answers] == [{"waited": name}] * 20
    assert len({answer.headers["Content-Location"] for answer in answers}) == 20
