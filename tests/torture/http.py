"""`asyncjobs torture http`: a server is sent what nobody should send, and lets nothing out.

The real command line of hypercorn, with one worker and with two. Requests come in waves, each of
many clients at once: good ones and malformed ones, torn ones and repeated ones, conditional ones,
those of somebody else and of operators, walks through the list, in HTTP/1.1 and in HTTP/2. After
each of them another client asks for something that must be answered. All that comes back is held
against the promises, in the light of what came before, and so is what is left in the end.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import click

from . import http2_wire, http_streams, http_wire
from .command import COUNT, conclude, folder_option, seed_option
from .http_asks import Answer, Done, Exchange, Known, Sending, exchanges
from .http_attacks import Attacks
from .http_bugs import HTTP_BUGS
from .http_finale import Server, end_of
from .http_histories import OF_HISTORIES, broken_before
from .http_kinds import KINDS
from .http_ledger import Ledger
from .http_limit_promises import OF_THE_STORE
from .http_lives import Lives
from .http_promises import OF_ANSWERS, OF_THE_END, broken_by, broken_in_the_end
from .http_results import told_of
from .http_server import ForkedServer
from .http_stream_promises import counts_of
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
        sought: the sentences of those promises of which one is to be found broken, whatever others
            are; all of them, unless given.
    """

    requests: int
    workers: Sequence[int] = (1, 2)
    bug: str | None = None
    sought: Collection[str] = ()

    def is_found(self, broken: Sequence[Broken]) -> bool:
        """Whether nothing more has to be sent."""
        return any(not self.sought or each.promise in self.sought for each in broken)


@dataclass(kw_only=True)
class Report:
    """What was sent, and what came of it.

    Attributes:
        seconds: that it took to be answered.
        kinds: how many requests of each kind.
        answers: by status; `None` where there was none.
        at_once: results that were told in the requests that made their jobs.
        streams: of events: how many were opened, how many of them were read to their ends, and how
            many events were in them; and how many there were too many.
        states: of the jobs that were accepted, in the end.
    """

    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[int | None] = field(default_factory=Counter)
    at_once: int = 0
    streams: Counter[str] = field(default_factory=Counter)
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
            ("streams", self.streams),
            ("jobs in the end", self.states),
        ):
            yield f"{name}: {', '.join(f'{key} {count}' for key, count in counts.most_common())}"
        yield f"results told in one request: {self.at_once}"
        broken = Counter(broken.promise for broken in self.broken)
        yield "how often each promise was broken:"
        for promise in (*OF_ANSWERS, *OF_HISTORIES, *OF_THE_END, *OF_THE_STORE):
            yield f"{broken[sentence(promise)]:6}  {sentence(promise)}"


class Seen:
    """What the clients have sent, and what they were told: added to `report`.

    Attributes:
        ledger: what later answers are held against.
        jobs: those that a client was told of.
        sent: the bodies that were sent in full without a key, and how often.
        lives: what they were told of each job.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.ledger = Ledger()
        self.jobs: list[Known] = []
        self.sent: Counter[bytes] = Counter()
        self.lives = Lives()

    def add(self, wave: Sequence[Done]) -> list[tuple[Known, Sending]]:
        """Judge the answers to what was sent at about the same time; the jobs that they tell of,
        and by what each was made."""
        asked: list[Exchange] = []
        for done in wave:
            self._sent(done.sending)
            came_of_it = [*exchanges(done)]
            self.lives.add(came_of_it)
            asked += came_of_it
        for exchange in asked:
            self.ledger.asked(exchange)
        found = []
        for exchange in sorted(asked, key=attrgetter("arrived")):
            self.report.broken += broken_by(exchange)
            self.report.broken += broken_before(exchange, self.ledger)
            self.report.streams.update(counts_of(exchange))
            self.report.answers[exchange.answer and exchange.answer.status] += 1
            job = _told_of(exchange)
            is_news = job is not None and (job.told is not None or not self.ledger.knows(job))
            self.ledger.learn(exchange)
            if job is not None and is_news:
                self.report.at_once += job.told is not None
                found.append((job, exchange.sending))
        self.jobs += [job for job, _ in found]
        return found

    def _sent(self, sending: Sending) -> None:
        self.report.kinds[sending.kind] += sending.requests
        with_keys = {ask.body for ask in sending.asks if ask.repeats is not None}
        self.sent.update(body for body in sending.bodies if body not in with_keys)


async def torture(plan: Plan, folder: Path, random: random.Random) -> Report:
    """Attack a server with each number of workers, until a promise is broken."""
    report = Report()
    for workers in plan.workers:
        if not plan.is_found(report.broken):
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
    attacks = Attacks(random, KINDS, seen.ledger)
    waves = asyncio.create_task(_attack(server.port, attacks, seen, plan, requests))
    death = asyncio.create_task(server.end())
    await asyncio.wait([waves, death], return_when=asyncio.FIRST_COMPLETED)
    seen.report.seconds += time.monotonic() - begun
    waves.cancel()
    await asyncio.wait([waves])
    if not waves.cancelled():
        waves.result()
    if plan.is_found(seen.report.broken):
        death.cancel()
        return
    end = await end_of(server, folder, seen.jobs, seen.ledger, seen.sent, death)
    seen.report.states.update(answer and answer.header("job-state") for _, answer in end.results)
    end = replace(end, lives=seen.lives)
    seen.report.broken += broken_in_the_end(end, (*OF_THE_END, *OF_THE_STORE))


async def _attack(port: int, attacks: Attacks, seen: Seen, plan: Plan, requests: int) -> None:
    """One wave after the other. What is sent depends on the answers alone, not on their time."""
    while seen.report.requests < requests and not plan.is_found(seen.report.broken):
        wave = [attacks.next() for _ in range(CLIENTS)]
        done = await asyncio.gather(*(_in_turn(port, *sendings) for sendings in wave))
        for job, sending in seen.add([each for client in done for each in client]):
            attacks.know(job, sending)


async def _in_turn(port: int, *sendings: Sending) -> list[Done]:
    """What one client sends, each with what follows from its answers."""
    done = []
    for sending in sendings:
        following: Sending | None = sending
        while following is not None:
            sent = time.monotonic()
            answers = await _send(port, following)
            done.append(Done(following, answers, sent, time.monotonic()))
            then = following.then and following.then(answers)
            following = then and replace(then, kind=sending.kind)
    return done


async def _send(port: int, sending: Sending) -> list[Answer | None]:
    if any(ask.reads is not None for ask in sending.asks):
        return await http_streams.watch(port, sending)
    if sending.version == 2 and not sending.wire:
        return await http2_wire.send(port, sending)
    return await http_wire.send(port, sending)


def _told_of(exchange: Exchange) -> Known | None:
    """The job that an answer says was accepted."""
    ask, answer = exchange.ask, exchange.answer
    return None if ask is None or answer is None else told_of(ask, answer)


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
