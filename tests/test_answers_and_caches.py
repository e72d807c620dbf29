"""No answer about a job is kept by a cache by our doing, and none is taken for another type."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, request
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs
from asyncjobs.stores import MemoryStore

WAIT = {"Prefer": "wait=20"}


@pytest.fixture(params=[False, True], ids=["of nobody", "of owners"])
def app(request: pytest.FixtureRequest) -> Quart:
    return app_with(owners=request.param)


def app_with(*, owners: bool) -> Quart:
    """An app whose handlers say this and that of their results."""
    app = Quart("caches")
    owner: Any = (lambda: request.headers.get("X-Owner", "ada")) if owners else None
    jobs = QuartJobs(app, store=MemoryStore(), owner=owner, max_body=1000)

    @app.post("/silent")
    @jobs.background
    async def silent() -> str:
        return "<b>result</b>"

    @app.post("/broken")
    @jobs.background
    async def broken() -> None:
        raise ValueError("broken")

    @app.post("/said")
    @jobs.background
    async def said() -> Any:
        return (
            "result",
            200,
            {"Cache-Control": "public, max-age=60", "X-Content-Type-Options": "none-of-yours"},
        )

    return app


@pytest.fixture
async def client(app: Quart) -> AsyncIterator[Client]:
    async with app.test_app() as running:
        yield running.test_client()


async def ended(client: Client, path: str) -> tuple[Any, list[str]]:
    """What a submission that has waited is answered, and the URLs of its job."""
    answer = await client.post(path, headers=WAIT)
    poll = answer.headers["Content-Location"]
    return answer, [poll, f"/jobs/{poll[-32:]}", f"/jobs/{poll[-32:]}/result"]


@pytest.mark.parametrize("path", ["/silent", "/broken"])
async def test_what_says_nothing_of_caches_is_kept_by_none(client: Client, path: str) -> None:
    """The 202 of a submission, its result, polls, status documents, their HEAD and their 304, and
    problem documents."""
    big = b"x" * 2000
    waited, urls = await ended(client, path)
    answers = [waited, await client.post(path), await client.post(path, data=big)]
    for url in urls:
        answers += [await client.get(url), await client.head(url)]
        answers.append(await client.get(url, headers={"If-None-Match": "*"}))
    answers.append(await client.delete(urls[0]))  # which it is too late for

    assert {202, 304, 409, 413} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert answer.headers.getlist("Cache-Control") == ["no-store"], answer
        assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"], answer
        assert "Expires" not in answer.headers


async def test_what_a_handler_says_stands(app: Quart, client: Client) -> None:
    """Of its result, in full and as a 304, for private caches only if that has an owner; not of the
    status document, nor at the URL of the submission."""
    waited, (poll, status, result) = await ended(client, "/said")
    owned = app.view_functions["asyncjobs_status"].__self__.side._owner_of_request  # type: ignore[attr-defined]
    expected = "public, max-age=60" if owned is None else "private, max-age=60"
    for url in (poll, result):
        full = await client.get(url)
        known = await client.get(url, headers={"If-None-Match": full.headers["ETag"]})
        assert (full.status_code, known.status_code) == (200, 304)
        for answer in (full, known):
            assert answer.headers.getlist("Cache-Control") == [expected]
            assert answer.headers.getlist("X-Content-Type-Options") == ["none-of-yours"]
    for answer in (waited, await client.get(status)):
        assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert waited.headers.getlist("X-Content-Type-Options") == ["none-of-yours"]


async def test_a_304_is_for_its_owner_alone() -> None:
    """Who is told that nothing has changed would know that there is something: it is the 404 of any
    other job, whatever the condition."""
    async with app_with(owners=True).test_app() as running:
        client = running.test_client()
        _, urls = await ended(client, "/silent")
        for url in urls:
            tag = (await client.get(url)).headers["ETag"]
            for condition in (tag, "*", "none"):
                headers = {"If-None-Match": condition, "X-Owner": "bob", "Prefer": "wait=20"}
                answer = await client.get(url, headers=headers)
                unknown = await client.get(url.replace(url[7:39], "0" * 32), headers=headers)
                assert answer.status_code == 404
                assert "ETag" not in answer.headers
                assert answer.headers["Cache-Control"] == "no-store"
                assert unknown.status_code == 404
