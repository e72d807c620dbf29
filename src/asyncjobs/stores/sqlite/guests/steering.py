"""The SQLite store for whoever steers: it cancels and retries jobs, and runs none."""

from __future__ import annotations

from typing import NoReturn, Self

from ....errors import StoreReadOnly
from ....job import Job, Request
from ....key import Key
from ....store import GUEST
from ..store import SqliteStore


class SteeringStore(SqliteStore):
    """The jobs in the SQLite file at `path`, for whoever cancels and retries some and runs none.

    It joins the servers of the store as a guest: they hear of its writes at once, and go on as if
    nobody had come, also if it is killed. No store is made, brought up to date or mended by that,
    and no job is added. Takes the same arguments as `SqliteStore`; when it is opened it raises as
    well:

    * `StorePathError`: there is no such file.
    * `StoreExposed`: it is another user's, whoever asks: the message says how to ask as that user.
    * `StoreTooNew` and `StoreTooOld`: it has another schema; the message has both.
    """

    _is_guest = True

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.announce(GUEST)
        return self

    async def add(self, job: Job, request: Request, key: Key | None = None) -> NoReturn:
        raise StoreReadOnly(
            f"the store {self.path} was opened to steer: jobs are added by servers only"
        )
