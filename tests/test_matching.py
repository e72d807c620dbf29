"""A job's request leads where its job belongs, and its URL is not matched where that would tell
nothing."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from quart import Quart, copy_current_request_context, request
from quart.routing import QuartMap, QuartRule
from werkzeug.routing import MapAdapter

from asyncjobs.job import Request
from asyncjobs.outcome import Unusable
from asyncjobs.running.current import running_job
from asyncjobs.running.threads import Threads
from asyncjobs.web.background import replay
from asyncjobs.web.background.replay import Replay
from asyncjobs.web.callers.vanishing import Vanishing
from asyncjobs.web.context import Context, context_to_json
from asyncjobs.web.routing.hosts import answer_bad_hosts
from test_given import a_running_job


class OwnContexts(Quart):
    """Says itself how a request is matched."""

    def request_context(self, request: Any) -> Any:
        context = super().request_context(request)
        match = context.match_request

        def match_request() -> None:
            match()
            request.view_args = {"own": True}

        context.match_request = match_request  # type: ignore[method-assign]
        return context


class OwnMap(Quart):
    """Matches in a map that is not its `url_map`."""

    def create_url_adapter(self, request: Any) -> Any:
        adapter = super().create_url_adapter(request)
        if request is not None and adapter is not None:
            adapter.map = QuartMap([QuartRule("/a", endpoint="job", methods=["GET", "PUT"])])
        return adapter


KINDS = {
    "plain": lambda: Quart("plain"),
    "subdomains": lambda: Quart("subdomains", subdomain_matching=True),
    "hosts": lambda: Quart("hosts", host_matching=True, static_host="static"),
    "own contexts": lambda: OwnContexts("contexts"),
    "own map": lambda: OwnMap("map"),
}


@st.composite
def apps(draw: st.DrawFn) -> Quart:
    """One whose endpoint "job" may have moved, have gone, or have several rules."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    app = KINDS[kind]()
    if kind == "subdomains":
        app.config["SERVER_NAME"] = "localhost"
    answer_bad_hosts(app)
    for endpoint in ("job", "other"):
        app.view_functions[endpoint] = view
        for _ in range(draw(st.integers(0, 2))):
            app.url_map.add(draw(rules(kind, endpoint)))
    return app


def rules(kind: str, endpoint: str) -> st.SearchStrategy[QuartRule]:
    options: dict[str, st.SearchStrategy[Any]] = {
        "methods": st.sampled_from([["GET", "POST"], ["GET"], ["POST"]]),
        "defaults": st.sampled_from([None, None, None, {"x": "d"}]),
        "strict_slashes": st.sampled_from([None, False]),
    }
    if kind == "subdomains":
        options["subdomain"] = st.sampled_from(["", "sub", "<x>"])
    if kind == "hosts":
        options["host"] = st.sampled_from(["localhost", "sub.localhost", "<x>"])
    return st.builds(
        QuartRule,
        st.sampled_from(["/a", "/b", "/a", "/b", "/a/", "/<y>", "/a/<int:n>"]),
        endpoint=st.just(endpoint),
        **options,
    )


KNOWN = st.builds(
    Context,
    rule=st.sampled_from(["", "", "/a", "/b"]),
    view_args=st.sampled_from([{}, {}, {}, {}, UNSET, {"x": "v"}, {"n": 7}]),
    defaults=st.sampled_from([{}, {}, {}, {"x": "d"}]),
)
HOSTS = st.sampled_from(["localhost", "localhost", "sub.localhost", "elsewhere", "a..b"])
PATHS = st.sampled_from(["/a", "/b", "/a", "/b", "/a/", "//a", "/c", "/a/7"])


@given(apps(), st.sampled_from(["GET", "POST"]), PATHS, HOSTS, KNOWN)
@pytest.mark.filterwarnings("ignore:Current server name")
def test_it_leads_where_it_would_if_it_were_matched(
    app: Quart, method: str, path: str, host: str, known: Context
) -> None:
    """Whatever rules the app has: rule, variables and exception of the request, also in a copied
    context, and whether the job can be run at all, are those of one whose URL was matched."""
    stored = a_request(method, path, host, known)
    with patch.object(replay, "only_rule", return_value=None):
        expected = led(app, stored)
    assert led(app, stored) == expected


@pytest.mark.parametrize(
    ("rules", "known", "matches"),
    [
        (["/a"], Context(view_args={}), 0),
        (["/moved"], Context(view_args={}), 0),
        (["/a"], Context(), 1),
        (["/a", "/b"], Context(view_args={}), 1),
        (["/<x>"], Context(view_args={"x": "a"}), 1),
        ([], Context(view_args={}), 1),
    ],
)
def test_what_has_no_variables_is_not_matched(
    rules: list[str], known: Context, matches: int
) -> None:
    """The only rule of an endpoint, if it has no variables, and the request had none."""
    app = Quart("counted")
    app.view_functions["job"] = view
    for rule in rules:
        app.url_map.add(QuartRule(rule, endpoint="job"))
    with patch.object(MapAdapter, "match", autospec=True, side_effect=MapAdapter.match) as match:
        led(app, a_request("GET", "/a", "localhost", known), copied=False)
    assert match.call_count == matches


async def view(**view_args: Any) -> dict[str, Any]:
    return {}


def a_request(method: str, path: str, host: str, known: Context) -> Request:
    headers = ((b"host", host.encode()),)
    return Request(method, path, headers=headers, context=context_to_json(known))


def led(app: Quart, stored: Request, *, copied: bool = True) -> list[Any]:
    """What the view of a job of this request sees of where that has led to, and the outcome."""
    seen: list[Any] = []

    async def look() -> None:
        rule = request.url_rule
        assert rule is not None
        seen.append((rule.endpoint, rule.rule, rule.host, rule.subdomain, rule.methods))
        seen.append((request.view_args, repr(request.routing_exception)))

    async def look_twice() -> None:
        await look()
        if copied:
            await copy_current_request_context(look)()

    perform = Replay(app, "job", view, False, Threads(1), [look_twice], 1000, Vanishing("job"))

    async def run() -> None:
        running_job.set(a_running_job())
        outcome = await perform(stored)
        seen.append(str(outcome.reason) if isinstance(outcome, Unusable) else outcome)

    asyncio.run(run())
    return seen
