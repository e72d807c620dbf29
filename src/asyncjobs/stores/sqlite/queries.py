"""A `Query` in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ...given import MAX_INT
from ...job import SUSPECT_CRASHES, Job, State
from ...store import ANYONE, Query
from .rows import JOB_COLUMNS, of_table

# Whether there is any suspect at all: mostly there is none. In the words of its index, which SQLite
# would not choose.
_ANY_SUSPECT = (
    "EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_suspect"
    f" WHERE state = 'queued' AND crashes >= {SUSPECT_CRASHES})"
)
_QUEUED = frozenset({State.QUEUED})
# `share_of` in SQL.
_IN_SHARE = "(seq * 40503 & 65535) * :shares >> 16 = :share"
# The number of the job that others are ahead of; and which of those that are due with it are not.
_AHEAD_SEQ = "(SELECT seq FROM jobs WHERE id = :ahead_id)"
_BEHIND = f"due = :ahead_due AND seq >= {_AHEAD_SEQ}"


def names_in_json(names: Collection[str]) -> str:
    """The names, as these statements take them."""
    return json.dumps(sorted(map(_shielded, names)))


def names_in_sql(parameter: str) -> str:
    """The names of a parameter that is `names_in_json`, as rows."""
    return f"SELECT {_name('value')} AS value FROM json_each(:{parameter})"


def _shielded(name: str) -> str:
    """The name without a NUL: SQLite takes that for the end of what is in JSON."""
    return name.replace("\1", "\1A").replace("\0", "\1B")


def _name(shielded: str) -> str:
    """The name again, in SQL."""
    return f"replace(replace({shielded}, char(1, 66), char(0)), char(1, 65), char(1))"


def select(query: Query, state: State | None, limit: int, skip: int) -> tuple[str, dict[str, Any]]:
    """The jobs in this state, or in any, oldest due first; `limits` aside.

    The rows end with what they are ordered by. Reads all that match, but for what indexes leave
    out.
    """
    conditions, values = _filters(query, state)
    if query.program is not None:
        conditions.append("(program = :program OR program IS NULL)")
    sql = (
        f"SELECT {JOB_COLUMNS}, due, seq FROM jobs WHERE {' AND '.join(conditions)}"
        " ORDER BY due, seq LIMIT :limit OFFSET :skip"
    )
    return sql, values | _page(limit, skip)


def select_heads(
    query: Query, state: State, routes: Mapping[str, int], limit: int, skip: int
) -> tuple[str, dict[str, Any]]:
    """The same, where an index has the jobs of each queue in order: reads no more than it gives.

    A queue is what one route has of one program, or of nobody's, suspects apart. The queues are
    merged: `merged` has the head of each, of which SQLite takes the oldest out, one at a time, and
    puts in what is behind it in its queue.

    Args:
        routes: how many are wanted of each queue of these routes at most.
    """
    conditions, values = _where(query, state)
    conditions += ["route = at.route", f"(crashes >= {SUSPECT_CRASHES}) = at.suspect"]
    if query.program is not None:
        conditions.append("program IS at.program")
    of_queue = f"SELECT seq FROM jobs WHERE {' AND '.join(conditions)}"
    sql = f"""
