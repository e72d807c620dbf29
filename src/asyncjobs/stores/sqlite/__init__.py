"""The embedded default: one SQLite file, shared by the processes of one machine."""

from .store import SqliteStore

__all__ = ["SqliteStore"]
