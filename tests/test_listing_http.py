"""GET /jobs: each owner sees their own jobs, operators all of them, a page at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from quart import Blueprint, Quart, abort, request, url_for
from quart.typing import TestClientProtocol as Client

from asyncjobs import MemoryStore, QuartJobs, SqliteStore, State, Store
from asyncjobs.listing import MAX_PAGE
from asyncjobs.stores.sqlite import database, file
from conftest import Serve
from owners import (
    ADA,
    BOB,
    PROGRAM,
    STEERER,
    VIEWER,
    a_job_of_it,
    an_app,
    id_of,
    keep,
    owner_of_header,
)
from server import result as result_of
from server import submit as submit_over_http
from test_listing import add_all, many_jobs
from test_plans import Asked, traced
from test_routes import poll, serving, submit
from work import Work

DEADLINE = 60


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Store:
    """Opened by the app that it is given to."""
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    """Of an app that nobody has made a job in yet."""
    app, _ = an_app(store)
    async with serving(app) as client:
        yield client


async def listed(client: Client, url: str = "/jobs", **headers: str) -> dict[str, Any]:
    """A page."""
    answer = await client.get(url, headers=headers)
    assert answer.status_code == 200, await answer.get_data(as_text=True)
    document: dict[str, Any] = await answer.get_json()
    return document


async def all_ids(client: Client, url: str | None = "/jobs", **headers: str) -> list[str]:
    """The ids on a page and on all behind it."""
    ids = []
    async with asyncio.timeout(DEADLINE):
        while url is not None:
            page = await listed(client, url, **headers)
            ids += [job["id"] for job in page["jobs"]]
            url = page["next"]
    return ids


# Whose jobs.


async def test_an_owner_lists_their_own(client: Client, store: Store) -> None:
    """A page has the status documents of the owner's own jobs, as each is told at its own URL, but
    for how many are `ahead` of it; and none of anybody else's, nor nobody's, nor another
    program's."""
    first, second = await keep(store, a_job_of_it(), a_job_of_it(State.FAILED))
    for strange in ({"owner": "bob"}, {"owner": None}, {"program": "other"}):
        await keep(store, a_job_of_it(**strange))
    answer = await client.get("/jobs", headers=ADA)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Link" not in answer.headers
    told = [
        await (await client.get(f"/jobs/{job.id}", headers=ADA)).get_json()
        for job in (second, first)
    ]
    del told[1]["ahead"]  # which a job that is queued has
    assert await answer.get_json() == {"jobs": told, "next": None}
    assert "owner" not in told[0]
    assert (await answer.get_data()).endswith(b"}\n")


@pytest.mark.parametrize("operator", [VIEWER, STEERER, {"X-Operator": "all"}], ids=str)
async def test_an_operator_lists_all(
    client: Client, store: Store, operator: dict[str, str]
) -> None:
    """An operator sees the jobs of all owners of the program, whoever they are themselves, and
    whose each of them is; and those of one owner alone if they ask for that."""
    adas, bobs, nobodys = await keep(
        store, *(a_job_of_it(owner=owner) for owner in ("ada", "bob", None))
    )
    await keep(store, a_job_of_it(program="other"))
    for headers in (operator, {**operator, **BOB}):
        page = await listed(client, **headers)
        assert [(job["id"], job["owner"]) for job in page["jobs"]] == [
            *((nobodys.id, None), (bobs.id, "bob"), (adas.id, "ada"))
        ]
        assert await all_ids(client, "/jobs?owner=ada", **headers) == [adas.id]
        assert await all_ids(client, "/jobs?owner=eve", **headers) == []
    refused = await client.get("/jobs?owner=ada", headers={**ADA, "X-Operator": "none"})
    assert refused.status_code == 400
    assert "'owner'" in (await refused.get_json())["detail"]


