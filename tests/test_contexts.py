"""The context that a job runs in: what is called around its view, and what an error there does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from quart import (
    Blueprint,
    Quart,
    after_this_request,
    copy_current_request_context,
    g,
    has_request_context,
    request,
    stream_with_context,
)
from quart.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_started,
    request_tearing_down,
)
from quart.typing import TestClientProtocol as Client

from asyncjobs import QuartJobs, current_job

WAIT = {"Prefer": "wait=30"}
KINDS = ["async", "sync"]


@pytest.fixture
def app(tmp_path: Path) -> Quart:
    app = Quart("contexts")
    app.config["QUART_JOBS_STORE"] = f"sqlite:///{tmp_path}/jobs.db"
    return app


@pytest.fixture
def jobs(app: Quart) -> QuartJobs:
    return QuartJobs(app)


@pytest.fixture
async def client(app: Quart, jobs: QuartJobs) -> AsyncIterator[Client]:
    async with app.test_app() as running:
        yield running.test_client()


def of_kind(kind: str, function: Callable[[], Any]) -> Any:
    """`function` as a view of this kind."""

    async def view() -> Any:
        return function()

    def view_in_a_thread() -> Any:
        return function()

    return view if kind == "async" else view_in_a_thread


async def result(client: Client, path: str, method: str = "GET") -> Any:
    """The answer that the job of a request comes to."""
    accepted = await client.open(path, method=method)
    assert accepted.status_code == 202
    return await client.get(accepted.headers["Location"], headers=WAIT)


def in_a_job() -> bool:
    try:
        return bool(current_job.id)
    except RuntimeError:
        return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["app", "blueprint", "blueprint for all"])
async def test_what_gives_back_is_called_where_what_takes_was(
    app: Quart, jobs: QuartJobs, client: Client, kind: str, where: str
) -> None:
    """In a job neither before_request nor teardown_request functions are called, the app's nor the
    blueprint's; teardown_appcontext functions are, as in a request."""
    called: list[str] = []

    def note(what: str) -> Callable[..., None]:
        def hook(*args: Any) -> None:
            called.append(f"{what} in a {'job' if in_a_job() else 'request'}")

        return hook

    blueprint = Blueprint("reports", __name__)
    if where == "app":
        app.before_request(note("before"))
        app.teardown_request(note("teardown"))
    elif where == "blueprint":
        blueprint.before_request(note("before"))
        blueprint.teardown_request(note("teardown"))
    else:
        blueprint.before_app_request(note("before"))
        blueprint.teardown_app_request(note("teardown"))
    app.teardown_appcontext(note("teardown of the app's context"))
    view = of_kind(kind, lambda: called.append("the view") or "done")
    blueprint.add_url_rule("/report", "report", jobs.background(view))
    app.register_blueprint(blueprint)

    answer = await result(client, "/report")

    assert answer.status_code == 200
    of_the_job = [what for what in called if what == "the view" or what.endswith("in a job")]
    assert of_the_job == ["the view", "teardown of the app's context in a job"]
    assert called.count("before in a request") == called.count("teardown in a request") > 0


async def test_a_teardown_that_misses_what_before_took_is_none_of_a_job(
    app: Quart, jobs: QuartJobs, client: Client
) -> None:
    """A teardown_request function that gives back what before_request took fails no job, and has
    none run again."""
    ran: list[int] = []

    @app.before_request
    async def take() -> None:
        g.taken = object()

    @app.teardown_request
    async def give_back(error: BaseException | None) -> None:
        del g.taken

    @app.post("/once")
    @jobs.background(retries=2)
    async def once() -> str:
        ran.append(current_job.attempt)
        return "done"

    answer = await result(client, "/once", "POST")

    assert (answer.status_code, await answer.get_data(as_text=True)) == (200, "done")
    assert ran == [1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, SystemExit])
