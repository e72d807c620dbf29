"""`key=` on the decorator: while a job with a key is kept, and has not failed, it is the one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, abort, request
from quart.typing import TestClientProtocol as Client

from asyncjobs import Jobs, QuartJobs, Query, State, Store
from asyncjobs.errors import KeyReused, ShuttingDown, StoreUnavailable
from asyncjobs.events import Submitted
from asyncjobs.handler import RouteSettings
from asyncjobs.job import Job, Request, Response
from asyncjobs.key import MAX_KEY_BYTES, Key
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import purge_all
from heard import heard, job_of
from test_idempotency import WAIT, HeldApp, id_of, is_repeat

DEADLINE = 20


class Reports(HeldApp):
    """One whose reports end when a test says so, each with the status in its query, and have the
    key that is in there."""

    def __init__(self, store: Store, key: Callable[[], Any], **options: Any) -> None:
        super().__init__("reports", store)
        self.ran = 0

        @self.app.post("/reports/<name>")
        @self.jobs.background(key=key, **options)
        async def report(name: str) -> tuple[str, int]:
            self.ran += 1
            await self.go.wait()
            return name, int(request.args.get("status", "200"))


def in_query() -> str | None:
    return request.args.get("key")


async def in_query_later() -> str | None:
    await asyncio.sleep(0)
    return request.args.get("key")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


@pytest.fixture
def reports(store: Store) -> Reports:
    return Reports(store, in_query)


@pytest.fixture
async def client(reports: Reports) -> AsyncIterator[Client]:
    async with reports.open() as client:
        yield client


@pytest.mark.parametrize("key", [in_query, in_query_later], ids=["sync", "async"])
async def test_one_key_is_one_job(store: Store, key: Callable[[], Any]) -> None:
    """Whatever the requests are: the second one is answered with the job of the first, at its own
    URL; other keys are other jobs, and without one each request is a job."""
    reports = Reports(store, key)
    async with reports.open() as client:
        first = await client.post("/reports/a?key=1")
        repeat = await client.post("/reports/b?key=1&status=204", data=b"other")
        other = await client.post("/reports/a?key=2")
        without = [await client.post("/reports/a") for _ in range(2)]
        assert (repeat.status_code, is_repeat(repeat)) == (202, True)
        assert repeat.headers["Location"] == first.headers["Location"]
        assert await repeat.get_data() == await first.get_data()
        ids = {id_of(answer) for answer in (first, other, *without)}
        assert len(ids) == len(await reports.all_jobs()) == 4
        reports.go.set()
        result = await client.get(repeat.headers["Location"], headers=WAIT)
        assert await result.get_data() == b"a"
    assert reports.ran == 4


async def test_of_many_at_once_one_is_made(reports: Reports, client: Client) -> None:
    """Those that come while none is stored have one job, each of them."""
    answers = await asyncio.gather(
        *(client.post(f"/reports/{number}?key=1") for number in range(50))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sorted(map(is_repeat, answers)) == [False] + [True] * 49


@pytest.mark.parametrize("of", ["client", "route"])
async def test_many_at_once_take_one_place_in_the_queue(store: Store, of: str) -> None:
    """Where there is room for one job more, those that come while it is stored are answered with
    it; and where there is room for others, these are let in."""
    reports = Reports(store, in_query, concurrency=1)
    reports.app.config["QUART_JOBS_MAX_QUEUED"] = 1

    async def ask(name: str, number: int = 0) -> Any:
        if of == "client":
            return await client.post("/reports/a", headers={"Idempotency-Key": name})
        return await client.post(f"/reports/{number}?key={name}")

    async with reports.open() as client:
        running = await ask("runs")
        assert running.headers["Job-State"] == "running"
        answers = await asyncio.gather(*(ask("waits", number) for number in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert (await ask("too-many")).status_code == 503


async def test_who_waits_for_the_first_does_not_fail_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first request of many comes to nothing while it is stored, one of the others is the
    first, for which they wait in turn: where there is room for one job more, there is for all."""
    reports = Reports(store, in_query, concurrency=1)
    reports.app.config["QUART_JOBS_MAX_QUEUED"] = 2  # the first one counts for a while
    async with reports.open() as client:
        running = await client.post("/reports/a?key=0")
        assert running.headers["Job-State"] == "running"
        tried, all_ask = asyncio.Event(), asyncio.Event()
        add, keyed, asked = store.add, store.keyed, 0

        async def add_nothing(*args: Any) -> Job:
            monkeypatch.setattr(store, "add", add)
            tried.set()
            await all_ask.wait()
            raise StoreUnavailable("the disk has gone")

        async def keyed_and_counted(key: Key) -> Job | None:
            nonlocal asked
            asked += 1
            if asked == 6:  # the others have asked, and wait
                all_ask.set()
            return await keyed(key)

        monkeypatch.setattr(store, "add", add_nothing)
        monkeypatch.setattr(store, "keyed", keyed_and_counted)
        first = asyncio.create_task(client.post("/reports/a?key=1"))
        await tried.wait()
        async with asyncio.timeout(DEADLINE):
            repeats = await asyncio.gather(*(client.post("/reports/a?key=1") for _ in range(5)))
        reports.go.set()
        assert (await first).status_code == 503
        assert {answer.status_code for answer in repeats} == {202}
        assert len({answer.headers["Location"] for answer in repeats}) == 1
        assert sorted(map(is_repeat, repeats)) == [False] + [True] * 4


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_job_that_has_failed_has_its_key_no_more(
    reports: Reports, client: Client, status: int
) -> None:
    """One that has succeeded is the one until it is forgotten; after one that has failed the next
    request is a job."""
    reports.go.set()
    first = await client.post(f"/reports/a?key=1&status={status}", headers=WAIT)
    assert first.status_code == status
    second = await client.post("/reports/a?key=1", headers=WAIT)
    if status == 500:
        assert (second.status_code, id_of(second) != id_of(first)) == (200, True)
        return
    assert (second.status_code, id_of(second)) == (status, id_of(first))
    job = await reports.store.get(id_of(first))
    assert job.expires is not None
    await purge_all(reports.store, job.expires + 1)
    third = await client.post("/reports/a?key=1", headers=WAIT)
    assert (third.status_code, id_of(third) != id_of(first)) == (200, True)


