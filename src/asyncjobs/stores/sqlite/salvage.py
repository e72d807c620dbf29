"""Rows that no job can be made of: what of them can be saved, and what is put in their place.

A damaged row must hold up nobody: it would be the first of its queue for ever. So it becomes one
that anybody can read, of a job that has ended.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from ...errors import JobUnreadable
from ...job import UNKNOWN, Job, Response, State
from ...problem import problem
from .rows import JOB_COLUMNS, job_from_row, job_to_row, response_from_row

_COLUMNS = JOB_COLUMNS.split(", ")
# Without one of these it is not known who may see the result, and where; or whether it is one.
_NEEDED = frozenset({"id", "route", "path", "owner", "program", "matched", "state"})
# One that no worker can have decided on.
_VERSION = 2**53


@dataclass(frozen=True, slots=True)
class Mended:
    """What to put in the place of a damaged row.

    Attributes:
        job: with all that could be saved.
        response: in the place of the one that there is; None if that is kept.
        damaged: what could not be read, for the log.
    """

    job: Job
    response: Response | None
    damaged: str


def mended(row: tuple[Any, ...], response: tuple[Any, ...], at: float) -> Mended | None:
    """What to put in the place of these rows of a job; None if nothing is wrong with them.

    A job that has ended keeps its result, if it is known whose it is. Any other has failed: a job
    that is not what was submitted is not run.

    Args:
        response: None in each column, if there is none.
        at: the time now.
    """
    job, damaged = _saved(row, at)
    if job.state.is_final:
        try:
            response_from_row(response)
        except JobUnreadable:
            damaged.append("response")
        else:
            if damaged and _NEEDED.isdisjoint(damaged):
                return Mended(_next(job), None, ", ".join(damaged))
    if not damaged:
        return None
    reason = JobUnreadable("what is stored of the job is damaged; the job may have run")
    failed = _next(job)._replace(
        state=State.FAILED,
        worker=None,
        cancel_requested=False,
        progress=None,
        finished=at,
        expires=at + job.ttl,
        reason=str(reason),
        status=reason.status,
        cancel_at=None,
    )
    return Mended(failed, problem(reason), ", ".join(damaged))


def _saved(row: tuple[Any, ...], at: float) -> tuple[Job, list[str]]:
    """A job with all that can be read, and the columns that cannot."""
    blank = Job(secrets.token_hex(16), UNKNOWN, UNKNOWN, at, version=_VERSION, due=at)
    whole = job_to_row(blank._replace(owner=secrets.token_hex(16)))  # nobody is called that
    columns = list(whole)
    damaged = []
    for number, value in enumerate(row):
        try:
            job_from_row((*whole[:number], value, *whole[number + 1 :]))
            columns[number] = value
        except JobUnreadable:
            damaged.append(_COLUMNS[number])
    return job_from_row(tuple(columns)), damaged


def _next(job: Job) -> Job:
    return job._replace(version=job.version + 1)
