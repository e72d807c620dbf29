"""Jobs to be watched, which go on when a test says so; and results that are large."""

from __future__ import annotations

from quart import Quart

from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

STEPS = 3

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


@app.get("/steps/<name>")
@jobs.background
async def steps(name: str) -> dict[str, str]:
    for step in range(1, STEPS + 1):
        await signals.arrive(f"{name}.{step}")
        current_job.progress(step, STEPS)
    await signals.arrive(f"{name}.go")
    return {"done": name}


@app.get("/large/<int:size>")
@jobs.background
async def large(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)


@app.get("/plain")
async def plain() -> str:
    return "plain"
