"""An app whose document schemathesis drives: a view of each kind, owners, and operators."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from quart import Blueprint, Quart, request
from quart_schema import QuartSchema, validate_querystring, validate_request, validate_response

from apps import configuration
from asyncjobs import QuartJobs, current_job
from owners import operator_of_header, owner_of_header

app = Quart("described", static_folder=None)
app.config.update(configuration())
QuartSchema(app)
jobs = QuartJobs(app, owner=owner_of_header, operator=operator_of_header)
inner = Blueprint("inner", __name__, url_prefix="/inner")


@dataclass
class Order:
    item: str
    count: int = 1


@dataclass
class Made:
    item: str
    count: int


@dataclass
class Wanted:
    month: int | None = None


@dataclass
class Report:
    year: int
    month: int | None


@app.post("/orders")
@validate_request(Order)
@jobs.background
@validate_response(Made, 201)
async def order(data: Order) -> tuple[Made, int]:
    return Made(data.item, data.count), 201


@app.get("/reports/<int:year>")
@validate_querystring(Wanted)
@jobs.background(mode="prefer")
@validate_response(Report)
async def report(year: int, query_args: Wanted) -> Report:
    return Report(year, query_args.month)


@app.put("/checked")
@jobs.background
@validate_request(Order)
@validate_response(Made)
async def checked(data: Order) -> Made:
    return Made(data.item, data.count)


@app.post("/fails")
@jobs.background
async def fails() -> str:
    raise ValueError("as ever")


@app.post("/late")
@jobs.background(timeout=0.01)
async def late() -> str:
    await asyncio.Event().wait()
    return "never"


@app.post("/held")
@jobs.background(timeout=0.3, concurrency=2)
async def held() -> str:
    current_job.progress(1, 2, "held")
    await asyncio.Event().wait()
    return "never"


@inner.patch("/once")
@jobs.background(poll_route=False, key=lambda: request.headers.get("X-User"))
def once() -> str:
    return "once"


@app.errorhandler(UnicodeDecodeError)
async def no_text(error: UnicodeDecodeError) -> tuple[str, int]:
    """Of a body that says that it is JSON: Quart lets this out of `get_json`."""
    return "The body is no UTF-8", 400


app.register_blueprint(inner)
