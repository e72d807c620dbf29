"""Jobs of an app that has what looks at the headers of every request: a session, and a login."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Quart, request, session

import asyncjobs.running.attempt
from asyncjobs import QuartJobs

from . import configuration
from .signals import Signals

asyncjobs.running.attempt.STOP_GRACE = 600.0  # type: ignore[misc] # as long as the test wants

app = Quart(__name__)
app.config.update(configuration(), SECRET_KEY="for tests alone")
jobs = QuartJobs(app, owner=lambda: session.get("user"))
signals = Signals(app.config["SIGNALS"])


@app.route("/job", methods=["GET", "POST", "QUERY"])
@jobs.background
async def job() -> dict[str, Any]:
    return {"method": request.method, "body": (await request.get_data()).decode("latin-1")}


@app.route("/stubborn/<name>")
@jobs.background
async def stubborn(name: str) -> str:
    """Does not stop until the test says so."""
    signals.send(f"{name}.started")
    while not signals.is_sent(f"{name}.go"):
        try:
            await signals.arrive(f"{name}.go")
        except asyncio.CancelledError:
            signals.send(f"{name}.told")
    return "stopped"
