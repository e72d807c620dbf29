"""A `Listing` in SQL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ...job import Job
from ...listing import MAX_PAGE, Cursor, Listing, Page
from .queries import names_in_json, names_in_sql
from .rows import JOB_COLUMNS, of_table

# Behind all times that a cursor can tell of: only damaged rows are in front of it.
_FIRST = Cursor(sys.float_info.max, 0)

Rows = list[tuple[Any, ...]]


def listed(
    read: Callable[..., Rows], jobs_of: Callable[[Rows], list[Job]], listing: Listing
) -> Page:
    """A page of the jobs that can be read.

    Args:
        read: gives all rows of a query.
        jobs_of: makes jobs of those rows that one can be made of; each ends with its number.
    """
    filters, values = _filters(listing)
    reach = MAX_PAGE if filters else listing.limit
    sql, places = _select(listing, filters, reach + 1)
    rows = read(sql, values | places)
    walked = rows[:reach]
    found = [at for at, row in enumerate(walked) if row[0] is not None]
    jobs = jobs_of([walked[at] for at in found[: listing.limit]])
    if len(found) > listing.limit:
        walked = walked[: found[listing.limit - 1] + 1]
    elif len(rows) == len(walked):
        return Page(jobs, None)
    return Page(jobs, _end_of(walked, listing.before))


def _select(listing: Listing, filters: list[str], reach: int) -> tuple[str, dict[str, Any]]:
    """So many places in their order, each behind what is at it: nothing where that is not wanted.

    All in one statement, as what is asked again would not be the same.
    """
    values: dict[str, Any] = {"reach": reach}
    conditions = ["TRUE"]
    if isinstance(listing.owner, str):
        conditions.append("owner = :owner")  # of its index, nobody is left out: see `_filters`
        values["owner"] = listing.owner
    if listing.since is not None:
        conditions.append("created >= :since")
        values["since"] = float(listing.since)  # SQLite has no int that large
    places = f"SELECT created, seq FROM jobs WHERE {' AND '.join(conditions)}"
    if listing.before is not None:
        # Of (created, seq) < (:created, :number), SQLite would look up `created` alone, and go
        # through all that were made at that time.
        places = (
            f"{places} AND created = :created AND seq < :number"
            f" UNION ALL {places} AND created < :created"
        )
        values |= {"created": float(listing.before.created), "number": listing.before.number}
    sql = (
        f"SELECT {of_table('jobs', JOB_COLUMNS)}, place.created, place.seq"
        f" FROM ({places} ORDER BY created DESC, seq DESC LIMIT :reach) AS place"
        f" LEFT JOIN jobs ON {' AND '.join(['jobs.seq = place.seq', *filters])}"
        " ORDER BY place.created DESC, place.seq DESC"
    )
    return sql, values


def _filters(listing: Listing) -> tuple[list[str], dict[str, Any]]:
    """The conditions, with their values, that no index is in order for."""
    filters: list[str] = []
    values: dict[str, Any] = {}
    if listing.owner is None:
        filters.append("owner IS NULL")
    if listing.program is not None:
        filters.append("(program = :program OR program IS NULL)")
        values["program"] = listing.program
    for column, wanted in (("state", listing.states), ("route", listing.routes)):
        if wanted is not None:
            filters.append(f"{column} IN ({names_in_sql(f'{column}s')})")
            values[f"{column}s"] = names_in_json(wanted)
    return filters, values


def _end_of(walked: Sequence[tuple[Any, ...]], before: Cursor | None) -> Cursor | None:
    """The last place of these that a cursor can tell of."""
    for row in reversed(walked):
        with suppress(TypeError, ValueError):
            return Cursor(*row[-2:])
    # They are all damaged, and so in front of all others, or behind them.
    return _FIRST if before is None else None