async def test_a_job_that_was_cancelled_has_its_key_no_more(
    reports: Reports, client: Client
) -> None:
    """The next request is a job; and if an operator has the first one run again, both do."""
    first = await client.post("/reports/a?key=1")
    await client.delete(first.headers["Location"])
    cancelled = await client.get(first.headers["Location"], headers=WAIT)
    assert cancelled.status_code == 410
    second = await client.post("/reports/a?key=1")
    assert id_of(second) != id_of(first)

    async with reports.app.app_context():
        await reports.jobs.jobs.retry(id_of(first))
    reports.go.set()
    for answer in (first, second):
        done = await client.get(answer.headers["Location"], headers=WAIT)
        assert done.status_code == 200
    assert id_of(await client.post("/reports/a?key=1")) == id_of(second)


async def test_each_owner_has_keys_of_his_own(reports: Reports, client: Client) -> None:
    """Nobody is answered with a job of somebody else's."""
    users = [{}, {"X-User": "ada"}, {"X-User": "bob"}]
    first = [await client.post("/reports/a?key=1", headers=user) for user in users]
    again = [await client.post("/reports/a?key=1", headers=user) for user in users]
    assert len({id_of(answer) for answer in first}) == 3
    assert [id_of(answer) for answer in again] == [id_of(answer) for answer in first]


async def test_a_header_goes_before_the_key_of_the_route(store: Store) -> None:
    """Of a request with `Idempotency-Key` that is the key, and the route's is not asked for; a key
    of a client is never one of a route, though it is called the same."""
    asked: list[str] = []

    def key() -> str | None:
        asked.append(request.path)
        return in_query()

    reports = Reports(store, key)
    header = {"Idempotency-Key": "1"}
    async with reports.open() as client:
        by_header = await client.post("/reports/a?key=1", headers=header)
        assert asked == []
        by_route = await client.post("/reports/a?key=1")
        assert len(asked) == 1
        again = await client.post("/reports/a?key=1", headers=header)
        other = await client.post("/reports/b?key=1", headers=header)
    assert id_of(by_header) == id_of(again) != id_of(by_route)
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (7, TypeError, "what key= of 'report' returns must be a str, not 7"),
        (b"1", TypeError, "must be a str"),
        (["a"], TypeError, "must be a str"),
        (True, TypeError, "must be a str"),
        ("", ValueError, "must have 1 to 255 bytes in UTF-8, not 0"),
        ("a" * (MAX_KEY_BYTES + 1), ValueError, "must have 1 to 255 bytes in UTF-8, not 256"),
        ("\N{SNOWMAN}" * 86, ValueError, "not 258: take a hash of what is longer"),
        ("\udcff", ValueError, "lone surrogate"),
    ],
    ids=["int", "bytes", "list", "bool", "empty", "long", "long in UTF-8", "surrogate"],
)
async def test_what_is_no_key_is_an_error_of_the_apps(
    store: Store, said: Any, error: type[Exception], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It makes no job: the client has the app's own 500, and the log says what is wrong."""
    reports = Reports(store, lambda: said)
    async with reports.open() as client:
        answer = await client.post("/reports/a")
        assert answer.status_code == 500
        assert await reports.all_jobs() == []
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(each) for each in raised] == [error]
    assert message in str(raised[0])


