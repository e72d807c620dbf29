"""What SQLite does for a store, counted at any connection of it that is opened within the test."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from asyncjobs.stores.sqlite import database


class Fetched:
    """How many rows were fetched from SQLite, by any statement."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        self._connect = database.connect
        monkeypatch.setattr(database, "connect", self.connect)

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = self._connect(path)
        connection.row_factory = self._row
        return connection

    def _row(self, cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
        self.rows += 1
        return row


class Work(Fetched):
    """The instructions of its virtual machine as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        super().__init__(monkeypatch)

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = super().connect(path)
        connection.set_progress_handler(self._step, 1)
        return connection

    def _step(self) -> None:
        self.steps += 1
