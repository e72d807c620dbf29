"""A client that makes a job, follows it over HTTP, and checks what it comes to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from .scenarios import Scenario

#: Seconds between two looks at the status of a job.
LOOK_INTERVAL = 0.1
#: Seconds that a job has for its result. It needs three.
PATIENCE = 20


@dataclass(slots=True)
class Run:
    """One job, as its client sees it.

    Attributes:
        status: the newest status document; empty as long as there is none.
        result: the answer that was checked; None as long as there is none.
        problems: what is not as it should be.
    """

    scenario: Scenario
    status: dict[str, Any] = field(default_factory=dict)
    result: httpx.Response | None = None
    problems: list[str] = field(default_factory=list)


def client_of(url: str) -> httpx.AsyncClient:
    """A client of the server at `url`, straight to it whatever proxies the environment names."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE + 10)


async def drive(run: Run, client: httpx.AsyncClient) -> None:
    """Take `run` from its request to its checked result."""
    scenario = run.scenario
    try:
        answer = await client.request(
            scenario.method, scenario.path, params=scenario.query, content=scenario.content
        )
        if answer.status_code == 202:
            answer = await _follow(run, client, answer)
        run.result, run.problems = answer, scenario.check(answer)
    except (httpx.HTTPError, LookupError, ValueError) as error:
        run.problems = [f"no answer to make sense of: {error!r}"]


async def _follow(run: Run, client: httpx.AsyncClient, accepted: httpx.Response) -> httpx.Response:
    """The result, which the server is asked to answer with as soon as it is there."""
    status = accepted.links["status"]["url"]
    prefer = {"Prefer": f"wait={PATIENCE}"}
    result = asyncio.create_task(client.get(accepted.headers["Location"], headers=prefer))
    try:
        while not result.done():
            run.status = (await client.get(status)).json()
            await asyncio.wait([result], timeout=LOOK_INTERVAL)
        run.status = (await client.get(status)).json()
        return result.result()
    finally:
        result.cancel()
