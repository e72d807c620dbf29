"""The OpenAPI document that quart-schema makes of an app tells of its jobs, and tells the truth."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart import Blueprint, Quart, request
from quart.views import MethodView
from quart_schema import (
    OpenAPIProvider,
    QuartSchema,
    deprecate,
    document_response,
    hide,
    operation_id,
    security_scheme,
    tag,
    tag_blueprint,
    validate_headers,
    validate_querystring,
    validate_request,
    validate_response,
)
from werkzeug.routing import Rule

from asyncjobs import QuartJobs
from asyncjobs.job import State
from asyncjobs.store import Query as StoreQuery

Document = dict[str, Any]
Operation = dict[str, Any]
View = Callable[..., Any]

DEADLINE = 30
ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
EVERY_ANSWER = {"Cache-Control", "Link", "Job-State", "X-Content-Type-Options"}


@dataclass
class Todo:
    title: str


@dataclass
class Out:
    number: int


@dataclass
class Query:
    page: int | None = None


@dataclass
class Sent:
    x_tenant: str


@dataclass
class Answered:
    x_cost: int


class PydanticTodo(pydantic.BaseModel):
    title: str


class PydanticOut(pydantic.BaseModel):
    number: int


class PydanticQuery(pydantic.BaseModel):
    page: int | None = None


class PydanticSent(pydantic.BaseModel):
    x_tenant: str


class StructTodo(msgspec.Struct):
    title: str


class StructOut(msgspec.Struct):
    number: int


class StructQuery(msgspec.Struct):
    page: int | None = None


class StructSent(msgspec.Struct):
    x_tenant: str


MODELS = {
    "dataclass": (Todo, Query, Sent, Out),
    "pydantic": (PydanticTodo, PydanticQuery, PydanticSent, PydanticOut),
    "msgspec": (StructTodo, StructQuery, StructSent, StructOut),
}


#: The statuses of what may become no job, and of what ended without its handler's own answer.
REFUSED = ("400", "422", "429", "431", "503")
FAILED = ("410", "500", "503", "504")
#: Headers that an answer need not have.
SOMETIMES = {
    *("Retry-After", "Preference-Applied", "Content-Location", "Idempotent-Replayed"),
    "Link",  # a page of the list has that of the next one
}


@pytest.fixture
def app(path: Path) -> Quart:
    # quart-schema hides the route of static files where it serves the document itself, and from
    # then on for the whole process.
    app = Quart("described", static_folder=None)
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{path}"
    return app


@pytest.fixture
def jobs(app: Quart) -> QuartJobs:
    QuartSchema(app, security_schemes={"key": {"type": "http", "scheme": "bearer"}})
    return QuartJobs(app)


@pytest.fixture
def report() -> View:
    """A view of the test's own, since quart-schema writes on what it decorates."""

    async def report() -> dict[str, int]:
        """Make a report.

        It takes its time.
        """
        return {"number": 1}

    return report


def document_of(app: Quart) -> Document:
    """What clients read, however they get it; all that is said in these tests is said of one that
    validates."""
    provider = app.extensions["QUART_SCHEMA"].openapi_provider
    document: Document = json.loads(app.json.dumps(provider.schema()))
    errors = [
        f"{list(error.path)}: {error.message}"
        for error in OpenAPIV31SpecValidator(document).iter_errors()
    ]
    assert not errors
    assert all(operation["responses"] for operation in operations(document))
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)
    return document


def operations(document: Document) -> Iterator[Operation]:
    for item in document["paths"].values():
        yield from item.values()


