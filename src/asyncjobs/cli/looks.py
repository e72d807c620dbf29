"""How jobs look: a table on a terminal, lines with tabs anywhere else, or JSON.

What others have stored, such as a route or a reason, reaches no terminal as it is: see `clean`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..documents import status_of
from ..given import printable
from ..job import Job, Progress, State
from ..styles import STYLES

#: No column but the last takes more of a terminal than so many characters.
_WIDE = 32
#: So wide are all but the route and the reason, where an id has its 8 digits.
_OTHERS = 56
#: So many a route has at least, however narrow a terminal is.
_NARROW = 8

as_json = click.option(
    "--json", "as_json", is_flag=True, help="JSON: an object a line, the job's status document."
)


def on_terminal() -> bool:
    """Whether somebody sees what is printed."""
    # Not rich's `is_terminal`: FORCE_COLOR makes one of a pipe, which could not be drawn over.
    return sys.stdout.isatty()


def can_draw() -> bool:
    """Whether what is printed can be drawn over: there are terminals that print, and no more."""
    screen = console()
    return on_terminal() and screen.is_interactive and not screen.is_dumb_terminal


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # to who called us, where rich would end with 1, as if a job had failed


def console(*, stderr: bool = False) -> Console:
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(text: str, *, err: bool = False) -> None:
    """Print a line, with whatever could forge another one or move the cursor written out."""
    click.echo("\t".join(map(clean, text.split("\t"))), err=err)


def clean(text: str) -> str:
    """Text of anybody, for one line."""
    return printable(text)


def document(job: Job) -> str:
    """The job in JSON, of ASCII alone, which nothing can take for anything else."""
    return json.dumps(status_of(job))


def line(job: Job, now: float, waits: str | None = None) -> str:
    """The job in fields with tabs between them; a dash stands for none.

    Args:
        waits: what it waits for, if that is more than its turn.
    """
    lasted = duration(job, now)
    fields = [
        *(job.id, str(job.state), str(job.status or "-"), clean(job.route) or "-"),
        *(rfc3339(job.created), "-" if lasted is None else f"{lasted:.3f}"),
        *(str(job.attempt), clean(waits or news(job)) or "-"),
    ]
    return "\t".join(fields)


def room_for_routes(width: int) -> int:
    """How wide routes may be, where so much is left for them: rich would cut all columns alike, ids
    and numbers too."""
    return min(_WIDE, max(_NARROW, width))


def table(
    jobs: Sequence[Job], short: Mapping[str, str], now: float, waits: Mapping[str, str], width: int
) -> Table:
    """The jobs, one a row.

    Args:
        short: what each id is written as.
        waits: what some of them wait for, by their ids.
        width: of the terminal.
    """
    looks = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    # Half of what the others leave, and the reason has the other half.
    room = room_for_routes((width - _OTHERS) // 2)
    for title in ("Id", "State", "HTTP", "Route", "Age", "Took", "Try"):
        looks.add_column(title, no_wrap=True, max_width=room if title == "Route" else None)
    looks.add_column("Reason", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in jobs:
        lasted = duration(job, now)
        looks.add_row(
            short[job.id],
            Text(job.state, STYLES[job.state]),
            str(job.status or ""),
            Text(cut(clean(job.route))),
            span(now - job.created),
            "" if lasted is None else span(lasted),
            str(job.attempt or ""),
            Text(clean(waits.get(job.id) or news(job))),
        )
    return looks


def news(job: Job) -> str:
    """What there is to say of a job: how far it is, or why it is where it is."""
    if job.state is State.RUNNING and job.cancel_requested:
        return "asked to stop"
    if job.state is State.RUNNING and job.progress is not None:
        return told(job.progress)
    return job.reason or ""


def told(progress: Progress) -> str:
    """How far a handler is, in words."""
    of = "" if progress.total is None else f"/{progress.total:g}"
    return f"{progress.current:g}{of} {progress.message or ''}".rstrip()


def cut(text: str, length: int = _WIDE) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def duration(job: Job, now: float) -> float | None:
    """Seconds that the last attempt of the job took, or takes so far; None if there was none."""
    if job.state is State.QUEUED or job.started is None:
        return None
    return max(0.0, (now if job.finished is None else job.finished) - job.started)


def counted(number: int, thing: str) -> str:
    """So many of them."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """So many seconds, for people."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for unit, smaller, name, below in ((86400, 3600, "d", "h"), (3600, 60, "h", "m")):
        if whole >= unit:
            return f"{whole // unit}{name} {whole % unit // smaller}{below}"
    return f"{whole // 60}m {whole % 60}s" if whole >= 60 else f"{whole}s"


def rfc3339(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
