"""All that is measured, each part in a short form: `make bench`, or `make bench PART=http` for one.

All of it takes less than ten minutes on two cores that are idle else; the environments of the peers
are made the first time, which takes two more. `python -m bench PART --full` is the whole of a part,
and `python -m bench.PART --help` tells what else it can measure, and how long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True)
class Run:
    """One command of a part.

    Attributes:
        command: what it is called in a part with several.
        short: its options where all parts are to be printed soon.
        full: its options where this part is measured alone: none if it is as long as it comes.
    """

    command: str = ""
    short: str = ""
    full: str = ""

    def arguments(self, full: bool) -> list[str]:
        return f"{self.command} {self.full if full else self.short}".split()


#: The modules, in this order; each with all its runs.
PARTS: dict[str, list[Run]] = {
    "calls": [Run()],
    "http": [Run(short="--rounds 5 --jobs 1000 --paced 2")],
    "poll": [Run(short="--rounds 5 --polls 1000")],
    "conditional": [Run(short="--rounds 5 --polls 1000")],
    "hints": [Run(short="--ends 100 --waiters 200 --seconds 3")],
    "waiters": [Run(short="--waiters 1000 --seconds 4 --ends 100 --floods 100")],
    "cancel": [Run(short="--cancelled 100", full="--cancelled 1000")],
    "watchers": [
        Run("idle", "--watchers 1000 --rounds 1 --jobs 1000"),
        Run("ends", "--waiters 200 --ends 200 --rounds 5"),
        Run("slow", "--clients 100 --seconds 4"),
    ],
    "held": [Run(short="--seconds 2")],
    "queue": [Run(short="--queued 200 --jobs 500")],
    "listing": [Run(short="--rows 100000")],
    "foreign": [Run(short="--requests 300")],
    "processes": [
        Run("queue", "--jobs 5000 --rounds 1"),
        Run("http", "--jobs 2000 --rounds 1"),
    ],
    "memory": [
        Run("sleepers", "--jobs 2000"),
        Run("soak", "--jobs 5000"),
        Run("plain", "--requests 10000"),
    ],
    "expired": [Run(short="--rows 50000 --rounds 1 --seconds 5 --brief")],
    # Its waiters are those above.
    "scale": [Run(part, full="--full") for part in ("sleepers", "queued", "through", "steady")],
    "peers": [Run(short="--rounds 1 --jobs 200 --paced 100")],
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--full", is_flag=True, help="The whole of each, which may take half an hour.")
def main(parts: tuple[str, ...], full: bool) -> None:
    """Measure all parts, or those that are named, one after the other."""
    begun = time.monotonic()
    failed = [part for part in parts or PARTS if not measure(part, full)]
    click.echo(f"\nmeasured in {time.monotonic() - begun:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measure(part: str, full: bool) -> bool:
    """Run all of a part; whether it was measured."""
    runs = [run(part, each.arguments(full), full) for each in PARTS[part]]
    return all(runs)


def run(part: str, arguments: list[str], full: bool) -> bool:
    whole = "" if full else f" (the whole: python -m bench {part} --full)"
    click.echo(f"\n{head(part, arguments)}; load {os.getloadavg()[0]:.0f}{whole}")
    begun = time.monotonic()
    command = [sys.executable, "-m", f"bench.{part}", *arguments]
    status = subprocess.run(command, check=False).returncode
    click.echo(f"{part}: {time.monotonic() - begun:.0f} s")
    return status == 0


def head(part: str, arguments: list[str]) -> str:
    """What is measured and how much, as the command itself takes its arguments."""
    command, names = command_of(part), [part]
    context = command.make_context(part, [*arguments])
    if isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, arguments)
        context = command.make_context(name, rest)
        names.append(name)
    values = [(each.name, context.params.get(each.name)) for each in command.params]
    sizes = [f"{name} {said(value)}" for name, value in values if value]
    return ", ".join([" ".join(names), *sizes])


def command_of(part: str) -> click.Command:
    module = import_module(f"bench.{part}")
    if hasattr(module, "__path__"):
        module = import_module(f"bench.{part}.__main__")
    return module.main


def said(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
