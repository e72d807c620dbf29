"""`asyncjobs torture damage`: somebody damages the files of a store, and nobody is told lies.

A process writes to a store, and is stopped, killed, or goes on. Then something is done to the files
(`damages`), the store is opened again, and compared with what the process had been told by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import click

from asyncjobs.errors import StoreError
from asyncjobs.stores import SqliteStore
from asyncjobs.stores.sqlite.processes.locks import FileLock

from .acks import Promises
from .command import COUNT, conclude, folder_option, seed_option
from .damages import DAMAGES, LOCK, LOG, Outcome, When
from .recording import ACKS, DATABASE
from .recovery import examine
from .victim import ENOUGH

#: A process has been told of so many writes before anything is done to its store.
ACKS_BEFORE = (20, 400)
#: Where a damage does not end it, it is told of so many more before it is stopped.
ACKS_AFTER = 100
#: Seconds that a process has to write so much, and to end.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One store, and what was done to it when."""

    damage: str
    when: When

    def __str__(self) -> str:
        return f"{self.damage}, {self.when}"


@dataclass(kw_only=True)
class Report:
    """What has come of all cases so far."""

    outcomes: Counter[tuple[Case, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        for (case, outcome), times in sorted(self.outcomes.items(), key=str):
            yield f"{times:6}  {case}: {outcome}"
        yield f"cases: {self.outcomes.total()}; broken promises: {len(self.broken)}"


def all_cases() -> list[Case]:
    return [Case(name, when) for name, damage in DAMAGES.items() for when in damage.outcomes]


async def torture(rounds: int, folder: Path, random: Random) -> Report:
    """Go through all cases, so many times."""
    report = Report()
    for number in range(rounds):
        for case in all_cases():
            place = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=folder))
            outcome, evidence = await observed(case, place, random)
            report.outcomes[case, outcome] += 1
            if outcome not in DAMAGES[case.damage].outcomes[case.when]:
                report.broken.append(f"{case}, in {place}: {outcome}. {evidence}")
    return report


async def observed(case: Case, folder: Path, random: Random) -> tuple[str, str]:
    """What comes of a case, in the words of `Outcome` where it is one, and the evidence."""
    damage = DAMAGES[case.damage]
    process = await _start(folder, str(random.random()))
    try:
        await _acknowledged(process, folder, random.randint(*ACKS_BEFORE))
        if case.when is When.STOPPED:
            (folder / ENOUGH).touch()
            await _ended(process)
        with _still(folder, damage.is_quiet and case.when is not When.STOPPED):
            if case.when is When.KILLED:
                process.kill()
                await _ended(process)
            damage.plant(folder, random)
        if case.when is When.LIVING:
            return await _of_living(process, folder)
        return await _of_start(
            folder, can_know=Outcome.UNKNOWABLE not in damage.outcomes[case.when]
        )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _of_living(process: Process, folder: Path) -> tuple[str, str]:
    """A process ends by itself, with a word, if it notices what must not be; else it is stopped."""
    ending = asyncio.create_task(_ended(process))
    with suppress(VictimEnded):
        await _acknowledged(process, folder, ACKS_AFTER)
        (folder / ENOUGH).touch()
    said = await ending
    if "takes no more jobs" in said:
        return Outcome.ENDED, said
    if process.returncode != 0:
        return "the process ends without a word of the store", said
    return await _of_start(folder, can_know=True)


async def _of_start(folder: Path, *, can_know: bool) -> tuple[str, str]:
    path = folder / DATABASE
    before = _contents(folder)
    with _errors() as errors:
        try:
            async with SqliteStore(path):
                pass
        except StoreError as error:
            touched = _contents(folder) != before
            return ("refused, but touched" if touched else Outcome.REFUSED), str(error)
    findings = await examine(path, _promises(folder))
    if findings.corrupt:
        return "the store is corrupt", findings.corrupt[0]
    if errors:
        return Outcome.TOLD, errors[0]
    if not can_know:
        return Outcome.UNKNOWABLE, ""
    if findings.lost:
        return f"{len(findings.lost)} are lost without a word", findings.lost[0]
    return Outcome.WHOLE, ""


async def _start(folder: Path, seed: str) -> Process:
    command = [sys.executable, "-m", "asyncjobs.torture.victim", str(folder), seed]
    return await asyncio.create_subprocess_exec(*command, stderr=PIPE)


async def _acknowledged(process: Process, folder: Path, more: int) -> None:
    """Wait until the process was told of so many more writes.

    Raises:
        VictimEnded: it has ended before.
    """
    wanted = _acks(folder) + more
    async with asyncio.timeout(PATIENCE):
        while _acks(folder) < wanted:
            if process.returncode is not None:
                raise VictimEnded(f"status {process.returncode}")
            await asyncio.sleep(0.002)


async def _ended(process: Process) -> str:
    """What the process has said, once it has ended."""
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate()
    return said.decode(errors="replace")


class VictimEnded(Exception):
    """The process that writes has ended too early."""


def _acks(folder: Path) -> int:
    acks = folder / ACKS
    return acks.read_bytes().count(b"\n") if acks.exists() else 0


def _promises(folder: Path) -> Promises:
    promises = Promises()
    for line in (folder / ACKS).read_text().splitlines():
        promises.take(line)
    return promises


@contextmanager
def _still(folder: Path, is_quiet: bool) -> Iterator[None]:
    """Nobody writes to the store within the block, if it is to be so quiet."""
    if not is_quiet:
        yield
        return
    # Who checkpoints has both, if not all the time the first.
    with _locked(folder / LOG), _locked(folder / LOCK):
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(FileLock(path, create=False)) as lock:
        if not lock.acquire(PATIENCE):
            raise TimeoutError(f"the lock of {path} cannot be had")
        yield


def _contents(folder: Path) -> Mapping[str, str]:
    """The files that have jobs in them, by what is in them."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name in (DATABASE, LOG) and file.stat().st_size
    }


@contextmanager
def _errors() -> Iterator[list[str]]:
    """What the store says of itself within the block, if it is an error."""
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, listener = logging.getLogger("asyncjobs.store"), Listener(logging.ERROR)
    logger.addHandler(listener)
    try:
        yield told
    finally:
        logger.removeHandler(listener)


@click.command("damage")
@click.option("--rounds", type=COUNT, default=3, show_default=True, help="Of all the cases.")
@seed_option
@folder_option
def command(rounds: int, seed: int | None, folder: Path | None) -> None:
    """Damage the files of stores: what was acknowledged is there, or it is said that it is not."""
    conclude(partial(torture, rounds), seed, folder)
