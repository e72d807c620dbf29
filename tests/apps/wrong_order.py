"""An app that does not come up: its decorators are in the wrong order."""

from __future__ import annotations

from quart import Quart

from asyncjobs import QuartJobs

app = Quart(__name__)
jobs = QuartJobs(app, store="memory:")


@jobs.background
@app.route("/report")
async def report() -> str:
    return "never"
