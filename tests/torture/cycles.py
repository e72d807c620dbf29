"""`asyncjobs torture hypercorn`: what happens to a server in its life, again and again.

The real command line of hypercorn, with one worker and with several, while clients submit, cancel
and poll. Each cycle is one thing that operators, deploys or accidents do to it; whenever it has
ended it is started anew. In the end every acknowledged job must come to its result, and then all
promises are checked.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import click

from .clients import Clients, endless
from .command import COUNT, bug_option, conclude, folder_option, seed_option
from .finale import settled
from .hypercorn_command import HypercornCommand
from .report import Report, report_of

#: Clients with a job at a time each.
CROWD = 20
#: Jobs that are acknowledged before each cycle, at most, unless that takes so many seconds.
JOBS_A_CYCLE, WORK_TIME = 60, 5.0
#: Seconds that workers stand still: longer than between two sweeps.
STOP_TIME = 2.0


async def kill_worker(server: HypercornCommand, random: random.Random) -> None:
    """One worker dies; hypercorn then stops all others, and ends."""
    victim = random.choice(server.pids)
    server.send_workers([victim], signal.SIGKILL, "kill worker")
    await server.ended()
    await server.start()


async def terminate(server: HypercornCommand, random: random.Random) -> None:
    """A deploy."""
    server.send(signal.SIGTERM, "term")
    await server.ended()
    await server.start()


async def stop_and_continue(server: HypercornCommand, random: random.Random) -> None:
    """Some stand still for longer than a sweep, and are not dead, whatever the one left thinks."""
    standing = random.sample(server.pids, max(1, len(server.pids) - 1))
    server.send_workers(standing, signal.SIGSTOP, "stop")
    await asyncio.sleep(STOP_TIME)
    server.send_workers(standing, signal.SIGCONT, "cont")


async def kill_all(server: HypercornCommand, random: random.Random) -> None:
    """The machine has run out of memory, or the container was killed."""
    server.send(signal.SIGKILL, "kill all", group=True)
    await server.ended()
    await server.start()


async def interrupt(server: HypercornCommand, random: random.Random) -> None:
    """Ctrl-C: the terminal sends it to all processes."""
    server.send(signal.SIGINT, "int", group=True)
    await server.ended()
    await server.start()


async def reload(server: HypercornCommand, random: random.Random) -> None:
    """On SIGHUP hypercorn's master lets its workers end, and then starts new ones."""
    await server.reloaded()


Happening = Callable[[HypercornCommand, random.Random], Awaitable[None]]
HAPPENINGS: Sequence[Happening] = (
    kill_worker,
    terminate,
    stop_and_continue,
    kill_all,
    interrupt,
    reload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done: so many cycles with each of these numbers of workers.

    Attributes:
        happenings: one a cycle, in turn.
    """

    cycles: int
    workers: Sequence[int] = (1, 4)
    happenings: Sequence[Happening] = HAPPENINGS
    bug: str | None = None


async def torture(plan: Plan, folder: Path, random: random.Random) -> Report:
    """Go through all cycles, but not on to another store once a promise is broken."""
    report = Report()
    for workers in plan.workers:
        life = Life(Path(tempfile.mkdtemp(prefix=f"workers-{workers}-", dir=folder)), plan, workers)
        report += await life.run(random)
        click.echo(f"{workers} workers: {life.done()}; {len(report.broken)} broken promises")
        if report.broken:
            break
    return report


class Life:
    """A store's life under hypercorn with a number of workers."""

    def __init__(self, folder: Path, plan: Plan, workers: int) -> None:
        self._folder = folder
        self._plan = plan
        self._server = HypercornCommand(folder, workers, plan.bug)
        self._happened: Counter[str] = Counter()

    async def run(self, random: random.Random) -> Report:
        begun = time.monotonic()
        clients = Clients(
            self._folder,
            lambda: self._server.url,
            random,
            crowd=CROWD,
            submissions=endless(random),
        )
        try:
            await self._server.start()
            async with asyncio.TaskGroup() as group:
                crowd = group.create_task(clients.run())
                for happening in islice(cycle(self._plan.happenings), self._plan.cycles):
                    await clients.work(random.randint(1, JOBS_A_CYCLE), WORK_TIME)
                    await happening(self._server, random)
                    self._happened[happening.__name__] += 1
                seconds = time.monotonic() - begun
                facts = await settled(self._folder, clients, crowd)
            return report_of(facts, seconds)
        finally:
            await self._server.close()

    def done(self) -> str:
        return ", ".join(f"{what} {times}" for what, times in self._happened.items())


def _numbers(context: click.Context, option: click.Parameter, value: str) -> list[int]:
    numbers = [int(number) if number.isdecimal() else 0 for number in value.split(",")]
    if min(numbers) < 1:
        raise click.BadParameter("name one or more numbers of workers, as in 1,4")
    return numbers


@click.command()
@click.option(
    "--cycles", type=COUNT, default=12, show_default=True, help="With each number of workers."
)
@click.option(
    "--workers", callback=_numbers, default="1,4", show_default=True, help="Numbers of workers."
)
@seed_option
@folder_option
@bug_option
def hypercorn(
    cycles: int, workers: list[int], seed: int | None, folder: Path | None, bug: str | None
) -> None:
    """Kill, stop, reload and restart hypercorn while clients work with it."""
    plan = Plan(cycles=cycles, workers=workers, bug=bug)
    conclude(partial(torture, plan), seed, folder)
