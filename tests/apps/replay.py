"""The same views twice: served live below `/live`, and as jobs below `/job`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn, cast

import werkzeug
from quart import (
    Blueprint,
    Quart,
    Request,
    Response,
    abort,
    after_this_request,
    g,
    make_response,
    redirect,
    render_template_string,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.exceptions import HTTPException, TooManyRequests

from asyncjobs import QuartJobs, current_job

from . import configuration
from .signals import Signals

A_FILE = Path(__file__).with_name("signals.py")


class OurRequest(Request):
    """What an app may have in the place of Quart's own."""

    @property
    def shouted(self) -> str:
        return f"{self.method}!"


app = Quart(__name__)
app.request_class = OurRequest
app.config.update(configuration())
app.secret_key = "for the sessions of a test"
# Else files have an Expires, which is another one a second later.
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = None


# Registered before the extension is: it must not depend on who comes first.
@app.before_request
async def act_as_an_app_does() -> None:
    g.user = request.headers.get("X-User")
    if "X-Parse" in request.headers:
        g.form, g.files = await request.form, await request.files
    if "X-Read" in request.headers:
        g.data = await request.get_data()


jobs = QuartJobs(app)
signals = Signals(app.config["SIGNALS"])


class OutOfStock(Exception):
    """An exception that the app has a handler for."""


class OutOfMind(Exception):
    """One that the blueprint has a handler for."""


