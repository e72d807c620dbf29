"""Apps whose callers say in headers who they are: owners, and operators."""

from __future__ import annotations

import time
from typing import Any

from quart import Quart, request

from asyncjobs import Job, QuartJobs, State, Store
from asyncjobs.testing import REQUEST, RESPONSE, a_job

PROGRAM = "owners"
ADA, BOB = {"X-User": "ada"}, {"X-User": "bob"}
VIEWER, STEERER = {"X-Operator": "view"}, {"X-Operator": "steer"}


def owner_of_header() -> str | None:
    return request.headers.get("X-User")


def operator_of_header() -> Any:
    """In all the words that there are for it."""
    said = request.headers.get("X-Operator")
    return {"all": True, "none": False}.get(said, said) if said else None


def an_app(store: str | Store, **options: Any) -> tuple[Quart, QuartJobs]:
    """An app with owners and operators, unless it is to have others."""
    app = Quart(PROGRAM)
    both = {"owner": owner_of_header, "operator": operator_of_header}
    return app, QuartJobs(app, store=store, **{**both, **options})


def a_job_of_it(state: State = State.QUEUED, **fields: Any) -> Job:
    """A job that was made just now, of a route that nobody has, so that it stays as it is."""
    now = time.time()
    status = 200 if state is State.SUCCEEDED else 500
    end = {"started": now, "finished": now, "expires": now + 3600, "status": status}
    known: dict[str, Any] = {"created": now, "program": PROGRAM, "owner": "ada"}
    return a_job(**{**known, **(end if state.is_final else {}), **fields, "state": state})


async def keep(store: Store, *jobs: Job) -> list[Job]:
    """Put jobs into a store, each with its request, and with a result if it is final."""
    return [await _kept(store, job) for job in jobs]


async def _kept(store: Store, job: Job) -> Job:
    if not job.state.is_final:
        return await store.add(job, REQUEST)
    begun = await store.add(job._replace(state=State.QUEUED), REQUEST)
    ended = job._replace(version=begun.version + 1)
    await store.replace(begun, ended, RESPONSE)
    return ended


def id_of(location: str) -> str:
    """The id of the job that a URL is about."""
    return next(part for part in location.split("/") if len(part) == 32)
