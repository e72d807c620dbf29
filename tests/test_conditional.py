"""`If-None-Match` (RFC 9110, section 13.1.2): who has an answer already is not sent it again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, Request, Response
from quart.typing import TestClientProtocol as Client
from werkzeug.datastructures import Headers

from apps.signals import Signals
from asyncjobs import QuartJobs, State, current_job
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.web.answering import known
from asyncjobs.web.http.conditional import is_held, tags_held
from conftest import Serve
from server import DEADLINE, Server, received, submit, until

#: What a 304 must have if the answer in whose place it is has that (RFC 9110, section 15.4.5), and
#: what we say of the job besides.
KEPT = ("ETag", "Cache-Control", "Content-Location", "Expires", "Vary", "Job-State", "Link")


# What is read.


def request_with(*lines: str, method: str = "GET") -> Request:
    headers = Headers([("If-None-Match", line) for line in lines])
    scope: Any = {}
    return Request(method, "http", "/", b"", headers, "", "1.1", scope, send_push_promise=None)  # type: ignore[arg-type]


def held(etag: str, *lines: str, status: int = 200) -> bool:
    """Whether a client that says this has the answer with this tag."""
    tags = tags_held(request_with(*lines))
    return tags is not None and is_held(status, etag, tags)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['"a.1"'], True),
        (['W/"a.1"'], True),
        (["*"], True),
        ([" * "], True),
        (['"b", "a.1"'], True),
        (['"b"', 'W/"a.1"'], True),
        ([',, "b" ,\t"a.1",'], True),
        (['"b,", "a.1"'], True),
        (['"a.2"'], False),
        (['"a"'], False),
        (['"b, a.1"'], False),
        (['"A.1"'], False),
        (['""'], False),
        # What cannot be read is as if it were not there, all of it.
        (["a.1"], False),
        (['"a.1'], False),
        (["'a.1'"], False),
        (['"a.1" "b"'], False),
        (['"a.1", b'], False),
        (['"b" x, "a.1"'], False),
        (['w/"a.1"'], False),
        (['W/ "a.1"'], False),
        (['*, "a.1"'], False),
        (['"*"'], False),
        (["**"], False),
        ([""], False),
        ([","], False),
        ([], False),
    ],
    ids=lambda case: ascii(case)[:40],
)
def test_the_tags_that_a_client_has(lines: list[str], expected: bool) -> None:
    """All lines are one list; tags are compared weakly, to the letter."""
    assert held('"a.1"', *lines) is expected


def test_a_tag_that_is_weak_itself() -> None:
    """A handler's `W/"x"` is that which its client names as `W/"x"`, and as `"x"`."""
    assert held('W/"x"', '"x"')
    assert held('W/"x"', 'W/"x"')
    assert not held('W/"x"', '"W/x"')


@pytest.mark.parametrize("status", [199, 301, 304, 404, 410, 500, 504])
def test_only_success_can_be_held(status: int) -> None:
    """The condition of a request whose answer is no 2xx is not looked at (section 13.2.1)."""
    assert not held('"x"', '"x"', status=status)
    assert not held('"x"', "*", status=status)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "QUERY"])
def test_other_methods_are_not_conditional(method: str) -> None:
    """It is GET and HEAD that are answered by 304."""
    assert tags_held(request_with('"x"', method=method)) is None


