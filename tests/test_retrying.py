"""POST /jobs/<id>/retry: a job that came to nothing runs once more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart, abort, request
from quart.typing import TestClientProtocol as Client
from quart_rate_limiter import RateLimit, RateLimiter

from asyncjobs import MemoryStore, QuartJobs, SqliteStore, State, Store, current_job
from owners import ADA, BOB, a_job_of_it, an_app, id_of, keep
from test_routes import poll, serving, submit

UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Store:
    """Opened by the app that it is given to."""
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    app, _ = an_app(store)
    async with serving(app) as client:
        yield client


def at_last(app: Quart, jobs: QuartJobs, *, threaded: bool) -> None:
    """A view that fails at the first attempt."""

    def once_more() -> Any:
        if current_job.attempt == 1:
            abort(503)
        return {"attempt": current_job.attempt, "sent": request.headers["X-Sent"]}

    async def asynchronous() -> Any:
        return once_more()

    view = jobs.background(once_more if threaded else asynchronous)
    app.add_url_rule("/work", "work", view, methods=["POST"])


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_job_that_has_failed_runs_again(store: Store, threaded: bool) -> None:
    """The answer is the status document of a queued job, whose request is the one that it came
    with; its result is then that of the new attempt, at all of its URLs."""
    app, jobs = an_app(store)
    at_last(app, jobs, threaded=threaded)
    async with serving(app) as client:
        location = await submit(client, "/work", "POST", headers={**ADA, "X-Sent": "at first"})
        assert (await poll(client, location, **ADA)).status_code == 503
        answer = await client.post(f"/jobs/{id_of(location)}/retry", headers=ADA)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Job-State"] == "queued"
        told = await answer.get_json()
        assert (told["id"], told["state"], told["status"]) == (id_of(location), "queued", None)
        final = await poll(client, location, **ADA)
        assert await final.get_json() == {"attempt": 2, "sent": "at first"}
        assert final.headers["Job-State"] == "succeeded"


@pytest.mark.parametrize("state", State)
async def test_the_states_that_a_job_is_retried_from(
    client: Client, store: Store, state: State
) -> None:
    """Failed, interrupted and cancelled jobs are retried; of all others it is a 409 that says in
    which state the job is, and changes nothing."""
    job = a_job_of_it(state)
    if state is State.RUNNING:
        job = job._replace(worker=store.worker, started=job.created)
    (job,) = await keep(store, job)
    answer = await client.post(f"/jobs/{job.id}/retry", headers=ADA)
    if state in (State.FAILED, State.INTERRUPTED, State.CANCELLED):
        told = await (await client.get(f"/jobs/{job.id}", headers=ADA)).get_json()
        assert (answer.status_code, await answer.get_json()) == (200, told)
        assert (await store.get(job.id)).state is State.QUEUED
    else:
        assert answer.status_code == 409
        problem = await answer.get_json()
        assert problem["type"] == "urn:asyncjobs:problem:invalid-transition"
        assert str(state) in problem["detail"]
        assert await store.get(job.id) == job


async def test_a_second_retry_finds_a_queued_job(client: Client, store: Store) -> None:
    """Of two who ask for it at the same time, one has the job retried, and the other is told that
    it is queued already."""
    (job,) = await keep(store, a_job_of_it(State.FAILED))
    answers = await asyncio.gather(
        *(client.post(f"/jobs/{job.id}/retry", headers=ADA) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (await store.get(job.id)).version == job.version + 1


@pytest.mark.parametrize(
    "page", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}], ids=str
)
async def test_a_page_of_another_site_retries_nothing(
    client: Client, store: Store, page: dict[str, str]
) -> None:
    """It is a 403, as for a cancellation, which says what was compared and which setting trusts it:
    a form would do to send that with the cookies of who looks at the page."""
    (job,) = await keep(store, a_job_of_it(State.FAILED))
    for sent in ({}, {"form": {"a": "b"}}):
        answer = await client.post(f"/jobs/{job.id}/retry", headers={**ADA, **page}, **sent)
        assert answer.status_code == 403
        problem = await answer.get_json()
        assert problem["type"] == "urn:asyncjobs:problem:cross-site-request"
        assert problem["detail"].startswith("jobs can be cancelled and retried from pages of their")
        assert "'trusted_origins'" in problem["detail"]
    assert await store.get(job.id) == job
    own = {**ADA, "Sec-Fetch-Site": "same-origin"}
    assert (await client.post(f"/jobs/{job.id}/retry", headers=own)).status_code == 200


async def test_a_trusted_page_retries(store: Store) -> None:
    """One whose origin the setting names may."""
    app, _ = an_app(store, trusted_origins=["https://shop.example"])
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it(State.FAILED))
        headers = {**ADA, "Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"}
        assert (await client.post(f"/jobs/{job.id}/retry", headers=headers)).status_code == 200


async def test_somebody_elses_job_is_not_there(client: Client, store: Store) -> None:
    """Whose it is not gets the app's own 404, and the job is as it was."""
    (job,) = await keep(store, a_job_of_it(State.FAILED))
    theirs = await client.post(f"/jobs/{job.id}/retry", headers=BOB)
    nobodys = await client.post(f"/jobs/{UNKNOWN}/retry", headers=BOB)
    assert theirs.status_code == 404
    assert await theirs.get_data() == await nobodys.get_data()
    assert await store.get(job.id) == job