WITH RECURSIVE
queue (route, room, program, suspect) AS (
    SELECT {_name("routes.key")}, routes.value, {_name("programs.value")}, suspects.value
    FROM json_each(:programs) AS programs
    CROSS JOIN json_each(:suspects) AS suspects
    CROSS JOIN json_each(:routes) AS routes
    WHERE {_ANY_SUSPECT if state is State.QUEUED and query.suspects else "TRUE"}
),
merged (due, seq, route, room, program, suspect) AS (
    SELECT jobs.due, jobs.seq, at.*
    FROM queue AS at CROSS JOIN jobs
    ON jobs.seq = ({of_queue} ORDER BY due, seq LIMIT 1)
    UNION ALL
    SELECT jobs.due, jobs.seq, at.route, at.room - 1, at.program, at.suspect
    FROM merged AS at CROSS JOIN jobs
    ON jobs.seq = coalesce(
        ({of_queue} AND due = at.due AND seq > at.seq ORDER BY seq LIMIT 1),
        ({of_queue} AND due > at.due ORDER BY due, seq LIMIT 1)
    )
    WHERE at.room > 1
    ORDER BY 1, 2 LIMIT :limit OFFSET :skip
)
SELECT {of_table("jobs", JOB_COLUMNS)}, jobs.due, jobs.seq
FROM merged CROSS JOIN jobs USING (seq)"""
    values |= {
        "routes": json.dumps(
            {_shielded(route): min(room, MAX_INT) for route, room in routes.items() if room}
        ),
        "programs": _programs(query),
        "suspects": json.dumps([0, 1] if query.suspects is None else [int(query.suspects)]),
    }
    return sql, values | _page(limit, skip)


def select_overdue(before: float, program: str | None, limit: int) -> tuple[str, dict[str, Any]]:
    """The jobs whose time to be cancelled is before that, and who were not asked to stop, those
    first whose time came first.

    The rows end with what they are to be ordered by. Of one program, an index has them in order.
    """
    # In the words of the index.
    wanted = "state IN ('queued', 'running') AND cancel_at < :before AND cancel_requested = 0"
    found = f"SELECT seq, cancel_at FROM jobs WHERE {wanted}"
    if program is not None:
        found = f"{found} AND program IS :program UNION ALL {found} AND program IS NULL"
    sql = (
        f"SELECT {of_table('jobs', JOB_COLUMNS)}, at.cancel_at, at.seq"
        f" FROM ({found} ORDER BY cancel_at, seq LIMIT :limit) AS at CROSS JOIN jobs USING (seq)"
    )
    return sql, {"before": before, "program": program, "limit": min(limit, MAX_INT)}


def select_count(query: Query) -> tuple[str, dict[str, Any]] | None:
    """How many queued jobs `query` asks for, by the entries of an index alone, of which it goes
    through no more than the limit in each queue; None if no index has all that is asked."""
    rest = replace(
        query, states=None, routes=None, program=None, owner=ANYONE, ahead_of=None, limits=None
    )
    if query.states != _QUEUED or query.program is None or rest != Query(limit=query.limit):
        return None
    if query.owner is ANYONE and (query.routes is not None or query.limits is None):
        return _count_in_queues(query)
    others = query.routes, query.ahead_of, query.limits
    if isinstance(query.owner, str) and others == (None, None, None):
        return _count_of_owner(query)
    return None


def select_routes(state: State) -> str:
    """All routes but `others`, which are `names_in_json`, of the jobs in one state, by one step
    through the index for each."""
    routes = _each("route", f"FROM jobs WHERE state = '{state.value}'")
    return f"{routes} AND value NOT IN ({names_in_sql('others')})"


def select_programs() -> str:
    """All programs of the queued jobs of one route, in the same way."""
    return _each("program", "FROM jobs WHERE state = 'queued' AND route = :route")


def select_programs_run_by() -> str:
    """All programs of the jobs that one worker, or nobody, runs, in the same way."""
    return _each("program", "FROM jobs WHERE state = 'running' AND worker IS :worker")


def select_workers() -> str:
    """All workers that have running jobs, in the same way."""
    return _each("worker", "FROM jobs WHERE state = 'running'")


def select_versions(keys: bytes) -> tuple[str, dict[str, Any]]:
    """The ids and versions of the jobs whose ids, of 16 bytes each, are these one after the other.

    It is one statement for any number of them, and a step through the index for each.
    """
    sql = (
        "WITH RECURSIVE asked (at, id) AS (SELECT 1, substr(:ids, 1, 16) UNION ALL"
        " SELECT at + 16, substr(:ids, at + 16, 16) FROM asked WHERE at + 16 < length(:ids))"
        " SELECT id, version FROM asked CROSS JOIN jobs USING (id)"
    )
    return sql, {"ids": keys}


def select_ids(prefix: str, limit: int) -> tuple[str, dict[str, Any]]:
    """The ids that begin with these hex digits, in their order: a range of their index."""
    sql = "SELECT id FROM jobs WHERE id BETWEEN :least AND :most ORDER BY id LIMIT :limit"
    least, most = (bytes.fromhex(prefix.ljust(32, digit)) for digit in "0f")
    return sql, {"least": least, "most": most, "limit": limit}


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


def _count_in_queues(query: Query) -> tuple[str, dict[str, Any]]:
    queue = "state = 'queued' AND route = of.route AND program IS at.program"
    values: dict[str, Any] = {"programs": _programs(query), "limit": query.limit}
    if query.routes is None:
        each = _each("route", "FROM jobs WHERE state = 'queued'")
        routes = f"SELECT value AS route, :limit AS most FROM ({each})"
    else:
        name = _name("json_extract(value, '$[0]')")
        routes = (
            f"SELECT {name} AS route, json_extract(value, '$[1]') AS most FROM json_each(:routes)"
        )
        most = {**dict.fromkeys(query.routes, query.limit), **(query.limits or {})}
        values["routes"] = json.dumps([[_shielded(route), most[route]] for route in query.routes])
    if query.ahead_of is None:
        suspects = "[0]"
        parts = [queue]
    else:
        suspects = "[0, 1]"
        # In two parts: of both in one, SQLite would go through all that are due at the same time.
        ahead = f"{queue} AND (crashes >= {SUSPECT_CRASHES}) = at.suspect AND due"
        parts = [f"{ahead} < :ahead_due", f"{ahead} = :ahead_due AND seq < {_AHEAD_SEQ}"]
        values |= _ahead(query.ahead_of)
    sql = f"""
