"""The app that schemathesis drives, with one thing wrong, which it is to find."""

from __future__ import annotations

from collections.abc import Callable

from quart import Response, request

from apps.described import app

_LIST = "asyncjobs_list"


async def fails(response: Response) -> None:
    """A submission is a 500 that is none of ours."""
    if response.status_code == 202:
        response.status_code = 500
        del response.headers["Content-Type"]


async def undocumented(response: Response) -> None:
    """The list has a status that no document tells of."""
    if request.endpoint == _LIST and response.status_code == 200:
        response.status_code = 418


async def unlike_its_schema(response: Response) -> None:
    """A submission is answered without the id."""
    if response.status_code == 202:
        response.set_data(b'{"Task": 1}')


async def of_another_kind(response: Response) -> None:
    """The list is a page."""
    if request.endpoint == _LIST and response.status_code == 200:
        response.content_type = "text/html"


async def wrong_header(response: Response) -> None:
    """A client is told to come back by a word."""
    if "Retry-After" in response.headers:
        response.headers["Retry-After"] = "soon"


async def tells_of_others(response: Response) -> None:
    """That there is such a job is told to everybody."""
    job = (request.view_args or {}).get("job_id")
    if job is not None and response.status_code == 404:
        response.headers["Link"] = f'</jobs/{job}>; rel="status"'


async def no_status(response: Response) -> None:
    """The events of a job are no status documents."""
    if response.mimetype == "text/event-stream":
        response.set_data(b'event: status\nid: 1\ndata: {"state": "succeeded"}\n\n')


KINDS: list[Callable[..., object]] = [
    *(fails, undocumented, unlike_its_schema, of_another_kind, wrong_header),
    *(tells_of_others, no_status),
]


@app.after_request
async def spoil(response: Response) -> Response:
    for kind in KINDS:
        if kind.__name__ == app.config["SPOILED"]:
            await kind(response)  # type: ignore[misc]
    return response