async def test_nobody_in_particular_has_no_list(client: Client, store: Store) -> None:
    """Where there are owners, who is none gets the app's own 404, to the byte, whatever they ask
    for: only that no cache may keep it for who logs in."""
    await keep(store, a_job_of_it(owner=None))
    unknown = await client.get("/no-such-page")
    for url in ("/jobs", "/jobs?limit=1", "/jobs?nonsense"):
        for method in ("GET", "HEAD"):
            answer = await client.open(url, method=method)
            assert answer.status_code == 404
            assert answer.headers["Cache-Control"] == "no-store"
            if method == "GET":
                assert await answer.get_data() == await unknown.get_data()


@pytest.mark.parametrize("own", [False, True])
async def test_without_owners_and_operators_there_is_no_list(store: Store, own: bool) -> None:
    """Where nobody would ever get one there is none: what is at its URL is the app's own affair."""
    app, _ = an_app(store, owner=None, operator=None)
    if own:
        app.add_url_rule("/jobs", "vacancies", vacancies)
    async with serving(app) as client:
        answer, unknown = await client.get("/jobs"), await client.get("/no-such-page")
        if own:
            assert await answer.get_json() == ["a cook"]
        else:
            assert list(answer.headers) == list(unknown.headers)
            assert await answer.get_data() == await unknown.get_data()


async def vacancies() -> list[str]:
    return ["a cook"]


async def test_an_operator_where_there_are_no_owners(store: Store) -> None:
    """Without `owner=` an operator has the list, and all others the 404."""
    app, _ = an_app(store, owner=None)
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it(owner=None))
        assert await all_ids(client, **VIEWER) == [job.id]
        assert (await client.get("/jobs", headers=ADA)).status_code == 404


# What is asked for.


STATES = (State.QUEUED, State.FAILED, State.CANCELLED)
FILTERS = {
    "state": ([], ["failed"], ["failed", "queued"]),
    "route": ([], ["even"], ["even", "odd", "none"]),
    "since": ([], [3]),
    "before": ([], [7]),
    "limit": (["1"], ["3"], []),
}


async def test_the_filters(client: Client, store: Store) -> None:
    """All that is asked for restricts the list: its pages have together just the jobs that match,
    newest first, each once."""
    start = int(time.time()) - 100
    jobs = [
        a_job_of_it(
            STATES[number % 3],
            route="odd" if number % 2 else "even",
            created=start + number,
            owner="bob" if number == 4 else "ada",
        )
        for number in range(10)
    ]
    await keep(store, *jobs)
    for values in product(*FILTERS.values()):
        asked = dict(zip(FILTERS, values, strict=True))
        pairs = [
            (name, rfc3339(start + value) if isinstance(value, int) else value)
            for name, value in [(name, value) for name in asked for value in asked[name]]
        ]
        since, before = [*asked["since"], 0][0], [*asked["before"], 10][0]
        expected = [
            job.id
            for number, job in reversed(list(enumerate(jobs)))
            if job.owner == "ada"
            and (not asked["state"] or job.state in asked["state"])
            and (not asked["route"] or job.route in asked["route"])
            and since <= number < before
        ]
        url = f"/jobs?{'&'.join(f'{name}={value}' for name, value in pairs)}"
        assert await all_ids(client, url, **ADA) == expected, url


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+", "%2B")


async def test_the_times_of_documents_can_be_asked_for(client: Client, store: Store) -> None:
    """What a document says in `created` is a time to ask for, as it is: the list since then has the
    job, and that before then has it not."""
    (job,) = await keep(store, a_job_of_it(created=1.7e9 + 0.25))
    (told,) = (await listed(client, **ADA))["jobs"]
    assert await all_ids(client, f"/jobs?since={told['created']}", **ADA) == [job.id]
    assert await all_ids(client, f"/jobs?before={told['created']}", **ADA) == []


