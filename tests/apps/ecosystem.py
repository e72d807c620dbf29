"""An app with all of them: quart-schema, quart-auth, quart-cors, quart-rate-limiter, quart-db, and
OpenTelemetry's middleware around it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypercorn.middleware import ProxyFixMiddleware
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from quart import Blueprint, Quart, g, request
from quart_auth import AuthUser, QuartAuth, current_user, login_required, login_user
from quart_cors import cors, route_cors
from quart_db import QuartDB
from quart_rate_limiter import RateLimit, RateLimiter, limit_blueprint, rate_limit
from quart_schema import (
    QuartSchema,
    validate_headers,
    validate_querystring,
    validate_request,
    validate_response,
)

from asyncjobs import QuartJobs, current_job
from asyncjobs.web import auth

from . import configuration
from .signals import Signals

SHOP = "https://shop.example"

app = Quart(__name__)
app.config.from_mapping(configuration())
app.secret_key = "secret"
traces = TracerProvider()
spans = ConsoleSpanExporter(
    out=Path(app.config["SPANS"]).open("a"),  # noqa: SIM115 - as long as the process
    formatter=lambda span: f"{span.to_json(indent=None)}\n",
)
traces.add_span_processor(SimpleSpanProcessor(spans))
app.asgi_app = OpenTelemetryMiddleware(app.asgi_app, tracer_provider=traces)  # type: ignore[method-assign]
app.asgi_app = ProxyFixMiddleware(app.asgi_app)  # type: ignore[method-assign, arg-type]
signals = Signals(app.config["SIGNALS"])
QuartSchema(app)
QuartAuth(app, cookie_secure=False)
cors(
    app,
    allow_origin=[SHOP],
    allow_headers=["Content-Type", "Prefer"],
    allow_credentials=True,
    expose_headers=["Location", "Retry-After", "Link", "Job-State", "Preference-Applied", "ETag"],
)
RateLimiter(app, default_limits=[RateLimit(30, timedelta(hours=1))])
jobs = QuartJobs(app, owner=auth.user, principal=auth.user, trusted_origins=[SHOP])
jobs.before_run(auth.restore_user)
# The pool, of three, comes after the jobs that use it, and is closed after they have ended.
POOL = {"min_size": 1, "max_size": 3}
db = QuartDB(app, url=app.config["DATABASE"], migrations_folder=None, backend_options=POOL)


@dataclass
class Order:
    hats: int


@dataclass
class Search:
    least: int = 1


@dataclass
class Tenant:
    x_tenant: str = "nobody"


@dataclass
class Ordered:
    hats: int
    least: int
    tenant: str
    buyer: str
    database: int


@app.post("/login/<name>")
async def login(name: str) -> dict[str, Any]:
    login_user(AuthUser(name))
    return {}


@app.post("/orders")
@login_required
@validate_request(Order)
@validate_querystring(Search)
@validate_headers(Tenant)
@validate_response(Ordered)
@jobs.background
async def orders(data: Order, query_args: Search, headers: Tenant) -> tuple[Ordered, int]:
    return await ordered(data, query_args, headers), 201


@app.post("/below")
@jobs.background
@login_required
@validate_request(Order)
@validate_querystring(Search)
@validate_headers(Tenant)
@validate_response(Ordered, 201)
async def below(data: Order, query_args: Search, headers: Tenant) -> tuple[Any, int]:
    result = await ordered(data, query_args, headers)
    return (result if data.hats else {"hats": "none"}), 201


async def ordered(data: Order, query_args: Search, headers: Tenant) -> Ordered:
    async with db.connection() as connection:
        number = await connection.fetch_val("SELECT 6 * 7")
    buyer = current_user.auth_id or ""
    return Ordered(data.hats, query_args.least, headers.x_tenant, buyer, number)


@app.get("/shared/above")
@route_cors(allow_origin=[SHOP])
@jobs.background
async def shared() -> dict[str, Any]:
    return {}


@app.get("/limited/above")
@rate_limit(2, timedelta(hours=1))
@jobs.background
async def limited_above() -> dict[str, Any]:
    return {}


@app.get("/limited/below")
@jobs.background
@rate_limit(2, timedelta(hours=1))
async def limited_below() -> dict[str, Any]:
    return {}


@app.get("/plain")
async def plain() -> dict[str, Any]:
    return {"database": await g.connection.fetch_val("SELECT 6 * 7")}


@app.post("/long/<name>")
@jobs.background
async def long(name: str) -> dict[str, Any]:
    """Lasts until the test says so, and needs the database then."""
    signals.send(f"{name}-started")
    await signals.arrive(f"{name}-go-on")
    async with db.connection() as connection:
        return {"database": await connection.fetch_val("SELECT 6 * 7")}


@app.get("/traced/<name>")
@jobs.background
async def traced(name: str) -> dict[str, Any]:
    with traces.get_tracer(__name__).start_as_current_span(name):
        return {}


limited = limit_blueprint(Blueprint("limited", __name__), 2, timedelta(hours=1))


@limited.get("/limited/blueprint")
@jobs.background
async def of_blueprint() -> dict[str, Any]:
    return {"path": request.path, "job": current_job.id}


app.register_blueprint(limited)
