"""A store that lives and dies with its process: for tests and throw-away use."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from ..errors import Conflict, JobNotFound
from ..hints import Hints
from ..job import Job, Request, Response, State
from ..store import ANYONE, Liveness, Orphan, Owner, Presence, Query, Store


class MemoryStore(Store):
    """Keeps jobs in dictionaries."""

    def __init__(self) -> None:
        self.worker = secrets.token_hex(8)
        self._jobs: dict[str, Job] = {}
        self._requests: dict[str, Request] = {}
        self._responses: dict[str, Response] = {}
        self._strays: set[str] = set()
        self._hints = Hints()

    async def add(self, job: Job, request: Request) -> Job:
        if job.id in self._jobs:
            raise Conflict(f"there is a job {job.id} already")
        self._keep(job)
        self._requests[job.id] = request
        self._hints.send([job.id])
        return job

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        job = self._jobs.get(job_id)
        if job is None or (owner is not ANYONE and job.owner != owner):
            raise JobNotFound(f"no job {job_id}")
        return job

    async def request(self, job_id: str) -> Request:
        try:
            return self._requests[job_id]
        except KeyError:
            raise JobNotFound(f"no request of a job {job_id}") from None

    async def response(self, job_id: str) -> Response:
        try:
            return self._responses[job_id]
        except KeyError:
            raise JobNotFound(f"no response of a job {job_id}") from None

    async def find(self, query: Query) -> list[Job]:
        found = [job for job in self._jobs.values() if query.matches(job)]
        found.sort(key=lambda job: job.due)  # stable: first come, first found
        return found[query.skip : query.skip + query.limit]

    async def replace(self, old: Job, new: Job, response: Response | None = None) -> None:
        stored = self._jobs.get(old.id)
        if stored is None or stored.version != old.version:
            raise Conflict(f"job {old.id} is no longer at version {old.version}")
        self._keep(new)
        if response is not None:
            self._responses[old.id] = response
        elif not new.state.is_final:
            self._responses.pop(old.id, None)
        self._hints.send([old.id])

    async def purge(self, before: float) -> int:
        expired = [
            job.id
            for job in self._jobs.values()
            if job.state.is_final and job.expires is not None and job.expires < before
        ]
        for job_id in expired:
            del self._jobs[job_id]
            self._requests.pop(job_id, None)
            self._responses.pop(job_id, None)
        return len(expired)

    def changes(self) -> AsyncIterator[str]:
        return self._hints.listen()

    async def programs(self) -> frozenset[str]:
        to_do = [job for job in self._jobs.values() if not job.state.is_final]
        return frozenset(job.program for job in to_do if job.program is not None)

    async def liveness(self, worker: str) -> Liveness:
        # Whoever else ran jobs of this store would have taken it along.
        return Liveness.ALIVE if worker == self.worker else Liveness.DEAD

    async def orphans(self) -> list[Orphan]:
        return [Orphan(self._jobs[job_id], blamed=False) for job_id in self._strays]

    def announce(self, presence: Presence) -> None:
        return  # there is nobody to tell

    async def others(self) -> list[Presence]:
        return []

    def _keep(self, job: Job) -> None:
        self._jobs[job.id] = job
        if job.state is State.RUNNING and job.worker != self.worker:
            self._strays.add(job.id)
        else:
            self._strays.discard(job.id)
