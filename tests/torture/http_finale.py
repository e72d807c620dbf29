"""What is left when all has been sent: what is held, the jobs, the store, and the log."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from asyncjobs.job import State
from asyncjobs.store import Query
from asyncjobs.stores import SqliteStore

from .app import STORE
from .http_asks import ENDLESS, HELD, Answer, Ask, Expect, Known, Sending, result_ask
from .http_ledger import Ledger
from .http_limit_promises import EVERYBODY
from .http_promises import End, Left
from .http_server import ForkedServer
from .http_wire import send
from .hypercorn_command import HypercornCommand
from .ledger import Written, read_ledger
from .servers import LOG, ServerFailed

Server = HypercornCommand | ForkedServer

#: Seconds that everything has to come to its end.
SETTLE_TIME = 30.0
#: Seconds that all has to be let go of whose client has gone.
RELEASE_TIME = 10.0
#: So many jobs are asked for at a time.
AT_A_TIME = 20

_UNFINISHED = Query(states=frozenset({State.QUEUED, State.RUNNING}), limit=sys.maxsize)


async def end_of(
    server: Server,
    folder: Path,
    jobs: Sequence[Known],
    ledger: Ledger,
    sent: Mapping[bytes, int],
    death: asyncio.Task[None],
) -> End:
    """What is known in the end, after which the server is stopped.

    Args:
        jobs: those that a client was told of.
        ledger: of all that was asked and answered.
        sent: the bodies that were sent in full without a key, and how often.
        death: ends when the server does.
    """
    deaths, held, results, endless = [], [], [], []
    workers = len(server.pids)
    if not death.done():
        held = await _held(server)
        endless = await _endless(folder)
        await asyncio.gather(
            *(
                _ask(server.port, replace(result_ask(job), method="DELETE", path=f"/jobs/{job.id}"))
                for job in endless
            )
        )
        results = await _results(server.port, jobs)
    unended, stored = await _stored(folder, SETTLE_TIME if not death.done() else 0.0)
    if death.done():
        deaths.append(f"the server has ended; see {folder / LOG}")
    else:
        try:
            await server.stop()
        except ServerFailed as error:
            deaths.append(str(error))
    death.cancel()
    return End(
        results=results,
        cancelled=frozenset({*ledger.cancelled, *(job.id for job in endless)}),
        retried=frozenset(ledger.retried),
        unended=unended,
        stored=stored,
        sent=ledger.most_jobs(sent),
        brief=frozenset(ledger.brief),
        refused=frozenset(ledger.refused),
        listed=ledger.listed,
        cursors=ledger.cursors,
        queued=_queued(folder, stored),
        workers=workers,
        held=held,
        log=(folder / LOG).read_text(errors="replace"),
        deaths=deaths,
    )


async def _held(server: Server) -> list[str]:
    """What the processes say that they hold, once it is nothing or they had the time."""
    said: dict[int, Mapping[str, object]] = {}
    deadline = time.monotonic() + RELEASE_TIME
    ask = Ask(method="GET", path=HELD, expect=Expect.FINE)
    while time.monotonic() < deadline:
        (answer,) = await send(server.port, Sending(kind="", asks=(ask,))) or [None]
        if answer is not None and (holds := answer.json()) is not None:
            said[holds.pop("pid")] = holds
        if said.keys() >= set(server.pids) and not any(
            any(each.values()) for each in said.values()
        ):
            return []
        await asyncio.sleep(0.1)
    return [f"process {pid} holds {holds}" for pid, holds in said.items() if any(holds.values())]


async def _results(port: int, jobs: Sequence[Known]) -> list[tuple[Known, Answer | None]]:
    """The result of each job, or the last answer to its owner."""
    turn = asyncio.Semaphore(AT_A_TIME)
    deadline = time.monotonic() + SETTLE_TIME

    async def result(job: Known) -> Answer | None:
        async with turn:
            while True:
                answer = await _ask(port, result_ask(job))
                if (answer is not None and answer.status != 202) or time.monotonic() > deadline:
                    return answer

    answers = await asyncio.gather(*map(result, jobs))
    return list(zip(jobs, answers, strict=True))


async def _ask(port: int, ask: Ask) -> Answer | None:
    (answer,) = await send(port, Sending(kind="", asks=(ask,))) or [None]
    return answer


async def _endless(folder: Path) -> list[Known]:
    """The jobs that run until they are cancelled, and will not be by themselves, whoever was told
    of them."""
    async with SqliteStore(folder / STORE) as store:
        unfinished = await store.find(_UNFINISHED)
    return [
        Known(job.id, job.owner, "GET", ENDLESS, b"")
        for job in unfinished
        if job.path == ENDLESS and job.cancel_at is None
    ]


async def _stored(folder: Path, patience: float) -> tuple[list[str], list[Left]]:
    """The jobs that do not end within so many seconds, and all that there are."""
    async with SqliteStore(folder / STORE) as store:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while await store.find(_UNFINISHED):
                    await asyncio.sleep(0.05)
        unended = [job.id for job in await store.find(_UNFINISHED)]
        everything = await store.find(Query(limit=sys.maxsize))
        return unended, [
            Left(
                job.id,
                job.state,
                (await store.request(job.id)).body,
                job.owner,
                job.created,
                job.reason,
            )
            for job in everything
        ]


def _queued(folder: Path, stored: Sequence[Left]) -> dict[str | None, int]:
    """How many jobs waited in the queue at a time at most, as they were made, of each owner and of
    all: by when each was written there, and when it was written anew."""
    owners = {left.id: left.owner for left in stored}
    waiting: dict[str | None, set[str]] = defaultdict(set)
    most: Counter[str | None] = Counter()
    for written in read_ledger(folder, Written):
        for owner in (owners.get(written.id), EVERYBODY):
            if written.version == 1 and written.state == State.QUEUED:
                waiting[owner].add(written.id)
                most[owner] = max(most[owner], len(waiting[owner]))
            else:
                waiting[owner].discard(written.id)
    return most
