"""An app that two releases serve beside each other, each from its own source.

It uses of asyncjobs only what the older one has as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from quart import Quart

import asyncjobs
from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

logging.basicConfig(level=logging.INFO)
app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])
RELEASE = app.config["RELEASE"]

# What looks now and then makes up for hints that are not understood. A release may have these in
# any of its modules.
INTERVALS = ("REREAD_INTERVAL", "SWEEP_INTERVAL", "NET_INTERVAL")
if app.config["HINTS_ONLY"]:
    ours = [module for name, module in sys.modules.items() if name.startswith("asyncjobs.")]
    for interval in INTERVALS:
        having = [module for module in ours if interval in vars(module)]
        assert having, f"no {interval} in this release"
        for module in having:
            setattr(module, interval, 3600)


@app.get("/source")
async def source() -> str:
    return os.path.dirname(asyncjobs.__path__[0])


@app.route("/work", methods=["GET", "POST"])
@jobs.background
async def work() -> dict[str, Any]:
    note()
    await asyncio.sleep(0.01)
    return {"release": RELEASE}


@app.route("/hold/<name>", methods=["GET", "POST"])
@jobs.background
async def hold(name: str) -> dict[str, Any]:
    note()
    signals.send(f"{name}-started-{current_job.attempt}")
    try:
        await signals.arrive(f"{name}-go")
    except asyncio.CancelledError:
        signals.send(f"{name}-cancelled")
        raise
    return {"release": RELEASE, "attempt": current_job.attempt}


@app.post("/retry/<job_id>")
async def retry(job_id: str) -> dict[str, str | None]:
    """Have a job run once more; what that raises."""
    try:
        await jobs.jobs.retry(job_id)
    except Exception as error:
        return {"error": type(error).__name__}
    return {"error": None}


def note() -> None:
    """Write down that this job was started, and by which release."""
    with open(signals.folder / "ledger", "a") as ledger:
        ledger.write(f"{current_job.id} {RELEASE}\n")