@pytest.mark.parametrize("said", ["a" * MAX_KEY_BYTES, "\N{SNOWMAN}" * 85, " ", "\0", '"a'])
async def test_any_other_text_is_a_key(store: Store, said: str) -> None:
    """It need not be one that a client could send."""
    reports = Reports(store, lambda: said)
    async with reports.open() as client:
        answers = [await client.post("/reports/a") for _ in range(2)]
    assert len({id_of(answer) for answer in answers}) == 1


async def test_a_key_may_refuse_the_request(store: Store) -> None:
    """What it aborts with is the answer, as in any function of a request."""

    def key() -> str:
        abort(403)

    reports = Reports(store, key)
    async with reports.open() as client:
        assert (await client.post("/reports/a")).status_code == 403
        assert await reports.all_jobs() == []


async def test_the_example_of_the_docs() -> None:
    """It makes one report of each year."""
    page = (Path(__file__).parents[1] / "docs" / "http.md").read_text()
    (section,) = re.findall(r"\n## Repeating safely\n(.*?)\n## ", page, re.DOTALL)
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    app = Quart("example")
    jobs = QuartJobs(app, store="memory:")
    exec(example, {"app": app, "jobs": jobs, "request": request})
    async with app.test_app() as running:
        client = running.test_client()
        answers = [await client.post(f"/reports/{year}") for year in (2025, 2026, 2025)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert [is_repeat(answer) for answer in answers] == [False, False, True]


# What `Jobs` does with keys.


REQUEST = Request("POST", "/work")


class Work:
    """A program whose jobs end when a test says so."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.jobs = Jobs(store=store, name="work", **options)
        self.go = asyncio.Event()
        self.ran = 0

        async def perform(request: Request) -> Response:
            self.ran += 1
            await self.go.wait()
            return Response(200)

        handler = RouteSettings().handler("work", perform, self.jobs.settings, threaded=False)
        self.jobs.register(handler)

    async def accept(self, key: Key | None = None) -> Job:
        job, _ = await self.jobs.accept("work", REQUEST, key=key)
        return job


KEY = Key(b"k" * 16, b"f" * 16)


async def test_a_repeat_takes_no_slot(store: Store) -> None:
    """Of many that come at once one job is made, and the slots that the others were to have are
    free again; nothing is told of them, nor is anything in doubt."""
    work = Work(store, concurrency=10)
    async with work.jobs as jobs:
        with heard(jobs) as events:
            first, *others = await asyncio.gather(*(work.accept(KEY) for _ in range(8)))
            assert others == [first] * 7
            more = [await work.accept() for _ in range(9)]
            assert {job.state for job in (first, *more)} == {State.RUNNING}
            told = [job_of(event) for event in events.all if isinstance(event, Submitted)]
            assert told == [job.id for job in (first, *more)]
        assert jobs._opened is not None
        assert jobs._opened.claims._doubted == {}
        work.go.set()
        await jobs.wait(first.id, DEADLINE)
        assert await work.accept(KEY) == await jobs.get(first.id)
    assert work.ran == 10


async def test_a_new_job_is_told_from_an_earlier_one(store: Store) -> None:
    """One of many that come at once is told that its job is new, and none of those that come
    later."""
    work = Work(store)
    async with work.jobs as jobs:
        accepted = await asyncio.gather(*(jobs.accept("work", REQUEST, key=KEY) for _ in range(8)))
        assert sorted(is_new for _, is_new in accepted) == [False] * 7 + [True]
        again = await jobs.accept("work", REQUEST, key=KEY)
        assert again == (accepted[0][0], False)
        work.go.set()


async def test_a_key_is_looked_at_before_all_that_refuses(store: Store) -> None:
    """A program that stops gives the job that there is, and refuses another one, be it for the key
    or for the stop."""
    work = Work(store)
    async with work.jobs as jobs:
        work.go.set()
        first = await work.accept(KEY)
        await jobs.drain()
        assert (await work.accept(KEY)).id == first.id
        with pytest.raises(KeyReused):
            await work.accept(Key(KEY.digest, b"g" * 16))
        with pytest.raises(ShuttingDown):
            await work.accept(Key(b"l" * 16, b"f" * 16))


async def test_a_caller_who_goes_leaves_one_job(store: Store) -> None:
    """Who is cancelled while the job is stored, and repeats that, has that job, or a new one: never
    two."""
    work = Work(store, concurrency=2)
    async with work.jobs as jobs:
        for number in range(10):
            key = Key(bytes([number]) * 16, b"f" * 16)
            accepting = asyncio.create_task(work.accept(key))
            for _ in range(number):
                await asyncio.sleep(0)
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            job = await work.accept(key)
            kept = [each.id for each in await jobs.find(Query(limit=1000))]
            assert job.id in kept
            assert len(kept) == number + 1
        work.go.set()
