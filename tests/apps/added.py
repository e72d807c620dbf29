"""Views below decorators that add to their call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import wraps
from typing import Any
from uuid import UUID

import msgspec
from pydantic import BaseModel
from quart import Quart, request
from quart.views import MethodView, View
from quart_schema import QuartSchema, validate_headers, validate_querystring, validate_request
from webargs import fields
from webargs.asyncparser import AsyncParser

from apps import configuration
from apps.signals import Signals
from asyncjobs import QuartJobs

app = Quart(__name__)
app.config.from_mapping(configuration())
QuartSchema(app)
jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


@dataclass
class Todo:
    task: str
    due: date | None = None
    owner: UUID = UUID(int=5)
    tags: list[str] = field(default_factory=list)


class TodoModel(BaseModel):
    task: str
    due: date | None = None
    owner: UUID = UUID(int=5)
    tags: list[str] = []


class TodoStruct(msgspec.Struct):
    task: str
    due: date | None = None
    owner: UUID = UUID(int=5)
    tags: list[str] = []


def told(data: Any, **more: Any) -> dict[str, Any]:
    """What a view was called with, as text: its types are in there."""
    return {"data": repr(data), **more}


@app.put("/dataclass/<int:number>")
@validate_request(Todo)
@jobs.background
async def of_dataclass(number: int, data: Todo) -> dict[str, Any]:
    return told(data, number=number)


@app.put("/model/<int:number>")
@validate_request(TodoModel)
@jobs.background
def of_model(number: int, data: TodoModel) -> dict[str, Any]:
    return told(data, number=number, set=sorted(data.model_fields_set))


@app.put("/struct/<int:number>")
@validate_request(TodoStruct)
@jobs.background
async def of_struct(number: int, data: TodoStruct) -> dict[str, Any]:
    return told(data, number=number)


@app.put("/crash/<name>")
@validate_request(Todo)
@jobs.background
async def crash(name: str, data: Todo) -> dict[str, Any]:
    signals.send(f"{name}-started")
    await signals.arrive(f"{name}-go-on")
    return told(data)


@dataclass
class Search:
    since: date
    limit: int = 10


@dataclass
class Headers:
    x_tenant: str


@app.post("/all")
@validate_headers(Headers)
@validate_querystring(Search)
@validate_request(Todo)
@jobs.background
async def of_all(data: Todo, query_args: Search, headers: Headers) -> dict[str, Any]:
    return told(data, query_args=repr(query_args), headers=repr(headers))


@app.post("/below")
@jobs.background
@validate_request(Todo)
async def below(data: Todo) -> dict[str, Any]:
    return told(data)


class Parser(AsyncParser[Any]):
    """As webargs' documentation makes one for a framework of one's own."""

    def get_default_request(self) -> Any:
        return request

    async def load_json(self, req: Any, schema: Any) -> Any:
        return await req.get_json()


parser = Parser()


@app.post("/use_args/<int:number>")
@parser.use_args({"due": fields.Date(), "owner": fields.UUID()}, location="json")
@jobs.background
async def of_use_args(args: dict[str, date | UUID], number: int) -> dict[str, Any]:
    return told(args, number=number)


@app.post("/use_kwargs")
@parser.use_kwargs({"due": fields.Date(), "owner": fields.UUID()}, location="json")
@jobs.background
async def of_use_kwargs(due: date, **more: UUID) -> dict[str, Any]:
    return told(due, more=repr(more))


def passing(*args: Any, take: str = "", **kwargs: Any) -> Any:
    """A decorator that calls what it decorates with these, and takes the variable `take` away."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        async def call(*own: Any, **view_args: Any) -> Any:
            if take:
                del view_args[take]
            return await app.ensure_async(view)(*own, *args, **{**view_args, **kwargs})

        return call

    return decorate


@app.get("/docs/<int:doc_id>/<part>")
@passing(take="doc_id", doc=Todo("doc"))
@jobs.background
async def replaced(part: str, doc: Todo) -> dict[str, Any]:
    return told(doc, part=part)


@app.get("/other/<int:number>/<part>")
@passing(number=None)
@jobs.background
async def other(part: str, number: int | None) -> dict[str, Any]:
    return told(number, part=part)


@app.get("/gone/<int:number>")
@passing(take="number")
@jobs.background
async def gone(number: int = 7) -> dict[str, Any]:
    return told(number)


@app.get("/token/<token>")
@passing(tenant=5)
@jobs.background
async def of_token(token: str, tenant: int) -> dict[str, Any]:
    return told(token, tenant=tenant)


@app.get("/anything/<name>")
@passing(1, tenant={"id": [1, 2.5, None]})
@jobs.background
async def anything(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return told(args, kwargs=repr(kwargs))


class OfMethods(MethodView):
    init_every_request = False
    decorators = [jobs.background, passing(data=Todo("view"))]  # noqa: RUF012

    async def get(self, data: Todo) -> dict[str, Any]:
        return told(data, method="get")

    def post(self, data: Todo, **more: Any) -> dict[str, Any]:
        return told(data, method="post")


class OfOne(View):
    methods = ["POST"]  # noqa: RUF012

    async def dispatch_request(self, day: date) -> Any:
        return told(day)


app.add_url_rule("/methods", view_func=OfMethods.as_view("methods"))
app.add_url_rule(
    "/one", view_func=passing(day=date(2026, 1, 2))(jobs.background(OfOne.as_view("one")))
)


class User:
    """As an ORM has one."""


@app.get("/user")
@passing(user=User())
@jobs.background
async def of_user(user: User) -> None:
    signals.send("user-ran")


@app.get("/unannotated")
@passing(data=Todo("x"))
@jobs.background
async def unannotated(data) -> None:  # type: ignore[no-untyped-def]
    signals.send("unannotated-ran")


@app.get("/positional")
@passing("hush")
@jobs.background
async def positional(api_key: str) -> None:
    signals.send("positional-ran")


@app.get("/keyword")
@passing(current_user_token="hush")
@jobs.background
async def keyword(**kwargs: Any) -> None:
    signals.send("keyword-ran")