@pytest.mark.parametrize("root_path", ["", "/mounted"])
async def test_the_next_page(client: Client, store: Store, root_path: str) -> None:
    """`next` and `Link` are one relative URL, right below a root path, with all that was asked for;
    behind the last page there is none."""
    jobs = await keep(store, *(a_job_of_it() for _ in range(3)))
    url: str | None = f"{root_path}/jobs?limit=1&state=queued&since=2020-01-01T00:00:00%2B01:00"
    pages = []
    while url is not None:
        answer = await client.get(url, headers=ADA, root_path=root_path)
        page = await answer.get_json()
        pages.append([job["id"] for job in page["jobs"]])
        url = page["next"]
        link = answer.headers.get("Link")
        assert link == (None if url is None else f'<{url}>; rel="next"')
        if url is not None:
            assert url.startswith(f"{root_path}/jobs?limit=1&state=queued&since=")
        assert all(job["links"]["self"] == f"{root_path}/jobs/{job['id']}" for job in page["jobs"])
    assert pages == [[job.id] for job in reversed(jobs)]


async def test_a_page_may_be_empty_with_others_behind_it(path: Path) -> None:
    """Where a page has looked at as many jobs as it may and has found none, `next` leads on to
    what is there."""
    store = SqliteStore(path)
    app, _ = an_app(store)
    async with serving(app) as client:
        (rare,) = await keep(store, a_job_of_it(State.FAILED))
        common = a_job_of_it()
        add_all(path, [common._replace(id=f"{number:032x}") for number in range(MAX_PAGE + 1)])
        page = await listed(client, "/jobs?state=failed", **ADA)
        assert page["jobs"] == []
        assert await all_ids(client, page["next"], **ADA) == [rare.id]


async def test_a_cursor_is_a_place_and_no_pass(client: Client, store: Store) -> None:
    """Whoever has another owner's cursor sees their own jobs behind that place, and no other."""
    old = time.time() - 10
    bobs, *_ = await keep(
        store, a_job_of_it(owner="bob", created=old), a_job_of_it(), a_job_of_it()
    )
    page = await listed(client, "/jobs?limit=1", **ADA)
    assert await all_ids(client, page["next"], **BOB) == [bobs.id]
    assert (await client.get(page["next"])).status_code == 404


async def test_what_cannot_be_asked_for(client: Client) -> None:
    """A wrong parameter is a problem document that names it, for owners and for operators."""
    for url, headers in product(
        ("/jobs?stat=failed", "/jobs?limit=0", "/jobs?cursor=x", "/jobs?limit=1&limit=2"),
        (ADA, VIEWER),
    ):
        answer = await client.get(url, headers=headers)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        problem = await answer.get_json()
        assert problem["type"] == "urn:asyncjobs:problem:invalid-request"
        assert repr(url.partition("?")[2].partition("=")[0]) in problem["detail"]


async def test_whatever_bytes_are_asked_with(client: Client, store: Store) -> None:
    """Bytes that are no UTF-8 are refused like any other text, or looked for."""
    (job,) = await keep(store, a_job_of_it(route="\N{REPLACEMENT CHARACTER}"))
    for query, status in (("%FF=1", 400), ("state=%FF", 400), ("route=%FF&limit=1", 200)):
        answer = await client.get(f"/jobs?{query}", headers=ADA)
        assert answer.status_code == status
    assert [each["id"] for each in (await answer.get_json())["jobs"]] == [job.id]


async def test_a_name_does_not_end_at_a_nul(client: Client, store: Store) -> None:
    """A route or an owner that is asked for is the whole text, whatever is in it: what is before a
    NUL is another one."""
    plain, odd = await keep(
        store, *(a_job_of_it(route=name, owner=name) for name in ("report", "report\0x"))
    )
    for column in ("route", "owner"):
        for written, expected in (
            ("report", [plain.id]),
            ("report%00x", [odd.id]),
            ("report%00", []),
            ("report%01Bx", []),
        ):
            assert await all_ids(client, f"/jobs?{column}={written}", **VIEWER) == expected


async def test_head_is_as_get(client: Client, store: Store) -> None:
    """HEAD has the status and the headers of the GET; its body the server leaves out."""
    await keep(store, a_job_of_it(), a_job_of_it())
    for url in ("/jobs?limit=1", "/jobs?limit=0"):
        got = await client.get(url, headers=ADA)
        headed = await client.head(url, headers=ADA)
        assert headed.status_code == got.status_code
        assert list(headed.headers) == list(got.headers)


