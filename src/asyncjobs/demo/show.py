"""How the jobs of the demo look: a live table on a terminal, lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from asyncjobs.job import FINAL, State
from asyncjobs.styles import STYLES

from .client import Run
from .scenarios import attachment

#: Columns of a terminal, from which on messages have a place of their own.
WIDE = 106


def say(console: Console, text: str, style: str = "") -> None:
    """Print `text` as it is: a line that is to be copied must not be broken."""
    console.print(Text(text, style), soft_wrap=True)


@contextmanager
def shown(runs: Sequence[Run], console: Console) -> Iterator[Callable[[], None]]:
    """Show `runs` while the context lasts. It gives what is to be called to show the news."""
    # Not `is_terminal` alone: FORCE_COLOR makes one of a pipe, which could not be drawn over.
    if console.is_interactive and console.file.isatty():
        live = Live(
            get_renderable=lambda: _table(runs, console), console=console, auto_refresh=False
        )
        with live:
            yield live.refresh
    else:
        lines = _Lines(console)
        yield lambda: lines.tell(runs)


def _table(runs: Sequence[Run], console: Console) -> Table:
    """All jobs, one a row. Where there is little room, results take the place of messages."""
    wide = console.width >= WIDE
    right = "OK" if console.options.ascii_only else "✓"
    titles = ["Job", "Request", "State", "Progress", *(["Message"] if wide else []), "Result"]
    table = Table(
        *(Column(title, no_wrap=True) for title in titles), box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for run in runs:
        state, message, result = _state(run), Text(_message(run), "dim"), _checked(run, right)
        table.add_row(
            run.scenario.name,
            _request(run),
            Text(f"{state:9}", _style(run)),
            _bar(run, width=24 if wide else 12),
            *([message, result] if wide else [result or message]),
        )
    return table


class _Lines:
    """Prints a line for each new state and message of a job, and each quarter of its way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._told: dict[str, tuple[object, ...]] = {}

    def tell(self, runs: Sequence[Run]) -> None:
        """Print the news. Those of the end of a job wait for its result."""
        for run in runs:
            self._tell(run)

    def _tell(self, run: Run) -> None:
        request, state, message = _request(run), _state(run), _message(run)
        fraction, result = _fraction(run), _result(run)
        news = state, message, int(4 * fraction), result
        if self._told.get(request) == news or (state in FINAL and not result):
            return
        self._told[request] = news
        say(
            self._console,
            f"{time.monotonic() - self._start:5.2f} s  {request:13}  {state:9}  {fraction:4.0%}  "
            f"{_checked(run) if result else message}".rstrip(),
        )


def _request(run: Run) -> str:
    return f"{run.scenario.method:4} {run.scenario.path}"


def _state(run: Run) -> str:
    return str(run.status.get("state", ""))


def _style(run: Run) -> str:
    return STYLES[State(state)] if (state := _state(run)) else "dim"


def _bar(run: Run, *, width: int) -> ProgressBar:
    """How far the job is; of one that does not tell, that it runs."""
    style = _style(run)
    return ProgressBar(
        total=1.0,
        completed=_fraction(run),
        width=width,
        pulse=_state(run) == State.RUNNING and run.status["progress"] is None,
        complete_style=style,
        finished_style=style,
        pulse_style=style,
    )


def _fraction(run: Run) -> float:
    progress = run.status.get("progress")
    if progress is None or not progress["total"]:
        return float(_state(run) == State.SUCCEEDED)
    return float(progress["current"] / progress["total"])


def _message(run: Run) -> str:
    progress = run.status.get("progress")
    return "" if progress is None else str(progress["message"])


def _checked(run: Run, right: str = "") -> Text:
    """The result, with a mark that tells whether it is right."""
    if run.problems:
        return Text(f"WRONG {_result(run)}", "red")
    return Text(f"{right} {_result(run)}".lstrip() if run.result else "", "green")


def _result(run: Run) -> str:
    """What came back, on one line; empty as long as nothing has."""
    result = run.result
    if result is None:
        return "no answer" if run.problems else ""
    file = attachment(result)
    content = f"{file}, {decimal(len(result.content))}" if file else result.text.strip()
    return f"{result.status_code} {' '.join(content.split())}"