def links_of(submission: Operation, document: Document) -> dict[str, tuple[str, str]]:
    """The method and the path of what each link of a submission's answer leads to."""
    targets = {}
    for name, link in submission["responses"]["202"]["links"].items():
        [(path, method, target)] = [
            (path, method, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if operation["operationId"] == link["operationId"]
        ]
        assert {each["name"] for each in target["parameters"] if each["in"] == "path"} == {
            *link["parameters"]
        }
        targets[name] = (method.upper(), path)
    return targets


def parameters_of(operation: Operation, where: str) -> list[str]:
    return [each["name"] for each in operation["parameters"] if each["in"] == where]


# When.


def with_jobs_first(app: Quart, jobs: QuartJobs, **options: Any) -> None:
    jobs.init_app(app)
    QuartSchema(app, **options)


def with_schema_first(app: Quart, jobs: QuartJobs, **options: Any) -> None:
    QuartSchema(app, **options)
    jobs.init_app(app)


@pytest.mark.parametrize("initialise", [with_jobs_first, with_schema_first])
@pytest.mark.parametrize("views", ["before", "after"])
@pytest.mark.parametrize("openapi_path", ["/openapi.json", None])
def test_the_order_of_things_does_not_matter(
    app: Quart,
    initialise: Callable[..., None],
    views: str,
    openapi_path: str | None,
    report: View,
) -> None:
    """Jobs are in the document whichever extension comes first, before or after the views, and
    also where the app does not serve the document."""
    jobs = QuartJobs()
    if views == "after":
        initialise(app, jobs, openapi_path=openapi_path)
    app.post("/report")(jobs.background(report))
    if views == "before":
        initialise(app, jobs, openapi_path=openapi_path)

    paths = document_of(app)["paths"]

    assert {*paths["/report"]["post"]["responses"]} >= {"202", "408", "413", "503"}
    assert {*paths} == {
        "/report",
        "/report/{asyncjobs_id}",
        "/jobs/{job_id}",
        "/jobs/{job_id}/result",
        "/jobs/{job_id}/retry",
    }


async def test_the_document_and_its_pages_are_served(
    app: Quart, jobs: QuartJobs, report: View
) -> None:
    """The app serves the document, more than once, and each of the pages that show it; the command
    ``quart schema`` prints it."""
    app.post("/report")(jobs.background(report))
    document = document_of(app)

    client = app.test_client()
    for _ in range(2):
        assert await (await client.get("/openapi.json")).get_json() == document
    for page in ("/docs", "/redocs", "/scalar"):
        assert (await client.get(page)).status_code == 200
    printed = await asyncio.to_thread(app.test_cli_runner().invoke, args=["schema"])
    assert json.loads(printed.output) == document


def test_apps_without_jobs_are_left_alone(report: View) -> None:
    """Beside an app with jobs, the document of one without has nothing of them."""
    documents = []
    for has_jobs_beside in (False, True):
        if has_jobs_beside:
            other = Quart("other")
            QuartSchema(other)
            QuartJobs(other).background(report)
        app = Quart("plain")
        extension = QuartSchema(app)
        app.get("/report")(report)
        documents.append(extension.openapi_provider.schema())

    assert documents[0] == documents[1]
    assert "AsyncJobs" not in str(documents)


def test_who_has_no_quart_schema_does_not_load_it() -> None:
    """It is looked for in the app, and never imported, nor is what we have to say of jobs to it: an
    app without it has all its routes."""
    program = (
        "import sys\n"
        "from quart import Quart\n"
        "from asyncjobs import QuartJobs\n"
        "app = Quart('plain')\n"
        "jobs = QuartJobs(app)\n"
        "@app.get('/report')\n"
        "@jobs.background\n"
        "async def report(): ...\n"
        "print(sorted(rule.endpoint for rule in app.url_map.iter_rules()),"
        " 'quart_schema' in sys.modules, 'asyncjobs.web.openapi.description' in sys.modules)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert printed == "['report', 'report__job', 'static'] False False\n"


# What.


@pytest.mark.parametrize(
    ("max_wait", "said", "example"),
    [
        (30.0, "for N seconds and 30 at most", "wait=30"),
        (2.5, "for N seconds and 2.5 at most", "wait=3"),
        (0, "for N seconds and 0 at most", "wait=0"),
        (1e7, "for N seconds and 10000000 at most", "wait=30"),
        (math.inf, "for N seconds at most", "wait=30"),
    ],
)
def test_how_long_is_waited(
    app: Quart, jobs: QuartJobs, report: View, max_wait: float, said: str, example: str
) -> None:
    """What is said of `Prefer` is what `max_wait` is set to, also after the extensions were made;
    and what there is for who waits in vain, where a job is made."""
    app.config["QUART_JOBS_MAX_WAIT"] = max_wait
    app.post("/report")(jobs.background(report))

    paths = document_of(app)["paths"]
    for operation in (paths["/report"]["post"], paths["/report/{asyncjobs_id}"]["get"]):
        (prefer,) = [each for each in operation["parameters"] if each["name"] == "Prefer"]
        assert said in prefer["description"]
        assert prefer["example"] == example
    accepted = paths["/report"]["post"]["responses"]["202"]["description"]
    assert "has not ended in time" in accepted


def test_a_bare_view(app: Quart, jobs: QuartJobs, report: View) -> None:
    """Of a view without any schema, the 202 is described with its headers and its links, and so
    are its poll route and the resources of its job, whose texts are written for who reads them."""
    app.get("/report")(jobs.background(report))
    document = document_of(app)
    paths = document["paths"]

    submission = paths["/report"]["get"]
    assert submission["summary"] == "Make a report."
    assert {*submission["responses"]} == {"202", *REFUSED, *FAILED, "default"}
    assert parameters_of(submission, "header") == ["Prefer", "Idempotency-Key", "Cancel-After"]
    accepted = submission["responses"]["202"]
    assert {*accepted["headers"]} == {
        "Location",
        "Retry-After",
        "Preference-Applied",
        "Idempotent-Replayed",
        *EVERY_ANSWER,
    }
    schema = accepted["content"]["application/json"]["schema"]
    assert schema["properties"] == {"TaskId": ID}
    assert links_of(submission, document) == {
        "result": ("GET", "/report/{asyncjobs_id}"),
        "cancel": ("DELETE", "/report/{asyncjobs_id}"),
        "status": ("GET", "/jobs/{job_id}"),
    }
    assert accepted["links"]["result"]["parameters"] == {"asyncjobs_id": "$response.body#/TaskId"}

    for path in ("/report/{asyncjobs_id}", "/jobs/{job_id}/result"):
        get = paths[path]["get"]
        assert {*get["responses"]} == {"202", "304", "404", *FAILED, "default"}
        assert {*get["responses"]["202"]["headers"]} >= {"Retry-After", "ETag", *EVERY_ANSWER}
        assert parameters_of(get, "header") == ["Prefer", "If-None-Match"]
    for path in ("/report/{asyncjobs_id}", "/jobs/{job_id}/result", "/jobs/{job_id}"):
        assert {*paths[path]} == {"get", "delete"}
        assert {*paths[path]["delete"]["responses"]} == {"200", "403", "404", "409", "503"}
        for operation in paths[path].values():
            assert operation["parameters"][0]["schema"] == ID
    status = paths["/jobs/{job_id}"]["get"]
    assert {*status["responses"]} == {"200", "204", "304", "404", "503"}
    assert {*status["responses"]["200"]["content"]} == {"application/json", "text/event-stream"}
    assert parameters_of(status, "header") == ["Prefer", "If-None-Match", "Last-Event-ID"]
    assert {*paths["/jobs/{job_id}/retry"]} == {"post"}
    retry = paths["/jobs/{job_id}/retry"]["post"]
    assert {*retry["responses"]} == {"200", "403", "404", "409", "503"}
    assert {each["summary"] for each in operations(document)} == {
        "Make a report.",
        "The result of a job",
        "How a job does",
        "Cancel a job",
        "Have a job run once more",
    }
    assert "The view of" not in str(document)


@pytest.mark.parametrize("models", MODELS.values(), ids=[*MODELS])
@pytest.mark.parametrize("place", ["above", "below"])
def test_schemas(
    app: Quart, jobs: QuartJobs, report: View, models: tuple[Any, ...], place: str
) -> None:
    """What is asked of a request is asked of the submission alone, and what is said of the answer
    is said of the result, which a submission may be answered with as well, wherever
    `@jobs.background` stands among those decorators."""
    todo, query, sent, out = models
    view = report
    for decorator in [
        *([jobs.background] if place == "above" else []),
        validate_request(todo),
        validate_querystring(query),
        validate_headers(sent),
        validate_response(out, 201, Answered),
        document_response(Todo, 422),
        *([jobs.background] if place == "below" else []),
    ]:
        view = decorator(view)
    app.put("/report")(view)

    paths = document_of(app)["paths"]
    submission = paths["/report"]["put"]
    assert submission["requestBody"]["content"]["application/json"]["schema"]
    assert parameters_of(submission, "query") == ["page"]
    headers = ["x-tenant", "Prefer", "Idempotency-Key", "Cancel-After"]
    assert parameters_of(submission, "header") == headers
    assert {*submission["responses"]} == {"201", "202", "408", "413", *REFUSED, *FAILED}
    assert "Content-Location" in submission["responses"]["201"]["headers"]
    for path in ("/report/{asyncjobs_id}", "/jobs/{job_id}/result"):
        poll = paths[path]["get"]
        assert "requestBody" not in poll
        assert parameters_of(poll, "query") == []
        assert parameters_of(poll, "header") == ["Prefer", "If-None-Match"]
        assert {"201", "400", "422"} < {*poll["responses"]}
        assert "default" not in poll["responses"]
        result = poll["responses"]["201"]
        assert [*result["content"]] == ["application/json"]
        schema = result["content"]["application/json"]["schema"]
        assert "number" in schema["properties"]
        assert {*result["headers"]} == {"x-cost", "ETag", "Preference-Applied", *EVERY_ANSWER}


@pytest.mark.parametrize("place", ["above", "below"])
@pytest.mark.parametrize("asked", ["body", "query"])
async def test_a_request_that_is_not_valid(
    app: Quart, jobs: QuartJobs, place: str, asked: str
) -> None:
    """What a view has validated may be refused as the app does that: above `@jobs.background` at
    once, below by the job, whose result is the 400 wherever that is asked for. The document says
    so of each, beside our own 400, with the headers that each has."""
    validate = validate_request(Todo) if asked == "body" else validate_querystring(Query)

    async def report(**validated: Any) -> dict[str, int]:
        return {"number": 1}

    view: View = document_response(Out)(report)
    decorators: list[View] = [jobs.background, validate]
    if place == "below":
        decorators.reverse()
    for decorator in decorators:
        view = decorator(view)
    app.post("/report")(view)
    document = document_of(app)
    paths = document["paths"]
    wrong: dict[str, Any] = (
        {"json": {"title": 3}} if asked == "body" else {"query_string": {"page": "x"}}
    )
    seen = []
    async with app.test_app() as serving:
        client = serving.test_client()
        waited = await client.post("/report", headers={"Prefer": f"wait={DEADLINE}"}, **wrong)
        answers = [("/report", "post", waited)]
        if place == "below":
            job = waited.headers["Content-Location"].rpartition("/")[2]
            for path in ("/report/{asyncjobs_id}", "/jobs/{job_id}/result"):
                url = path.format(asyncjobs_id=job, job_id=job)
                answers.append((path, "get", await client.get(url)))
        for path, method, answer in answers:
            operation = paths[path][method]
            assert "400" in operation["responses"]
            if "Job-State" in answer.headers:
                await check(answer, operation, document)
            assert "*/*" in operation["responses"]["400"]["content"]
            seen.append((answer.status_code, answer.mimetype))
    assert seen == [(400, "text/html")] * (3 if place == "below" else 1)


def test_a_400_of_the_apps_own(app: Quart, jobs: QuartJobs) -> None:
    """Where the app says what its 400 is, it is that, and ours, and nothing else."""
    view = document_response(Out, 400)(document_response(Out)(a_view("report")))
    app.post("/report")(validate_request(Todo)(jobs.background(view)))
    content = document_of(app)["paths"]["/report"]["post"]["responses"]["400"]["content"]
    assert {*content} == {"application/json", "application/problem+json"}


@pytest.mark.parametrize("place", ["above", "below"])
async def test_a_response_that_is_validated(app: Quart, jobs: QuartJobs, place: str) -> None:
    """`validate_response(Out, 201)` lets the 202 of a submission pass, above `@jobs.background`
    and below. Below it validates the result, in the job."""

    async def make() -> tuple[Out, int]:
        return Out(3), 201

    async def fail() -> tuple[dict[str, str], int]:
        return {"number": "many"}, 201

    for name, view in (("make", make), ("fail", fail)):
        decorators = [validate_response(Out, 201), jobs.background]
        if place == "above":
            decorators.reverse()
        for decorator in decorators:
            view = decorator(view)
        app.post(f"/{name}", endpoint=name)(view)

    statuses = {}
    async with app.test_app() as serving:
        client = serving.test_client()
        for name in ("make", "fail"):
            submitted = await client.post(f"/{name}")
            assert submitted.status_code == 202
            answer = await client.get(
                submitted.headers["Location"], headers={"Prefer": f"wait={DEADLINE}"}
            )
            statuses[name] = answer.status_code
            if name == "make":
                assert await answer.get_json() == {"number": 3}
    assert statuses == {"make": 201, "fail": 201 if place == "above" else 500}


def test_statuses_of_both(app: Quart, jobs: QuartJobs, report: View) -> None:
    """Where a handler answers with a status that we have as well, the body may be either's."""
    view = document_response(Todo, 404)(document_response(Out, 202)(report))
    app.post("/report")(jobs.background(view))

    responses = document_of(app)["paths"]["/report/{asyncjobs_id}"]["get"]["responses"]
    schemas = responses["202"]["content"]["application/json"]["schema"]["anyOf"]
    assert [[*each["properties"]] for each in schemas] == [["TaskID"], ["number"]]
    assert "Retry-After" in responses["202"]["headers"]
    assert [*responses["404"]["content"]] == ["application/json"]
    assert "No such job" in responses["404"]["description"]


def test_the_url_of_all_results(app: Quart, jobs: QuartJobs) -> None:
    """`/jobs/<id>/result` has the results of all views that are in the document."""
    app.post("/a", endpoint="a")(jobs.background(document_response(Out)(a_view("a"))))
    app.post("/b", endpoint="b")(jobs.background(document_response(Todo)(a_view("b"))))
    app.post("/c", endpoint="c")(jobs.background(document_response(Todo)(a_view("c"))))
    paths = document_of(app)["paths"]

    responses = paths["/jobs/{job_id}/result"]["get"]["responses"]
    schemas = responses["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert [schema["title"] for schema in schemas] == ["Out", "Todo"]
    assert "default" not in responses
    one = paths["/a/{asyncjobs_id}"]["get"]["responses"]["200"]
    assert one["content"]["application/json"]["schema"]["title"] == "Out"

    app.post("/d", endpoint="d")(jobs.background(a_view("d")))
    assert "default" in document_of(app)["paths"]["/jobs/{job_id}/result"]["get"]["responses"]


def a_view(name: str) -> View:
    async def view() -> str:
        return name

    view.__name__ = name
    return view


# Where.


def test_a_blueprint(app: Quart, jobs: QuartJobs, report: View) -> None:
    """The poll routes of a blueprint have its variables, its tags and those of the view."""
    blueprint = Blueprint("sales", __name__, url_prefix="/sales/<int:year>")
    tag_blueprint(blueprint, ["sales"])
    blueprint.post("/report/")(tag(["reports"])(jobs.background(report)))
    app.register_blueprint(blueprint)

    document = document_of(app)
    submission = document["paths"]["/sales/{year}/report/"]["post"]
    links = submission["responses"]["202"]["links"]
    assert links["result"]["parameters"] == {
        "year": "$request.path.year",
        "asyncjobs_id": "$response.body#/TaskId",
    }
    assert links_of(submission, document)["cancel"] == (
        "DELETE",
        "/sales/{year}/report/{asyncjobs_id}",
    )
    for poll in document["paths"]["/sales/{year}/report/{asyncjobs_id}"].values():
        assert {*poll["tags"]} == {"sales", "reports"}
        year, job = poll["parameters"][:2]
        assert (year["schema"], job["schema"]) == ({"type": "integer"}, ID)
    assert "tags" not in document["paths"]["/jobs/{job_id}"]["get"]


def test_several_methods_and_rules(app: Quart, jobs: QuartJobs, report: View) -> None:
    """Each method and each rule of a view is an operation with an id of its own, whose links lead
    to the poll route of that rule."""
    view = jobs.background(report)
    app.route("/report", methods=["GET", "POST", "DELETE"])(view)
    app.route("/old/<name>/report", methods=["POST"])(view)

    document = document_of(app)
    for method in ("get", "post", "delete"):
        submission = document["paths"]["/report"][method]
        assert submission["operationId"] == f"{method}_report"
        assert links_of(submission, document)["result"] == ("GET", "/report/{asyncjobs_id}")
    old = document["paths"]["/old/{name}/report"]["post"]
    assert old["operationId"] == "post_old_name_report"
    assert links_of(old, document)["result"] == ("GET", "/old/{name}/report/{asyncjobs_id}")


def test_two_views_of_one_path(app: Quart, jobs: QuartJobs) -> None:
    """The poll route of a path that several views share has the results of all of them."""
    app.get("/report", endpoint="a")(jobs.background(document_response(Out)(a_view("a"))))
    app.post("/report", endpoint="b")(jobs.background(document_response(Todo, 201)(a_view("b"))))

    document = document_of(app)
    poll = document["paths"]["/report/{asyncjobs_id}"]["get"]
    assert {"200", "201"} < {*poll["responses"]}
    for method in ("get", "post"):
        submission = document["paths"]["/report"][method]
        assert links_of(submission, document)["result"] == ("GET", "/report/{asyncjobs_id}")


def test_names_that_are_taken(app: Quart, jobs: QuartJobs, report: View) -> None:
    """Our ids give way to those of the app's own views, and to each other's; one that the app has
    chosen stays."""
    app.post("/other")(operation_id("make")(jobs.background(a_view("other"))))
    for name in ("sales", "stock"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
        blueprint.post("/report", endpoint="report")(jobs.background(report))
        app.register_blueprint(blueprint)
    for name in ("job", "report_job"):
        app.get(f"/{name}")(document_response(Out)(a_view(name)))

    paths = document_of(app)["paths"]
    assert paths["/job"]["get"]["operationId"] == "get_job"
    assert paths["/report_job"]["get"]["operationId"] == "get_report_job"
    assert paths["/jobs/{job_id}"]["get"]["operationId"] == "get_jobs_job_id"
    assert paths["/sales/report"]["post"]["operationId"] == "post_report"
    assert paths["/stock/report"]["post"]["operationId"] == "post_stock_report"
    assert paths["/other"]["post"]["operationId"] == "post_make"
    assert paths["/other/{asyncjobs_id}"]["get"]["operationId"] == "get_make_job"


def test_a_class_of_views(app: Quart, jobs: QuartJobs) -> None:
    """A `MethodView` is described as any other view."""

    class Report(MethodView):
        """Reports."""

        decorators: ClassVar = [jobs.background]  # type: ignore[misc]

        async def get(self) -> str:
            return "a report"

        async def post(self) -> str:
            return "a report"

    app.add_url_rule("/report", view_func=Report.as_view("report"))
    document = document_of(app)
    for method in ("get", "post"):
        submission = document["paths"]["/report"][method]
        assert links_of(submission, document)["result"] == ("GET", "/report/{asyncjobs_id}")


def test_without_a_poll_route(app: Quart, jobs: QuartJobs, report: View) -> None:
    """With ``poll_route=False`` the links lead to the result and the status of the job."""
    app.post("/report")(jobs.background(poll_route=False)(document_response(Out, 201)(report)))

    document = document_of(app)
    ours = {"/jobs/{job_id}", "/jobs/{job_id}/result", "/jobs/{job_id}/retry"}
    assert {*document["paths"]} == {"/report", *ours}
    submission = document["paths"]["/report"]["post"]
    assert links_of(submission, document) == {
        "result": ("GET", "/jobs/{job_id}/result"),
        "status": ("GET", "/jobs/{job_id}"),
        "cancel": ("DELETE", "/jobs/{job_id}/result"),
    }
    assert "201" in document["paths"]["/jobs/{job_id}/result"]["get"]["responses"]


def test_a_poll_route_written_by_hand(app: Quart, jobs: QuartJobs) -> None:
    """A variable of the app's own routes that takes the ids of jobs says so."""

    async def poll(task_id: str) -> Any:
        return await jobs.poll(task_id)

    app.get("/task/<asyncjobs_id:task_id>")(document_response(Out)(poll))
    [parameter] = document_of(app)["paths"]["/task/{task_id}"]["get"]["parameters"]
    assert parameter["schema"] == ID


def test_paths_of_the_apps_own(app: Quart, jobs: QuartJobs) -> None:
    """Where variables with a converter follow others, the app's own paths have all of them."""
    app.get("/a/<x>/<int:y>")(document_response(Out)(a_view("a")))
    assert "/a/{x}/{y}" in document_of(app)["paths"]


def test_a_prefix(app: Quart, report: View) -> None:
    """The resources of jobs are described where they are."""
    QuartSchema(app)
    QuartJobs(app, prefix="/api/tasks").background(report)
    paths = document_of(app)["paths"]
    of_job = "/api/tasks/{job_id}"
    assert {*paths} == {of_job, f"{of_job}/result", f"{of_job}/retry"}


# Who.


def test_security(app: Quart, jobs: QuartJobs) -> None:
    """What a submission demands, its polls demand; the resources of jobs demand what any of the
    submissions demands."""
    app.post("/guarded")(security_scheme([{"key": []}])(jobs.background(a_view("guarded"))))
    paths = document_of(app)["paths"]
    ours = ("/jobs/{job_id}", "/jobs/{job_id}/result", "/jobs/{job_id}/retry")
    for path in ("/guarded/{asyncjobs_id}", *ours):
        assert all(each["security"] == [{"key": []}] for each in paths[path].values())

    app.post("/open")(jobs.background(a_view("open")))
    paths = document_of(app)["paths"]
    assert "security" not in paths["/open/{asyncjobs_id}"]["get"]
    assert paths["/guarded/{asyncjobs_id}"]["get"]["security"] == [{"key": []}]
    assert paths["/jobs/{job_id}"]["get"]["security"] == [{"key": []}, {}]


def test_deprecated(app: Quart, jobs: QuartJobs) -> None:
    """The polls of a deprecated view are deprecated, and no other's."""
    app.post("/old")(deprecate(jobs.background(a_view("old"))))
    app.post("/new")(jobs.background(a_view("new")))
    paths = document_of(app)["paths"]
    deprecated = {
        path for path, item in paths.items() for each in item.values() if "deprecated" in each
    }
    assert deprecated == {"/old", "/old/{asyncjobs_id}"}


@pytest.mark.parametrize("place", ["above", "below"])
def test_hidden(app: Quart, jobs: QuartJobs, place: str) -> None:
    """With a view, its poll route is hidden, and what its results are like; where all views in the
    background are hidden, so is all of ours."""
    decorators = [document_response(Out, 201), hide, jobs.background]
    view: View = report
    for decorator in decorators if place == "below" else reversed(decorators):
        view = decorator(view)
    app.post("/report")(view)
    app.get("/plain")(document_response(Out)(a_view("plain")))
    assert {*document_of(app)["paths"]} == {"/plain"}

    app.get("/report", endpoint="shown")(jobs.background(a_view("shown")))
    paths = document_of(app)["paths"]
    assert {*paths} == {
        "/plain",
        "/report",
        "/report/{asyncjobs_id}",
        "/jobs/{job_id}",
        "/jobs/{job_id}/result",
        "/jobs/{job_id}/retry",
    }
    assert [*paths["/report"]] == ["get"]
    assert "201" not in str(paths)


# How: with whatever the app makes of quart-schema.


def test_a_provider_of_the_apps_own(app: Quart, report: View) -> None:
    """What an app has changed about its document is in ours as well: paths, ids, the choice of
    rules, and what is added at the end."""

    class Provider(OpenAPIProvider):
        def schema(self) -> Document:
            return {**super().schema(), "x-made-by": "hand"}

        def generate_rules(self) -> Iterator[Rule]:
            return (rule for rule in super().generate_rules() if "skipped" not in rule.rule)

        def build_paths(self, rule: Rule) -> tuple[Document, Document]:
            paths, parts = super().build_paths(rule)
            return {f"/api{path}": item for path, item in paths.items()}, parts

        def operation_id(self, method: str, path: str, func: View) -> str | None:
            return None

    QuartSchema(app, openapi_provider_class=Provider)
    jobs = QuartJobs(app)
    app.post("/report")(jobs.background(document_response(Out)(report)))
    app.post("/skipped")(jobs.background(a_view("skipped")))

    document = document_of(app)
    assert document["x-made-by"] == "hand"
    assert {*document["paths"]} == {
        "/api/report",
        "/api/report/{asyncjobs_id}",
        "/api/jobs/{job_id}",
        "/api/jobs/{job_id}/result",
        "/api/jobs/{job_id}/retry",
    }
    assert links_of(document["paths"]["/api/report"]["post"], document)["result"] == (
        "GET",
        "/api/report/{asyncjobs_id}",
    )


def test_a_method_that_has_no_place(app: Quart, jobs: QuartJobs, report: View) -> None:
    """OpenAPI 3.1 does not know of ``QUERY``: the view's other methods are in the document, and
    its poll route."""
    app.route("/report", methods=["QUERY", "POST"])(jobs.background(report))
    paths = document_of(app)["paths"]
    assert [*paths["/report"]] == ["post"]
    assert {*paths["/report/{asyncjobs_id}"]} == {"get", "delete"}


# The truth.


@pytest.mark.parametrize("convert_casing", [False, True])
async def test_answers_are_as_described(app: Quart, convert_casing: bool) -> None:
    """Each answer of ours has a status, headers and a body that the document has there, and so
    does a result."""
    QuartSchema(app, convert_casing=convert_casing)
    jobs = QuartJobs(app)
    go_on = asyncio.Event()

    @app.post("/report")
    @jobs.background
    @validate_response(Out, 201)
    async def report() -> tuple[Out, int]:
        await go_on.wait()
        return Out(7), 201

    document = document_of(app)
    links = document["paths"]["/report"]["post"]["responses"]["202"]["links"]
    assert {*links} == {"status", "cancel", "result"}
    seen: list[str] = []

    async with app.test_app() as serving:
        client = serving.test_client()

        async def call(method: str, path: str, url: str, **headers: str) -> Any:
            answer = await client.open(url, method=method, headers=headers)
            seen.append(f"{method} {path} {answer.status_code}")
            await check(answer, document["paths"][path][method.lower()], document)
            return answer

        poll, status, result, retry = (
            "/report/{asyncjobs_id}",
            "/jobs/{job_id}",
            "/jobs/{job_id}/result",
            "/jobs/{job_id}/retry",
        )
        for one in (poll, status, result):
            submitted = await call("POST", "/report", "/report")
            job = (await submitted.get_json())["TaskId"]
            urls = {
                poll: submitted.headers["Location"],
                status: f"/jobs/{job}",
                result: f"/jobs/{job}/result",
            }
            for path, url in urls.items():
                await call("GET", path, url)
            again = f"/jobs/{job}/retry"
            await call("POST", retry, again)
            await call("DELETE", one, urls[one], Origin="http://elsewhere.example")
            await call("DELETE", one, urls[one])
            await call("GET", poll, urls[poll], Prefer=f"wait={DEADLINE}")
            for path, url in urls.items():
                await call("GET", path, url)
                await call("DELETE", path, url)
                await call("GET", path, url.replace(job, "0" * 32))
                await call("DELETE", path, url.replace(job, "0" * 32))
            tag = (await call("GET", status, urls[status])).headers["ETag"]
            await call("GET", status, urls[status], **{"If-None-Match": tag})
            events = {"Accept": "text/event-stream", "Last-Event-ID": "1000"}
            await call("GET", status, urls[status], **events)
            await call("POST", retry, again, Origin="http://elsewhere.example")
            await call("POST", retry, again)
            await call("POST", retry, again.replace(job, "0" * 32))
            await call("DELETE", one, urls[one])
        keyed = {"Idempotency-Key": "k"}
        await call("POST", "/report", "/report", **keyed)
        await call("POST", "/report", "/report", **keyed)
        await call("POST", "/report", "/report?another", **keyed)
        await call("POST", "/report", "/report", **{"Cancel-After": "soon"})
        await call("POST", "/report", "/report", **{"X-Large": "x" * 20_000})
        go_on.set()
        submitted = await call("POST", "/report", "/report")
        await call("GET", poll, submitted.headers["Location"], Prefer=f"wait={DEADLINE}")
        await call("POST", "/report", "/report", Prefer=f"wait={DEADLINE}")

    assert "POST /report 201" in seen
    for path in (poll, result):
        assert {f"GET {path} {status}" for status in (202, 404, 410)} < {*seen}
    for path in (poll, status, result):
        assert {f"DELETE {path} {status}" for status in (200, 403, 404, 409)} < {*seen}
    assert f"GET {poll} 201" in seen
    assert {f"GET {status} {code}" for code in (200, 204, 304, 404)} < {*seen}
    assert {f"POST {retry} {code}" for code in (200, 403, 404, 409)} < {*seen}
    assert {f"POST /report {code}" for code in (202, 400, 422, 431)} < {*seen}


async def test_the_list_is_as_described(app: Quart) -> None:
    """Where there is one, it has its parameters, its pages, and the problem of what is wrong in
    them."""
    QuartSchema(app)
    jobs = QuartJobs(app, owner=lambda: request.headers.get("X-User"))
    app.post("/report")(jobs.background(a_view("report")))
    document = document_of(app)
    operation = document["paths"]["/jobs"]["get"]
    assert operation["operationId"] == "list_jobs"
    asked = ["state", "route", "owner", "since", "before", "limit", "cursor"]
    assert parameters_of(operation, "query") == asked
    async with app.test_app() as serving:
        client = serving.test_client()
        ada = {"X-User": "ada"}
        await client.post("/report", headers=ada)
        statuses = []
        for url, headers in (("/jobs", ada), ("/jobs?limit=0", ada), ("/jobs", {})):
            answer = await client.get(url, headers=headers)
            await check(answer, operation, document)
            statuses.append(answer.status_code)
    assert statuses == [200, 400, 404]


def test_every_problem_is_told_of(app: Quart) -> None:
    """Each type of the contract's table is among the responses of some operation, with the status
    that it has there, and there is no other; but for that of functions, which have no operation."""
    contract = (Path(__file__).parent.parent / "docs" / "http.md").read_text()
    table = {*re.findall(r"(?m)^\| `([a-z-]+)` \| (\d{3}) \|", contract)}
    assert ("queue-full", "503") in table
    QuartSchema(app)
    jobs = QuartJobs(app, owner=lambda: request.headers.get("X-User"))
    app.post("/report")(jobs.background(a_view("report")))
    told = {
        (name, status)
        for operation in operations(document_of(app))
        for status, response in operation["responses"].items()
        for name in re.findall("urn:asyncjobs:problem:([a-z-]+)", json.dumps(response))
    }
    assert told == table - {("handler-failed", "500")}


@pytest.mark.parametrize("asked", ["at once", "by a poll"])
async def test_what_a_job_may_come_to_is_as_described(
    app: Quart, jobs: QuartJobs, asked: str
) -> None:
    """However a job ends, who waits for it has what the document says there, with every header of
    ours that it says and no other: in the answer to the submission, and in that to a poll."""
    began = asyncio.Event()

    async def view() -> str:
        if request.path == "/broken":
            raise ValueError
        if request.path != "/fine":
            began.set()
            await asyncio.Event().wait()
        return "as the handler says"

    for what in ("fine", "broken", "late", "cancelled", "not yet"):
        timeout = 0.01 if what == "late" else None
        app.post(f"/{what}", endpoint=what)(jobs.background(timeout=timeout)(view))
    document = document_of(app)
    seen = []
    async with app.test_app() as serving:
        client = serving.test_client()
        for what in ("fine", "broken", "late", "cancelled", "not yet"):
            began.clear()
            wait = {"Prefer": "wait=0" if what == "not yet" else f"wait={DEADLINE}"}
            if asked == "at once":
                asking = asyncio.create_task(client.post(f"/{what}", headers=wait))
            else:
                location = (await client.post(f"/{what}")).headers["Location"]
                asking = asyncio.create_task(client.get(location, headers=wait))
            if what == "cancelled":
                await began.wait()
                await cancel_all(app, jobs)
            answer = await asking
            submit, poll = (document["paths"][f"/{what}{of}"] for of in ("", "/{asyncjobs_id}"))
            await check(answer, submit["post"] if asked == "at once" else poll["get"], document)
            assert "Preference-Applied" in answer.headers
            assert ("Content-Location" in answer.headers) == (
                asked == "at once" and answer.status_code != 202
            )
            seen.append(answer.status_code)
        await cancel_all(app, jobs)  # or the drain waits for the last one

    assert seen == [200, 500, 504, 410, 202]


async def cancel_all(app: Quart, jobs: QuartJobs) -> None:
    async with app.app_context():
        for job in await jobs.jobs.find(StoreQuery(states=frozenset({State.RUNNING}))):
            await jobs.jobs.cancel(job.id)


async def check(answer: Any, operation: Operation, document: Document) -> None:
    responses = operation["responses"]
    described = responses.get(str(answer.status_code)) or responses["default"]
    headers = document["components"]["headers"]
    ours = {name.removeprefix("AsyncJobs-") for name in headers}
    assert ours & {*answer.headers.keys()} <= {*described["headers"]}, answer.status_code
    for name, header in described["headers"].items():
        value: Any = answer.headers.get(name)
        if value is None:
            assert name in SOMETIMES, (
                name,
                answer.status_code,
            )
            continue
        component = headers[header["$ref"].rpartition("/")[2]]
        if component["schema"]["type"] == "integer":
            value = int(value)
        Draft202012Validator(component["schema"]).validate(value)
    if answer.status_code == 404 or not described.get("content"):
        return
    content = described["content"]
    if answer.mimetype not in content:
        assert "*/*" in content, answer.mimetype
        return
    schema = {**content[answer.mimetype]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(await answer.get_json())