SELECT min(ifnull(sum(min(of.most, (
    SELECT sum({" + ".join(_count_where(part) for part in parts)}) FROM (
        SELECT {_name("programs.value")} AS program, suspects.value AS suspect
        FROM json_each(:programs) AS programs CROSS JOIN json_each('{suspects}') AS suspects
    ) AS at
))), 0), :limit) FROM ({routes}) AS of"""
    return sql, values


def _count_of_owner(query: Query) -> tuple[str, dict[str, Any]]:
    part = f"state = 'queued' AND owner = :owner AND program IS {_name('at.value')}"
    sql = f"SELECT min(sum({_count_where(part)}), :limit) FROM json_each(:programs) AS at"
    return sql, {"owner": query.owner, "programs": _programs(query), "limit": query.limit}


def _count_where(conditions: str) -> str:
    return f"(SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {conditions} LIMIT :limit))"


def _programs(query: Query) -> str:
    """Whose the jobs may be."""
    return json.dumps([None] if query.program is None else [_shielded(query.program), None])


def _ahead(job: Job) -> dict[str, Any]:
    return {"ahead_due": job.due, "ahead_id": bytes.fromhex(job.id)}


def _filters(query: Query, state: State | None) -> tuple[list[str], dict[str, Any]]:
    """All conditions, with their values, but for what they say of a program."""
    conditions, values = _where(query, state)
    if query.routes is not None:
        conditions.append(f"route IN ({names_in_sql('routes')})")
        values["routes"] = names_in_json(query.routes)
    if query.not_routes is not None:
        conditions.append(f"route NOT IN ({names_in_sql('not_routes')})")
        values["not_routes"] = names_in_json(query.not_routes)
    if query.suspects is not None:
        conditions.append(f"crashes {'>=' if query.suspects else '<'} {SUSPECT_CRASHES}")
    if query.program is not None:
        values["program"] = query.program
    return conditions, values


def _where(query: Query, state: State | None) -> tuple[list[str], dict[str, Any]]:
    """The conditions, with their values, that say nothing of routes, programs and suspects."""
    conditions = ["TRUE"]
    values: dict[str, Any] = {}
    if state is not None:
        # In words: SQLite uses a partial index only where it sees that its condition holds.
        conditions.append(f"state = '{state.value}'")
    if query.owner is not ANYONE:
        conditions.append("owner IS :owner")
        values["owner"] = query.owner
    if query.worker is not None:
        conditions.append("worker = :worker")
        values["worker"] = query.worker
    if query.cancel_requested is not None:
        conditions.append("(cancel_requested <> 0) = :cancel_requested")
        values["cancel_requested"] = query.cancel_requested
    if query.ahead_of is not None:
        conditions += ["state = 'queued'", "due <= :ahead_due", f"NOT ({_BEHIND})"]
        values |= _ahead(query.ahead_of)
    if query.shares > 1:
        conditions.append(_IN_SHARE)
        values |= {"share": query.share, "shares": query.shares}
    return conditions, values


def _page(limit: int, skip: int) -> dict[str, int]:
    return {"limit": min(limit, MAX_INT), "skip": skip}
