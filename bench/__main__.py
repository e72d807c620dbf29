"""All that is measured, each part in a short form: `make bench`, or `make bench PART=http` for one.

`python -m bench.PART --help` tells what else a part can measure, and how long.
"""

from __future__ import annotations

import subprocess
import sys
import time

import click

#: The modules, in this order; each with the options of all its runs.
PARTS: dict[str, list[str]] = {
    "calls": [""],
    "http": ["--rounds 5 --jobs 1000 --paced 2 --seconds 4"],
    "poll": ["--rounds 5 --polls 1000"],
    "hints": ["--ends 100 --waiters 200 --seconds 3"],
    "waiters": ["--waiters 1000 --seconds 4 --ends 50 --floods 50"],
    "held": ["--seconds 2"],
    "queue": ["--queued 200 --jobs 500"],
    "listing": ["--rows 100000"],
    "processes": ["queue --jobs 5000 --rounds 1", "http --jobs 2000 --rounds 1"],
    "memory": ["sleepers --jobs 2000", "soak --jobs 5000"],
    "expired": ["--rows 50000 --rounds 1 --seconds 5 --brief"],
    "scale": [""],
    "peers": ["--rounds 1 --jobs 200"],
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--full", is_flag=True, help="Each as long as it is by itself.")
def main(parts: tuple[str, ...], full: bool) -> None:
    """Measure all parts, or those that are named, one after the other."""
    begun = time.monotonic()
    failed = [part for part in parts or PARTS if not measure(part, full)]
    click.echo(f"\nmeasured in {time.monotonic() - begun:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measure(part: str, full: bool) -> bool:
    """Run all of a part; whether it was measured."""
    runs = [run(part, options.split(), full) for options in PARTS[part]]
    return all(runs)


def run(part: str, options: list[str], full: bool) -> bool:
    if full:
        options = [option for option in options[:1] if not option.startswith("-")]  # a command
    command = ["-m", f"bench.{part}", *options]
    click.echo(f"\npython {' '.join(command)}")
    begun = time.monotonic()
    status = subprocess.run([sys.executable, *command], check=False).returncode
    click.echo(f"{part}: {time.monotonic() - begun:.0f} s")
    return status == 0


if __name__ == "__main__":
    main()
