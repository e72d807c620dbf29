"""The servers that are measured."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

from quart import Quart, request

from asyncjobs import QuartJobs, current_job

#: Answers the contract and does nothing else.
floor = Quart("floor")
#: Runs each request as a durable job.
ours = Quart("ours", instance_path=str(Path.cwd() / "instance"))
jobs = QuartJobs(ours, concurrency=20_000)
#: Where each worker writes down what it has run.
notes = os.open(f"{os.getpid()}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@floor.post("/job")
async def floor_submit():
    await request.get_data()
    return {"TaskId": uuid.uuid4().hex}, 202


@floor.get("/job/<task_id>")
async def floor_result(task_id: str):
    return {"Result": True}


@ours.post("/job")
@jobs.background(ttl=60)
async def job():
    return {"Result": True}


@ours.post("/noted")
@jobs.background(ttl=600)
async def noted():
    os.write(notes, f"{current_job.id}\n".encode())
    return {"Result": True}


@ours.post("/short")
@jobs.background(ttl=1)
async def short():
    return {"Result": True}


@ours.post("/sleep")
@jobs.background
async def sleep():
    await asyncio.sleep(3600)
    return {"Result": True}
