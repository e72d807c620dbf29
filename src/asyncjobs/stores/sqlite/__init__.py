"""The embedded default: one SQLite file, shared by the processes of one machine."""

from .guests.looking import LookingStore
from .guests.steering import SteeringStore
from .store import SqliteStore

__all__ = ["LookingStore", "SqliteStore", "SteeringStore"]
