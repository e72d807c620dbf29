"""Who sees and steers what: owners their own, operators all, as far as they may."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, request
from quart import Response as QuartResponse
from quart.typing import TestClientProtocol as Client
from werkzeug.exceptions import Unauthorized

from asyncjobs import MemoryStore, QuartJobs, SqliteStore, State, Store
from asyncjobs.errors import SetupError
from asyncjobs.web.callers.operator import Right, right_of
from owners import ADA, BOB, STEERER, VIEWER, a_job_of_it, an_app, id_of, keep
from test_routes import poll, serving, submit


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Store:
    """Opened by the app that it is given to."""
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


def with_views(app: Quart, jobs: QuartJobs) -> None:
    """A view in the background, and a poll route by hand."""

    @app.get("/foo")
    @jobs.background
    async def foo() -> list[str]:
        return ["the result"]

    @app.get("/mine/<job_id>")
    async def mine(job_id: str) -> QuartResponse:
        return await jobs.poll(job_id)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    app, jobs = an_app(store)
    with_views(app, jobs)
    async with serving(app) as client:
        yield client


def results_of(location: str) -> Iterator[str]:
    """Each URL of its result."""
    yield location
    yield f"/jobs/{id_of(location)}/result"
    yield f"/mine/{id_of(location)}"


def requests_of(location: str) -> Iterator[tuple[str, str]]:
    """Each thing that can be asked of a job, those that change it last."""
    for url in (*results_of(location), f"/jobs/{id_of(location)}"):
        yield "GET", url
        yield "HEAD", url
    yield "POST", f"/jobs/{id_of(location)}/retry"
    for url in (location, f"/jobs/{id_of(location)}", f"/jobs/{id_of(location)}/result"):
        yield "DELETE", url


# What may be said.


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (None, None),
        (False, None),
        ("view", Right.VIEW),
        ("steer", Right.STEER),
        (True, Right.STEER),
    ],
)
def test_the_words_for_what_an_operator_may(said: Any, right: Right | None) -> None:
    """These there are."""
    assert right_of(said) is right


@pytest.mark.parametrize("said", ["", "admin", "VIEW", "Steer", 0, 1, [], ["view"], b"view", 1.0])
async def test_other_words_are_none(
    store: Store, said: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is something else, be it true to Python or not, is a TypeError, and so a 500: nobody is
    taken for an operator, or for none, who was not meant to be."""
    app, _ = an_app(store, operator=lambda: said)
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it())
        for url in ("/jobs", f"/jobs/{job.id}"):
            assert (await client.get(url, headers=BOB)).status_code == 500
        assert (await client.get(f"/jobs/{job.id}", headers=ADA)).status_code == 200
    raised = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error) for error in raised] == [TypeError] * 2
    assert 'operator= must return None, False, "view", "steer" or True, not' in str(raised[0])
    assert caplog.records[0].levelno == logging.ERROR


def test_an_operator_is_told_by_a_function() -> None:
    """Something else as `operator=` is a SetupError at once."""
    with pytest.raises(SetupError, match="operator must be a function"):
        QuartJobs(operator="ada")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_it_is_asked_in_the_context_of_the_request(store: Store, kind: str) -> None:
    """The function may be sync or async, and knows the request that it is asked about."""
    asked: list[str] = []

    def sync() -> str:
        asked.append(f"{request.method} {request.path}")
        return "view"

    async def asynchronous() -> str:
        return sync()

    app, _ = an_app(store, operator=sync if kind == "sync" else asynchronous)
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it())
        assert (await client.get("/jobs")).status_code == 200
        assert (await client.get(f"/jobs/{job.id}")).status_code == 200
    assert asked == ["GET /jobs", f"GET /jobs/{job.id}"]


# What they may do.