@pytest.mark.parametrize("how", ["answers", "aborts"])
async def test_the_guards_of_a_blueprint_guard_the_retry(store: Store, how: str) -> None:
    """Whom the guards of the job's blueprint refuse, they refuse here as well, and the job is as it
    was."""
    app, jobs = an_app(store)
    inner = Blueprint("inner", __name__)

    @inner.before_request
    async def guard() -> Any:
        if "X-Key" in request.headers:
            return None
        return ("no", 401) if how == "answers" else abort(401)

    inner.add_url_rule("/fail", "fail", jobs.background(fail))
    app.register_blueprint(inner)
    async with serving(app) as client:
        location = await submit(client, "/fail", headers={**ADA, "X-Key": "1"})
        await poll(client, location, **ADA, **{"X-Key": "1"})
        url = f"/jobs/{id_of(location)}/retry"
        failed = await store.get(id_of(location))
        assert (await client.post(url, headers=ADA)).status_code == 401
        assert await store.get(failed.id) == failed
        assert (await client.post(url, headers={**ADA, "X-Key": "1"})).status_code == 200


async def test_without_owners_who_knows_an_id_retries(store: Store) -> None:
    """Without `owner=`, the id is enough."""
    app, _ = an_app(store, owner=None, operator=None)
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it(State.FAILED, owner=None))
        assert (await client.post(f"/jobs/{job.id}/retry")).status_code == 200


async def test_only_post_retries(client: Client, store: Store) -> None:
    """To look at the URL does nothing."""
    (job,) = await keep(store, a_job_of_it(State.FAILED))
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await client.open(f"/jobs/{job.id}/retry", method=method, headers=ADA)
        assert answer.status_code == 405
        assert answer.headers["Allow"].split(", ").count("POST") == 1
    assert await store.get(job.id) == job


@pytest.mark.parametrize("rule", ["/jobs/<name>/retry", "/jobs/<path:page>", "/jobs/<name>/<verb>"])
async def test_a_view_of_the_apps_own_at_the_retry(path: Path, rule: str) -> None:
    """A view that would take its requests stops the start."""
    from test_registering import refused

    app, _ = an_app(f"sqlite:///{path}")

    async def own(**view_args: Any) -> str:
        return ""

    app.add_url_rule(rule, "own", own, methods=["POST"])
    await refused(app, r"'own'.*/jobs/<id>/retry' \('asyncjobs_retry'\).*prefix=")


async def test_limits_count_retries_and_lists(store: Store) -> None:
    """What quart-rate-limiter allows of all routes holds for retries and the list, as for
    submissions; to poll and to look at the status is what clients are told to do."""
    app, jobs = an_app(store)
    RateLimiter(app, default_limits=[RateLimit(1, timedelta(hours=1))])
    app.add_url_rule("/fails", "fails", jobs.background(fail))
    async with serving(app) as client:
        location = await submit(client, "/fails", headers=ADA)
        await poll(client, location, **ADA)
        status = f"/jobs/{id_of(location)}"
        for method, url, limited in (
            ("GET", "/fails", True),
            ("POST", f"{status}/retry", False),
            ("POST", f"{status}/retry", True),
            ("GET", "/jobs", False),
            ("GET", "/jobs", True),
            ("GET", status, False),
            ("GET", status, False),
            ("GET", location, False),
        ):
            answer = await client.open(url, method=method, headers=ADA)
            assert (answer.status_code == 429) == limited, f"{method} {url}"


async def fail() -> tuple[str, int]:
    return "not today", 500
