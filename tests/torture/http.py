"""`asyncjobs torture http`: a server is sent what nobody should send, and lets nothing out.

The real command line of hypercorn, with one worker and with two. Requests come in waves, each of
many clients at once: good ones and malformed ones, torn ones, those of somebody else, in HTTP/1.1
and in HTTP/2. After each of them another client asks for something that must be answered. All that
comes back is held against the promises, and so is what is left in the end.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from . import http2_wire, http_wire
from .command import COUNT, conclude, folder_option, seed_option
from .http_asks import Answer, Exchange, Expect, Known, Sending, exchanges
from .http_attacks import Attacks
from .http_bugs import HTTP_BUGS
from .http_finale import Server, end_of
from .http_promises import OF_ANSWERS, OF_THE_END, broken_by, broken_in_the_end
from .http_results import told_of
from .http_server import ForkedServer
from .hypercorn_command import HypercornCommand
from .promises import Broken, sentence

APP = "asyncjobs.torture.http_app:from_environment()"
#: So many clients at once.
CLIENTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        requests: with all of `workers` together, at least.
        workers: of hypercorn, one life of a server after the other; 0 for one that is forked, and
            starts at once.
        bug: to be planted.
    """

    requests: int
    workers: Sequence[int] = (1, 2)
    bug: str | None = None


@dataclass(kw_only=True)
class Report:
    """What was sent, and what came of it.

    Attributes:
        seconds: that it took to be answered.
        kinds: how many requests of each kind.
        answers: by status; `None` where there was none.
        at_once: results that were told in the requests that made their jobs.
        states: of the jobs that were accepted, in the end.
    """

    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[int | None] = field(default_factory=Counter)
    at_once: int = 0
    states: Counter[str | None] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.kinds.total()

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        rate = self.requests / self.seconds if self.seconds else 0.0
        yield f"requests: {self.requests} in {self.seconds:.0f} s, {rate:.0f} a second"
        for name, counts in (
            ("of these", self.kinds),
            ("answers", self.answers),
            ("jobs in the end", self.states),
        ):
            yield f"{name}: {', '.join(f'{key} {count}' for key, count in counts.most_common())}"
        yield f"results told in one request: {self.at_once}"
        broken = Counter(broken.promise for broken in self.broken)
        yield "how often each promise was broken:"
        for promise in (*OF_ANSWERS, *OF_THE_END):
            yield f"{broken[sentence(promise)]:6}  {sentence(promise)}"


class Seen:
    """What the clients have sent, and what they were told: added to `report`.

    Attributes:
        jobs: those that a client was told of.
        cancelled: those that their owners have asked to be cancelled.
        sent: the bodies that were sent in full, and how often.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.jobs: list[Known] = []
        self.cancelled: set[str] = set()
        self.sent: Counter[bytes] = Counter()

    def add(self, sending: Sending, answers: list[Answer | None]) -> list[Known]:
        """Judge the answers; the jobs that they tell of."""
        self.report.kinds[sending.kind] += sending.requests
        self.sent.update(sending.bodies)
        found = []
        for exchange in exchanges(sending, answers):
            self.report.broken += broken_by(exchange)
            self.report.answers[exchange.answer and exchange.answer.status] += 1
            if (job_id := _may_cancel(exchange)) is not None:
                self.cancelled.add(job_id)
            if (job := _told_of(exchange)) is not None:
                found.append(job)
                self.report.at_once += job.told is not None
        self.jobs += found
        return found


async def torture(plan: Plan, folder: Path, random: random.Random) -> Report:
    """Attack a server with each number of workers, until a promise is broken."""
    report = Report()
    for workers in plan.workers:
        if not report.broken:
            place = Path(tempfile.mkdtemp(prefix=f"{workers}-", dir=folder))
            server = server_of(workers, place, plan.bug)
            try:
                await _attacked(server, place, Seen(report), plan, random)
            finally:
                await server.close()
    return report


def server_of(workers: int, folder: Path, bug: str | None) -> Server:
    """A server with its store in `folder`, that has not begun."""
    if workers:
        return HypercornCommand(folder, workers, bug, app=APP)
    return ForkedServer(folder, bug)


async def _attacked(
    server: Server, folder: Path, seen: Seen, plan: Plan, random: random.Random
) -> None:
    """Send all that this server is to be sent, and look at what is left of it."""
    await server.start()
    begun = time.monotonic()
    requests = seen.report.requests + -(-plan.requests // len(plan.workers))
    attacks = Attacks(random)
    waves = asyncio.create_task(_attack(server.port, attacks, seen, requests))
    death = asyncio.create_task(server.end())
    await asyncio.wait([waves, death], return_when=asyncio.FIRST_COMPLETED)
    seen.report.seconds += time.monotonic() - begun
    waves.cancel()
    await asyncio.wait([waves])
    if not waves.cancelled():
        waves.result()
    if seen.report.broken:
        death.cancel()
        return
    end = await end_of(server, folder, seen.jobs, seen.cancelled, seen.sent, death)
    seen.report.states.update(answer and answer.header("job-state") for _, answer in end.results)
    seen.report.broken += broken_in_the_end(end)


async def _attack(port: int, attacks: Attacks, seen: Seen, requests: int) -> None:
    """One wave after the other. What is sent depends on the answers alone, not on their time."""
    while seen.report.requests < requests and not seen.report.broken:
        wave = [attacks.next() for _ in range(CLIENTS)]
        answers = await asyncio.gather(*(_in_turn(port, *sendings) for sendings in wave))
        for sendings, given in zip(wave, answers, strict=True):
            for sending, each in zip(sendings, given, strict=True):
                for job in seen.add(sending, each):
                    attacks.know(job)


async def _in_turn(port: int, *sendings: Sending) -> list[list[Answer | None]]:
    return [await _send(port, sending) for sending in sendings]


async def _send(port: int, sending: Sending) -> list[Answer | None]:
    if sending.version == 2 and not sending.wire:
        return await http2_wire.send(port, sending)
    return await http_wire.send(port, sending)


def _told_of(exchange: Exchange) -> Known | None:
    """The job that an answer says was accepted."""
    _, ask, answer, _ = exchange
    return None if ask is None or answer is None else told_of(ask, answer)


def _may_cancel(exchange: Exchange) -> str | None:
    """The id of the job that its owner wants to be cancelled, and that may be."""
    ask = exchange.ask
    if ask is None or ask.job is None or (ask.method, ask.owner) != ("DELETE", ask.job.owner):
        return None
    return ask.job.id if ask.expect in (Expect.OWN, Expect.ANYTHING) else None


@click.command()
@click.option(
    "--requests",
    type=COUNT,
    default=2000,
    show_default=True,
    help="At least, half of them with one worker and half with two.",
)
@seed_option
@folder_option
@click.option(
    "--bug", type=click.Choice(sorted(HTTP_BUGS)), help="A bug to plant: it must be found."
)
def http(requests: int, seed: int | None, folder: Path | None, bug: str | None) -> None:
    """Send a server what nobody should send: it lives, and lets nothing out."""
    conclude(partial(torture, Plan(requests=requests, bug=bug)), seed, folder)