def views(name: str, decorate: Callable[[Any], Any]) -> Blueprint:  # noqa: C901 - it is a list
    """A blueprint called `name` whose views are decorated with `decorate`."""
    blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")

    def view(function: Any) -> Any:
        path = f"/{function.__name__.replace('_', '-')}"
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return blueprint.route(path, methods=methods)(decorate(function))

    # What a view may return.

    @view
    async def text() -> str:
        return "text"

    @view
    def text_from_a_thread() -> str:
        return "text"

    @view
    async def no_ascii() -> str:
        return "Ünï¢ødé ☃"

    @view
    async def nothing() -> str:
        return ""

    @view
    async def some_bytes() -> bytes:
        return bytes(range(256))

    @view
    async def much() -> bytes:
        return b"0123456789abcdef" * 65536

    @view
    async def a_dict() -> dict[str, Any]:
        return {"b": 1, "a": [None, True, 1.5, "é"]}

    @view
    def a_dict_from_a_thread() -> dict[str, Any]:
        return {"b": 1, "a": [None, True, 1.5, "é"]}

    @view
    async def a_list() -> list[int]:
        return [1, 2, 3]

    @view
    async def with_status() -> tuple[str, int]:
        return "made", 201

    @view
    async def with_headers() -> tuple[str, dict[str, str]]:
        return "<p>", {"Content-Type": "text/html; charset=utf-16", "X-Header": "1"}

    @view
    def with_status_and_headers() -> tuple[dict[str, str], int, list[tuple[str, str]]]:
        return {"some": "thing"}, 207, [("X-Many", "1"), ("X-Many", "2"), ("Vary", "Accept")]

    @view
    async def no_content() -> tuple[str, int]:
        return "", 204

    @view
    async def bodiless() -> tuple[str, int]:
        return "a body that nobody sees", int(request.args["status"])

    @view
    def bodiless_from_a_thread() -> tuple[str, int]:
        return "a body that nobody sees", int(request.args["status"])

    @view
    async def bodiless_generator() -> Any:
        async def parts() -> AsyncIterator[str]:
            yield "a body that "
            yield "nobody sees"

        return parts(), int(request.args["status"])

    @view
    async def a_response() -> Response:
        return Response(b"\x00\x01", 202, {"X-Kind": "quart"}, mimetype="application/x-two")

    @view
    async def a_response_without_a_type() -> Response:
        response = Response("typeless")
        del response.headers["Content-Type"]
        return response

    @view
    async def a_made_response() -> Any:
        response = await make_response({"made": True}, 203)
        response.headers["X-Kind"] = "made"
        return response

    @view
    async def a_werkzeug_response() -> werkzeug.Response:
        return werkzeug.Response(["in ", "parts"], 206, {"X-Kind": "werkzeug"})

    @view
    async def a_werkzeug_response_in_a_tuple() -> tuple[werkzeug.Response, int]:
        return werkzeug.Response("werkzeug"), 299

    @view
    async def a_header_that_is_no_ascii() -> tuple[str, dict[str, str]]:
        return "", {"X-Name": "Zoë ☃"}

    @view
    async def a_template() -> str:
        return await render_template_string("{{ request.method }} {{ 1 + 1 }} {{ '<' }}")

    @view
    async def a_file() -> Response:
        return await send_file(A_FILE)

    @view
    async def an_attachment() -> Response:
        return await send_file(A_FILE, as_attachment=True, attachment_filename="ü.py")

    @view
    async def a_file_in_memory() -> Response:
        return await send_file(BytesIO(b"in memory"), mimetype="text/x-memory")

    @view
    async def a_redirect() -> Any:
        return redirect("/elsewhere?a=b", 303)

    @view
    async def a_redirect_to_itself() -> Any:
        return redirect(url_for(f"{name}.text", _external=True))

    @view
    async def changed_after_this_request() -> str:
        @after_this_request
        async def change(response: Any) -> Any:
            response.headers["X-Changed"] = "yes"
            return response

        return "changed"

    # Parts at a time.

    @view
    async def async_generator() -> AsyncIterator[bytes]:
        for part in (b"one ", b"", b"two ", b"three"):
            yield part

    @view
    async def async_generator_of_strings() -> AsyncIterator[str]:
        yield "Zoë "
        yield "☃"

    @view
    def sync_generator() -> Iterator[str]:
        yield from ("one ", "", "two ", "Zoë")

    @view
    async def returned_generator() -> tuple[AsyncIterator[bytes], int, dict[str, str]]:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a,b\n"
            yield b"1,2\n"

        return parts(), 201, {"Content-Type": "text/csv"}

    @view
    def returned_sync_generator() -> tuple[Iterator[bytes], int, dict[str, str]]:
        return (b"%d," % number for number in range(3)), 201, {"Content-Type": "text/csv"}

    @view
    async def generator_in_a_response() -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "streamed"

        return Response(parts(), mimetype="text/x-stream")

    @view
    async def sync_generator_in_a_response() -> Response:
        return Response((part for part in ("one", "two")), mimetype="text/x-stream")

    @view
    async def generator_with_context() -> Response:
        @stream_with_context
        async def parts() -> AsyncIterator[str]:
            yield request.method
            yield request.args.get("word", "")

        return Response(parts())

    # Errors.

    @view
    async def aborted() -> NoReturn:
        abort(404, "there is <no> such thing")

    @view
    def aborted_in_a_thread() -> NoReturn:
        abort(409)

    @view
    async def aborted_with_a_response() -> NoReturn:
        abort(Response("stop", 451, {"X-Reason": "law"}))

    @view
    async def too_many() -> NoReturn:
        raise TooManyRequests(retry_after=120)

    @view
    async def not_allowed() -> NoReturn:
        abort(405, valid_methods=["PURGE"])

    @view
    async def teapot() -> NoReturn:
        abort(418)

    @view
    def teapot_in_a_thread() -> NoReturn:
        abort(418)

    @view
    async def out_of_stock() -> NoReturn:
        raise OutOfStock("no more tea")

    @view
    def out_of_stock_in_a_thread() -> NoReturn:
        raise OutOfStock("no more tea")

    @view
    async def out_of_mind() -> NoReturn:
        raise OutOfMind

    @view
    async def gone() -> NoReturn:
        abort(410)

    @view
    async def error_in_an_error_handler() -> NoReturn:
        abort(424)

    @view
    async def broken() -> NoReturn:
        raise LookupError("nobody has a handler for this")

    @blueprint.errorhandler(OutOfMind)
    async def out_of_our_mind(error: Exception) -> tuple[dict[str, str], int]:
        return {"blueprint": name.replace("live", "job"), "path": request.path}, 503

    @blueprint.errorhandler(410)
    async def gone_from_here(error: Exception) -> tuple[str, int]:
        return "gone from the blueprint", 410

    # What a view sees of the request.

    @view
    async def seen() -> dict[str, Any]:
        return {
            "method": request.method,
            "scheme": request.scheme,
            "host": request.host,
            "path": request.path,
            "full_path": request.full_path,
            "url": request.url,
            "base_url": request.base_url,
            "root_url": request.root_url,
            "root_path": request.root_path,
            "query": request.query_string.decode("latin-1"),
            "args": list(request.args.items(multi=True)),
            "headers": [pair for pair in request.headers.items() if pair[0] != "X-Request"],
            "remote_addr": request.remote_addr,
            "access_route": list(request.access_route),
            "client": (request.scope["client"] or [None])[0],
            "raw_headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in _raw_headers()],
            "http_version": request.http_version,
            "content_length": request.content_length,
            "mimetype": request.mimetype,
            "languages": list(request.accept_languages.values()),
            "view_args": request.view_args,
            "shouted": request.shouted,  # type: ignore[attr-defined]
        }

    @view
    async def seen_data() -> bytes:
        return cast("bytes", await request.get_data())

    @view
    async def seen_json() -> dict[str, Any]:
        return {"json": await request.get_json()}

    @view
    async def seen_form() -> dict[str, Any]:
        form, files = await request.form, await request.files
        return {
            "form": list(form.items(multi=True)),
            "files": [
                [field, file.filename, file.content_type, file.read().decode("latin-1")]
                for field, file in files.items(multi=True)
            ],
        }

    @view
    def seen_from_a_thread() -> dict[str, Any]:
        return {"path": request.path, "args": list(request.args.items(multi=True))}

    @view
    async def seen_part_by_part() -> bytes:
        return b"|".join([part async for part in request.body if part])

    return blueprint


