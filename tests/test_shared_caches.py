"""An owner's result is in nobody's cache but that of the owner's browser."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.request import parse_http_list

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from quart import Quart, Response, request, send_file

from asyncjobs import QuartJobs, transitions
from asyncjobs.job import Response as StoredResponse
from asyncjobs.testing import a_job
from asyncjobs.web.answering import answers
from asyncjobs.web.http.caching import kept_private

#: What a handler says, and what is answered to the owner.
SAID = {
    "public": "private",
    "PUBLIC": "private",
    "public, max-age=43200": "private, max-age=43200",
    "max-age=60, s-maxage=600": "max-age=60, private",
    "public,s-maxage=600,immutable": "private, immutable",
    "s-maxage = 600": "private",
    "max-age=60": "max-age=60, private",
    "no-cache": "no-cache, private",
    "must-revalidate, max-age=0": "must-revalidate, max-age=0, private",
    "private": "private",
    "private, max-age=60": "private, max-age=60",
    "private, public": "private",
    # With an argument it means some headers only.
    'private="set-cookie, x-a"': "private",
    'no-cache="set-cookie, x-private"': 'no-cache="set-cookie, x-private", private',
    # In a string they mean nothing, but not to all who read it.
    'no-cache="public", max-age=60': "private, max-age=60",
    'x="open, s-maxage=600, shut"': "private",
    'max-age=60, x="a, private=b, c"': "max-age=60, private",
    'no-store, x="a, must-understand, b"': 'no-store, x="a, must-understand, b", private',
    # Nor is there a string to all of them where another one seems to end.
    'x="\\", max-age=60, y="': "private",
    # What nobody may store, nobody has.
    "no-store": "no-store",
    "No-Store, max-age=0": "No-Store, max-age=0",
    "no-store, public": "no-store, private",
    "no-store, must-understand": "no-store, must-understand, private",
    # What is no directive, a cache may understand in its own way.
    'x="open, public': "private",
    "max age": "private",
    "=, ,": "private",
    "\xff": "private",
}
#: What the lines of a list may be, and what a string may be made of that goes through several.
PARTS = [*SAID, 'x="', '"', "\\", "s-maxage=5", "must-understand"]


@pytest.mark.parametrize("said", SAID)
def test_what_a_handler_says(said: str) -> None:
    """`public` and `s-maxage` become `private`, which is added where nothing else keeps shared
    caches away; all other directives stay."""
    assert kept_private([("cache-control", said)]) == [("cache-control", SAID[said])]


def test_what_it_says_on_several_lines() -> None:
    """All lines are one list, which is answered as one."""
    lines = ["max-age=60", "s-maxage=5, no-transform", "public"]
    headers = [("x-a", "1"), *(("cache-control", line) for line in lines), ("x-b", "2")]
    made = ("cache-control", "max-age=60, private, no-transform")
    assert kept_private(headers) == [("x-a", "1"), made, ("x-b", "2")]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cdn-cache-control", False),
        ("cloudflare-cdn-cache-control", False),
        ("surrogate-control", False),
        ("edge-control", False),
        ("x-accel-expires", False),
        ("x-litespeed-cache-control", False),
        ("expires", True),
        ("vary", True),
        ("pragma", True),
        ("age", True),
        ("surrogate-key", True),
        ("x-litespeed-tag", True),
        ("x-accel-buffering", True),
    ],
)
def test_what_only_shared_caches_listen_to(name: str, kept: bool) -> None:
    """It would go before `Cache-Control`, and is not answered. `Expires` is for private ones too,
    and does."""
    assert kept_private([(name, "600")]) == ([(name, "600")] if kept else [])


def by_commas(value: str) -> list[str]:
    """Who knows of no strings."""
    return value.split(",")


def by_strings(value: str) -> list[str]:
    """Who knows of them, and not of escapes in them."""
    return re.sub('"[^"]*("|$)', '""', value).split(",")


#: How caches may read a list of directives: the last one does as it should.
READERS = [by_commas, by_strings, parse_http_list]


@given(st.lists(st.text('abcpublicrvte,;="\\ -\xff') | st.sampled_from(PARTS), min_size=1))
@example(['x="open, public', '"'])
@example(['x="\\", public, y="'])
@example(['x="', "s-maxage=600", '"'])
@example(['no-store, x="', "must-understand", '"'])
def test_whatever_it_says(lines: list[str]) -> None:
    """Whoever reads the only line that is left, if any is, finds in it that the result is private,
    or that nobody may store it; and nobody finds in it that it is public."""
    for _, value in kept_private([("cache-control", line) for line in lines]):
        for read in READERS:
            directives = {directive.strip().lower() for directive in read(value)}
            names = {directive.partition("=")[0].rstrip() for directive in directives}
            nobody_stores = "no-store" in directives and "must-understand" not in names
            assert "private" in directives or nobody_stores
            assert not names & {"public", "s-maxage"}
            assert "private" not in names - directives


@pytest.mark.parametrize("owner", ["alice", None])
@pytest.mark.parametrize("view", ["file", "shared", "silent", "expiring"])
async def test_the_result_of_an_owner(owner: str | None, view: str, tmp_path: Path) -> None:
    """No answer to an owner may be kept by a shared cache: a file that is sent, or what a handler
    says to several kinds of caches. What belongs to nobody is answered as it was said, and what
    says nothing is kept by no cache at all."""
    (tmp_path / "file.txt").write_text("hers")
    app = Quart("cached")
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 43200
    jobs = QuartJobs(
        app, owner=lambda: request.headers.get("X-User"), store=f"sqlite:///{tmp_path}/jobs.db"
    )

    @app.get("/file")
    @jobs.background
    async def file() -> Response:
        return await send_file(tmp_path / "file.txt")

    @app.get("/shared")
    @jobs.background
    def shared() -> Response:
        response = Response("hers", headers={"CDN-Cache-Control": "max-age=600"})
        response.headers.add("Cache-Control", "max-age=60")
        response.headers.add("Cache-Control", "s-maxage=600")
        return response

    @app.get("/silent")
    @jobs.background
    async def silent() -> str:
        return "hers"

    @app.get("/expiring")
    @jobs.background
    async def expiring() -> tuple[str, dict[str, str]]:
        return "hers", {"Expires": "Thu, 01 Dec 2094 16:00:00 GMT"}

    headers = {} if owner is None else {"X-User": owner}
    async with app.test_app() as running:
        client = running.test_client()
        poll = (await client.get(f"/{view}", headers=headers)).headers["Location"]
        answer = await client.get(poll, headers={**headers, "Prefer": "wait=30"})
    assert await answer.get_data(as_text=True) == "hers"
    said = answer.headers.getlist("Cache-Control")
    if view in ("silent", "expiring"):
        assert said == ["no-store"]
    elif owner is None:
        expected = {"file": ["public, max-age=43200"], "shared": ["max-age=60", "s-maxage=600"]}
        assert [line.replace("no-cache, ", "") for line in said] == expected[view]
    else:
        (line,) = said
        assert "private" in line
        assert "public" not in line
        assert "s-maxage" not in line
    assert ("CDN-Cache-Control" in answer.headers) == (view == "shared" and owner is None)


async def test_a_result_that_an_older_version_has_stored() -> None:
    """It is answered so, too: as it was stored, it said whatever its handler did."""
    stored = StoredResponse(200, ((b"cache-control", b"public, max-age=5"),), b"hers")
    app = Quart("older")
    for owner, said in (("alice", "private, max-age=5"), (None, "public, max-age=5")):
        job = transitions.finish(
            transitions.start(a_job(owner=owner), "worker", 2.0**30), 200, 2.0**30
        )
        answer = answers.result(app, job, stored, answers.Links(job, "", "/jobs"))
        assert answer.headers["Cache-Control"] == said
