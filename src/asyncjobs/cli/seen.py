"""What has changed among all jobs of a store since somebody looked last."""

from __future__ import annotations

from contextlib import suppress

from ..errors import JobNotFound
from ..job import Job, State
from ..listing import MAX_PAGE, Listing
from ..store import Query, Store

#: Jobs that begin and end between two looks are seen among the newest so many.
_NEWEST = 200
_UNDONE = frozenset({State.QUEUED, State.RUNNING})


class Seen:
    """The jobs that were seen, as far as they may change; of those that wait, the next 1,000.

    Args:
        routes: only the jobs of these; None for all.
    """

    def __init__(self, store: Store, routes: frozenset[str] | None) -> None:
        self._store = store
        self._routes = routes
        self._since = store.now()
        self._versions: dict[str, int] | None = None

    async def changes(self) -> list[Job]:
        """The jobs that are others than at the last call, as they are now; at first, those that
        run.

        Raises:
            StoreUnavailable
        """
        undone = await self._store.find(Query(states=_UNDONE, routes=self._routes, limit=MAX_PAGE))
        newest = await self._store.list(
            Listing(routes=self._routes, since=self._since, limit=_NEWEST)
        )
        current = {job.id: job for job in [*newest.jobs, *undone]}
        before = self._versions
        for job in await self._others({} if before is None else before, current):
            current[job.id] = job
        recent = {job.id for job in newest.jobs}
        self._versions = {
            job.id: job.version
            for job in current.values()
            if job.id in recent or not job.state.is_final
        }
        if before is None:
            return [job for job in undone if job.state is State.RUNNING]
        return [job for job in current.values() if job.version > before.get(job.id, 0)]

    async def _others(self, known: dict[str, int], current: dict[str, Job]) -> list[Job]:
        """Those that have changed of the jobs that were seen and are not among these any more."""
        others = [job_id for job_id in known if job_id not in current]
        found = []
        for job_id, version in (await self._store.versions(others)).items():
            if version != known[job_id]:
                with suppress(JobNotFound):
                    found.append(await self._store.get(job_id))
        return found
