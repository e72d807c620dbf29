"""Puts damaged rows right: each in a write of its own, of which the log tells once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from ...errors import Conflict, StoreUnavailable
from ...job import Job, State
from ...tasks import all_to_the_end
from .rows import (
    JOB_COLUMNS,
    RESPONSE_COLUMNS,
    NotText,
    job_to_row,
    marks,
    of_table,
    response_to_row,
)
from .salvage import Mended, mended
from .writing.transactions import Operation

logger = logging.getLogger("asyncjobs.store")

#: So many rows that have a damaged value in common are put right at a time.
CHUNK = 100


#: All there is of the row of a number, bodies of requests apart: what `mended` is told.
SELECT_WHOLE = (
    f"SELECT {of_table('jobs', JOB_COLUMNS)}, {of_table('responses', RESPONSE_COLUMNS)}"
    " FROM jobs LEFT JOIN responses USING (seq) WHERE seq = ?"
)
_JOB_FIELDS = len(Job._fields)
_VERSION = Job._fields.index("version")


class Mender:
    """Puts right the rows that no job can be made of.

    Args:
        read: gives all rows of a query.
        write: runs an operation for the job of this id.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        read: Callable[..., list[tuple[Any, ...]]],
        write: Callable[[str, Operation], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._read = read
        self._write = write
        self._clock = clock
        self._in_vain: set[int] = set()

    async def mend(self, numbers: Iterable[int]) -> bool:
        """Put right the rows of these numbers; False if all of them have to stay as they are.

        Raises:
            StoreUnavailable: it cannot be done now.
        """
        attempts = [self._mend(number) for number in dict.fromkeys(numbers)]
        return any(await all_to_the_end(attempts))

    def numbers(self, state: State, column: str, value: NotText) -> list[int]:
        """The numbers of some rows that have this in a column for text."""
        rows = self._read(
            f"SELECT seq FROM jobs WHERE state = ? AND {column} = CAST(? AS TEXT) LIMIT ?",
            (state.value, value, CHUNK),
        )
        return [number for (number,) in rows]

    async def _mend(self, number: int) -> bool:
        for row in self._read(SELECT_WHOLE, (number,)):
            job_row, response_row = row[:_JOB_FIELDS], row[_JOB_FIELDS:]
            repair = mended(job_row, response_row, self._clock())
            if repair is None:
                return True  # somebody else has just done it
            operation = partial(_put_right, number, job_row[_VERSION], repair)
            try:
                await self._write(repair.job.id, operation)
            except Conflict:
                # Else whoever reads until nothing is damaged would never come to an end.
                return self._read(SELECT_WHOLE, (number,)) != [row]
            except StoreUnavailable:
                raise
            except Exception:
                if number not in self._in_vain:
                    self._in_vain.add(number)
                    logger.exception("job %s is damaged and stays as it is", repair.job.id)
                return False
            _tell(repair)
        return True


def _put_right(
    number: int, version: int, repair: Mended, execute: Callable[..., sqlite3.Cursor]
) -> None:
    columns = job_to_row(repair.job)
    if not execute(
        f"UPDATE jobs SET ({JOB_COLUMNS}) = ({marks(JOB_COLUMNS)}) WHERE seq = ? AND version IS ?",
        (*columns, number, version),
    ).rowcount:
        raise Conflict(f"row {number} is no longer at version {version}")
    if repair.response is not None:
        response = (number, *response_to_row(repair.response))
        execute(
            f"INSERT OR REPLACE INTO responses (seq, {RESPONSE_COLUMNS})"
            f" VALUES (?, {marks(RESPONSE_COLUMNS)})",
            response,
        )


def _tell(repair: Mended) -> None:
    if repair.response is None:
        logger.error("job %s was damaged (%s); its result is kept", repair.job.id, repair.damaged)
    else:
        logger.error(
            "job %s has failed, as what the store has of it is damaged (%s). What else is in the "
            "store may be worth a look: compare it with a backup",
            *(repair.job.id, repair.damaged),
        )
