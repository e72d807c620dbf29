"""What is in a database, and how that differs from what should be: by structure, not by text.

The same tables come in many texts: columns that were added stand at the end, and a copy may have
been made from a dump. And the file may have been in the hands of others: a trigger would do what it
likes in our transactions, and a view in the place of a table would show us what it likes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Thing(NamedTuple):
    """A table, index, view or trigger, a column, or a UNIQUE of a table (called as its columns)."""

    kind: str
    name: str
    table: str

    def __str__(self) -> str:
        of = f" of the table {self.table!r}" if self.kind in ("column", "UNIQUE") else ""
        return f"the {self.kind} {self.name!r}{of}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is in a database.

    Attributes:
        things: and what each is like. Defaults of columns are left out: a column has none if it was
            there from the beginning, and one if it was added.
        spare: what does no harm if nobody knows of it: no new row needs it, or is refused by it.
        sql: what makes a thing, in one line.
    """

    things: dict[Thing, str]
    spare: frozenset[Thing]
    sql: dict[Thing, str]

    def differences(self, expected: Shape, later: Shape) -> list[str]:
        """What is wrong with a database of this shape, in words; nothing if it is as expected.

        Args:
            later: as it will be, once it is brought up to date: none of that may be there yet.
        """
        ours, actual = expected._tables(), self._tables()
        found = [
            f"{thing} does not belong there"
            for thing in self.things.keys() - expected.things.keys()
            if (thing not in self.spare or thing in later.things)
            # Of a table that is too much, nobody needs to know more.
            and (thing.table in ours or thing.kind in ("table", "view", "trigger"))
        ]
        for thing, wanted in expected.things.items():
            if thing not in self.things:
                if thing.kind == "table" or thing.table in actual:
                    found.append(f"{thing} is missing{expected._how_to_make(thing)}")
            elif self.things[thing] != wanted:
                found.append(f"{thing} is {self.things[thing] or 'not'} instead of {wanted}")
        return sorted(found)

    def _tables(self) -> set[str]:
        return {thing.name for thing in self.things if thing.kind == "table"}

    def _how_to_make(self, thing: Thing) -> str:
        return f" ({self.sql[thing]})" if thing.kind == "index" else ""


def shape_of(connection: sqlite3.Connection) -> Shape:
    """The shape of the main database. Nothing that is in it is run for that.

    Raises:
        sqlite3.Error
    """
    ask = connection.execute
    things: dict[Thing, str] = {}
    spare = set()
    sql = {}
    for kind, name, table, text in ask("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        if not _is_of_sqlite(kind, name):
            thing = Thing(kind, name, table)
            things[thing], sql[thing] = "", " ".join(str(text).split())
    for name, strict, without_rowid in ask(
        "SELECT name, strict, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    ).fetchall():
        if (table := Thing("table", name, name)) in things:
            things[table] = " ".join(["STRICT"] * strict + ["WITHOUT ROWID"] * without_rowid)
            for part, definition, is_spare in _parts_of(connection, name):
                things[part] = definition
                spare |= {part} if is_spare else set()
    return Shape(things, frozenset(spare), sql)


def _parts_of(connection: sqlite3.Connection, table: str) -> Iterator[tuple[Thing, str, bool]]:
    """The columns and indexes of a table, what they are like, and whether they are spare."""
    for name, kind, not_null, default, key, hidden in connection.execute(
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (table,)
    ):
        words = [kind, "NOT NULL" * not_null, "PRIMARY KEY" * bool(key), "GENERATED" * bool(hidden)]
        needed = not_null and default is None
        yield Thing("column", name, table), " ".join(filter(None, words)), not (needed or hidden)
    for name, unique, origin, partial in connection.execute(
        'SELECT name, "unique", origin, partial FROM pragma_index_list(?)', (table,)
    ):
        keys = connection.execute(
            'SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE key', (name,)
        )
        on = ", ".join(map(_key, *zip(*keys.fetchall(), strict=True)))
        words = ["UNIQUE" * unique, f"INDEX ON {table} ({on})", "WHERE" * partial]
        thing = Thing("index", name, table) if origin == "c" else Thing("UNIQUE", on, table)
        yield thing, " ".join(filter(None, words)), not unique


def _key(name: str | None, descending: int, collation: str) -> str:
    """A column of an index, which has no name if it is an expression."""
    order = " DESC" * descending
    return f"{name or '<expr>'}{order}{'' if collation == 'BINARY' else f' COLLATE {collation}'}"


def _is_of_sqlite(kind: str, name: Any) -> bool:
    """Whether SQLite has made it by itself: for a UNIQUE, or for ANALYZE."""
    made = {"table": ("sqlite_stat", "sqlite_sequence"), "index": ("sqlite_autoindex_",)}
    return str(name).startswith(made.get(kind, ()))
