"""What guards a blueprint guards its jobs also once their requests are erased."""

from __future__ import annotations

from pathlib import Path

import pytest
from quart import Blueprint, Quart, abort, request

from asyncjobs import Jobs, QuartJobs, transitions
from asyncjobs.job import Request, Response
from asyncjobs.stores import SqliteStore
from asyncjobs.testing import NOW, a_job
from test_routes import poll, serving, submit


def tenants_app(path: Path, rule: str, **options: str) -> Quart:
    """An app whose guards let nobody see what is another tenant's."""
    app = Quart("guards", subdomain_matching=True)  # type: ignore[call-arg]
    app.config["SERVER_NAME"] = "example.com"
    jobs = QuartJobs(app, store=f"sqlite:///{path}")
    inner = Blueprint("inner", __name__, **options)

    @inner.before_request
    async def guard() -> None:
        if (request.view_args or {})["tenant"] != request.headers["X-Tenant"]:
            abort(403)

    @inner.route(rule)
    @jobs.background(poll_route=False)
    async def report(tenant: str) -> str:
        return tenant

    app.register_blueprint(inner)
    return app


def at(host: str, tenant: str) -> dict[str, str]:
    return {"Host": host, "X-Tenant": tenant}


async def test_guards_need_no_request(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is variable in the URL of a job, its guards are told without its request, which may
    be large, or erased."""
    app = tenants_app(path, "/of/<tenant>/report")
    async with serving(app) as client:
        location = await submit(client, "/of/a/report", headers=at("example.com", "a"))
        monkeypatch.delattr(Jobs, "request")
        assert (await poll(client, location, **at("example.com", "a"))).status_code == 200
        for tenant, status in (("a", 200), ("b", 403)):
            for url in (location, location.removesuffix("/result")):
                answer = await client.get(url, headers=at("example.com", tenant))
                assert answer.status_code == status, url


async def keep_an_older_one(path: Path, job_path: str) -> str:
    """A job that an older version has accepted, and this one has run."""
    async with SqliteStore(path) as store:
        job = a_job(route="inner.report", path=job_path, program="guards", ttl=1e9)
        job = transitions.start(job, store.worker, NOW)
        await store.add(job, Request("GET", job_path))
        done = transitions.finish(job, 200, NOW)
        await store.replace(job, done, Response(200, (), b"a's"), erase=True)
    return job.id


async def test_of_a_job_that_an_older_version_has_accepted(path: Path) -> None:
    """What was not stored with it is taken from its path."""
    job_id = await keep_an_older_one(path, "/of/a/report")
    async with serving(tenants_app(path, "/of/<tenant>/report")) as client:
        for tenant, status in (("a", 200), ("b", 403)):
            for url in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
                answer = await client.get(url, headers=at("example.com", tenant))
                assert answer.status_code == status, url


async def test_what_is_not_known_any_more_is_not_guessed(path: Path) -> None:
    """Where the host was variable, nobody can tell which it was: such a job is unknown, whoever
    asks for it at whatever host."""
    job_id = await keep_an_older_one(path, "/report")
    async with serving(tenants_app(path, "/report", subdomain="<tenant>")) as client:
        for tenant in "ab":
            for url in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
                answer = await client.get(url, headers=at(f"{tenant}.example.com", tenant))
                assert answer.status_code == 404, url