@given(st.lists(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")), max_size=3))
def test_whatever_it_says_is_no_error(lines: list[str]) -> None:
    """No value of the header is an error, and none that is not a list of tags is one."""
    tags = tags_held(request_with(*lines))
    written = ", ".join(lines).strip(" \t")
    assert tags is None or written == "*" or '"' in written


def test_a_long_list_that_is_none_is_refused_soon() -> None:
    """What looks like a list nearly to its end is not read again and again."""
    assert tags_held(request_with('"x" , ,' * 20_000 + "!")) is None


# What is answered.


class Parts:
    """An app whose jobs go on when a test says so."""

    def __init__(self, **options: Any) -> None:
        self.app = Quart("conditional")
        self.store = MemoryStore()
        self.jobs = QuartJobs(self.app, store=self.store, **options)
        self.go = asyncio.Event()
        self.report: asyncio.Queue[int] = asyncio.Queue()
        self.left = asyncio.Event()

        @self.app.get("/slow")
        @self.jobs.background
        async def slow() -> str:
            while (done := await self.report.get()) < 3:
                current_job.progress(done, 3)
            return "done"

        @self.app.get("/own")
        @self.jobs.background
        async def own() -> Any:
            return (
                "own",
                200,
                {
                    "ETag": 'W/"2"',
                    "Cache-Control": "max-age=60",
                    "Expires": "Thu, 01 Jan 2099 00:00:00 GMT",
                    "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
                    "Content-Location": "/there",
                    "Vary": "Accept",
                    "Content-Language": "en",
                    "X-Own": "own",
                },
            )

        @self.app.get("/status/<int:status>")
        @self.jobs.background
        async def with_status(status: int) -> Any:
            return "so", status

        @self.app.get("/raises")
        @self.jobs.background
        async def raises() -> None:
            raise ValueError("nothing")

        @self.app.get("/by-hand/<job_id>")
        async def by_hand(job_id: str) -> Response:
            return await self.jobs.poll(job_id)

        @self.app.teardown_request
        async def leave(error: BaseException | None) -> None:
            self.left.set()

    async def all_left(self) -> None:
        """Wait until a request has left its context."""
        async with asyncio.timeout(DEADLINE):
            await self.left.wait()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[Client]:
    async with parts.app.test_app() as running:
        yield running.test_client()
        parts.report.put_nowait(3)


async def finished(client: Client, path: str) -> str:
    """The poll URL of a job that has ended."""
    answer = await client.get(path, headers={"Prefer": "wait=20"})
    assert answer.headers["Job-State"] in ("succeeded", "failed")
    location = answer.headers["Link"].partition(">")[0].partition("<")[2]
    return f"{path}/{location.rpartition('/')[2]}"


def urls_of(poll: str) -> dict[str, str]:
    job_id = poll.rpartition("/")[2]
    return {
        "poll": poll,
        "status": f"/jobs/{job_id}",
        "result": f"/jobs/{job_id}/result",
        "by hand": f"/by-hand/{job_id}",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("where", ["poll", "status", "result", "by hand"])
@pytest.mark.parametrize("path", ["/slow", "/own", "/status/201"])
async def test_who_has_the_answer_is_not_sent_it_again(
    client: Client, method: str, where: str, path: str
) -> None:
    """A 304 has what the answer says of itself, of caches and of the job, and nothing of a body,
    whether the job has ended or not."""
    if path == "/slow":
        poll = str((await client.get(path)).headers["Location"])
    else:
        poll = await finished(client, path)
    url = urls_of(poll)[where]
    full = await client.get(url)
    answer = await client.open(
        url, method=method, headers={"If-None-Match": f'"other", {full.headers["ETag"]}'}
    )

    assert (answer.status_code, await answer.get_data()) == (304, b"")
    for name in KEPT:
        assert answer.headers.getlist(name) == full.headers.getlist(name), name
    assert "Content-Language" not in answer.headers
    assert "Last-Modified" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_who_has_any_answer(client: Client) -> None:
    """`*` is any answer of success, and no other."""
    any_answer = {"If-None-Match": "*"}
    succeeded, failed = await finished(client, "/own"), await finished(client, "/raises")

    assert (await client.get(succeeded, headers=any_answer)).status_code == 304
    assert (await client.get(failed, headers=any_answer)).status_code == 500
    assert (await client.get(f"/own/{'0' * 32}", headers=any_answer)).status_code == 404


@pytest.mark.parametrize("path", ["/status/404", "/status/302", "/status/503", "/raises"])
async def test_a_result_that_is_no_success_is_answered_in_full(client: Client, path: str) -> None:
    """Again and again, as its status would be lost; the status document of its job is a success."""
    poll = await finished(client, path)
    full = await client.get(poll)
    tag = {"If-None-Match": full.headers["ETag"]}
    again = await client.get(poll, headers=tag)

    assert again.status_code == full.status_code != 304
    assert await again.get_data() == await full.get_data()
    assert (await client.get(urls_of(poll)["status"], headers=tag)).status_code == 304


async def test_the_tag_names_the_job_and_its_version(parts: Parts, client: Client) -> None:
    """It changes with each change of the job, and is that of no other job; a handler's own tag
    stands in its place, and is none of ours."""
    first = (await client.get("/slow")).headers["Location"]
    second = (await client.get("/slow")).headers["Location"]
    tags = [(await client.get(poll)).headers["ETag"] for poll in (first, second)]
    parts.report.put_nowait(1)
    async with asyncio.timeout(DEADLINE):
        while (changed := (await client.get(first)).headers["ETag"]) == tags[0]:
            await asyncio.sleep(0)
    own = await finished(client, "/own")

    assert re.fullmatch(rf'"{first[-32:]}\.\d+"', tags[0])
    assert re.fullmatch(rf'"{second[-32:]}\.\d+"', tags[1])
    assert re.fullmatch(rf'"{first[-32:]}\.\d+"', changed)
    assert (await client.get(own)).headers["ETag"] == 'W/"2"'
    for ours in ('"2"', '"3"', '"1"'):
        answer = await client.get(first, headers={"If-None-Match": ours})
        assert answer.status_code == 202
    status = await client.get(urls_of(own)["status"])
    answer = await client.get(own, headers={"If-None-Match": status.headers["ETag"]})
    assert answer.status_code == 200  # it is not the tag of this result
    parts.report.put_nowait(3)


async def test_a_condition_that_cannot_be_read_is_none(client: Client) -> None:
    """Nor is `If-Modified-Since` heeded, nor a condition on what is no GET."""
    poll = await finished(client, "/own")
    late = "Thu, 01 Jan 2099 00:00:00 GMT"
    for headers in ({"If-None-Match": "2"}, {"If-Modified-Since": late}):
        answer = await client.get(poll, headers=headers)
        assert (answer.status_code, await answer.get_data()) == (200, b"own")
    cancelled = await client.delete(poll, headers={"If-None-Match": "*"})
    assert cancelled.status_code == 409


async def test_a_submission_is_not_conditional(parts: Parts, client: Client) -> None:
    """It makes another job, whatever its client has."""
    answer = await client.get("/own", headers={"If-None-Match": "*", "Prefer": "wait=20"})

    assert (answer.status_code, await answer.get_data()) == (200, b"own")


async def test_hooks_see_the_304(parts: Parts, client: Client) -> None:
    """What they add to its headers, as that of CORS, is sent."""

    @parts.app.after_request
    async def say(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = f"https://{response.status_code}.example"
        return response

    poll = await finished(client, "/own")
    answer = await client.get(poll, headers={"If-None-Match": "*"})

    assert answer.headers["Access-Control-Allow-Origin"] == "https://304.example"
    assert answer.headers["X-Own"] == "own"


# Held until it differs.


def holding(tag: str, seconds: int = 20) -> dict[str, str]:
    return {"If-None-Match": tag, "Prefer": f"wait={seconds}"}


@pytest.mark.parametrize("where", ["poll", "status", "result", "by hand"])
async def test_who_has_the_answer_waits_until_it_differs(
    parts: Parts, client: Client, where: str
) -> None:
    """Each change of the job is answered, the report of its progress as well as its end."""
    url = urls_of((await client.get("/slow")).headers["Location"])[where]
    full = await client.get(url)
    tags = [full.headers["ETag"]]
    for done, state in ((1, "running"), (2, "running"), (3, "succeeded")):
        parts.left.clear()
        asking = asyncio.create_task(client.get(url, headers=holding(tags[-1])))
        await parts.all_left()
        assert not asking.done()
        parts.report.put_nowait(done)
        async with asyncio.timeout(DEADLINE):
            answer = await asking
        assert answer.status_code == (202 if where != "status" and done < 3 else 200)
        assert answer.headers["Job-State"] == state
        assert answer.headers["Preference-Applied"] == "wait=20"
        if where == "status" and done < 3:
            assert (await answer.get_json())["progress"]["current"] == done
        tags.append(answer.headers["ETag"])
    assert len(set(tags)) == 4


@pytest.mark.parametrize("where", ["poll", "status", "result", "by hand"])
async def test_an_answer_that_does_not_change_in_time(client: Client, where: str) -> None:
    """It is a 304 then, with the preference that was obeyed."""
    url = urls_of((await client.get("/slow")).headers["Location"])[where]
    full = await client.get(url)
    answer = await client.get(url, headers=holding(full.headers["ETag"], 1))

    assert (answer.status_code, await answer.get_data()) == (304, b"")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert answer.headers["ETag"] == full.headers["ETag"]
    assert answer.headers["Job-State"] == "running"


@pytest.mark.parametrize("tag", ['"another"', "*"])
@pytest.mark.parametrize("where", ["poll", "status", "result"])
async def test_what_differs_is_answered_at_once(client: Client, where: str, tag: str) -> None:
    """Who has another answer does not wait for yet another one; nor does who has any, as none will
    differ from that."""
    url = urls_of((await client.get("/slow")).headers["Location"])[where]
    async with asyncio.timeout(DEADLINE):
        answer = await client.get(url, headers=holding(tag, 3600))

    assert answer.headers["Job-State"] == "running"
    expected = 304 if tag == "*" else {"status": 200}.get(where, 202)
    assert answer.status_code == expected


async def test_the_last_answer_does_not_change_any_more(client: Client) -> None:
    """A job that has ended is not waited for: its client is told at once that it has all."""
    for url in urls_of(await finished(client, "/status/201")).values():
        tag = (await client.get(url)).headers["ETag"]
        async with asyncio.timeout(DEADLINE):
            answer = await client.get(url, headers=holding(tag, 3600))
        assert answer.status_code == 304


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "no tag"}])
async def test_a_status_is_held_until_the_job_has_ended(
    parts: Parts, client: Client, headers: dict[str, str]
) -> None:
    """Without a tag, and with what is none: reports of progress wake nobody."""
    url = urls_of((await client.get("/slow")).headers["Location"])["status"]
    parts.left.clear()
    asking = asyncio.create_task(client.get(url, headers={**headers, "Prefer": "wait=20"}))
    await parts.all_left()
    parts.report.put_nowait(1)
    async with asyncio.timeout(DEADLINE):
        while (await (await client.get(url)).get_json())["progress"] is None:
            await asyncio.sleep(0)
    assert not asking.done()
    parts.report.put_nowait(3)
    async with asyncio.timeout(DEADLINE):
        answer = await asking

    assert (await answer.get_json())["state"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=20"


async def test_a_status_that_is_not_there_in_time(client: Client) -> None:
    """It is the document of the job as it is."""
    url = urls_of((await client.get("/slow")).headers["Location"])["status"]
    answer = await client.get(url, headers={"Prefer": "wait=1"})
    at_once = await client.get(url, headers={"Prefer": "wait=0"})

    assert (answer.status_code, (await answer.get_json())["state"]) == (200, "running")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert at_once.headers["Preference-Applied"] == "wait=0"


@pytest.mark.parametrize("where", ["poll", "status"])
async def test_where_no_connection_can_wait_the_view_does(
    parts: Parts, client: Client, where: str
) -> None:
    """In `test_request_context`, for one."""
    url = urls_of((await client.get("/slow")).headers["Location"])[where]
    tag = (await client.get(url)).headers["ETag"]

    async def ask() -> Any:
        async with parts.app.test_request_context(url, headers=holding(tag)) as context:
            return await parts.app.full_dispatch_request(context)

    asking = asyncio.create_task(ask())
    async with parts.app.app_context():
        opened = parts.jobs.jobs._opened
    assert opened is not None
    async with asyncio.timeout(DEADLINE):
        while not opened.watch._followed:
            await asyncio.sleep(0)
        parts.report.put_nowait(1)
        answer = await asking

    assert answer.headers["ETag"] != tag
    assert answer.headers["Job-State"] == "running"


async def test_a_shutdown_answers_who_waits(parts: Parts) -> None:
    """At once, with the 304 of who has the answer still."""
    async with parts.app.test_app() as running:
        client = running.test_client()
        url = (await client.get("/slow")).headers["Location"]
        tag = (await client.get(url)).headers["ETag"]
        parts.left.clear()
        asking = asyncio.create_task(client.get(url, headers=holding(tag, 3600)))
        await parts.all_left()
        asking.add_done_callback(lambda _: parts.report.put_nowait(3))  # not before it is answered
    async with asyncio.timeout(DEADLINE):
        answer = await asking

    assert (answer.status_code, answer.headers["Job-State"]) == (304, "running")


async def test_a_client_that_hangs_up_cancels_nothing(parts: Parts, client: Client) -> None:
    """Its wait is over, and its job goes on."""
    poll = (await client.get("/slow")).headers["Location"]
    tag = (await client.get(poll)).headers["ETag"]
    parts.left.clear()
    async with asyncio.timeout(DEADLINE):
        async with client.request(poll, headers=Headers(holding(tag))) as connection:
            await connection.send_complete()
            await parts.all_left()
            await connection.disconnect()
    parts.report.put_nowait(3)

    async with parts.app.app_context():
        job = await parts.jobs.jobs.wait(poll[-32:], DEADLINE)
    assert job.state is State.SUCCEEDED


# Behind a real server.


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.contract:app")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_304_on_the_wire(server: Server, method: str) -> None:
    """It ends with its head, which has a date and no length, so that the next answer follows."""
    with server.client() as client, server.connect() as connection:
        poll = submit(client, "GET", "/foo")
        tag = until(
            lambda: (
                answer.headers["ETag"] if (answer := client.get(poll)).status_code == 200 else None
            ),
            "that the job has ended",
        )
        asked = f"{method} {poll} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n"
        connection.sendall(f"{asked}\r\n{asked}Connection: close\r\n\r\n".encode())
        answers = received(connection).decode().lower().split("\r\n\r\n")

    assert len(answers) == 3
    assert answers.pop() == ""
    for answer in answers:
        assert answer.startswith("http/1.1 304 ")
        assert "\r\ndate: " in answer
        assert f"\r\netag: {tag}" in answer
        assert "content-length" not in answer
        assert "\r\ncontent-type" not in answer
        assert "transfer-encoding" not in answer


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_held_behind_a_server(
    server: Server, signals: Signals, name: str, version: str
) -> None:
    """By each version of HTTP."""
    options: Any = {"http1": False, "http2": True} if version == "HTTP/2" else {}
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, **options) as client:
        poll = (await client.get(f"/wait/{name}")).headers["Location"]
        tag = (await client.get(poll)).headers["ETag"]
        same = await client.get(poll, headers=holding(tag, 1))
        asking = asyncio.create_task(client.get(poll, headers=holding(tag)))
        signals.send(f"{name}.go")
        answer = await asking
    assert (same.status_code, same.http_version, same.content) == (304, version, b"")
    assert answer.status_code == 200


# What it takes.


async def test_a_result_that_its_client_has_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first conditional poll reads it once, with its headers; from then on a 304 takes a read
    of the job alone, and what its client does not have is read in full."""
    app = Quart("reads")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")
    reads: list[str] = []

    @app.get("/large")
    @jobs.background
    async def large() -> Any:
        return bytes(100_000), 200, {"Cache-Control": "max-age=60"}

    for name in ("get", "result"):
        monkeypatch.setattr(SqliteStore, name, noting(name, getattr(SqliteStore, name), reads))
    async with app.test_app() as running:
        client = running.test_client()
        poll = await finished(client, "/large")
        tag = (await client.get(poll)).headers["ETag"]
        told = []
        for condition in (tag, tag, "*", '"another"', tag):
            del reads[:]
            answer = await client.get(poll, headers={"If-None-Match": condition})
            assert answer.headers["Cache-Control"] == "max-age=60"
            assert answer.headers["ETag"] == tag
            told.append((answer.status_code, len(await answer.get_data()), [*reads]))

    assert told == [
        (304, 0, ["get", "result"]),
        (304, 0, ["get"]),
        (304, 0, ["get"]),
        (200, 100_000, ["get", "result"]),
        (304, 0, ["get"]),
    ]


def noting(name: str, read: Any, reads: list[str]) -> Any:
    """`read`, a method of a store, noting that it was called."""

    async def noted(*args: Any) -> Any:
        reads.append(name)
        return await read(*args)

    return noted


async def test_no_more_than_so_many_results_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that was asked for is forgotten first, and then read again."""
    monkeypatch.setattr(known, "KNOWN", 2)
    parts = Parts()
    async with parts.app.test_app() as running:
        client = running.test_client()
        for _ in range(4):
            poll = await finished(client, "/own")
            for _ in range(2):
                answer = await client.get(poll, headers={"If-None-Match": '"2"'})
                assert answer.status_code == 304
        status: Any = parts.app.view_functions["asyncjobs_status"]
        assert len(status.__self__._known._heads) == 2


TAGS = {
    "none": [],
    "strong": ['"2"'],
    "weak": ['W/"2"'],
    "two": ['"2"', '"3"'],
    "without quotes": ["2"],
    "empty": [""],
}


@pytest.mark.parametrize("own", TAGS)
async def test_what_is_known_has_the_tag_of_the_full_answer(own: str) -> None:
    """Whatever tags a handler gives, and however many: a client is answered by what is known as by
    the result itself, whose tag is the first of them, or ours (RFC 9110, section 8.8.3)."""
    parts = Parts()

    @parts.app.get("/tagged")
    @parts.jobs.background
    async def tagged() -> Response:
        return Response("tagged", headers=Headers([("ETag", tag) for tag in TAGS[own]]))

    async with parts.app.test_app() as running:
        client = running.test_client()
        poll = await finished(client, "/tagged")
        ours = (await client.get(urls_of(poll)["status"])).headers["ETag"]
        tag = [*TAGS[own], ours][0]
        for said in ('"2"', '"3"', ours, "*"):
            forget(parts)
            by_result, by_known = [
                await client.get(poll, headers={"If-None-Match": said}) for _ in range(2)
            ]
            assert by_result.headers["ETag"] == tag
            assert by_known.status_code == by_result.status_code
            assert [*by_known.headers] == [*by_result.headers]


def forget(parts: Parts) -> None:
    """Have no results be known."""
    status: Any = parts.app.view_functions["asyncjobs_status"]
    status.__self__._known._heads.clear()


async def test_a_result_is_known_at_its_version_alone(parts: Parts, client: Client) -> None:
    """A job that is retried, and ends once more, has another tag and another result."""
    poll = await finished(client, "/raises")
    async with parts.app.app_context():
        jobs = parts.jobs.jobs
    tag = (await client.get(poll)).headers["ETag"]
    assert (await client.get(poll, headers={"If-None-Match": tag})).status_code == 500
    await jobs.retry(poll[-32:])
    await jobs.wait(poll[-32:], DEADLINE)
    answer = await client.get(poll, headers={"If-None-Match": tag})

    assert answer.status_code == 500
    assert answer.headers["ETag"] != tag
