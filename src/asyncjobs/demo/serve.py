"""Leaves the server of the demo up, with curl lines to try."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from .client import client_of
from .scenarios import example_text
from .server import running_server
from .show import say


async def serve() -> None:
    """Serve until cancelled.

    Raises:
        ServerFailed: the server does not start, or ends by itself.
    """
    console = Console()
    with TemporaryDirectory(prefix="asyncjobs-") as folder:
        # Its log is for who tries it: it goes where our errors would go.
        async with running_server(Path(folder), sys.stderr.buffer) as server:
            say(console, f"asyncjobs demo: a real hypercorn at {server.url}, until Ctrl-C.", "bold")
            say(console, "In another terminal, try:")
            async with client_of(server.url) as client:
                short = (await client.get("/foo")).headers["Location"]
                long = (await client.get("/report?pause=120")).headers["Location"]
            for purpose, command in _commands(server.url, short, long):
                say(console, f"\n# {purpose}", "dim")
                say(console, shlex.join(["curl", "-i", *command]))
            await server.run()


def _commands(url: str, short: str, long: str) -> Iterator[tuple[str, list[str]]]:
    """What each command is for, and its arguments.

    Args:
        short: the poll URL of a job of two seconds.
        long: that of one of ten minutes.
    """
    status = f"/jobs/{long.rpartition('/')[2]}"
    yield (
        "Start a job. The answer is there at once; its Location leads to the result",
        [f"{url}/foo"],
    )
    yield (
        "Wait for the result of a job, for 10 s at most",
        ["-H", "Prefer: wait=10", f"{url}{short}"],
    )
    yield "Poll a job, one that takes ten minutes", [f"{url}{long}"]
    yield "See how far it is", [f"{url}{status}"]
    yield "Cancel it; then poll it again", ["-X", "DELETE", f"{url}{status}"]
    yield (
        "Upload a text, to have its words counted",
        ["--data-binary", f"@{example_text()}", f"{url}/words"],
    )
