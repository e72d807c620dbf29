"""What a handler says relative to its URL is true wherever its result is answered."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, Response, abort, redirect
from quart import request as current
from quart.typing import ResponseReturnValue

from asyncjobs import QuartJobs
from asyncjobs.testing import a_job
from asyncjobs.web.answering import answers
from asyncjobs.web.http.relative import IN_PATH, _resolved

PATH, QUERY = "/app/shop/red", "size=1&x=%20"

#: What is said, and what that is at the URL of the submission.
LOCATIONS = {
    "done": "/app/shop/done",
    "done?a=/../b#c": "/app/shop/done?a=/../b#c",
    "./done": "/app/shop/done",
    "../done": "/app/done",
    "../../../done": "/done",
    ".": "/app/shop/",
    "..": "/app/",
    "a/..": "/app/shop/",
    "a//b": "/app/shop/a//b",
    "a;b=c": "/app/shop/a;b=c",
    "a:b/c/../d": "a:b/c/../d",  # a scheme
    "./a:b": "/app/shop/a:b",
    "?page=2": "/app/shop/red?page=2",
    "?": "/app/shop/red?",
    "#top": f"/app/shop/red?{QUERY}#top",
    "": f"/app/shop/red?{QUERY}",
    # What nobody could take for another page is left as it is, also where it is odd.
    "/done": "/done",
    "/a/../b": "/a/../b",
    "//other.example/done": "//other.example/done",
    "https://other.example/a/../b": "https://other.example/a/../b",
    "http:done": "http:done",
    "mailto:me@shop.example": "mailto:me@shop.example",
    "\\\\other.example": "\\\\other.example",
    "http://[": "http://[",
    # No path becomes a host.
    "..//..//other.example": "/app//other.example",
    "../..//other.example": "/.//other.example",
    # Browsers take a backslash for a slash and %2e for a dot, and others do not: each is left to
    # take that apart in its own way.
    ".\\..\\done": "/app/shop/.\\..\\done",
    "./\\other.example": "/app/shop/./\\other.example",
    "../../\\other.example": "/app/shop/../../\\other.example",
    "%2E%2e/../done": "/app/shop/%2E%2e/../done",
    # They do not read tabs, nor what is blank at the start.
    "./\t/done": "/app/shop//done",
    " \tdone": "/app/shop/done",
    "\t#top": f"/app/shop/red?{QUERY}#top",
    "\t/done": "\t/done",
    "htt\tps://other.example": "htt\tps://other.example",
    # Neither what is no URL nor what is no ASCII is an error.
    "%zz": "/app/shop/%zz",
    "[": "/app/shop/[",
    "::": "/app/shop/::",
    "caf\xc3\xa9 \xff": "/app/shop/caf\xc3\xa9 \xff",
}


@pytest.mark.parametrize("said", LOCATIONS)
def test_a_reference(said: str) -> None:
    """It is resolved against path and query of the submission, as RFC 3986 has it, as far as to a
    path: scheme and host are the client's to know."""
    assert _resolved(said, PATH, QUERY) == LOCATIONS[said]


# Section 5.4 of RFC 3986, but for those that are left as they are.
EXAMPLES = """
g=/b/c/g ./g=/b/c/g g/=/b/c/g/ ?y=/b/c/d;p?y g?y=/b/c/g?y #s=/b/c/d;p?q#s g#s=/b/c/g#s
g?y#s=/b/c/g?y#s ;x=/b/c/;x g;x=/b/c/g;x g;x?y#s=/b/c/g;x?y#s .=/b/c/ ./=/b/c/ ..=/b/ ../=/b/
../g=/b/g ../..=/ ../../=/ ../../g=/g ../../../g=/g ../../../../g=/g g.=/b/c/g. .g=/b/c/.g
g..=/b/c/g.. ..g=/b/c/..g ./../g=/b/g ./g/.=/b/c/g/ g/./h=/b/c/g/h g/../h=/b/c/h
g?y/./x=/b/c/g?y/./x g?y/../x=/b/c/g?y/../x g#s/./x=/b/c/g#s/./x g#s/../x=/b/c/g#s/../x
"""


