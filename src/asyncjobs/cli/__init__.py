"""The command line, `asyncjobs`: a command is a module of its own, imported if it is called."""

from __future__ import annotations

import click

from .deferred import Commands, Deferred

__all__ = ["main"]


#: Each command: its name, where it is, and what the list of commands says of it.
COMMANDS = [
    Deferred(
        "demo",
        "asyncjobs.cli.demo:demo",
        "Run five real jobs on a real server, watch them, and check their results.",
    ),
    Deferred(
        "torture",
        "asyncjobs.torture.cli:torture",
        "Try to make jobs get lost, run twice or leak, on this machine and its disk.",
    ),
]


@click.group(cls=Commands, commands=COMMANDS)
@click.version_option(package_name="quart-asyncjobs")
def main() -> None:
    """Durable background jobs for Quart."""
