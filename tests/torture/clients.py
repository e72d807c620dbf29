"""Clients that submit jobs and poll them, whatever becomes of the servers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx

from .app import POISON, SUBMISSIONS
from .ledger import Ack, Answer, Cancel, Ledger
from .promises import digest

#: Seconds that a client waits for an answer before it turns to another server.
PATIENCE = 3.0
#: Seconds that a poll may be held: the wake-up is tried as well.
WAIT = {"Prefer": "wait=1"}
CANCEL_RATE = 0.03
#: How much is submitted by who would rather have the result in the one request, after how many
#: seconds at most, each as likely as the others.
WAIT_RATE, SUBMISSION_WAITS = 0.4, (0, 1, 1, 2)
#: How many of those hang up, and how many seconds later at most.
HANG_UP_RATE, HANG_UP_TIME = 0.2, 0.3

_NOT_YET = ("queued", "running")


class Clients:
    """A crowd, each with one job at a time: submit it, poll it until it is final, and the next.

    Args:
        folder: of the ledgers.
        url: of a server to send the next request to; all have the same store.
        submissions: what is submitted, each by one of them: method and path.
        cancel_rate: how much of it is cancelled.
        wait_rate: how much of it is submitted by who waits for the result in the same request.
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
        wait_rate: float = WAIT_RATE,
        patience: float = PATIENCE,
    ) -> None:
        self._url = url
        self._random = random
        self._crowd = crowd
        self._submissions = iter(submissions)
        self._numbers = count(1)
        self._cancel_rate = cancel_rate
        self._wait_rate = wait_rate
        self._patience = patience
        self._acknowledged = 0
        self._acks = Ledger(folder, Ack, sync=True)
        self._answers = Ledger(folder, Answer)
        self._cancels = Ledger(folder, Cancel)
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
                self._cancels.write(Cancel(job_id, time.monotonic()))
                await self._send(http, "DELETE", f"{path}/{job_id}")
            await self._follow(http, job_id, f"{path}/{job_id}")

    async def _submit(self, http: httpx.AsyncClient, method: str, path: str) -> str | None:
        """The id of the job, once a server has promised to run it; None if it is enough."""
        seconds = self._seconds()
        while not self._enough.is_set():
            submission = str(next(self._numbers))
            answer = await self._have_made(http, method, f"{path}?{submission}", seconds)
            if answer is None or _is_refusal(answer):
                seconds = None  # nothing was promised: next time it shall be, as soon as it can
                continue
            job_id = _told_of(answer, path, seconds)
            if job_id is None:
                self._note("", answer)
                continue
            self._acks.write(Ack(job_id, method, path, time.monotonic(), submission))
            self._acknowledged += 1
            if answer.headers["job-state"] not in _NOT_YET:
                self._note(job_id, answer, at_once=True)
            return job_id
        return None

    def _seconds(self) -> int | None:
        """How long a new submission waits for its result; None if it has no preference."""
        waits = self._random.random() < self._wait_rate
        return self._random.choice(SUBMISSION_WAITS) if waits else None

    async def _have_made(
        self, http: httpx.AsyncClient, method: str, url: str, seconds: int | None
    ) -> httpx.Response | None:
        """The answer to a submission; None as well if its client hangs up."""
        if seconds is None:
            return await self._send(http, method, url)
        hangs_up = self._random.random() < HANG_UP_RATE
        after = self._random.uniform(0.0, HANG_UP_TIME) if hangs_up else None
        with suppress(TimeoutError):
            async with asyncio.timeout(after):
                return await self._send(http, method, url, {"Prefer": f"wait={seconds}"})
        return None

    async def _follow(self, http: httpx.AsyncClient, job_id: str, path: str) -> None:
        """Poll until there is a result, and have another server say the same."""
        seen = 0
        while seen < 2:
            answer = await self._send(http, "GET", path, WAIT)
            if answer is None or _is_refusal(answer):
                continue
            state = answer.headers.get("job-state")
            if state in _NOT_YET:
                seen = 0
                continue
            self._note(job_id, answer)
            if state is None:
                return
            seen += 1

    def _note(self, job_id: str, answer: httpx.Response, *, at_once: bool = False) -> None:
        state, body = answer.headers.get("job-state", ""), digest(answer.content)
        if not job_id:
            state = ""  # whatever it says, it is not what the contract says
        self._answers.write(
            Answer(job_id, state, answer.status_code, body, time.monotonic(), at_once)
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


def _is_refusal(answer: httpx.Response) -> bool:
    """Whether a server does nothing just now, and has said so."""
    return answer.status_code == 503 and "job-state" not in answer.headers


def _told_of(answer: httpx.Response, path: str, seconds: int | None) -> str | None:
    """The id of the job that the answer to a submission tells of; None if it is not as it should
    be: the 202, or the result itself where that was waited for."""
    headers = answer.headers
    if headers.get("preference-applied") != (None if seconds is None else f"wait={seconds}"):
        return None
    if headers.get("job-state") in _NOT_YET:
        where, is_right = "location", answer.status_code == 202
    else:
        where, is_right = "content-location", "job-state" in headers and bool(seconds)
    place, _, job_id = headers.get(where, "").rpartition("/")
    return job_id if is_right and place == path else None


def endless(random: random.Random, poison: float = 0.0) -> Iterator[tuple[str, str]]:
    """Whatever there is to submit, in any order.

    Args:
        poison: how much of it takes the process down that runs it.
    """
    while True:
        yield random.choice(POISON if random.random() < poison else SUBMISSIONS)
