"""The servers that are measured."""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import cache
from pathlib import Path

from quart import Quart, request

from asyncjobs import QuartJobs, current_job


def answering(app: Quart, path: str) -> Quart:
    """Give `app` the contract at `path`, and nothing behind it."""

    @app.post(path)
    async def submit():
        await request.get_data()
        return {"TaskId": uuid.uuid4().hex}, 202

    @app.get(f"{path}/<task_id>")
    async def result(task_id: str):
        return {"Result": True}

    return app


def running(app: Quart, path: str) -> QuartJobs:
    """Give `app` the contract at `path`, and behind it a durable job that does nothing."""
    jobs = QuartJobs(app, concurrency=20_000)

    @app.post(path)
    @jobs.background(ttl=60)
    async def job():
        return {"Result": True}

    return jobs


#: Answers the contract and does nothing else.
floor = answering(Quart("floor"), "/job")
#: Runs each request as a durable job; beside that it has the floor's routes.
ours = answering(Quart("ours", instance_path=str(Path.cwd() / "instance")), "/plain")
jobs = running(ours, "/job")


@cache
def notes() -> int:
    """Where each worker writes down what it has run."""
    return os.open(f"{os.getpid()}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@ours.post("/noted")
@jobs.background(ttl=600)
async def noted():
    os.write(notes(), f"{current_job.id}\n".encode())
    return {"Result": True}


@ours.post("/large")
@jobs.background(ttl=600)
async def large():
    return bytes(1024 * 1024)


@ours.post("/short")
@jobs.background(ttl=1)
async def short():
    return {"Result": True}


@ours.post("/sleep")
@jobs.background
async def sleep():
    await asyncio.sleep(3600)
    return {"Result": True}


#: Tells whose a request is by a header.
owned = Quart("owned", instance_path=str(Path.cwd() / "instance"))
owners_jobs = QuartJobs(owned, owner=lambda: request.headers.get("X-User"))


@owned.post("/owned", endpoint="owned")
@owners_jobs.background
async def an_owners():
    return {"Result": True}
