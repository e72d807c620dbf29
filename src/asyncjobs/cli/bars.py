"""How jobs are watched: live bars on a terminal, lines anywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import click
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from ..job import Job, State
from ..store import Store
from .ids import short_ids
from .looks import STYLES, clean, console, cut, document, line, news, span, told


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

    Args:
        waiting: whether to tell of jobs that only wait for their turn as well.
    """

    def __init__(self, store: Store, *, waiting: bool) -> None:
        self._store = store
        self._waiting = waiting
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
        name = f"{(await short_ids(self._store, [job.id]))[job.id]} {cut(clean(job.route))}"
        if job.state is State.RUNNING:
            self._draw(job, name)
            return
        if (bar := self._bars.pop(job.id, None)) is not None:
            self._progress.remove_task(bar)
            self._progress.refresh()
        if job.state.is_final or self._waiting or job.reason is not None:
            state = f"{job.state:11} ", STYLES[job.state]
            status = "" if job.status is None else f" {job.status}"
            said = Text.assemble(state, f"{name}{status} {clean(news(job))}")
            self._progress.console.print(said, soft_wrap=True)

    def _draw(self, job: Job, name: str) -> None:
        progress = job.progress
        if job.id not in self._bars:
            self._bars[job.id] = self._progress.add_task("", total=None)
        self._progress.update(
            self._bars[job.id],
            total=None if progress is None else progress.total,
            completed=0 if progress is None else progress.current,
            name=name,
            told="" if progress is None else cut(clean(told(progress))),
            started=job.started,
        )


class _Field(ProgressColumn):
    """What is known of a job by this name."""

    def __init__(self, name: str) -> None:
        super().__init__()
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