async def test_an_owner_needs_no_operator(store: Store) -> None:
    """Whose own job it is sees and steers it without that an operator is asked for: a plain poll
    costs nothing of that. So it is with the list of one owner."""
    asked: list[str] = []

    def operator() -> None:
        asked.append(request.path)

    app, jobs = an_app(store, operator=operator)
    with_views(app, jobs)
    async with serving(app) as client:
        location = await submit(client, "/foo", headers=ADA)
        await poll(client, location, **ADA)
        for method, url in requests_of(location):
            answer = await client.open(url, method=method, headers=ADA)
            assert answer.status_code == (409 if method in ("POST", "DELETE") else 200)
        assert asked == []
        assert (await client.get("/jobs", headers=ADA)).status_code == 200
        assert asked == ["/jobs"]
        assert (await client.get(location, headers=BOB)).status_code == 404
        assert asked == ["/jobs", location]


@pytest.mark.parametrize("operator", [VIEWER, STEERER, {**VIEWER, **BOB}], ids=str)
async def test_an_operator_sees_every_job(client: Client, operator: dict[str, str]) -> None:
    """On every URL of somebody's job the operator gets what the owner gets; the status document
    tells them, and nobody else, whose it is."""
    location = await submit(client, "/foo", headers=ADA)
    await poll(client, location, **ADA)
    for url in results_of(location):
        theirs = await client.get(url, headers=ADA)
        seen = await client.get(url, headers=operator)
        assert seen.status_code == theirs.status_code == 200
        assert list(seen.headers) == list(theirs.headers)
        assert await seen.get_data() == await theirs.get_data()
    status = f"/jobs/{id_of(location)}"
    answer = await client.get(status, headers=ADA)
    told = await answer.get_json()
    assert "owner" not in told
    seen = await client.get(status, headers=operator)
    assert seen.headers["ETag"] != answer.headers["ETag"]
    assert await seen.get_json() == {**told, "owner": "ada"}
    # Of a job of their own they are told as its owner is.
    own = await submit(client, "/foo", headers=operator)
    document = await (await client.get(f"/jobs/{id_of(own)}", headers=operator)).get_json()
    assert "owner" not in document


async def test_an_operator_waits_for_a_job(store: Store) -> None:
    """`Prefer: wait` of an operator is obeyed as that of the owner is."""
    app, jobs = an_app(store)
    with_views(app, jobs)
    async with serving(app) as client:
        location = await submit(client, "/foo", headers=ADA)
        answer = await poll(client, location, **VIEWER)
        assert await answer.get_json() == ["the result"]
        assert answer.headers["Preference-Applied"] == "wait=30"


async def test_who_may_only_look_steers_nothing(client: Client, store: Store) -> None:
    """An operator who may view, and no more, gets a problem of their own for DELETE and retry, and
    the job is as it was. Their own jobs they steer as any owner does."""
    for state in (State.QUEUED, State.FAILED):
        (job,) = await keep(store, a_job_of_it(state))
        for method, url in (
            ("DELETE", f"/jobs/{job.id}"),
            ("DELETE", f"/jobs/{job.id}/result"),
            ("POST", f"/jobs/{job.id}/retry"),
        ):
            answer = await client.open(url, method=method, headers={**VIEWER, **BOB})
            assert answer.status_code == 403
            assert answer.headers["Content-Type"] == "application/problem+json"
            problem = await answer.get_json()
            assert problem["type"] == "urn:asyncjobs:problem:view-only"
            assert "operators who may steer" in problem["detail"]
        assert await store.get(job.id) == job
    (own,) = await keep(store, a_job_of_it(owner="bob"))
    answer = await client.delete(f"/jobs/{own.id}", headers={**VIEWER, **BOB})
    assert (answer.status_code, (await answer.get_json())["state"]) == (200, "cancelled")


@pytest.mark.parametrize("operator", [STEERER, {"X-Operator": "all"}], ids=str)
async def test_who_may_steer_does(client: Client, store: Store, operator: dict[str, str]) -> None:
    """An operator who may steer cancels and retries anybody's jobs, and is told whose they are."""
    (job,) = await keep(store, a_job_of_it())
    answer = await client.delete(f"/jobs/{job.id}", headers=operator)
    told = await answer.get_json()
    assert (answer.status_code, told["state"], told["owner"]) == (200, "cancelled", "ada")
    answer = await client.post(f"/jobs/{job.id}/retry", headers=operator)
    told = await answer.get_json()
    assert (answer.status_code, told["state"], told["owner"]) == (200, "queued", "ada")