@pytest.mark.parametrize("example", EXAMPLES.split())
def test_the_examples_of_the_rfc(example: str) -> None:
    """They come out as they are printed there."""
    said, _, resolved = example.partition("=")
    assert _resolved(said, "/b/c/d;p", "q") == resolved


@given(
    st.lists(st.sampled_from(["a", "b", ".", "..", "/"])).map("/".join), st.text("ab/?#:.\\[\xe9")
)
def test_whoever_resolves_it_once_more_comes_to_the_same(base: str, said: str) -> None:
    """A client at any other URL of the same host is led where the one at the first would be."""
    path = f"/{base}"
    resolved = _resolved(said, path, "")
    if resolved != said:
        assert resolved.startswith("/")
        assert not resolved.startswith("//")
        assert _resolved(resolved, "/elsewhere/far/away", "x") == resolved


#: What a URL is put together of, and what it is relative to.
PARTS = ("./", "../", "/", ".", "\\", "\t", " ", "a", "%2e", "other.example", "?", "#", ":")
BASES = ("/red", "/app/shop/red", "/", "//other.example/red", "/a//red")

#: Where a browser is led: by what was said at once, and by what we have made of it elsewhere.
JUDGE = """
const follow = (said, base) => { try { return new URL(said, base).href } catch { return null } }
const cases = JSON.parse(require("fs").readFileSync(0))
console.log(JSON.stringify(cases.map(([base, said, resolved]) => [
  follow(said, `http://shop.example${base}?q=1`),
  follow(resolved, "http://shop.example/jobs/elsewhere?q=2"),
])))
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node, whose URLs are a browser's, is not")
def test_a_browser_is_led_where_it_would_have_been() -> None:
    """Whatever a handler says, a browser that polls comes to the same page, on the same host, as
    one that had the answer at once."""
    cases = [
        (base, said, _resolved(said, base, "q=1"))
        for base in BASES
        for length in range(4)
        for said in map("".join, product(PARTS, repeat=length))
    ]
    judged = subprocess.run(
        ["node", "-e", JUDGE],
        input=json.dumps(cases),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    led = json.loads(judged.stdout)
    assert len(led) == len(cases)
    assert [case for case, (live, polled) in zip(cases, led, strict=True) if live != polled] == []


HEADERS: dict[str, list[tuple[str, str, str]]] = {
    "Location": [("Location", "done", "/app/shop/done"), ("Location", "é", "/app/shop/é")],
    "Content-Location": [("Content-Location", "red.en", "/app/shop/red.en")],
    "SourceMap": [("SourceMap", "red.map", "/app/shop/red.map")],
    "Link": [
        ("Link", "<next>; rel=next", "</app/shop/next>; rel=next"),
        (
            "Link",
            '<a,b>; rel=x; title="<no>, anchor=\\"q\\"" , <http://x/>;rel=y; anchor="#here"',
            '</app/shop/a,b>; rel=x; title="<no>, anchor=\\"q\\"" , <http://x/>;rel=y; '
            f'anchor="/app/shop/red?{QUERY}#here"',
        ),
        ("Link", "<?p=2>;rel=next,</up>;rel=up", "</app/shop/red?p=2>;rel=next,</up>;rel=up"),
        ("Link", 'no link; title="open', 'no link; title="open'),
    ],
    "Refresh": [
        ("Refresh", "5; url=done", "5; url=/app/shop/done"),
        ("Refresh", "0;URL='done' ", "0;URL='/app/shop/done'"),
        ("Refresh", '5,url="done"', '5,url="/app/shop/done"'),
        ("Refresh", "5; done", "5; /app/shop/done"),
        # A blank is enough between the two.
        ("Refresh", "5 url=done", "5 url=/app/shop/done"),
        ("Refresh", "5 done", "5 /app/shop/done"),
        ("Refresh", "0.5 ;\turl = './done'", "0.5 ;\turl = '/app/shop/done'"),
        ("Refresh", "5 ;", "5 ;"),
        ("Refresh", "5 url=", "5 url="),
        ("Refresh", "5; url=https://x.example/", "5; url=https://x.example/"),
        ("Refresh", "5", "5"),
        ("Refresh", "5; url=", "5; url="),
        ("Refresh", "soon", "soon"),
    ],
    "another": [("X-Location", "done", "done"), ("HX-Redirect", "done", "done")],
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("threaded", [False, True], ids=["async", "sync"])
async def test_the_headers_of_a_result(kind: str, threaded: bool, tmp_path: Path) -> None:
    """Each header whose URLs are relative to its response has them resolved when it is stored,
    under the root path; several of them, and those that have no relative one, are as they were."""
    said = HEADERS[kind]
    store = "memory:" if threaded else f"sqlite:///{tmp_path}/jobs.db"
    found = await result_of(
        lambda: Response("", headers=[(n, v.strip()) for n, v, _ in said]), store
    )
    name = said[0][0] if kind != "another" else None
    for each in {name} if name else {name for name, _, _ in said}:
        expected = [resolved for written, _, resolved in said if written == each]
        assert [v for v in found.getlist(each) if "status" not in v] == expected


@pytest.mark.parametrize("how", ["returned", "raised", "corrected", "by an error handler"])
async def test_a_redirect(how: str) -> None:
    """A redirect to a relative path leads where it would have led at once."""

    def answer() -> ResponseReturnValue:
        response = redirect("done")
        if how == "corrected":  # which Quart does not heed
            response.autocorrect_location_header = True
        if how == "raised":
            abort(response)
        if how == "by an error handler":
            raise LookupError
        return response

    assert (await result_of(answer))["Location"] == "/app/shop/done"


@pytest.mark.parametrize("said", ["./\\other.example", "./\t/other.example", "..\\/other.example"])
async def test_a_redirect_that_a_client_has_chosen(said: str) -> None:
    """It leads to the app's own host, as it would have at once, where a handler of a page at the
    root repeats what it was told."""
    names = ("Location", "Content-Location", "SourceMap", "Refresh", "Link")
    values = (said, said, said, f"0 url={said}", f"<{said}>; rel=next")
    headers = dict(zip(names, values, strict=True))
    found = await result_of(lambda: Response("", headers=headers), at="/red", root_path="")
    expected = "/.//other.example" if "\t" in said else f"/{said}"
    assert [found[name] for name in names[:3]] == [expected] * 3
    assert found["Refresh"] == f"0 url={expected}"
    assert found.getlist("Link")[0] == f"<{expected}>; rel=next"


async def result_of(
    answer: Any, store: str = "memory:", at: str = "/shop/red", root_path: str = "/app"
) -> Any:
    """The headers of the result of a job of that route whose handler answers so."""
    app = Quart("relative")
    jobs = QuartJobs(app, store=store)

    @app.errorhandler(LookupError)
    async def look_up(error: LookupError) -> Any:
        return redirect("done")

    def view() -> Any:
        assert current.root_path == root_path
        return answer()

    async def async_view() -> Any:
        return view()

    app.add_url_rule(at, "red", jobs.background(view if store == "memory:" else async_view))
    async with app.test_app() as running:
        client = running.test_client()
        target = f"{root_path}{at}?{QUERY}"
        poll = (await client.get(target, root_path=root_path)).headers["Location"]
        result = await client.get(poll, root_path=root_path, headers={"Prefer": "wait=30"})
        assert result.headers["Job-State"] == "succeeded"
        return result.headers


@pytest.mark.parametrize(
    ("root_path", "path", "location"),
    [
        ("", "//other.example/x", "/.//other.example/x"),
        ("/app", "//other.example/x", "/app//other.example/x"),
        ("", "/x", "/x"),
        ("", "/\\other.example/x", "/%5Cother.example/x"),
        ("", "/\t/other.example/x", "/%09/other.example/x"),
        ("/\\other.example", "/x", "/%5Cother.example/x"),
    ],
)
def test_the_address_of_a_job_is_no_host(root_path: str, path: str, location: str) -> None:
    """Where an app has paths that begin with two slashes, or what a browser takes for them, what a
    submission says as its `Location` leads nobody to another host, nor does what is relative to
    it."""
    links = answers.Links(a_job(path=path), root_path, "/jobs")
    assert links.poll[:-33] == location
    at = quote(root_path + path, IN_PATH)
    assert _resolved("done", at, "") == location[:-1] + "done"
