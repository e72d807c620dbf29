"""Hosts and subdomains: what `Link` and `Location` name is there, wherever a job was made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.typing import TestClientProtocol as Client
from quart.utils import encode_headers

from asyncjobs import QuartJobs
from asyncjobs.errors import SetupError


def by_host(**options: Any) -> Quart:
    app = Quart("hosts", host_matching=True, **options)
    app.config["QUART_JOBS_STORE"] = "memory:"
    return app


def by_subdomain(**config: Any) -> Quart:
    app = Quart("subdomains", subdomain_matching=True)
    app.config.update(SERVER_NAME="example.com", QUART_JOBS_STORE="memory:", **config)
    return app


async def foo(**view_args: Any) -> dict[str, Any]:
    return view_args


@asynccontextmanager
async def serving(app: Quart) -> AsyncIterator[Client]:
    async with app.test_app() as running:
        yield running.test_client()


async def check_urls(client: Client, host: str, path: str = "/foo") -> Any:
    """Every URL that a submission names answers at `host`; the result."""
    at = {"Host": host}
    submitted = await client.get(path, headers=at)
    assert submitted.status_code == 202, await submitted.get_data(as_text=True)
    (link,) = [value for name, value in encode_headers(submitted.headers) if name == b"link"]
    status = link.decode().partition("<")[2].partition(">")[0]

    polled = await client.get(submitted.headers["Location"], headers={"Prefer": "wait=30", **at})
    assert polled.status_code == 200
    told = await client.get(status, headers=at)
    assert told.status_code == 200
    document = await told.get_json()
    assert document["state"] == "succeeded"
    for url in document["links"].values():
        assert (await client.get(url, headers=at)).status_code == 200
    return await polled.get_json()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_status_is_at_the_host_of_the_rule(moment: str) -> None:
    """With host matching, the status of a job is at each host that a marked rule is for, whenever
    the app has got its jobs, and nowhere else."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    if moment == "before":
        jobs.init_app(app)
    view = jobs.background(foo)
    app.add_url_rule("/foo", "one", view, host="one.example.com")
    app.add_url_rule("/foo", "two", view, host="two.example.com")
    app.add_url_rule("/plain", "plain", foo, host="three.example.com")
    if moment == "after":
        jobs.init_app(app)

    async with serving(app) as client:
        for host in ("one.example.com", "two.example.com"):
            assert await check_urls(client, host) == {}
        rules = app.url_map.iter_rules("asyncjobs_status")
        assert {rule.host for rule in rules} == {"one.example.com", "two.example.com"}


async def test_a_host_may_have_variables() -> None:
    """A rule for `<user>.example.com`: the status is at each of these hosts."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    jobs.init_app(app)
    app.add_url_rule("/foo", "foo", jobs.background(foo), host="<user>.example.com")

    async with serving(app) as client:
        assert await check_urls(client, "anne.example.com") == {"user": "anne"}


async def test_a_host_may_have_a_port() -> None:
    """A rule for a host with its port."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    jobs.init_app(app)
    app.add_url_rule("/foo", "foo", jobs.background(foo), host="example.com:8080")

    async with serving(app) as client:
        assert await check_urls(client, "example.com:8080") == {}


@pytest.mark.parametrize("of", ["the blueprint", "the rule", "the outer blueprint"])
@pytest.mark.parametrize("subdomain", ["api", "<tenant>"])
async def test_the_status_is_at_the_subdomain(of: str, subdomain: str) -> None:
    """The subdomain of a blueprint or of a rule has the status of its jobs; so has the app's own
    name, for those of its other rules."""
    app, jobs = by_subdomain(), QuartJobs()
    jobs.init_app(app)
    view = jobs.background(foo)
    app.add_url_rule("/foo", "foo", view)
    options: dict[str, Any] = {"subdomain": subdomain}
    if of == "the rule":
        app.add_url_rule("/foo", "there", view, **options)
    else:
        blueprint = Blueprint("blueprint", __name__)
        blueprint.add_url_rule("/foo", "there", view)
        if of == "the outer blueprint":
            outer = Blueprint("outer", __name__)
            outer.register_blueprint(blueprint)
            blueprint = outer
        app.register_blueprint(blueprint, **options)

    async with serving(app) as client:
        assert await check_urls(client, "example.com") == {}
        expected = {"tenant": "api"} if subdomain == "<tenant>" else {}
        assert await check_urls(client, "api.example.com") == expected


async def test_a_default_subdomain_has_the_status() -> None:
    """Rules without a subdomain are at the map's default one, and so is the status."""
    app, jobs = by_subdomain(), QuartJobs()
    app.url_map.default_subdomain = "www"
    jobs.init_app(app)
    app.add_url_rule("/foo", "foo", jobs.background(foo))

    async with serving(app) as client:
        assert await check_urls(client, "www.example.com") == {}


async def test_a_job_is_not_polled_at_another_host() -> None:
    """Two views with one path at two hosts: the jobs of each are polled at its own."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    jobs.init_app(app)
    for name in ("one", "two"):
        app.add_url_rule("/foo", name, jobs.background(foo), host=f"{name}.example.com")

    async with serving(app) as client:
        submitted = await client.get("/foo", headers={"Host": "one.example.com"})
        location = submitted.headers["Location"]
        assert (await client.get(location, headers={"Host": "two.example.com"})).status_code == 404
        answer = await client.get(
            location, headers={"Host": "one.example.com", "Prefer": "wait=30"}
        )
        assert answer.status_code == 200


async def test_rules_at_other_hosts_do_not_collide() -> None:
    """What an app has at a host without jobs is its own: `/jobs/<name>` and `/foo/<name>`."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    jobs.init_app(app)
    app.add_url_rule("/foo", "foo", jobs.background(foo), host="api.example.com")
    app.add_url_rule("/foo/<name>", "named", foo, host="www.example.com")
    app.add_url_rule("/jobs/<name>", "job", foo, host="www.example.com")

    name = "0123456789abcdef0123456789abcdef"
    async with serving(app) as client:
        for path in (f"/foo/{name}", f"/jobs/{name}"):
            answer = await client.get(path, headers={"Host": "www.example.com"})
            assert await answer.get_json() == {"name": name}


@pytest.mark.parametrize("rule", ["/foo/<name>", "/jobs/<name>"])
async def test_rules_at_the_same_host_collide(rule: str) -> None:
    """The host of a marked rule has its poll route and the status, and nothing in their place; the
    error names the host."""
    app, jobs = by_host(static_host="static.example.com"), QuartJobs()
    jobs.init_app(app)
    app.add_url_rule("/foo", "foo", jobs.background(foo), host="<user>.example.com")
    app.add_url_rule(rule, "other", foo, host="<name_of_user>.example.com")

    with pytest.raises(SetupError, match=r"at '<name_of_user>.example.com'.*take requests"):
        await app.startup()
