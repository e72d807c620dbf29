"""A `Query` in SQL."""

from __future__ import annotations

from typing import Any

from ...job import SUSPECT_CRASHES, State
from ...store import ANYONE, Query


def where(query: Query, route: str | None, state: State | None) -> tuple[str, list[Any]]:
    """The condition, with its values, for those in one state and of one route; None for any."""
    conditions = ["TRUE"]
    values: list[Any] = []
    if state is not None:
        # In words: SQLite uses a partial index only where it sees that its condition holds.
        conditions.append(f"state = '{state.value}'")
    if route is not None:
        conditions.append("route = ?")
        values.append(route)
    if query.program is not None:
        conditions.append("(program = ? OR program IS NULL)")
        values.append(query.program)
    if query.suspects is not None:
        # In words, for the index of the suspects.
        conditions.append(f"crashes {'>=' if query.suspects else '<'} {SUSPECT_CRASHES}")
    if query.owner is not ANYONE:
        conditions.append("owner IS ?")
        values.append(query.owner)
    if query.worker is not None:
        conditions.append("worker = ?")
        values.append(query.worker)
    if query.cancel_requested is not None:
        conditions.append("cancel_requested = ?")
        values.append(query.cancel_requested)
    return " AND ".join(conditions), values


def select_routes(state: State) -> str:
    """All routes of the jobs in one state, by one step through the index for each."""
    return _each("route", f"FROM jobs WHERE state = '{state.value}'")


def select_programs() -> str:
    """All programs of the queued jobs of one route, in the same way."""
    return _each("program", "FROM jobs WHERE state = 'queued' AND route = :route")


def select_workers() -> str:
    """All workers that have running jobs, in the same way."""
    return _each("worker", "FROM jobs WHERE state = 'running'")


def _each(column: str, of: str) -> str:
    """Each value of a column once, where the index has it next.

    A DISTINCT would read all the rows (https://wiki.postgresql.org/wiki/Loose_indexscan).
    """
    return (
        f"WITH RECURSIVE found (value) AS (SELECT min({column}) {of} UNION ALL"
        f" SELECT (SELECT min({column}) {of} AND {column} > found.value)"
        " FROM found WHERE value IS NOT NULL)"
        " SELECT value FROM found WHERE value IS NOT NULL"
    )
