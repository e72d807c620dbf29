"""The state of a job, and where it is told, are for us to say; all else is for its handler."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, Response

from asyncjobs import QuartJobs, transitions
from asyncjobs.job import Response as StoredResponse
from asyncjobs.testing import a_job
from asyncjobs.web.answering import answers
from asyncjobs.web.http.links import without_relation

LINKS = {
    "</mine>; rel=status": "",
    '</mine>; rel="status"': "",
    '</mine> ;title="a, b"; REL = "Status"': "",
    "</mine>;rel=status, </mine/2>;rel=status": "",
    "</up>; rel=up": "</up>; rel=up",
    "</status>; rel=up": "</status>; rel=up",
    '</up>; title="; rel=status, <x>; rel=status"; rel=up': (
        '</up>; title="; rel=status, <x>; rel=status"; rel=up'
    ),
    "</up>; rel=up , </mine>; rel=status,</a,b>;rel=next": "</up>; rel=up, </a,b>;rel=next",
    '</both>; rel="up  status next"; title=x': '</both>; rel="up next"; title=x',
    "</a>; rel=up; rel=status": "</a>; rel=up; rel=status",  # the first counts (RFC 8288)
    "</a>; rel=https://shop.example/status": "</a>; rel=https://shop.example/status",
    "</a>; rel=status-page": "</a>; rel=status-page",
    "</a>; status": "</a>; status",
    "status": "",
    "": "",
    "nonsense": "nonsense",
}


@pytest.mark.parametrize("said", LINKS)
def test_links_of_a_handler(said: str) -> None:
    """None says where the status is, and no other one is lost."""
    assert without_relation("status", said) == LINKS[said]


@given(st.lists(st.sampled_from(["<", ">", "a", ",", ";", " rel=", '"', "\\", "status", " "])))
def test_no_links_are_an_error(parts: list[str]) -> None:
    """Whatever is said, what is left of it has nothing more to take away."""
    left = without_relation("status", "".join(parts))
    assert without_relation("status", left) == left


@pytest.mark.parametrize("older", [False, True], ids=["now", "as an older version has stored it"])
async def test_the_headers_of_a_result(older: bool) -> None:
    """A handler's `Job-State` and `Link; rel="status"` are not answered: a client would poll for
    ever, or elsewhere. `ETag`, `Retry-After`, `Location`, `Cache-Control` and all others are."""
    said = [
        ("Job-State", "running"),
        ("job-state", "queued"),
        ("Link", '</mine>; rel="status", </up>; rel=up'),
        ("Link", "</mine>; rel=status"),
        ("ETag", '"mine"'),
        ("Retry-After", "120"),
        ("Location", "/mine"),
        ("Cache-Control", "max-age=60"),
        ("Preference-Applied", "respond-async"),
        ("X-Mine", "1"),
        ("X-Mine", "2"),
    ]
    app = Quart("marks")
    jobs = QuartJobs(app, store="memory:")

    @app.get("/marked")
    @jobs.background
    async def marked() -> Response:
        return Response("", 202, headers=said)

    if older:
        pairs = tuple((name.lower().encode(), value.encode()) for name, value in said)
        job = transitions.finish(transitions.start(a_job(), "worker", 2.0**30), 202, 2.0**30)
        answer = answers.result(
            app, job, StoredResponse(202, pairs), answers.Links(job, "", "/jobs")
        )
        job_id = job.id
    else:
        async with app.test_app() as running:
            client = running.test_client()
            poll = (await client.get("/marked")).headers["Location"]
            async with asyncio.timeout(30):
                while (answer := await client.get(poll)).headers["Job-State"] != "succeeded":
                    assert answer.headers["Job-State"] in ("queued", "running")
            job_id = poll[-32:]
    assert answer.headers.getlist("Job-State") == ["succeeded"]
    assert answer.headers.getlist("Link") == ["</up>; rel=up", f'</jobs/{job_id}>; rel="status"']
    for name, value in said[4:-2]:
        assert answer.headers.getlist(name) == [value]
    assert answer.headers.getlist("X-Mine") == ["1", "2"]


async def test_the_form_of_a_functions_result_is_for_the_program_alone(tmp_path: Path) -> None:
    """Over HTTP the result of a function is JSON; what type it has in the program is no header."""
    app = Quart("forms")
    jobs = QuartJobs(app, store=f"sqlite:///{tmp_path}/jobs.db")

    @jobs.function
    async def name() -> UUID:
        return UUID(int=7)

    async with app.test_app() as running, app.app_context():
        job = await jobs.jobs.submit(name)
        assert await jobs.jobs.result(job.id, 30) == UUID(int=7)
        answer = await running.test_client().get(f"/jobs/{job.id}/result")
        assert await answer.get_json() == str(UUID(int=7))
        assert not [key for key in answer.headers if "asyncjobs" in key[0].lower()]
