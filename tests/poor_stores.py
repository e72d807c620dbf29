"""Stores that do not keep the contract, each in its own way; `test_stores.py` runs the tests on
them, which must fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncjobs.errors import Conflict
from asyncjobs.hints import Hint, Hints
from asyncjobs.job import Job, Request, Response, State
from asyncjobs.key import Key
from asyncjobs.store import Liveness, Orphan, Presence, Query, Store
from asyncjobs.stores import MemoryStore, SqliteStore
from asyncjobs.testing import StoreContract, two_stores
from asyncjobs.testing.one_store import OneStore

# They are waited for in vain.
two_stores.DEADLINE = 0.3


class TestOneProcess(StoreContract):
    """A store that keeps all in its own process, and does not say so."""

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return MemoryStore


class Poor(StoreContract):
    """A store on a file that does all but one thing, as two that share it would notice."""

    kind: type[SqliteStore]

    def __init_subclass__(cls) -> None:
        for name in dir(OneStore):
            if name.startswith("test_"):
                setattr(cls, name, None)

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: self.kind(tmp_path / "jobs.db")


class TestDeaf(Poor):
    """It hears of nothing that others do."""

    class kind(SqliteStore):  # noqa: N801 - what it is called in `Poor`
        def changes(self) -> AsyncIterator[Hint]:
            return Hints().listen()


class TestLastOneWins(Poor):
    """It writes whatever it has, on whatever is there."""

    class kind(SqliteStore):  # noqa: N801
        async def replace(
            self, old: Job, new: Job, response: Response | None = None, *, erase: bool = False
        ) -> None:
            while True:
                try:
                    return await super().replace(old, new, response, erase=erase)
                except Conflict:
                    old = await self.get(old.id)


class TestBlind(Poor):
    """It takes everybody for alive."""

    class kind(SqliteStore):  # noqa: N801
        async def liveness(self, worker: str) -> Liveness:
            return Liveness.ALIVE

        async def orphans(self) -> list[Orphan]:
            return []


class TestJealous(Poor):
    """It takes everybody else for dead."""

    class kind(SqliteStore):  # noqa: N801
        async def liveness(self, worker: str) -> Liveness:
            return Liveness.ALIVE if worker == self.worker else Liveness.DEAD

        async def orphans(self) -> list[Orphan]:
            found = await self.find(Query(states=frozenset({State.RUNNING})))
            return [Orphan(job, blamed=True) for job in found if job.worker != self.worker]


class TestLonely(Poor):
    """It sees nobody else."""

    class kind(SqliteStore):  # noqa: N801
        async def others(self) -> list[Presence]:
            return []


class TestWrittenInC(Poor):
    """It takes a NUL for the end of a name."""

    class kind(SqliteStore):  # noqa: N801
        async def add(self, job: Job, *rest: Any) -> Job:
            return await super().add(job._replace(route=job.route.split("\0")[0]), *rest)


class TestKeyless(Poor):
    """It does not look who has a key."""

    class kind(SqliteStore):  # noqa: N801
        async def add(self, job: Job, request: Request, key: Key | None = None) -> Job:
            return await super().add(job, request)
