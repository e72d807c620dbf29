"""The two servers that are compared, and what both answer.

`floor` answers the contract and does nothing else; `ours` runs each request as a durable job.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from quart import Quart, request

from asyncjobs import QuartJobs

floor = Quart("floor")
ours = Quart("ours", instance_path=str(Path.cwd() / "instance"))
jobs = QuartJobs(ours)


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