async def test_only_get(client: Client) -> None:
    """Nothing else can be done to a list."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await client.open("/jobs", method=method, headers=ADA)).status_code == 405


# What a page costs.


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (VIEWER, ""),
        (VIEWER, "?limit=500"),
        (VIEWER, "?state=running"),
        (VIEWER, "?owner=user%202"),
        (VIEWER, "?route=route%203&since=2020-01-01T00:00:00Z"),
        ({"X-User": "user 2"}, ""),
        ({"X-User": "user 2"}, "?state=running"),
        ({"X-User": "nobody here"}, ""),
    ],
)
async def test_a_page_takes_the_same_of_many_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], query: str
) -> None:
    """So many rows are fetched for a page as it may look at, and no more, however many jobs there
    are: the first page, and the one behind it."""
    work = Work(monkeypatch)
    now = time.time()
    taken: dict[int, list[tuple[int, int]]] = {}
    for length in (2000, 20_000):
        path = tmp_path / f"{length}.db"
        app, _ = an_app(SqliteStore(path), name="ours")
        async with serving(app) as client:
            add_all(
                path,
                [
                    job._replace(state=State.SUCCEEDED, expires=now + 1e6)
                    for job in many_jobs(length)
                ],
            )
            url, taken[length] = f"/jobs{query}", []
            await listed(client, url, **headers)  # once, so that all is prepared
            while url and len(taken[length]) < 2:
                begun = work.rows, work.steps
                page = await listed(client, url, **headers)
                taken[length].append((work.rows - begun[0], work.steps - begun[1]))
                url = page["next"]
    # What the app looks for meanwhile by itself is in there as well.
    for rows, steps in [each for pages in taken.values() for each in pages]:
        assert rows <= MAX_PAGE + 1 + 50
        assert steps <= 110 * (MAX_PAGE + 1)


async def test_no_page_reads_a_table_or_sorts_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for over HTTP, SQLite finds it by its indexes."""
    statements: set[str] = set()
    for module in (database, file):
        monkeypatch.setattr(module, "connect", traced(vars(module)["connect"], statements))
    store = SqliteStore(path)
    app, _ = an_app(store)
    async with serving(app) as client:
        await keep(store, *(a_job_of_it() for _ in range(3)))
        statements.clear()
        for headers, query in product(
            (ADA, VIEWER),
            ("", "state=queued&route=report", "since=2020-01-01T00:00:00Z",
             "before=2050-01-01T00:00:00Z"),
        ):  # fmt: skip
            assert len(await all_ids(client, f"/jobs?limit=1&{query}", **headers)) == 3
        assert len(await all_ids(client, "/jobs?owner=ada&limit=2", **VIEWER)) == 3
    pages = frozenset(sql for sql in statements if "AS place" in sql)
    assert len(pages) >= 8
    assert Asked(path, pages).burdens(path) == []


# Guards.


def guarded(app: Quart, jobs: QuartJobs, **options: Any) -> Blueprint:
    """A view in a blueprint, and one in none."""
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    inner.add_url_rule("/secret/<org>", "secret", jobs.background(**options)(nothing))
    app.add_url_rule("/open", "open", jobs.background(nothing))
    return inner


async def nothing(**view_args: Any) -> str:
    return ""


KEY = {"X-Key": "open sesame"}


