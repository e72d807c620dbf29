"""Ours: the jobs run in the process that serves."""

from __future__ import annotations

from pathlib import Path

from quart import Quart

from asyncjobs import QuartJobs

app = Quart("ours", instance_path=str(Path.cwd() / "instance"))
jobs = QuartJobs(app)


@app.post("/job")
@jobs.background(ttl=60)
async def job():
    return {"Result": True}
