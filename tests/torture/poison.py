"""`asyncjobs torture poison`: jobs that take their process down, among innocent ones.

The real command line of hypercorn, which ends as a whole when one of its workers dies, under a
service manager that starts it anew whenever it has ended. In half of the lives the manager is one
that has it stopped, and killed if that takes too long, again and again. All jobs must come to
their end, the innocent ones by themselves; and then all promises are checked.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import click

from .app import POISON
from .clients import Clients
from .command import COUNT, conclude, folder_option, seed_option
from .deaths import KIND, is_poison
from .facts import Facts
from .finale import settled
from .hypercorn_command import HypercornCommand
from .poison_bugs import POISON_BUGS
from .promises import lost
from .report import Report, report_of

#: What is submitted beside the poison, each as likely as the others: method and path.
INNOCENTS = (("PUT", "/again"), ("PUT", "/again/slow"), ("PUT", "/again/thread"))
#: Seconds that a client waits for an answer: longer than a server takes to start.
PATIENCE = 30.0
#: Seconds that all jobs have to end.
LIFE_TIME = 240.0
#: How often a manager that kills does so, and how many seconds it lets the server work before.
MANAGER_KILLS, WORK_TIME = 6, (0.2, 2.0)
#: Seconds that such a manager leaves the server to stop, at most.
STOP_TIME = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One store's life.

    Attributes:
        workers: of hypercorn.
        poison: how many jobs take their process down.
        innocents: how many do not.
        kills: how often the manager has the server stopped or killed.
    """

    workers: int
    poison: int
    innocents: int
    kills: int = 0

    def __str__(self) -> str:
        manager = f", a manager that kills {self.kills} times" if self.kills else ""
        return f"{self.workers} workers, {self.poison} poison jobs{manager}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done: each of the lives, as often as there are rounds."""

    rounds: int
    lives: Sequence[Life]
    bug: str | None = None


def all_lives(innocents: int) -> Sequence[Life]:
    """One worker and four, one poison job and three, with a manager that kills and without."""
    return [
        Life(workers=workers, poison=poison, innocents=innocents, kills=kills)
        for workers, poison, kills in product((1, 4), (1, 3), (0, MANAGER_KILLS))
    ]


async def torture(plan: Plan, folder: Path, random: random.Random) -> Report:
    """Go through all lives, but not on to another one once a promise is broken."""
    report = Report()
    for _ in range(plan.rounds):
        for life in plan.lives:
            if report.broken:
                return report
            begun = time.monotonic()
            facts = await lived(life, Path(tempfile.mkdtemp(dir=folder)), random, plan.bug)
            report += report_of(facts, time.monotonic() - begun)
            click.echo(f"{life}: {'; '.join(figures(facts))}")
    return report


async def lived(life: Life, folder: Path, random: random.Random, bug: str | None) -> Facts:
    """The facts, once all jobs of this life have ended, or had the time to."""
    server = HypercornCommand(folder, life.workers, bug)
    submissions = random.choices(POISON, k=life.poison)
    submissions += random.choices(INNOCENTS, k=life.innocents)
    random.shuffle(submissions)
    clients = Clients(
        folder,
        lambda: server.url,
        random,
        # All jobs at once, or the next one whenever another one has its result.
        crowd=random.choice((len(submissions), life.poison + 5)),
        submissions=submissions,
        cancel_rate=0.0,
        # Whoever is cut off as it waits for such a job does not know it, and submits another one.
        wait_rate=0.0,
        patience=PATIENCE,
    )
    try:
        await server.start()
        async with asyncio.TaskGroup() as group:
            manager = group.create_task(manage(server, life.kills, random))
            crowd = group.create_task(clients.run())
            await asyncio.wait([crowd], timeout=LIFE_TIME)
            facts = await settled(folder, clients, crowd)
            manager.cancel()
        return facts
    finally:
        await server.close()


async def manage(server: HypercornCommand, kills: int, random: random.Random) -> None:
    """Start the server anew whenever it has ended, and have it end so many times."""
    while True:
        try:
            async with asyncio.timeout(random.uniform(*WORK_TIME) if kills else None):
                await server.end()
        except TimeoutError:
            kills -= 1
            await _stop(server, random.uniform(0.0, STOP_TIME))
        await server.start(mortal=True)


async def _stop(server: HypercornCommand, seconds: float) -> None:
    """Tell the server to stop, and kill it and its workers if it takes longer than that."""
    with suppress(ProcessLookupError):  # it has just ended by itself
        server.send(signal.SIGTERM, "term")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await server.end()
                return
        server.send(signal.SIGKILL, "stopped for too long", group=True)
    await server.end()


def figures(facts: Facts) -> Iterator[str]:
    """What has become of the innocents."""
    jobs = [stored.job for stored in facts.stored.values()]
    innocents = {job.id for job in jobs if not is_poison(job)}
    deaths = {signalled.pid for signalled in facts.records.signals}
    crashes = [
        death for pid in deaths if (death := facts.killed(pid)) and death.kind.startswith(KIND)
    ]
    yield f"{len(innocents)} innocents, {len(jobs) - len(innocents)} poison jobs"
    yield f"{len(crashes)} processes taken down, {len(lost(facts))} innocents lost"
    results = [answer.at for answer in facts.records.answers if answer.id in innocents]
    if results:
        yield f"the last result {max(results) - facts.records.acks[0].at:.1f} s after the first job"


@click.command()
@click.option(
    "--rounds",
    type=COUNT,
    default=1,
    show_default=True,
    help="Of all the lives, of which there "
    "are eight: 1 or 4 workers, 1 or 3 poison jobs, a manager that kills or one that does not.",
)
@click.option("--innocents", type=COUNT, default=30, show_default=True, help="In each life.")
@seed_option
@folder_option
@click.option(
    "--bug", type=click.Choice(sorted(POISON_BUGS)), help="A bug to plant: it must be found."
)
def poison(
    rounds: int, innocents: int, seed: int | None, folder: Path | None, bug: str | None
) -> None:
    """Run jobs that take their process down: they must not take innocent ones along."""
    plan = Plan(rounds=rounds, lives=all_lives(innocents), bug=bug)
    conclude(partial(torture, plan), seed, folder)
