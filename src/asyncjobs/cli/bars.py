"""How jobs are watched: live bars on a terminal, lines anywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import click
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from ..job import Job, State
from ..store import Store
from ..styles import STYLES
from .ids import short_ids
from .looks import clean, console, cut, document, line, news, span, told


class Screen(Protocol):
    """Where the news of jobs are shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def changed(self, job: Job) -> None:
        """The job is this now."""


class Lines:
    """A line for each change."""

    def __init__(self, store: Store, *, as_json: bool) -> None:
        self._store = store
        self._as_json = as_json

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    async def changed(self, job: Job) -> None:
        click.echo(document(job) if self._as_json else line(job, self._store.now()))


class Bars:
    """A bar for each job that runs, below the lines of those that do no more.

    There are no more than a terminal can show: rich takes its time for each, seen or not.

    Args:
        waiting: whether to tell of jobs that only wait for their turn as well.
    """

    def __init__(self, store: Store, *, waiting: bool) -> None:
        self._store = store
        self._waiting = waiting
        self._running: dict[str, Job] = {}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            _Field("name"), BarColumn(), _Field("told"), _Elapsed(store), console=console()
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for bar in self._bars.values():  # what is left of them would look as if it went on
            self._progress.remove_task(bar)
        self._progress.stop()

    async def changed(self, job: Job) -> None:
        if job.state is State.RUNNING:
            self._running[job.id] = job
            if job.id in self._bars:
                self._draw(job)
        else:
            await self._runs_no_more(job)
        await self._add_bars()

    async def _runs_no_more(self, job: Job) -> None:
        self._running.pop(job.id, None)
        if (bar := self._bars.pop(job.id, None)) is not None:
            self._progress.remove_task(bar)
            self._progress.refresh()
        if job.state.is_final or self._waiting or job.reason is not None:
            state = f"{job.state:11} ", STYLES[job.state]
            status = "" if job.status is None else f" {job.status}"
            said = Text.assemble(state, f"{await self._name(job)}{status} {clean(news(job))}")
            self._progress.console.print(said, soft_wrap=True)

    async def _add_bars(self) -> None:
        """Those that there is room for, of the jobs that have run for longest."""
        room = self._progress.console.height + 1  # if one is too many, rich shows that there are
        if len(self._bars) >= min(room, len(self._running)):
            return
        for job in [job for job in self._running.values() if job.id not in self._bars]:
            if len(self._bars) < room:
                name = await self._name(job)
                self._bars[job.id] = self._progress.add_task("", total=None, name=name)
                self._draw(job)

    async def _name(self, job: Job) -> str:
        return f"{(await short_ids(self._store, [job.id]))[job.id]} {cut(clean(job.route))}"

    def _draw(self, job: Job) -> None:
        progress = job.progress
        self._progress.update(
            self._bars[job.id],
            total=None if progress is None else progress.total,
            completed=0 if progress is None else progress.current,
            told="" if progress is None else cut(clean(told(progress))),
            started=job.started,
        )


class _Field(ProgressColumn):
    """What is known of a job by this name."""

    def __init__(self, name: str) -> None:
        super().__init__(Column(no_wrap=True))  # a job is a line, however narrow the terminal is
        self._name = name

    def render(self, task: Task) -> Text:
        return Text(task.fields.get(self._name, ""))


class _Elapsed(ProgressColumn):
    """For how long a job has run."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def render(self, task: Task) -> Text:
        started = task.fields.get("started")
        return Text("" if started is None else span(self._store.now() - started))