@pytest.mark.parametrize("where", ["teardown", "signal", "closing of the request"])
async def test_an_error_in_the_teardown_changes_no_result(
    app: Quart,
    jobs: QuartJobs,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    error: type[BaseException],
    where: str,
) -> None:
    """What a teardown_appcontext function raises, or whatever else closes the context of a job, is
    logged with the job's id. The result stands, and the job is not run again."""
    ran: list[str] = []

    async def fail(*args: Any, **kwargs: Any) -> None:
        if in_a_job():
            raise error("in the teardown")

    class OurRequest(app.request_class):  # type: ignore[name-defined, misc]
        async def close(self) -> None:
            await super().close()
            await fail()

    if where == "teardown":
        app.teardown_appcontext(fail)
    elif where == "signal":
        appcontext_tearing_down.connect(fail, app)
    else:
        app.request_class = OurRequest
    view = of_kind(kind, lambda: ran.append(current_job.id) or "done")
    app.add_url_rule("/once", "once", jobs.background(retries=2)(view), methods=["POST"])

    answer = await result(client, "/once", "POST")

    assert (answer.status_code, await answer.get_data(as_text=True)) == (200, "done")
    assert len(ran) == 1
    (record,) = [r for r in caplog.records if "teardown of job" in r.getMessage()]
    assert ran[0] in record.getMessage()
    assert record.exc_info is not None


async def test_an_error_in_the_teardown_hides_none_of_the_view(
    app: Quart, jobs: QuartJobs, client: Client
) -> None:
    """A view that fails has its own failure for a result, whatever its teardown raises."""

    @app.teardown_appcontext
    async def fail(error: BaseException | None) -> None:
        if in_a_job():
            raise LookupError("in the teardown")

    @app.errorhandler(ValueError)
    async def handle(error: ValueError) -> tuple[str, int]:
        return str(error), 422

    @app.get("/wrong")
    @jobs.background
    async def wrong() -> str:
        raise ValueError("of the view")

    answer = await result(client, "/wrong")

    assert (answer.status_code, await answer.get_data(as_text=True)) == (422, "of the view")


async def test_a_cancelled_job_is_torn_down(app: Quart, jobs: QuartJobs, client: Client) -> None:
    """A job that is cancelled while it runs is cancelled, and torn down, whatever that raises."""
    started, torn_down = asyncio.Event(), asyncio.Event()

    @app.teardown_appcontext
    async def fail(error: BaseException | None) -> None:
        if in_a_job():
            torn_down.set()
            raise LookupError("in the teardown")

    @app.get("/long")
    @jobs.background
    async def long() -> None:
        started.set()
        await asyncio.Event().wait()

    poll = (await client.get("/long")).headers["Location"]
    await started.wait()
    await client.delete(poll)
    answer = await client.get(poll, headers=WAIT)

    assert answer.headers["Job-State"] == "cancelled"
    assert torn_down.is_set()


async def test_the_signals_of_a_context_are_sent_in_pairs(
    app: Quart, jobs: QuartJobs, client: Client
) -> None:
    """A job sends the signals of its app context, and neither request_started nor its counterpart
    request_tearing_down: those belong to the request."""
    sent: list[str] = []
    signals = {
        "request_started": request_started,
        "request_tearing_down": request_tearing_down,
        "appcontext_pushed": appcontext_pushed,
        "appcontext_tearing_down": appcontext_tearing_down,
        "appcontext_popped": appcontext_popped,
    }

    def noting(name: str) -> Callable[..., Any]:
        async def note(*args: Any, **kwargs: Any) -> None:
            if in_a_job():
                sent.append(name)

        return note

    notes = [(signal, noting(name)) for name, signal in signals.items()]
    for signal, note in notes:
        signal.connect(note, app)

    @app.get("/report")
    @jobs.background
    async def report() -> str:
        return "done"

    await result(client, "/report")

    assert sent == ["appcontext_pushed", "appcontext_tearing_down", "appcontext_popped"]


async def test_what_is_made_of_the_context_works_in_a_job(
    app: Quart, jobs: QuartJobs, client: Client
) -> None:
    """after_this_request, copy_current_request_context and stream_with_context do in a job what
    they do in a request, and call no teardown_request function either."""
    torn_down: list[bool] = []

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        torn_down.append(in_a_job())

    @app.get("/report")
    @jobs.background
    async def report() -> Any:
        @after_this_request
        def mark(response: Any) -> Any:
            response.headers["X-Marked"] = "yes"
            return response

        @copy_current_request_context
        async def path_in_a_copy() -> str:
            return request.path

        copied = await asyncio.create_task(path_in_a_copy())

        @stream_with_context
        async def stream() -> AsyncIterator[str]:
            yield f"{copied} {request.path} {has_request_context()}"

        return stream()

    answer = await result(client, "/report")

    assert await answer.get_data(as_text=True) == "/report /report True"
    assert answer.headers["X-Marked"] == "yes"
    assert torn_down
    assert not any(torn_down)
