"""`asyncjobs show ID`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

from ..errors import JobNotFound, JobUnreadable
from ..job import HeaderPairs, Job, Request, Response, State
from ..store import Store
from ..styles import STYLES
from .exits import Exit, Failure
from .guest import Guest, visit
from .ids import complete_id, one_id, whole_id
from .looks import (
    as_json,
    clean,
    console,
    counted,
    document,
    duration,
    on_terminal,
    rfc3339,
    span,
    told,
)
from .place import at_a_store
from .prospects import waits_for

_Field = tuple[str, str]


@click.command()
@click.argument("job_id", metavar="ID", callback=one_id, shell_complete=complete_id)
@click.option("--request", "part", flag_value="request", help="Print the request's body alone.")
@click.option("--result", "part", flag_value="result", help="Print the result's body alone.")
@as_json
@at_a_store
def show(place: str | Path, job_id: str, part: str | None, as_json: bool) -> None:
    """Show all that is known of a job.

    The first 8 or more digits of its id are enough, if no other job has the same.

    \b
    asyncjobs show 6dbac2da
    asyncjobs show 6dbac2da --result > report.pdf
    """

    async def ask(guest: Guest) -> None:
        whole = await whole_id(guest.store, job_id)
        if part is not None:
            _print_body(await _body(guest.store, whole, part))
        elif as_json:
            click.echo(document(await guest.store.get(whole)))
        else:
            await _print_all(guest.store, whole)

    visit(place, ask)


async def _body(store: Store, job_id: str, part: str) -> bytes:
    job, response = await store.result(job_id)
    if part == "request":
        try:
            return (await store.request(job_id)).body
        except JobUnreadable as error:
            raise Failure(Exit.UNAVAILABLE, str(error)) from None
    if response is None:
        raise Failure(Exit.NOT_FOUND, f"there is no result yet: the job is {job.state}")
    return response.body


def _print_body(body: bytes) -> None:
    """As it is, but to a terminal, which it could have do whatever it wants."""
    if on_terminal():
        for line in body.decode(errors="backslashreplace").splitlines():
            click.echo(clean(line))
    else:
        click.echo(body, nl=False)  # which has all of it written


async def _print_all(store: Store, job_id: str) -> None:
    job, response = await store.result(job_id)
    try:
        request = await store.request(job_id)
        asked = _request(request)
    except (JobNotFound, JobUnreadable) as error:
        asked = str(error)
    fields = [
        *_fields(job, store.now()),
        ("request", asked),
        *([] if response is None else [("result", _result(job, response))]),
        *([("waits", waits)] if (waits := await waits_for(store, job)) else []),
    ]
    screen = console()
    for name, value in fields:
        style = STYLES[job.state] if name == "state" else ""
        screen.print(Text.assemble((f"{name:9} ", "dim"), (clean(value), style)), soft_wrap=True)


def _fields(job: Job, now: float) -> Iterator[_Field]:
    yield "id", job.id
    yield "state", f"{job.state}{', and asked to stop' if job.cancel_requested else ''}"
    if job.reason is not None:
        yield "reason", job.reason
    yield "route", job.route
    if job.program is not None:
        yield "program", job.program
    if job.owner is not None:
        yield "owner", job.owner
    yield "attempt", _attempts(job)
    if job.progress is not None:
        yield "progress", told(job.progress)
    for name in ("created", "started", "finished", "expires"):
        time = getattr(job, name)
        if time is not None and not (name == "started" and job.state is State.QUEUED):
            ago = span(now - time) + " ago" if time <= now else "in " + span(time - now)
            yield name, f"{rfc3339(time)}, {ago}"
    if (lasted := duration(job, now)) is not None:
        yield "took", span(lasted)


def _attempts(job: Job) -> str:
    if not job.attempt:
        return "0: it has not been started yet"
    notes = [
        f"{count} {what}"
        for count, what in (
            (job.earlier_attempts, "before it was retried"),
            (job.crashes, "whose process died"),
            (job.errors, "ended with an exception and were tried again"),
        )
        if count
    ]
    return f"{job.attempt}{' (' + ', '.join(notes) + ')' if notes else ''}"


def _request(request: Request) -> str:
    query = f"?{request.query.decode('latin-1')}" if request.query else ""
    target = f"{request.root_path}{request.path}{query}"
    return f"{request.method} {target}, {_message(request.headers, request.body)}"


def _result(job: Job, response: Response) -> str:
    """The status, and what it means: nobody expects a 404 of a job that has succeeded."""
    meaning = ""
    if job.state is State.SUCCEEDED and response.status >= 400:
        meaning = " is what the handler has answered: with any status below 500 a job has succeeded"
    return f"{response.status}{meaning}, {_message(response.headers, response.body)}"


def _message(headers: HeaderPairs, body: bytes) -> str:
    kinds = [value.decode("latin-1") for name, value in headers if name == b"content-type"]
    kind = f" of {kinds[0]}" if kinds and body else ""
    return f"{counted(len(headers), 'header')}, {counted(len(body), 'byte')}{kind}"
