"""What may happen to the files of a store from outside, and what must come of it.

Each damage is done to a folder: after a clean stop, after a kill, or under a living process. What
must come of it is one of few things; "the jobs are gone, and nobody said so" is none of them.
"""

from __future__ import annotations

import enum
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from asyncjobs.stores.sqlite.writing.log_frames import FRAME_HEAD_SIZE, HEADER_SIZE

from .recording import DATABASE

LOG = f"{DATABASE}-wal"
SHARED_MEMORY = f"{DATABASE}-shm"
LOCK = f"{DATABASE}-lock"
BALLAST = f"{DATABASE}-ballast"
PROCESSES = f"{DATABASE}-procs"


class When(enum.StrEnum):
    """In what state the store is found."""

    STOPPED = "after a stop"
    KILLED = "after a kill"
    LIVING = "under a living process"


class Outcome(enum.StrEnum):
    """What comes of a damage. `UNKNOWABLE` is what looks like a crash, or like no damage at all:
    then something may be missing without a word."""

    WHOLE = "nothing is lost"
    TOLD = "something is lost, and the start says so"
    REFUSED = "the start refuses, says why, and touches nothing"
    ENDED = "the process takes no more jobs, and says why"
    UNKNOWABLE = "nobody can know"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that may be done to the files.

    Attributes:
        plant: does it, in the folder of the store.
        outcomes: what may come of it; where a time is missing it cannot be done then.
        is_quiet: whether nobody may be in the middle of a checkpoint when it is done, or when the
            process is killed: nobody can notice that what is half done is not what it was.
    """

    plant: Callable[[Path, Random], None]
    outcomes: Mapping[When, frozenset[Outcome]]
    is_quiet: bool = False


def _nothing(folder: Path, random: Random) -> None:
    pass


def _delete(name: str) -> Callable[[Path, Random], None]:
    def plant(folder: Path, random: Random) -> None:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink()

    return plant


def _cut(name: str, *shares: float) -> Callable[[Path, Random], None]:
    """Only so much of the file is left, of all that it had."""

    def plant(folder: Path, random: Random) -> None:
        size = (folder / name).stat().st_size
        os.truncate(folder / name, int(size * random.uniform(*shares)))

    return plant


def _write(name: str, data: bytes, at: float = 0.0) -> Callable[[Path, Random], None]:
    """Bytes of the file are others, and its size is the same."""

    def plant(folder: Path, random: Random) -> None:
        with open(folder / name, "r+b") as file:
            file.seek(int(at * (folder / name).stat().st_size))
            file.write(data)

    return plant


def _write_frames(data: bytes, at: float) -> Callable[[Path, Random], None]:
    """The same to the log, from the head of a frame on."""

    def plant(folder: Path, random: Random) -> None:
        size = (folder / LOG).stat().st_size
        with open(folder / LOG, "r+b") as file:
            page_size = int.from_bytes(file.read(HEADER_SIZE)[8:12], "big")
            frame = FRAME_HEAD_SIZE + page_size
            file.seek(HEADER_SIZE + int(at * size) // frame * frame)
            file.write(data)

    return plant


def _replace(name: str, data: bytes) -> Callable[[Path, Random], None]:
    """As ``echo junk > file`` does."""

    def plant(folder: Path, random: Random) -> None:
        (folder / name).write_bytes(data)

    return plant


def _both(
    first: Callable[[Path, Random], None], second: Callable[[Path, Random], None]
) -> Callable[[Path, Random], None]:
    def plant(folder: Path, random: Random) -> None:
        first(folder, random)
        second(folder, random)

    return plant


def _zero(name: str) -> Callable[[Path, Random], None]:
    def plant(folder: Path, random: Random) -> None:
        _write(name, bytes((folder / name).stat().st_size))(folder, random)

    return plant


def _may(
    stopped: Outcome | None, killed: Outcome | None, living: Outcome | None
) -> Mapping[When, frozenset[Outcome]]:
    each = zip(When, (stopped, killed, living), strict=True)
    return {when: frozenset({outcome}) for when, outcome in each if outcome is not None}


_HARMLESS = _may(Outcome.WHOLE, Outcome.WHOLE, Outcome.WHOLE)
# Of a log, which there is none of after a clean stop. Under a living process it may just have been
# moved into the database.
_LOST_LOG = {
    When.KILLED: frozenset({Outcome.TOLD}),
    When.LIVING: frozenset({Outcome.ENDED, Outcome.WHOLE}),
}
_JUNK = b"junk of somebody else"

DAMAGES: Mapping[str, Damage] = {
    "nothing": Damage(_nothing, _HARMLESS),
    "log deleted": Damage(_delete(LOG), _LOST_LOG, is_quiet=True),
    "log emptied": Damage(_cut(LOG, 0, 0), _LOST_LOG, is_quiet=True),
    "log zeroed": Damage(_zero(LOG), _LOST_LOG, is_quiet=True),
    "log without its header": Damage(_write(LOG, bytes(32)), _LOST_LOG, is_quiet=True),
    "log replaced by junk": Damage(_replace(LOG, _JUNK), _LOST_LOG, is_quiet=True),
    "log and its index deleted": Damage(
        _both(_delete(LOG), _delete(SHARED_MEMORY)), _LOST_LOG, is_quiet=True
    ),
    # It takes whole transactions behind the damage to know it.
    "log with other bytes in it": Damage(
        _write(LOG, bytes(range(256)), at=0.4),
        {When.KILLED: frozenset({Outcome.TOLD, Outcome.UNKNOWABLE})},
        # What is half moved, and then damaged, fits together no more.
        is_quiet=True,
    ),
    "log cut short": Damage(
        _cut(LOG, 0.2, 0.9),
        {
            When.KILLED: frozenset({Outcome.TOLD, Outcome.UNKNOWABLE}),
            When.LIVING: frozenset({Outcome.ENDED, Outcome.WHOLE}),
        },
        is_quiet=True,
    ),
    # What is moved already is only overwritten, and SQLite may meet the junk first. Nobody knows of
    # junk that begins within a page, as all frames behind it may be written over: only who had
    # looked at that page when it was the last one.
    "log overwritten from the middle on": Damage(
        _write_frames(bytes(range(1, 251)) * 400, at=0.3),
        {When.LIVING: frozenset({Outcome.ENDED, Outcome.WHOLE})},
        is_quiet=True,
    ),
    "index of the log deleted": Damage(
        _delete(SHARED_MEMORY), _may(None, Outcome.WHOLE, Outcome.ENDED)
    ),
    "index of the log replaced by junk": Damage(
        _replace(SHARED_MEMORY, _JUNK), _may(None, Outcome.WHOLE, None)
    ),
    "database deleted": Damage(
        _delete(DATABASE), _may(Outcome.TOLD, Outcome.REFUSED, Outcome.ENDED)
    ),
    "database emptied": Damage(
        _cut(DATABASE, 0, 0), _may(Outcome.TOLD, Outcome.REFUSED, Outcome.ENDED), is_quiet=True
    ),
    "database cut short": Damage(
        _cut(DATABASE, 0.2, 0.9),
        {
            When.STOPPED: frozenset({Outcome.REFUSED}),
            # The log may have all that is missing.
            When.KILLED: frozenset({Outcome.REFUSED, Outcome.WHOLE}),
            When.LIVING: frozenset({Outcome.ENDED, Outcome.WHOLE}),
        },
        is_quiet=True,
    ),
    "database replaced by junk": Damage(
        _replace(DATABASE, _JUNK * 1000),
        {
            When.STOPPED: frozenset({Outcome.REFUSED}),
            When.KILLED: frozenset({Outcome.REFUSED}),
            # The log of a young store may have all of it.
            When.LIVING: frozenset({Outcome.ENDED, Outcome.WHOLE}),
        },
        is_quiet=True,
    ),
    "lock deleted": Damage(_delete(LOCK), _may(Outcome.WHOLE, Outcome.WHOLE, Outcome.ENDED)),
    "lock emptied": Damage(_cut(LOCK, 0, 0), _HARMLESS),
    "lock replaced by junk": Damage(_replace(LOCK, _JUNK), _HARMLESS),
    "ballast deleted": Damage(_delete(BALLAST), _may(Outcome.WHOLE, Outcome.WHOLE, None)),
    "folder of the processes deleted": Damage(
        _delete(PROCESSES), _may(Outcome.WHOLE, Outcome.WHOLE, Outcome.ENDED)
    ),
}
