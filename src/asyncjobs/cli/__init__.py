"""The command line, `asyncjobs`: a command is a module of its own, imported if it is called."""

from __future__ import annotations

import os
import sys

import click

from .deferred import Commands, Deferred

__all__ = ["main"]


#: Each command: its name, where it is, and what the list of commands says of it.
COMMANDS = [
    Deferred(
        "cancel",
        "asyncjobs.cli.cancel:cancel",
        "Cancel jobs: at once if nobody runs them, else as soon as their handlers stop.",
    ),
    Deferred(
        "demo",
        "asyncjobs.cli.demo:demo",
        "Run five real jobs on a real server, watch them, and check their results.",
    ),
    Deferred("list", "asyncjobs.cli.list:list_jobs", "List the jobs of a store, the newest first."),
    Deferred(
        "retry",
        "asyncjobs.cli.retry:retry",
        "Queue jobs once more that have failed, or were interrupted or cancelled.",
    ),
    Deferred("show", "asyncjobs.cli.show:show", "Show all that is known of a job."),
    Deferred(
        "stats",
        "asyncjobs.cli.stats:stats",
        "Count the jobs of each route in each state.",
    ),
    Deferred(
        "torture",
        "asyncjobs.torture.cli:torture",
        "Try to make jobs get lost, run twice or leak, on this machine and its disk.",
    ),
    Deferred(
        "watch",
        "asyncjobs.cli.watch:watch",
        "Watch jobs while they run, with their progress.",
    ),
]


@click.group(cls=Commands, commands=COMMANDS)
@click.version_option(package_name="quart-asyncjobs")
def main() -> None:
    """Durable background jobs for Quart."""
    # Whoever has closed one (`>&-`) wants nothing of it. In this order each gets its own number,
    # which else were that of a file of the store.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end
