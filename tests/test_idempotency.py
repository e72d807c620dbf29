"""`Idempotency-Key`: a submission that is repeated is the same job."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart, Response, abort, request
from quart.typing import TestClientProtocol as Client
from werkzeug.datastructures import Headers

from asyncjobs import Job, Jobs, QuartJobs, Query, State, Store, current_job, transitions, watch
from asyncjobs.errors import StoreUnavailable
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import INTERRUPTED, RESPONSE, purge_all

DEADLINE = 20
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
WAIT = {"Prefer": "wait=20"}


MALFORMED = {
    "empty": [""],
    "blank": [" "],
    "an empty string": ['""'],
    "no end": ['"abc'],
    "an end alone": ['abc"'],
    "a wrong escape": ['"a\\b"'],
    "two strings": ['"abc", "def"'],
    "two words": ["abc def"],
    "two in a list": ["abc, abc"],
    "a word with a parameter": ["abc;a=1"],
    "more than ASCII": ["\N{LATIN SMALL LETTER E WITH ACUTE}"],
    "more than ASCII in a string": ['"\N{LATIN SMALL LETTER E WITH ACUTE}"'],
    "too long": ["a" * 256],
    "a string that is too long": [f'"{"a" * 256}"'],
    "given twice": ["abc", "abc"],
}


# What is answered.


class HeldApp:
    """An app whose jobs end when a test says so, each for who says in a header who they are."""

    def __init__(self, name: str, store: Store, /, **options: Any) -> None:
        self.app = Quart(name)
        self.store = store
        self.jobs = QuartJobs(
            self.app, store=store, owner=lambda: request.headers.get("X-User"), **options
        )
        self.go = asyncio.Event()

    async def all_jobs(self) -> list[Job]:
        return await self.store.find(Query())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        async with self.app.test_app() as running:
            yield running.test_client()
            self.go.set()


class Shop(HeldApp):
    """One of which the runs are noted."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__("shop", store, **options)
        self.ran: list[str] = []
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"]
        rule = {"methods": methods, "defaults": {"item": ""}}
        for endpoint in ("orders", "returns"):
            view = self.jobs.background(self.work)
            self.app.add_url_rule(f"/{endpoint}", endpoint, view, **rule)
            self.app.add_url_rule(f"/{endpoint}/of/<item>", endpoint, view, methods=methods)

    async def work(self, item: str) -> Any:
        self.ran.append(current_job.id)
        await self.go.wait()
        if item == "broken":
            raise ValueError("there is no such item")
        return "done", 201, {"X-Own": "own"}


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, path: Path) -> Callable[[], Store]:
    return MemoryStore if request.param == "memory" else lambda: SqliteStore(path)


@pytest.fixture
def shop(make_store: Callable[[], Store]) -> Shop:
    return Shop(make_store())


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[Client]:
    async with shop.open() as client:
        yield client


def id_of(answer: Response) -> str:
    """The id of the job that an answer is about."""
    where = answer.headers.get("Location") or answer.headers["Content-Location"]
    return str(where).rpartition("/")[2]


def is_repeat(answer: Response) -> bool:
    said = answer.headers.get("Idempotent-Replayed")
    assert said in (None, "true")
    return said is not None


async def problem_of(answer: Response) -> tuple[int, str, str]:
    document = await answer.get_json()
    return answer.status_code, document["type"], document["detail"]


async def final(client: Client, answer: Response, **headers: str) -> Response:
    polled = await client.get(answer.headers["Location"], headers={**WAIT, **headers})
    assert polled.headers["Job-State"] not in ("queued", "running")
    return polled


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"])
async def test_a_repeat_is_answered_as_the_first_time(
    shop: Shop, client: Client, method: str
) -> None:
    """Whatever the method is: it gets the same 202, which says that it is a repeat's; there is one
    job, which runs once."""
    first = await client.open("/orders?a=1", method=method, headers=KEY)
    repeat = await client.open("/orders?a=1", method=method, headers=KEY)

    assert (first.status_code, is_repeat(first)) == (202, False)
    assert (repeat.status_code, is_repeat(repeat)) == (202, True)
    assert await repeat.get_data() == await first.get_data()
    del repeat.headers["Idempotent-Replayed"]
    assert [*repeat.headers] == [*first.headers]
    shop.go.set()
    assert (await final(client, first)).status_code == 201
    assert shop.ran == [id_of(first)]
    assert len(await shop.all_jobs()) == 1


