"""`asyncjobs torture kill`: kill -9, again and again, under load.

Several servers on one store are killed at random moments and at the named failpoints, and stopped
for a while, and are started anew at once, while clients submit, cancel and poll. It goes in
epochs, each with a store of its own: in its end every acknowledged job must come to its result,
and then all promises are checked.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from .clients import Clients, endless
from .command import COUNT, bug_option, conclude, folder_option, seed_option
from .failpoints import FAILPOINTS
from .finale import settled
from .report import Report, report_of
from .servers import Server, ServerFailed

#: Clients with a job at a time each.
CROWD = 40
#: How many of their requests go to who does not work, and how many jobs kill whoever runs them.
ASTRAY, POISON = 0.02, 0.003
#: Every second server is started with a failpoint, which it passes so often before it dies.
ARMED, PASSES = 0.5, 12
#: Seconds between two kills at a random moment, at most.
KILL_INTERVAL = 0.5
#: Jobs that are acknowledged between them, at most, unless that takes so many seconds.
JOBS_A_KILL, KILL_TIMEOUT = 15, 2.0
#: Every second dead server is missing for a while, so that the living have to do with its jobs.
MISSING, MISSING_TIME = 0.5, 1.5
#: Seconds between two stops, at most, and how long each is: longer than between two sweeps.
STOP_INTERVAL, STOP_TIME = 2.0, 2.0
#: How many of those that stand still are killed in that state.
KILLED_STOPPED = 0.2
#: What servers die of when all is over.
THE_END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        epoch: kills with one store, about.
    """

    kills: int
    servers: int = 3
    epoch: int = 200
    bug: str | None = None


async def torture(plan: Plan, folder: Path, random: random.Random) -> Report:
    """Kill as planned, but not on once a promise is broken."""
    report = Report()
    while report.kills < plan.kills and not report.broken:
        kills = min(plan.epoch, plan.kills - report.kills)
        epoch_folder = Path(tempfile.mkdtemp(prefix="epoch-", dir=folder))
        report += await Epoch(plan, epoch_folder, kills, random).run()
        click.echo(f"{report.kills} kills, {report.acknowledged} jobs, {len(report.broken)} broken")
    return report


class Epoch:
    """A store's life under torture."""

    def __init__(self, plan: Plan, folder: Path, kills: int, random: random.Random) -> None:
        self._folder = folder
        self._kills_left = kills
        self._random = random
        self._servers = [Server(folder, plan.bug) for _ in range(plan.servers)]
        self._clients = Clients(
            folder, self._url, random, crowd=CROWD, submissions=endless(random, POISON)
        )
        self._calm = asyncio.Event()

    async def run(self) -> Report:
        begun = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                keepers = [group.create_task(self._keep(server)) for server in self._servers]
                crowd = group.create_task(self._clients.run())
                executioners = [group.create_task(self._kill()), group.create_task(self._stop())]
                await self._calm.wait()
                seconds = time.monotonic() - begun
                await asyncio.wait(executioners)
                facts = await settled(self._folder, self._clients, crowd)
                for task in keepers:
                    task.cancel()
            return report_of(facts, seconds, without=THE_END)
        finally:
            for server in self._servers:
                server.close()

    async def _keep(self, server: Server) -> None:
        """Start the server whenever it is dead."""
        try:
            while True:
                server.start(*self._failpoint())
                await server.ended()
                self._kills_left -= 1
                if self._kills_left <= 0:
                    self._calm.set()
                elif self._random.random() < MISSING:
                    await asyncio.sleep(self._random.uniform(0.0, MISSING_TIME))
        finally:
            server.send(signal.SIGKILL, THE_END)
            with suppress(ServerFailed):
                await server.ended()

    async def _kill(self) -> None:
        while not self._calm.is_set():
            await asyncio.sleep(self._random.uniform(0.0, KILL_INTERVAL))
            # On a slow machine, too, a server has begun to work before the next one is killed.
            await self._clients.work(self._random.randint(0, JOBS_A_KILL), KILL_TIMEOUT)
            working = [server for server in self._servers if server.works]
            if working:
                self._random.choice(working).send(signal.SIGKILL, "random moment")

    async def _stop(self) -> None:
        """A server that stands still for longer than a sweep is not dead."""
        while not self._calm.is_set():
            await asyncio.sleep(self._random.uniform(0.0, STOP_INTERVAL))
            server = self._random.choice(self._servers)
            server.send(signal.SIGSTOP, "stop")
            await asyncio.sleep(STOP_TIME)
            if self._random.random() < KILLED_STOPPED:
                server.send(signal.SIGKILL, "while stopped")
            else:
                server.send(signal.SIGCONT, "cont")

    def _url(self) -> str:
        """Of a server that works, in most cases: else all clients would soon hang on the others."""
        working = [server for server in self._servers if server.works]
        if not working or self._random.random() < ASTRAY:
            working = self._servers
        return self._random.choice(working).url

    def _failpoint(self) -> tuple[str | None, int]:
        if self._calm.is_set() or self._random.random() > ARMED:
            return None, 0
        return self._random.choice(FAILPOINTS), self._random.randint(1, PASSES)


@click.command()
@click.option(
    "--kills", type=COUNT, default=200, show_default=True, help="How many processes to kill."
)
@click.option("--servers", type=COUNT, default=3, show_default=True, help="How many share a store.")
@seed_option
@folder_option
@bug_option
def kill(kills: int, servers: int, seed: int | None, folder: Path | None, bug: str | None) -> None:
    """Kill servers with -9 under load: no job may be lost, or run twice by mistake."""
    plan = Plan(kills=kills, servers=servers, bug=bug)
    conclude(partial(torture, plan), seed, folder)
