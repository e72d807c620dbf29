"""A model of a disk that may lose power: what was synced is there, and of all else a part may be.

What can be left of the changes that were not synced:

* each of them may be missing, whatever came before or after it: the system writes pages back, and
  the disk its cache, in any order;
* of a write some sectors may be there and others not, but a sector is written whole or not at all;
* of two writes to one sector the earlier one never undoes the later: that it wins is the same as if
  the later one were missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Generic, TypeVar

from .recording import Ack, Create, Step, Sync, Truncate, Unlink, Write

SECTOR = 512

C = TypeVar("C")


class Disk:
    """The folder of a store while a record is played."""

    def __init__(self) -> None:
        self._folder = _Folder()
        self._files: dict[str, _File] = {}
        self._concerned: dict[int, _Folder | _File] = {}

    def play(self, step: Step) -> None:
        """Take the next step of the record."""
        if not step.ends:
            self._begin(step)
        elif (concerned := self._concerned.pop(step.number, None)) is not None:
            if isinstance(step.call, Sync):
                concerned.end_sync(step.number)
            else:
                concerned.end(step.number)

    def unsynced(self) -> int:
        """How many changes might be missing after a loss of power just now."""
        files = sum(len(file.changes) for file in self._files.values())
        return files + len(self._folder.changes)

    def after_power_loss(self, random: Random) -> dict[str, bytes]:
        """One of the many ways in which the files can be found again."""
        files = self._folder.after_power_loss(random)
        return {name: file.after_power_loss(random) for name, file in files.items()}

    def _begin(self, step: Step) -> None:
        number = step.number
        match step.call:
            case Create(name) if name not in self._files:
                self._files[name] = _File()
                self._folder.begin(number, (name, self._files[name]))
                self._concerned[number] = self._folder
            case Unlink(name):
                del self._files[name]
                self._folder.begin(number, (name, None))
                self._concerned[number] = self._folder
            case Write(name) | Truncate(name) as change:
                self._files[name].begin(number, change)
                self._concerned[number] = self._files[name]
            case Sync(name):
                concerned = self._files[name] if name else self._folder
                concerned.begin_sync(number)
                self._concerned[number] = concerned
            case Create() | Ack():
                pass  # nothing on the disk changes


class _Changed(ABC, Generic[C]):
    """What is changed at once, and on the disk after a sync."""

    def __init__(self) -> None:
        self._changes: dict[int, C] = {}
        self._ended: set[int] = set()
        self._covered: dict[int, list[int]] = {}

    @property
    def changes(self) -> list[C]:
        """Those that have begun and are not on the disk for sure, in order."""
        return list(self._changes.values())

    def begin(self, number: int, change: C) -> None:
        self._changes[number] = change

    def end(self, number: int) -> None:
        if number in self._changes:
            self._ended.add(number)

    def begin_sync(self, number: int) -> None:
        # What has not ended by now may come too late for this sync.
        self._covered[number] = [change for change in self._changes if change in self._ended]

    def end_sync(self, number: int) -> None:
        for covered in self._covered.pop(number):
            if covered in self._changes:  # no other sync was faster
                self._ended.discard(covered)
                self._make_durable(self._changes.pop(covered))

    def survivors(self, random: Random) -> Iterator[C]:
        """A part of the changes, in order: all, none, the first ones, or any."""
        changes = self.changes
        match random.choice(("all", "none", "first", "any")):
            case "all":
                yield from changes
            case "first":
                yield from changes[: random.randint(0, len(changes))]
            case "any":
                share = random.random()
                yield from (change for change in changes if random.random() < share)

    @abstractmethod
    def _make_durable(self, change: C) -> None:
        """Have the change on the disk."""


class _Folder(_Changed[tuple[str, "_File | None"]]):
    """Which file has which name."""

    def __init__(self) -> None:
        super().__init__()
        self._durable: dict[str, _File] = {}

    def after_power_loss(self, random: Random) -> dict[str, _File]:
        files = dict(self._durable)
        for change in self.survivors(random):
            _rename(files, change)
        return files

    def _make_durable(self, change: tuple[str, _File | None]) -> None:
        _rename(self._durable, change)


class _File(_Changed[Write | Truncate]):
    """The content of a file, whatever its name."""

    def __init__(self) -> None:
        super().__init__()
        self._durable = bytearray()

    def after_power_loss(self, random: Random) -> bytes:
        content = bytearray(self._durable)
        torn = random.choice((0.0, 0.2, 1.0))
        for change in self.survivors(random):
            if isinstance(change, Write) and random.random() < torn:
                for sector in sectors(change):
                    if random.random() < 0.5:
                        _apply(content, sector)
            else:
                _apply(content, change)
        return bytes(content)

    def _make_durable(self, change: Write | Truncate) -> None:
        _apply(self._durable, change)


def sectors(write: Write) -> Iterator[Write]:
    """The write, cut at the borders of the disk's sectors."""
    start = 0
    while start < len(write.data):
        end = start + SECTOR - (write.offset + start) % SECTOR
        yield Write(write.name, write.offset + start, write.data[start:end])
        start = end


def _rename(files: dict[str, _File], change: tuple[str, _File | None]) -> None:
    name, file = change
    if file is None:
        files.pop(name, None)
    else:
        files[name] = file


def _apply(content: bytearray, change: Write | Truncate) -> None:
    # What lies between the old end of the file and the change reads as zeros.
    if isinstance(change, Truncate):
        content.extend(bytes(max(0, change.size - len(content))))
        del content[change.size :]
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data