async def test_the_two_spellings_are_one_key(shop: Shop, client: Client) -> None:
    """`abc` and `"abc"` are one key, also to a client that changes its mind."""
    answers = [
        await client.post("/orders", headers={"Idempotency-Key": key}) for key in ("abc", '"abc"')
    ]
    assert len({id_of(answer) for answer in answers}) == len(await shop.all_jobs()) == 1


async def test_without_a_key_each_request_is_a_job(shop: Shop, client: Client) -> None:
    """Nothing is guessed: two requests without a key are two jobs, as ever."""
    answers = [await client.post("/orders") for _ in range(2)]
    assert len({id_of(answer) for answer in answers}) == len(await shop.all_jobs()) == 2
    assert not any(map(is_repeat, answers))


@pytest.mark.parametrize("state", [State.QUEUED, *(each for each in State if each.is_final)])
async def test_the_job_is_the_same_whatever_its_state(
    make_store: Callable[[], Store], state: State
) -> None:
    """The 202 of a repeat is as it was, and tells how the job does now: also once that has ended,
    however it has."""
    shop = Shop(make_store(), concurrency=1)
    async with shop.open() as client:
        if state in (State.QUEUED, State.CANCELLED):
            await client.post("/returns")  # which has the only slot
        path = "/orders/of/broken" if state is State.FAILED else "/orders"
        first = await client.post(path, headers=KEY)
        if state is State.CANCELLED:
            assert (await client.delete(first.headers["Location"])).status_code == 200
        elif state is State.INTERRUPTED:
            (job,) = await shop.all_jobs()
            ended = transitions.interrupt(job, job.created, INTERRUPTED)
            await shop.store.replace(job, ended, RESPONSE)
        elif state.is_final:
            shop.go.set()
            await final(client, first)

        repeat = await client.post(path, headers=KEY)

        assert (repeat.status_code, repeat.headers["Job-State"]) == (202, state)
        assert await repeat.get_data() == await first.get_data()
        assert repeat.headers["Location"] == first.headers["Location"]
        assert is_repeat(repeat)


@pytest.mark.parametrize("preferred", ["wait=20", "wait=0"])
async def test_a_repeat_that_waits_has_the_result_at_once(
    shop: Shop, client: Client, preferred: str
) -> None:
    """Once the job has ended, who prefers to wait is answered with its result, however long they
    would wait."""
    shop.go.set()
    first = await client.post("/orders", headers=KEY)
    await final(client, first)

    repeat = await client.post("/orders", headers={**KEY, "Prefer": preferred})

    assert (repeat.status_code, await repeat.get_data()) == (201, b"done")
    assert repeat.headers["X-Own"] == "own"
    assert repeat.headers["Content-Location"] == first.headers["Location"]
    assert repeat.headers["Preference-Applied"] == preferred
    assert repeat.headers["Job-State"] == "succeeded"
    assert is_repeat(repeat)


async def test_repeats_that_wait_have_the_result_when_it_is_there(
    shop: Shop, client: Client
) -> None:
    """Who has made the job, and all who repeat that meanwhile, have the result of the one job."""
    first = await client.post("/orders", headers=KEY)
    repeats = [
        asyncio.create_task(client.post("/orders", headers={**KEY, **WAIT})) for _ in range(5)
    ]
    async with shop.app.app_context(), asyncio.timeout(DEADLINE):
        opened = shop.jobs.jobs._opened
        assert opened is not None
        while not opened.watch._followed or len(opened.watch._followed[id_of(first)].followers) < 5:
            await asyncio.sleep(0.005)
        shop.go.set()
        answers = await asyncio.gather(*repeats)

    assert {answer.status_code for answer in answers} == {201}
    assert {id_of(answer) for answer in answers} == {id_of(first)}
    assert all(map(is_repeat, answers))
    assert shop.ran == [id_of(first)]


