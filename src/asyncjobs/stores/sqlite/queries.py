"""A `Query` in SQL."""

from __future__ import annotations

from typing import Any

from ...job import State
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
    """All routes of the jobs in one state, by one step through the index for each.

    A DISTINCT would read all of them (https://wiki.postgresql.org/wiki/Loose_indexscan).
    """
    of_state = f"SELECT min(route) FROM jobs WHERE state = '{state.value}'"
    return (
        f"WITH RECURSIVE found (route) AS ({of_state} UNION ALL"
        f" SELECT ({of_state} AND route > found.route) FROM found WHERE route IS NOT NULL)"
        " SELECT route FROM found WHERE route IS NOT NULL"
    )