@pytest.mark.parametrize("poll_route", [True, False])
@pytest.mark.parametrize("how", ["answers", "aborts", "raises what the app answers"])
async def test_what_a_guard_refuses_is_not_listed(store: Store, poll_route: bool, how: str) -> None:
    """The jobs of a blueprint whose guard would not let the request in at their own URLs are left
    out of its list, for owners and for operators; all others are there."""
    app, jobs = an_app(store)
    inner = guarded(app, jobs, poll_route=poll_route)
    app.register_error_handler(PermissionError, lambda error: ("no", 403))

    @inner.before_request
    async def guard() -> Any:
        if request.headers.get("X-Key") == KEY["X-Key"]:
            return None
        if how == "answers":
            return "no", 403
        if how == "aborts":
            abort(403)
        raise PermissionError

    app.register_blueprint(inner)
    async with serving(app) as client:
        secret = id_of(await submit(client, "/inner/secret/acme", headers={**ADA, **KEY}))
        free = id_of(await submit(client, "/open", headers=ADA))
        for who in (ADA, VIEWER):
            assert (await client.get(f"/jobs/{secret}", headers=who)).status_code == 403
            assert await all_ids(client, "/jobs?limit=1", **who) == [free]
            assert await all_ids(client, **who, **KEY) == [free, secret]


async def test_a_guard_is_asked_for_each_job(store: Store) -> None:
    """A guard is told of each job what it is told at its own URL: the endpoint, the arguments of
    the submission and the id. What it lets in of one tenant's is listed, and nothing of the
    other's; the request is one to the list again for all that comes after."""
    app, jobs = an_app(store)
    inner = guarded(app, jobs)
    asked: list[tuple[Any, ...]] = []
    after: list[tuple[Any, ...]] = []

    @inner.before_request
    async def guard() -> None:
        values = dict(request.view_args or {})
        asked.append((request.endpoint, values["org"], values.get("asyncjobs_id")))
        if values["org"] != request.headers["X-Org"]:
            abort(403)

    @app.after_request
    async def look(response: Any) -> Any:
        after.append((request.endpoint, request.view_args))
        return response

    app.register_blueprint(inner)
    async with serving(app) as client:
        ids = {
            org: id_of(await submit(client, f"/inner/secret/{org}", headers={**ADA, "X-Org": org}))
            for org in ("acme", "evil")
        }
        asked.clear()
        assert await all_ids(client, **ADA, **{"X-Org": "acme"}) == [ids["acme"]]
        assert asked == [
            ("inner.secret__job", "evil", ids["evil"]),
            ("inner.secret__job", "acme", ids["acme"]),
        ]
        assert after[-1] == ("asyncjobs_list", {})
        # One that cannot be asked, as what it looks at is not there, lets nobody in.
        assert await all_ids(client, **ADA) == []


async def test_what_a_guard_takes_is_given_back(store: Store) -> None:
    """What tears down the requests of a blueprint runs behind its guards for each job, before those
    of the next one are asked, and is told of what they have raised."""
    app, jobs = an_app(store)
    inner = guarded(app, jobs)
    taken: list[str] = []
    told: list[BaseException | None] = []

    @inner.before_request
    async def take() -> None:
        assert taken == []
        taken.append("a connection")
        if "X-Key" not in request.headers:
            abort(403)

    @inner.teardown_request
    async def give_back(error: BaseException | None) -> None:
        taken.remove("a connection")
        told.append(error)

    app.register_blueprint(inner)
    async with serving(app) as client:
        for _ in range(3):
            await submit(client, "/inner/secret/acme", headers={**ADA, **KEY})
        told.clear()
        assert len(await all_ids(client, **ADA, **KEY)) == 3
        assert told == [None] * 3
        told.clear()
        assert await all_ids(client, **ADA) == []
        assert [getattr(error, "code", None) for error in told] == [403] * 3
    assert taken == []


async def test_a_guard_that_is_broken_is_a_500(store: Store) -> None:
    """What the app has no answer to is none of a guard: the list fails as the job's own URL does,
    and hides nothing."""
    app, jobs = an_app(store)
    inner = guarded(app, jobs)

    @inner.before_request
    async def guard() -> None:
        if request.method == "GET" and "X-Break" in request.headers:
            raise ZeroDivisionError

    app.register_blueprint(inner)
    async with serving(app) as client:
        job_id = id_of(await submit(client, "/inner/secret/acme", headers=ADA))
        for url in ("/jobs", f"/jobs/{job_id}"):
            answer = await client.get(url, headers={**ADA, "X-Break": "1"})
            assert answer.status_code == 500