async def test_a_job_that_ends_before_it_is_followed(
    make_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat that has found the job running, and begins to wait when it has ended, has the result
    at once: it looks once more, and no hint has to tell it."""
    monkeypatch.setattr(watch, "REREAD_INTERVAL", 3600)
    shop, accept = Shop(make_store()), Jobs.accept

    async def accept_late(self: Jobs, *args: Any, **options: Any) -> tuple[Job, bool]:
        job, is_new = await accept(self, *args, **options)
        shop.go.set()
        assert (await self.wait(job.id, DEADLINE)).state.is_final
        return job, is_new

    async with shop.open() as client:
        first = await client.post("/orders", headers=KEY)
        monkeypatch.setattr(Jobs, "accept", accept_late)
        repeat = await client.post("/orders", headers={**KEY, **WAIT})
    assert (repeat.status_code, id_of(repeat)) == (201, id_of(first))


async def test_a_result_that_is_gone_just_then_is_no_202(
    shop: Shop, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat of a job that had ended, and whose result cannot be read a moment later, is to be
    sent again: a 202 whose state is a final one would be taken for the handler's own."""
    shop.go.set()
    first = await client.post("/orders", headers=KEY)
    await final(client, first)

    async def poll(self: Jobs, job_id: str, **options: Any) -> Any:
        raise StoreUnavailable("the disk cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(Jobs, "poll", poll)
        answer = await client.post("/orders", headers={**KEY, **WAIT})
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert (await problem_of(answer))[1] == "urn:asyncjobs:problem:store-unavailable"
    again = await client.post("/orders", headers={**KEY, **WAIT})
    assert (again.status_code, id_of(again)) == (201, id_of(first))


@pytest.mark.parametrize("headers", [{}, WAIT], ids=["with the 202", "with the result"])
async def test_of_many_at_once_one_is_the_first(
    shop: Shop, client: Client, headers: dict[str, str]
) -> None:
    """However many come while none of them is stored, all have the same job; all but one of them
    are repeats."""
    if headers:
        shop.go.set()
    asked = [client.post("/orders", headers={**KEY, **headers}) for _ in range(50)]
    answers = await asyncio.gather(*asked)

    assert {answer.status_code for answer in answers} == {201 if headers else 202}
    assert len({id_of(answer) for answer in answers}) == len(await shop.all_jobs()) == 1
    assert sorted(map(is_repeat, answers)) == [False] + [True] * 49
    shop.go.set()
    if not headers:
        await final(client, answers[0])
    assert len(shop.ran) == 1


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/orders/of/a", {"method": "PUT"}),
        ("/orders/of/b", {}),
        ("/orders/of/a?x=1", {}),
        ("/orders/of/a", {"data": b"other"}),
        ("/orders/of/a", {"headers": {"Content-Type": "text/html"}}),
    ],
    ids=["method", "path", "query", "body", "content type"],
)
async def test_another_request_is_refused(
    shop: Shop, client: Client, url: str, options: dict[str, Any]
) -> None:
    """With a key that another request had it makes no job, and is told so by a 422; the first one
    can still be repeated."""
    usual = {"method": "POST", "data": b"body", "headers": {"Content-Type": "text/plain"}}
    usual["headers"] = {**KEY, "Content-Type": "text/plain"}
    first = await client.open("/orders/of/a", **usual)
    options = {**usual, **options}
    other = await client.open(url, **{**options, "headers": {**options["headers"], **KEY}})
    again = await client.open("/orders/of/a", **usual)

    status, kind, detail = await problem_of(other)
    assert (status, kind) == (422, "urn:asyncjobs:problem:idempotency-key-reused")
    assert "take a new key" in detail
    assert id_of(again) == id_of(first)
    assert len(await shop.all_jobs()) == 1


async def test_of_many_other_requests_at_once_one_is_the_first(shop: Shop, client: Client) -> None:
    """Of requests that differ, and come at once with one key, one is a job, and all others are
    refused."""
    asked = [client.post(f"/orders/of/{number}", headers=KEY) for number in range(50)]
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 49
    assert len(await shop.all_jobs()) == 1


