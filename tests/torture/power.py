"""Power loss: no acknowledged write is lost, no file damaged, whatever was not on the disk yet.

Real processes (`writers`) write to a real store while `strace` records what they ask of the
system. The record (`recording`) is cut at random places, thousands of times (`replay`); each time
the files are made as a disk might have them that lost its power there (`disk`), the store is opened
again, and compared with what its writers had been told by then (`recovery`).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import SystemRandom

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .bugs import POWER_BUGS
from .command import COUNT
from .recording import DATABASE, RecordUnreadable, Step, read_steps
from .recovery import examine
from .replay import Figures, figures, losses
from .strace import StraceFailed, trace, why_not

#: Of so many bad states it is told, and kept, what they are.
EXAMPLES = 5

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)


@click.command()
@click.option(
    "--states", type=COUNT, default=5000, show_default=True, help="How many losses of power."
)
@click.option("--seed", type=int, help="Repeat the choices of an earlier run.")
@click.option(
    "--jobs", type=COUNT, default=100, show_default=True, help="For each process and round."
)
@click.option(
    "--rounds", type=COUNT, default=4, show_default=True, help="How often the store is opened."
)
@click.option("--folder", type=_FOLDER, help="Where to work: names the disk to try.")
@click.option("--keep", is_flag=True, help="Keep the record even if nothing is wrong.")
@click.option("--again", type=_FOLDER, help="Take the record that an earlier run has kept here.")
@click.option("--state", type=int, help="Try only the state with this number.")
@click.option("--bug", type=click.Choice(list(POWER_BUGS)), help="Plant a bug: it must be found.")
def power(
    states: int,
    seed: int | None,
    jobs: int,
    rounds: int,
    folder: Path | None,
    keep: bool,
    again: Path | None,
    state: int | None,
    bug: str | None,
) -> None:
    """Lose power at any moment: no acknowledged write is lost, no file damaged."""
    if again is None and (reason := why_not()) is not None:
        raise click.ClickException(reason)
    began = time.monotonic()
    console = Console()
    seed = SystemRandom().getrandbits(32) if seed is None else seed
    numbers = range(states) if state is None else [state]
    work = again or Path(tempfile.mkdtemp(prefix="asyncjobs-power-", dir=folder)).resolve()
    try:
        if again is None:
            record(work, seed, jobs, rounds, bug)
        with open(work / "record") as lines:
            steps = read_steps(lines, work / "store")
    except (StraceFailed, RecordUnreadable) as error:
        raise click.ClickException(str(error)) from None
    outcome = asyncio.run(_try(steps, numbers, seed, work, console))
    _show(console, figures(steps), outcome, seconds=time.monotonic() - began)
    if outcome.is_bad:
        repeat = f"To try one of them again: --again {work} --seed {seed} --state NUMBER"
        console.print(repeat, highlight=False, soft_wrap=True)
        raise SystemExit(1)
    if not (keep or again):
        shutil.rmtree(work)
    if state is None and (poor := _what_lacks(figures(steps), outcome)):
        raise click.ClickException(f"this proves nothing: {poor}")


def record(work: Path, seed: int, jobs: int, rounds: int, bug: str | None = None) -> None:
    """Have the writers write to a store in `work`, and record it there.

    Raises:
        StraceFailed
    """
    store = work / "store"
    store.mkdir()
    writers = [sys.executable, "-m", "asyncjobs.torture.writers"]
    options = [str(store), str(seed), str(jobs), str(rounds), *([bug] if bug else [])]
    trace([*writers, *options], work / "record")


@dataclass(slots=True)
class Outcome:
    """What came of all states.

    Attributes:
        states: how many were tried.
        unsynced: in how many of them something was not synced.
        lost: how many acknowledged writes were lost, in all states together.
        corrupt: how many states had a damaged file, or one that cannot be opened.
        examples: what was wrong, for a few states.
    """

    states: int = 0
    unsynced: int = 0
    lost: int = 0
    corrupt: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        return bool(self.lost or self.corrupt)


async def _try(
    steps: Sequence[Step], numbers: Sequence[int], seed: int, work: Path, console: Console
) -> Outcome:
    """Open the store after each loss of power."""
    outcome = Outcome()
    found = work / "found"
    for loss in track(losses(steps, numbers, seed), total=len(numbers), console=console):
        lay_out(loss.files, found)
        findings = await examine(found / DATABASE, loss.promises)
        outcome.states += 1
        outcome.unsynced += loss.unsynced > 0
        outcome.lost += len(findings.lost)
        outcome.corrupt += bool(findings.corrupt)
        wrong = findings.lost + findings.corrupt
        if wrong and len(outcome.examples) < EXAMPLES:
            outcome.examples.append(
                f"state {loss.number}, after step {loss.cut} of {len(steps)} and with "
                f"{loss.unsynced} changes not synced: {wrong[0]} (and {len(wrong) - 1} more)"
            )
            lay_out(loss.files, work / f"state-{loss.number}")
    return outcome


def lay_out(files: dict[str, bytes], folder: Path) -> None:
    """Put these files into the folder, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _show(console: Console, record: Figures, outcome: Outcome, *, seconds: float) -> None:
    table = Table(title="Loss of power", show_header=False)
    for name, value in asdict(record).items():
        table.add_row(f"{name} recorded", f"{value:,}")
    table.add_row("states tried", f"{outcome.states:,}")
    table.add_row("with something not synced", f"{outcome.unsynced:,}")
    table.add_row("acknowledged writes lost", f"{outcome.lost:,}")
    table.add_row("states corrupt", f"{outcome.corrupt:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    for example in outcome.examples:
        console.print(example, highlight=False, soft_wrap=True)


def _what_lacks(record: Figures, outcome: Outcome) -> str:
    """What the run would have needed to prove anything."""
    needed = asdict(record) | {"states with something not synced": outcome.unsynced}
    return ", ".join(f"no {name}" for name, count in needed.items() if count == 0)