async def test_jobs_whose_guards_are_gone_are_not_listed(client: Client, store: Store) -> None:
    """Where a deploy has taken a blueprint away nobody can be asked, and its jobs are unknown, in
    the list as well."""
    gone, there = await keep(store, a_job_of_it(route="gone.report", path="/report"), a_job_of_it())
    assert await all_ids(client, **ADA) == [there.id]
    assert (await client.get(f"/jobs/{gone.id}", headers=ADA)).status_code == 404


async def test_a_guard_by_the_apps_own_hook(store: Store) -> None:
    """A guard of the whole app sees the endpoints of the list and of the retry."""
    app, _ = an_app(store)
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.endpoint))
    async with serving(app) as client:
        (job,) = await keep(store, a_job_of_it(State.FAILED))
        await client.get("/jobs", headers=ADA)
        await client.post(f"/jobs/{job.id}/retry", headers=ADA)
    assert seen == ["asyncjobs_list", "asyncjobs_retry"]


# Where it is.


@pytest.mark.parametrize("rule", ["/jobs", "/jobs/", "//jobs"])
async def test_a_view_of_the_apps_own_at_the_list(path: Path, rule: str) -> None:
    """A view that would take the list's requests, or they its own, stops the start; the message
    names both, and says what to do."""
    from test_registering import refused

    app, _ = an_app(f"sqlite:///{path}")
    app.add_url_rule(rule, "vacancies", vacancies)
    await refused(app, r"'vacancies'.*GET '/jobs' \('asyncjobs_list'\).*prefix=")


async def test_an_endpoint_of_the_lists_name(path: Path) -> None:
    """So does an endpoint that is called as one of ours."""
    from test_registering import refused

    for endpoint in ("asyncjobs_list", "asyncjobs_retry"):
        app, _ = an_app(f"sqlite:///{path}")
        app.add_url_rule("/taken", endpoint, vacancies)
        await refused(app, rf"asyncjobs cannot be added.*{endpoint}.*another")


@pytest.mark.parametrize(
    ("rule", "methods"),
    [
        ("/jobs", ["POST"]),
        ("/jobs/overview", ["GET"]),
        ("/<path:page>", ["GET"]),
        ("/<page>", ["GET"]),
        ("/jobs2", ["GET"]),
    ],
)
async def test_what_the_list_gets_along_with(store: Store, rule: str, methods: list[str]) -> None:
    """Other methods at its URL, and rules that give way to it, are no collision."""
    app, _ = an_app(store)

    async def own(**view_args: Any) -> list[str]:
        return ["a cook"]

    app.add_url_rule(rule, "own", own, methods=methods)
    async with serving(app) as client:
        assert (await listed(client, **ADA))["jobs"] == []
        url = rule.replace("<path:page>", "a/b").replace("<page>", "page")
        assert await (await client.open(url, method=methods[0])).get_json() == ["a cook"]


async def test_the_list_is_at_the_prefix(store: Store) -> None:
    """With another prefix it is there, and `url_for` knows where."""
    app, _ = an_app(store, prefix="/a b/tasks")
    async with serving(app) as client:
        await keep(store, a_job_of_it(), a_job_of_it())
        assert (await client.get("/jobs", headers=ADA)).status_code == 404
        page = await listed(client, "/a%20b/tasks?limit=1", **ADA)
        assert page["next"].startswith("/a%20b/tasks?limit=1&cursor=")
        assert len(await all_ids(client, page["next"], **ADA)) == 1
        async with app.test_request_context("/"):
            assert url_for("asyncjobs_list") == "/a%20b/tasks"
            assert url_for("asyncjobs_list", state="failed") == "/a%20b/tasks?state=failed"
            assert url_for("asyncjobs_retry", job_id="0" * 32) == f"/a%20b/tasks/{'0' * 32}/retry"