async def test_a_key_is_known_on_its_route_alone(shop: Shop, client: Client) -> None:
    """Another route may have the same key: that is another job."""
    order = await client.post("/orders", headers=KEY)
    taken_back = await client.post("/returns", headers=KEY)
    assert (order.status_code, taken_back.status_code) == (202, 202)
    assert id_of(order) != id_of(taken_back)


async def test_nobody_gets_anybody_elses_job(shop: Shop, client: Client) -> None:
    """Each owner has the key for himself, and so has who is nobody: also where owners are called
    alike."""
    users = [{}, *({"X-User": name} for name in ("ada", "bob", "None", "ada bob", "a"))]
    first = [await client.post("/orders", headers={**KEY, **user}) for user in users]
    again = [await client.post("/orders", headers={**KEY, **user}) for user in users]

    assert len({id_of(answer) for answer in first}) == len(users)
    assert [id_of(answer) for answer in again] == [id_of(answer) for answer in first]
    for user, answer in zip(users, again, strict=True):
        assert (await client.get(answer.headers["Location"], headers=user)).status_code == 202
    job = await shop.store.get(id_of(again[1]))
    assert job.owner == "ada"


async def test_a_key_is_known_to_its_program_alone(path: Path) -> None:
    """Two programs on one store, with a route of the same name, have each its own job."""
    shops = [Shop(SqliteStore(path), name=name) for name in ("one", "two")]
    async with shops[0].open() as one, shops[1].open() as two:
        answers = [await client.post("/orders", headers=KEY) for client in (one, two)]
    assert len({id_of(answer) for answer in answers}) == 2
    assert not any(map(is_repeat, answers))


@pytest.mark.parametrize("kind", ["host", "subdomain"])
async def test_a_key_is_known_at_its_host_alone(kind: str) -> None:
    """Where an app tells hosts apart, what is asked of one is not asked of the other; a repeat
    may write the host in capitals."""
    if kind == "host":
        app = Quart("hosts", host_matching=True, static_host="static.example.com")
        where = {"host": "<tenant>.example.com"}
    else:
        app = Quart("hosts", subdomain_matching=True)
        app.config["SERVER_NAME"] = "example.com"
        where = {"subdomain": "<tenant>"}
    jobs = QuartJobs(app, store="memory:")

    @app.post("/orders", **where)
    @jobs.background
    async def orders(tenant: str) -> str:
        return tenant

    async with app.test_app() as running:
        client = running.test_client()
        answers = [
            await client.post("/orders", headers={**KEY, **WAIT, "Host": f"{host}.example.com"})
            for host in ("ada", "bob", "ADA")
        ]
        said = [await answer.get_data(as_text=True) for answer in answers]
    assert said == ["ada", "bob", "ada"]
    assert [is_repeat(answer) for answer in answers] == [False, False, True]