async def test_a_page_of_another_site_steers_nothing(client: Client, store: Store) -> None:
    """An operator's browser does nothing to a job for a page of another site."""
    (job,) = await keep(store, a_job_of_it())
    headers = {**STEERER, "Sec-Fetch-Site": "cross-site"}
    answer = await client.delete(f"/jobs/{job.id}", headers=headers)
    assert answer.status_code == 403
    assert (await answer.get_json())["type"] == "urn:asyncjobs:problem:cross-site-request"
    assert await store.get(job.id) == job


async def test_without_owners_who_knows_an_id_steers(store: Store) -> None:
    """Without `owner=`, whoever knows the id of a job sees and steers it, whatever an operator may
    only look at; jobs that belong to somebody, as they were made when there was one, are for
    operators alone."""
    app, _ = an_app(store, owner=None)
    async with serving(app) as client:
        (nobodys,) = await keep(store, a_job_of_it(owner=None))
        (adas,) = await keep(store, a_job_of_it())
        assert (await client.get(f"/jobs/{adas.id}")).status_code == 404
        assert (await client.get(f"/jobs/{adas.id}", headers=VIEWER)).status_code == 200
        answer = await client.delete(f"/jobs/{nobodys.id}", headers=VIEWER)
        assert answer.status_code == 200
        assert "owner" not in await answer.get_json()


async def test_an_operator_sees_no_other_programs_jobs(client: Client, store: Store) -> None:
    """All the jobs are those of the program."""
    (job,) = await keep(store, a_job_of_it(program="other"))
    assert (await client.get(f"/jobs/{job.id}", headers=STEERER)).status_code == 404
    assert (await client.delete(f"/jobs/{job.id}", headers=STEERER)).status_code == 404
    assert (await (await client.get("/jobs", headers=STEERER)).get_json())["jobs"] == []


# Who is sent to the login.


def refuse() -> None:
    raise Unauthorized


def refuse_strangers() -> str:
    if (user := request.headers.get("X-User")) is None:
        raise Unauthorized
    return user


def with_login(app: Quart) -> None:
    """The app leads to its login who is not logged in."""

    @app.errorhandler(401)
    async def login(error: Exception) -> tuple[str, int, dict[str, str]]:
        return "log in", 303, {"Location": "/login"}


async def test_an_operator_that_refuses(store: Store) -> None:
    """What `operator=` raises is answered by the app's own handlers, on the list and for whatever
    job is not the caller's own, be it there or not."""
    app, jobs = an_app(store, operator=refuse)
    with_views(app, jobs)
    with_login(app)
    async with serving(app) as client:
        location = await submit(client, "/foo", headers=ADA)
        await poll(client, location, **ADA)
        assert (await client.get("/jobs", headers=ADA)).status_code == 303
        unknown = location.replace(id_of(location), "0" * 32)
        for url in (location, unknown):
            for method, each in requests_of(url):
                answer = await client.open(each, method=method, headers=BOB)
                assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
        for method, url in requests_of(location):
            if method in ("GET", "HEAD"):
                assert (await client.open(url, method=method, headers=ADA)).status_code == 200


async def test_an_owner_that_refuses(store: Store) -> None:
    """What `owner=` raises is answered by the app's own handlers, on every URL: of jobs that there
    are, of those that there are not, of the list, and at a submission, which makes no job."""
    app, jobs = an_app(store, owner=refuse_strangers, operator=None)
    with_views(app, jobs)
    with_login(app)
    async with serving(app) as client:
        location = await submit(client, "/foo", headers=ADA)
        unknown = location.replace(id_of(location), "0" * 32)
        for method, url in (
            *requests_of(location),
            *requests_of(unknown),
            ("GET", "/jobs"),
            ("GET", "/foo"),
        ):
            answer = await client.open(url, method=method)
            assert (answer.status_code, answer.headers["Location"]) == (303, "/login"), url
        page = await (await client.get("/jobs", headers=ADA)).get_json()
        assert [job["id"] for job in page["jobs"]] == [id_of(location)]
