"""What the commands of several harnesses share."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from .server_bugs import SERVER_BUGS

#: So many broken promises are printed with their evidence.
SHOWN = 10

#: The type of an option that says how many.
COUNT = click.IntRange(min=1)


class Report(Protocol):
    """What a harness has seen.

    Attributes:
        broken: each broken promise, with its evidence.
    """

    @property
    def broken(self) -> Sequence[object]: ...

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        ...


Run = Callable[[Path, random.Random], Coroutine[Any, Any, Report]]

seed_option = click.option(
    "--seed", type=int, help="For the same choices, if not the same moments."
)
folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the stores and the ledgers; unless given a temporary one, kept if it is evidence.",
)
bug_option = click.option(
    "--bug", type=click.Choice(sorted(SERVER_BUGS)), help="A bug to plant: it must be found."
)


def conclude(run: Run, seed: int | None, folder: Path | None) -> None:
    """Run a harness, print what it has seen, and exit with 1 if a promise was broken."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    click.echo(f"seed {seed}")
    place = folder or Path(tempfile.mkdtemp(prefix="asyncjobs-torture-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        report = asyncio.run(_until_stopped(run(place, random.Random(seed))))
    except asyncio.CancelledError:
        raise click.Abort from None
    for line in report.lines():
        click.echo(line)
    for broken in report.broken[:SHOWN]:
        click.echo(broken)
    if report.broken:
        click.echo(f"the stores and the ledgers are in {place}")
        raise SystemExit(1)
    if folder is None:
        shutil.rmtree(place)


async def _until_stopped(run: Coroutine[Any, Any, Report]) -> Report:
    """SIGTERM ends a harness as Ctrl-C does: no server is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run
