"""Whose jobs they are, where several programs share a store.

The name of a route alone does not say that: two apps in one folder may both have a ``report``, and
two scripts a ``__main__.main``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from .errors import JobNotFound
from .job import Job, Response
from .store import ANYONE, Orphan, Owner, Query, Store, StoreWrapper


class ProgramStore(StoreWrapper):
    """`inner` as the program called `program` sees it: the jobs of others are not there."""

    def __init__(self, inner: Store, program: str) -> None:
        super().__init__(inner)
        self.program = program

    async def get(self, job_id: str, owner: Owner = ANYONE) -> Job:
        job = await self.inner.get(job_id, owner)
        self._check(job)
        return job

    async def response(self, job_id: str) -> Response:
        _, response = await self.result(job_id)
        if response is None:
            raise JobNotFound(f"no response of a job {job_id}")
        return response

    async def result(self, job_id: str, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        job, response = await self.inner.result(job_id, owner)
        self._check(job)
        return job, response

    async def find(self, query: Query) -> list[Job]:
        return await self.inner.find(replace(query, program=self.program))

    async def orphans(self) -> list[Orphan]:
        return [orphan for orphan in await self.inner.orphans() if self._has(orphan.job)]

    def _check(self, job: Job) -> None:
        if not self._has(job):
            raise JobNotFound(f"no job {job.id}")

    def _has(self, job: Job) -> bool:
        return job.program is None or job.program == self.program


def program_of(module: str) -> str:
    """The program that a module is: its name, which is ``__main__`` only for who runs it."""
    return main_program() if module == "__main__" else module


def main_program() -> str:
    """The name of the main module, as it would be when imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)  # there with `python -m`
    if spec is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)  # not there in a shell
    return "__main__" if file is None else Path(file).stem
