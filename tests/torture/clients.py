"""Clients that submit jobs and poll them, whatever becomes of the servers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from .app import POISON, SUBMISSIONS
from .ledger import Ack, Answer, Ledger
from .promises import digest

#: Seconds that a client waits for an answer before it turns to another server.
PATIENCE = 3.0
#: Seconds that a poll may be held: the wake-up is tried as well.
WAIT = {"Prefer": "wait=1"}
CANCEL_RATE = 0.03

_NOT_YET = ("queued", "running")


class Clients:
    """A crowd, each with one job at a time: submit it, poll it until it is final, and the next.

    Args:
        folder: of the ledgers.
        url: of a server to send the next request to; all have the same store.
        submissions: what is submitted, each by one of them: method and path.
        cancel_rate: how much of it is cancelled.
        patience: seconds that a client waits for an answer before it turns to another server.
    """

    def __init__(
        self,
        folder: Path,
        url: Callable[[], str],
        random: random.Random,
        *,
        crowd: int,
        submissions: Iterable[tuple[str, str]],
        cancel_rate: float = CANCEL_RATE,
        patience: float = PATIENCE,
    ) -> None:
        self._url = url
        self._random = random
        self._crowd = crowd
        self._submissions = iter(submissions)
        self._cancel_rate = cancel_rate
        self._patience = patience
        self._acknowledged = 0
        self._acks = Ledger(folder, Ack, sync=True)
        self._answers = Ledger(folder, Answer)
        self._enough = asyncio.Event()

    async def run(self) -> None:
        """Go on until `enough` was said, or there is nothing more to submit, and every acknowledged
        job has shown its result."""
        # There is nothing to verify, and to load the certificates takes long.
        async with (
            httpx.AsyncClient(timeout=self._patience, verify=False, trust_env=False) as http,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self._crowd):
                group.create_task(self._use(http))

    def enough(self) -> None:
        """Submit no more jobs."""
        self._enough.set()

    async def work(self, jobs: int, timeout: float) -> None:
        """Wait until so many more jobs are acknowledged, but not longer than `timeout` seconds."""
        enough = self._acknowledged + jobs
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._acknowledged < enough:
                    await asyncio.sleep(0.005)

    async def _use(self, http: httpx.AsyncClient) -> None:
        for method, path in self._submissions:
            job_id = await self._submit(http, method, path)
            if job_id is None:
                return
            if self._random.random() < self._cancel_rate:
                await self._send(http, "DELETE", f"{path}/{job_id}")
            await self._follow(http, job_id, f"{path}/{job_id}")

    async def _submit(self, http: httpx.AsyncClient, method: str, path: str) -> str | None:
        """The id of the job, once a server has promised to run it; None if it is enough."""
        while not self._enough.is_set():
            answer = await self._send(http, method, path)
            if answer is None or answer.status_code == 503:
                continue  # nothing was promised
            if answer.status_code != 202:
                self._note("", answer)
                continue
            job_id: str = answer.json()["TaskId"]
            self._acks.write(Ack(job_id, method, path, time.monotonic()))
            self._acknowledged += 1
            return job_id
        return None

    async def _follow(self, http: httpx.AsyncClient, job_id: str, path: str) -> None:
        """Poll until there is a result, and have another server say the same."""
        seen = 0
        while seen < 2:
            answer = await self._send(http, "GET", path, WAIT)
            if answer is None or (answer.status_code == 503 and "job-state" not in answer.headers):
                continue
            state = answer.headers.get("job-state")
            if state in _NOT_YET:
                seen = 0
                continue
            self._note(job_id, answer)
            if state is None:
                return
            seen += 1

    def _note(self, job_id: str, answer: httpx.Response) -> None:
        state = answer.headers.get("job-state", "")
        self._answers.write(
            Answer(job_id, state, answer.status_code, digest(answer.content), time.monotonic())
        )

    async def _send(
        self,
        http: httpx.AsyncClient,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response | None:
        """The answer of a server; None, after a moment, if it has not given one."""
        with suppress(httpx.TransportError):
            return await http.request(method, f"{self._url()}{path}", headers=headers)
        await asyncio.sleep(self._random.uniform(0.0, 0.05))
        return None


def endless(random: random.Random, poison: float = 0.0) -> Iterator[tuple[str, str]]:
    """Whatever there is to submit, in any order.

    Args:
        poison: how much of it takes the process down that runs it.
    """
    while True:
        yield random.choice(POISON if random.random() < poison else SUBMISSIONS)