def _raw_headers() -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in request.scope["headers"]]


@app.errorhandler(418)
async def teapot(error: HTTPException) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"error": error.name, "path": request.path}, 418, {"X-Short": "and stout"}


@app.errorhandler(OutOfStock)
def out_of_stock(error: OutOfStock) -> tuple[str, int]:
    return f"sorry: {error}", 404


@app.errorhandler(410)
async def gone(error: Exception) -> tuple[str, int]:
    return "gone from the app", 410


@app.errorhandler(424)
async def handler_that_fails(error: Exception) -> NoReturn:
    raise ZeroDivisionError("in the error handler")


app.register_blueprint(views("live", lambda view: view))
app.register_blueprint(views("job", jobs.background))


# What is different in a job.


@jobs.before_run
async def restore() -> None:
    g.restored = f"for job {current_job.id}"


@jobs.before_run
def restore_more() -> None:
    g.more = request.path


@app.route("/g")
@jobs.background
async def g_of_a_job() -> dict[str, Any]:
    seen = {name: g.get(name) for name in ("user", "left_behind", "restored", "more")}
    g.left_behind = "by a job"
    return seen


def who_runs() -> list[Any]:
    return [current_job.id, current_job.route, current_job.attempt]


@app.route("/current/async-view")
@jobs.background
async def async_view() -> list[Any]:
    return who_runs()


@app.route("/current/sync-view")
@jobs.background
def sync_view() -> list[Any]:
    return who_runs()


@app.route("/current/async-generator")
@jobs.background
async def async_generator() -> AsyncIterator[str]:
    yield "["
    yield ",".join(f'"{value}"' if isinstance(value, str) else f"{value}" for value in who_runs())
    yield "]"


@app.route("/current/sync-generator")
@jobs.background
def sync_generator() -> Iterator[str]:
    yield "["
    yield ",".join(f'"{value}"' if isinstance(value, str) else f"{value}" for value in who_runs())
    yield "]"


@app.route("/current/error-handler")
@jobs.background
async def error_handler() -> NoReturn:
    abort(428)


@app.errorhandler(428)
async def tell_who_runs(error: Exception) -> tuple[list[Any], int]:
    return who_runs(), 428


@app.route("/current/before-run")
@jobs.background
async def before_run() -> list[Any]:
    return [g.restored.removeprefix("for job "), current_job.route, current_job.attempt]


@app.route("/cookies")
@jobs.background
async def cookies() -> Response:
    session["basket"] = "full"
    response = Response("eaten", headers={"X-Kept": "kept-in-the-response"})
    response.set_cookie("biscuit", "chocolate-crumbs")
    return response


@app.route("/conditional")
@jobs.background
async def conditional() -> Response:
    response = await send_file(BytesIO(b"0123456789"), mimetype="text/plain", conditional=True)
    response.set_etag("the-etag")
    await response.make_conditional(request, accept_ranges=True, complete_length=10)
    return response


@app.route("/half-way")
@jobs.background
async def half_way() -> AsyncIterator[bytes]:
    yield b"half of it"
    raise LookupError("where is the other half?")


@app.route("/half-way-in-a-thread")
@jobs.background
def half_way_in_a_thread() -> Iterator[bytes]:
    yield b"half of it"
    raise LookupError("where is the other half?")


@app.route("/half-way-aborted")
@jobs.background
async def half_way_aborted() -> AsyncIterator[bytes]:
    yield b"half of it"
    abort(418)


@app.route("/torn-down")
@jobs.background
async def torn_down() -> str:
    g.job_to_tear_down = current_job.id
    return "standing"


@app.teardown_appcontext
async def tear_down(error: BaseException | None) -> None:
    if (job_id := g.pop("job_to_tear_down", None)) is not None:
        signals.send(f"{job_id}.torn-down")
