"""Plays the demo: runs its jobs all at once, shows them, and sums up."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from rich.console import Console

from .client import Run, client_of, drive
from .scenarios import example_text, scenarios
from .server import ServerFailed, running_server
from .show import say, shown

#: Seconds between two looks of the table.
FRAME = 1 / 12


async def play() -> bool:
    """Play the demo, and tell whether everything was as it should be."""
    console = Console()
    with TemporaryDirectory(prefix="asyncjobs-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as file:
            try:
                problems = await _play(console, Path(folder), file)
            except ServerFailed as error:
                problems = [str(error)]
        for problem in problems:
            say(console, problem, "red")
        if problems:
            say(console, f"\nThe server's log:\n{log.read_text(errors='replace')}")
            return False
    say(
        console,
        f"Next: `{typed()} demo --serve` leaves the server up, to try with curl;\n"
        "the README shows an app of your own, in nine lines.",
    )
    return True


def typed() -> str:
    """What to type for this very program: its name alone only where the shell finds it by that."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m asyncjobs"
    found = shutil.which(path.name)
    is_this = found is not None and path.exists() and os.path.samefile(found, path)
    return path.name if is_this else shlex.quote(str(path))


async def _play(console: Console, folder: Path, log: IO[bytes]) -> list[str]:
    """Run the jobs, and tell what went wrong."""
    text = example_text()
    runs = [Run(scenario) for scenario in scenarios(text)]
    async with running_server(folder, log) as server, client_of(server.url) as client:
        say(
            console,
            f"asyncjobs demo: {len(runs)} background jobs at once on {server.url},\n"
            f"a real hypercorn with SQLite; what is uploaded is {text.name}",
            "bold",
        )
        start = time.monotonic()
        with shown(runs, console) as show_news:
            async with asyncio.TaskGroup() as group:
                driven = [group.create_task(drive(run, client)) for run in runs]
                while not all(task.done() for task in driven):
                    await asyncio.wait(driven, timeout=FRAME)
                    show_news()
        elapsed = time.monotonic() - start
    good = sum(not run.problems for run in runs)
    say(
        console,
        f"{len(runs)} jobs, {good} as expected, {elapsed:.1f} s",
        "bold green" if good == len(runs) else "bold red",
    )
    return [
        f"{run.scenario.method} {run.scenario.path}: {problem}"
        for run in runs
        for problem in run.problems
    ]