@pytest.mark.parametrize("values", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_key_is_refused(shop: Shop, client: Client, values: list[str]) -> None:
    """It makes no job: the 400 names the header, and says what it may be."""
    headers = Headers([("Idempotency-Key", value.encode().decode("latin-1")) for value in values])
    answer = await client.post("/orders", headers=headers)

    status, kind, detail = await problem_of(answer)
    assert (status, kind) == (400, "urn:asyncjobs:problem:invalid-request")
    assert detail.startswith("Idempotency-Key must be a string")
    assert await shop.all_jobs() == []


async def test_what_makes_no_job_has_no_key(shop: Shop, client: Client) -> None:
    """HEAD, OPTIONS and polls are answered as ever, whatever key they come with."""
    wrong = {"Idempotency-Key": '"'}
    assert (await client.head("/orders", headers=wrong)).status_code == 202
    assert (await client.options("/orders", headers=wrong)).status_code == 200
    first = await client.post("/orders", headers=KEY)
    job_id = id_of(first)
    for url, status in ((first.headers["Location"], 202), (f"/jobs/{job_id}", 200)):
        answer = await client.get(url, headers=wrong)
        assert (answer.status_code, is_repeat(answer)) == (status, False)
    assert len(await shop.all_jobs()) == 1


# For how long.


async def test_a_key_holds_for_as_long_as_the_job_is_kept(shop: Shop, client: Client) -> None:
    """Once the job is forgotten the same request is a new one, and so is another one."""
    shop.go.set()
    first = await client.post("/orders", headers=KEY)
    await final(client, first)
    assert id_of(await client.post("/orders", headers=KEY)) == id_of(first)

    job = await shop.store.get(id_of(first))
    assert job.expires is not None
    assert await purge_all(shop.store, job.expires + 1) == 1
    second = await client.post("/orders/of/other", headers=KEY)

    assert (second.status_code, is_repeat(second)) == (202, False)
    assert id_of(second) != id_of(first)


async def test_a_job_that_is_retried_is_the_same(shop: Shop, client: Client) -> None:
    """When an operator has it run once more, a repeat gets its new result."""
    shop.go.set()
    first = await client.post("/orders/of/broken", headers=KEY)
    assert (await final(client, first)).status_code == 500
    shop.go.clear()
    async with shop.app.app_context():
        await shop.jobs.jobs.retry(id_of(first))
    repeat = await client.post("/orders/of/broken", headers=KEY)
    assert id_of(repeat) == id_of(first)
    assert repeat.headers["Job-State"] in ("queued", "running")


async def test_a_key_survives_a_restart(path: Path) -> None:
    """What another process has made before is repeated all the same."""
    ids = []
    for _ in range(2):
        shop = Shop(SqliteStore(path))
        async with shop.open() as client:
            ids.append(id_of(await client.get("/orders", headers=KEY)))
            shop.go.set()
    assert len(set(ids)) == 1


# When no jobs are accepted.


async def test_a_repeat_is_answered_while_the_server_drains(shop: Shop, client: Client) -> None:
    """A new job is refused then, and one that there is is not new: its 202 is answered, or its
    result."""
    shop.go.set()
    first = await client.post("/orders", headers=KEY)
    await final(client, first)
    async with shop.app.app_context():
        await shop.jobs.jobs.drain()

    new = await client.post("/orders", headers={"Idempotency-Key": "new"})
    repeat = await client.post("/orders", headers=KEY)
    result = await client.post("/orders", headers={**KEY, **WAIT})

    assert new.status_code == 503
    assert (repeat.status_code, id_of(repeat)) == (202, id_of(first))
    assert (result.status_code, id_of(result)) == (201, id_of(first))


async def test_who_may_not_submit_may_not_repeat() -> None:
    """The hooks of the route run before any key is looked at."""
    app = Quart("guarded")
    jobs, admin = QuartJobs(app, store="memory:"), Blueprint("admin", __name__)

    @admin.before_request
    async def guard() -> None:
        if "X-Admin" not in request.headers:
            abort(401)

    @admin.post("/orders")
    @jobs.background
    async def orders() -> str:
        return "done"

    app.register_blueprint(admin)
    async with app.test_app() as running:
        client = running.test_client()
        first = await client.post("/orders", headers={**KEY, "X-Admin": "yes"})
        refused = await client.post("/orders", headers=KEY)
        malformed = await client.post("/orders", headers={"Idempotency-Key": ""})
    assert (first.status_code, refused.status_code, malformed.status_code) == (202, 401, 401)


@pytest.mark.parametrize("change", ["state = 'nonsense'", "state = CAST(x'ff' AS TEXT)"])
async def test_a_repeat_of_a_damaged_job(path: Path, change: str) -> None:
    """A job that cannot be read any more has failed, and a repeat is told so: it makes no second
    one, as nobody knows how far the first has come."""
    shop = Shop(SqliteStore(path))
    async with shop.open() as client:
        shop.go.set()
        first = await client.post("/orders", headers=KEY)
        await final(client, first)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=DEADLINE)) as connection:
            connection.execute(f"UPDATE jobs SET {change}")
        repeat = await client.post("/orders", headers=KEY)
        assert (repeat.status_code, repeat.headers["Job-State"]) == (202, "failed")
        assert (id_of(repeat), is_repeat(repeat)) == (id_of(first), True)