async def test_every_host_of_jobs_has_a_list(store: Store) -> None:
    """With host matching there is one at each host that a job can be made at, also where that is a
    variable, and at no other; each shows all jobs of who asks, as their status is at each of these
    hosts as well."""
    app = Quart(PROGRAM, host_matching=True, static_host="static.example.com")
    jobs = QuartJobs(app, store=store, owner=owner_of_header)
    view = jobs.background(nothing)
    app.add_url_rule("/foo", "one", view, host="one.example.com")
    app.add_url_rule("/foo", "some", view, host="<tenant>.example.org")
    app.add_url_rule("/plain", "plain", vacancies, host="plain.example.com")
    async with serving(app) as client:
        ids = []
        for host in ("one.example.com", "a.example.org"):
            ids.insert(0, id_of(await submit(client, "/foo", headers={**ADA, "Host": host})))
        for host in ("one.example.com", "a.example.org", "b.example.org"):
            assert await all_ids(client, **ADA, Host=host) == ids
            for job_id in ids:
                answer = await client.get(f"/jobs/{job_id}", headers={**ADA, "Host": host})
                assert answer.status_code == 200
        answer = await client.get("/jobs", headers={**ADA, "Host": "plain.example.com"})
        assert answer.status_code == 404


async def test_every_subdomain_of_jobs_has_a_list(store: Store) -> None:
    """So it is with subdomains, and the app's own name has one in any case."""
    app = Quart(PROGRAM, subdomain_matching=True)  # type: ignore[call-arg]
    app.config["SERVER_NAME"] = "example.com"
    jobs = QuartJobs(app, store=store, owner=owner_of_header)
    inner = Blueprint("inner", __name__, subdomain="<tenant>")
    inner.add_url_rule("/foo", "foo", jobs.background(nothing))
    app.register_blueprint(inner)
    async with serving(app) as client:
        at = {**ADA, "Host": "a.example.com"}
        job_id = id_of(await submit(client, "/foo", headers=at))
        for host in ("example.com", "a.example.com", "b.example.com"):
            assert await all_ids(client, **{**at, "Host": host}) == [job_id]


async def test_jobs_of_every_kind_are_listed(store: Store) -> None:
    """Jobs of nested blueprints, of views without a poll route, and of functions are in the list,
    each with links that lead to it."""
    app, jobs = an_app(store)
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule("/nested", "nested", jobs.background(nothing))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.add_url_rule("/bare", "bare", jobs.background(poll_route=False)(nothing))

    async with serving(app) as client, app.app_context():

        @jobs.jobs.function(name="a.function")
        async def function() -> int:
            return 1

        await submit(client, "/nested", headers=ADA)
        await submit(client, "/bare", headers=ADA)
        await jobs.jobs.submit(function)
        page = await listed(client, **VIEWER)
        assert [job["route"] for job in page["jobs"]] == [
            "a.function",
            "bare",
            "outer.inner.nested",
        ]
        for job in page["jobs"]:
            for link in job["links"].values():
                answer = await poll(client, link, **VIEWER)
                assert answer.status_code == 200


async def test_a_list_over_hypercorn(serve: Serve) -> None:
    """A real server with two workers below a root path lists what either of them has made, and its
    next pages are where it says."""
    server = serve("apps.owned:app", workers=2, options=["--root-path", "/mounted"])
    with server.client(**ADA) as client:
        ids = []
        for _ in range(4):
            location = submit_over_http(client, "GET", "/mounted/foo")
            assert result_of(client, location).status_code == 200
            ids.insert(0, id_of(location))
        url, found = "/mounted/jobs?limit=3&state=succeeded", []
        while url:
            answer = client.get(url)
            page = answer.json()
            found += [job["id"] for job in page["jobs"]]
            url = page["next"]
            assert answer.links.get("next", {}).get("url") == url
        assert found == ids
        headed = client.head("/mounted/jobs")
        assert (headed.status_code, headed.content) == (200, b"")
        assert headed.headers["Content-Type"] == "application/json"
