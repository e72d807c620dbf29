"""Views whose callers say in headers who they are, with a job at every kind of URL."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Quart
from quart import Response as QuartResponse

from apps import configuration
from asyncjobs import QuartJobs
from owners import operator_of_header, owner_of_header

app = Quart(__name__)
app.config.update(configuration())
jobs = QuartJobs(app, owner=owner_of_header, operator=operator_of_header)
inner = Blueprint("inner", __name__, url_prefix="/inner")


@app.get("/foo")
@jobs.background
async def foo() -> dict[str, Any]:
    return {"Result": True}


@app.get("/other")
@jobs.background
async def other() -> dict[str, Any]:
    return {"Result": True}


@app.get("/fails")
@jobs.background
async def fails() -> tuple[str, int]:
    return "not today", 500


@app.get("/short")
@jobs.background(ttl=0)
async def short() -> dict[str, Any]:
    return {"Result": True}


@inner.before_request
async def guard() -> None:
    """Lets everybody in."""


@inner.get("/bar")
@jobs.background
async def bar() -> dict[str, Any]:
    return {"Result": True}


@app.get("/mine/<job_id>")
async def mine(job_id: str) -> QuartResponse:
    return await jobs.poll(job_id)


app.register_blueprint(inner)
