"""Whose jobs they are, where several programs share a store.

The name of a route alone does not say that: two apps in one folder may both have a ``report``, and
two scripts a ``__main__.main``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .errors import JobNotFound, SetupError, StoreUnavailable
from .job import Job, Response, State
from .listing import Listing, Page
from .store import ANYONE, Orphan, Owner, Presence, Query, Store, StoreWrapper

logger = logging.getLogger("asyncjobs")


class ProgramStore(StoreWrapper):
    """`inner` as the program called `program` sees it: the jobs of others are not there.

    Args:
        clock: tells the time in the place of the store, if it is given.
        erased_in: with the change to one of these states, the request of a job is erased.

    Attributes:
        ended: how many jobs have ended by what was written here.
    """

    def __init__(
        self,
        inner: Store,
        program: str,
        clock: Callable[[], float] | None = None,
        *,
        erased_in: frozenset[State] = frozenset(),
    ) -> None:
        super().__init__(inner)
        self.program = program
        self._clock = clock or inner.now
        self._erased_in = erased_in
        self.ended = 0

    def now(self) -> float:
        return self._clock()

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        job = await self.inner.get(job_id, owner)
        self._check(job)
        return job

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        job, response = await self.inner.result(job_id, owner)
        self._check(job)
        return job, response

    async def ids(self, prefix: str, limit: int) -> list[str]:
        found = []
        for job_id in await self.inner.ids(prefix, limit):
            with suppress(JobNotFound):
                found.append((await self.get(job_id)).id)
        return found

    async def find(self, query: Query) -> list[Job]:
        return await self.inner.find(replace(query, program=self.program))

    async def overdue(
        self, before: float, program: str | None = None, limit: int = 100
    ) -> list[Job]:
        return await self.inner.overdue(before, program=self.program, limit=limit)

    async def count(self, query: Query) -> int:
        return await self.inner.count(replace(query, program=self.program))

    async def replace(
        self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
    ) -> None:
        erase = erase or new.state in self._erased_in
        await self.inner.replace(old, new, response, erase=erase)
        if new.state.is_final:
            self.ended += 1

    async def orphans(self) -> list[Orphan]:
        ours = None, self.program
        return [each for each in await self.inner.orphans() if each.job.program in ours]

    def _check(self, job: Job) -> None:
        if job.program not in (None, self.program):
            raise JobNotFound(f"no job {job.id}")

    async def list(self, listing: Listing) -> Page:
        return await self.inner.list(replace(listing, program=self.program))


async def introduce(store: Store, presence: Presence) -> None:
    """Let the others on `store` know of this process.

    Raises:
        SetupError: it has the store open already, under the same name.
    """
    others = await store.others()
    if any(
        (other.process, other.program) == (presence.process, presence.program) for other in others
    ):
        raise SetupError(
            f"two programs called {presence.program!r} are open in this process on one store, and "
            "would run each other's jobs: give one of them another name, with the setting 'name', "
            "or a store of its own"
        )
    store.announce(presence)
    to_do: frozenset[str] = frozenset()
    with suppress(StoreUnavailable):  # of a damaged store, results may still be read
        to_do = await store.programs()
    for program in to_do - {other.program for other in others}:
        if program != presence.program:
            logger.warning(
                "the store has jobs of the program %r, which does not run now. If that is what "
                "%r was called before, set name=%r: they are left alone otherwise",
                *(program, presence.program, program),
            )


def program_of(module: str) -> str:
    """The program that a module is: its name, which is ``__main__`` only for who runs it."""
    return main_program() if module in ("__main__", "__mp_main__") else module


def main_program() -> str:
    """The name of the main module, as it would be when imported."""
    # A process that multiprocessing has spawned runs its parent's under another name.
    main = sys.modules.get("__mp_main__") or sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)  # there with `python -m`
    file = getattr(main, "__file__", None)  # not there in a shell
    if spec is not None:
        name = str(spec.name).removesuffix(".__main__")
    else:
        name = "__main__" if file is None else Path(file).stem
    return name.encode(errors="backslashreplace").decode()  # a file's name need not be UTF-8
