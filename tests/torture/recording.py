"""The record of a run: all that was asked of the system for the files of a store, in order.

`strace` writes it. What it prints at the entry of a call is printed before the system begins with
the call, and what it prints at the exit after the system has ended it, so the order of the lines
holds for calls of all threads and processes. A call that others came between has two lines::

    71  fdatasync(5</tmp/jobs.db-wal> <unfinished ...>
    72  pwrite64(4</tmp/jobs.db-wal>, "\x00\x01", 2, 32) = 2
    71  <... fdatasync resumed>) = 0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: The files of a store have names that begin so.
DATABASE = "jobs.db"
#: Written by `acks.AckFile`.
ACKS = "acks"
# The shared memory is made anew by the first who opens the database; nothing reads the others.
_IRRELEVANT = (f"{DATABASE}-shm", f"{DATABASE}-lock", f"{DATABASE}-ballast")


@dataclass(frozen=True, slots=True)
class Write:
    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Create:
    """The file was opened, and made if it was missing."""

    name: str


@dataclass(frozen=True, slots=True)
class Unlink:
    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was written to the file before is on the disk once this has ended.

    With an empty name: what was created and unlinked in the folder.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Ack:
    line: str


Call = Write | Truncate | Create | Unlink | Sync | Ack


@dataclass(frozen=True, slots=True)
class Step:
    """A call begins, or it ends; `number` tells which one, among equal ones."""

    number: int
    call: Call
    ends: bool


class RecordUnreadable(Exception):
    """The record has something that the model of the disk does not know."""


#: What strace shall record; the question mark is for systems that lack a call.
TRACED = (
    "write,pwrite64,?pwritev,?pwritev2,?ftruncate,?fallocate,fsync,fdatasync,openat,"
    "?open,?creat,?truncate,?unlink,unlinkat,?rename,?renameat,?renameat2,?copy_file_range"
)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_UNFINISHED = " <unfinished ...>"
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
_UNKNOWN_RESULT = re.compile(r"\) += \?")
_DESCRIPTOR = re.compile(r"\w+<([^>]*)>(\(deleted\))?")
_STRING = re.compile(r'"([^"]*)"(\.\.\.)?')


def read_steps(lines: Iterable[str], folder: Path) -> list[Step]:
    """The steps that concern the store in `folder`, from the lines of ``strace -f -y -xx``.

    A call that failed is none. One that was still going on at the end has no step that ends it.

    Raises:
        RecordUnreadable
    """
    steps: list[Step | None] = []
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        thread, _, text = line.rstrip("\n").partition(" ")
        text = text.lstrip()
        if text.endswith(_UNFINISHED):
            begun[thread] = (len(steps), text.removesuffix(_UNFINISHED))
            steps.append(None)  # until it is known what became of it
            continue
        place = len(steps)
        if resumed := _RESUMED.match(text):
            place, beginning = begun.pop(thread)
            text = beginning + text[resumed.end() :]
        if (call := _read_call(text, folder)) is not None:
            steps[place : place + 1] = [Step(number, call, ends=False)]
            if not _UNKNOWN_RESULT.search(text):
                steps.append(Step(number, call, ends=True))
    for number, (place, beginning) in enumerate(begun.values()):
        if (call := _read_call(f"{beginning}) = ?", folder)) is not None:
            steps[place] = Step(-1 - number, call, ends=False)
    return [step for step in steps if step is not None]


def _read_call(text: str, folder: Path) -> Call | None:
    """What a whole line tells, if it matters."""
    if (match := _CALL.match(text)) is None:
        return None  # a signal, or the end of a process
    name, arguments, result = match.groups()
    if result == "-1":
        return None
    # Those that begin with a descriptor, and those that begin with a path or a folder and a path.
    by_path = name.startswith(("open", "creat", "truncate", "unlink", "rename"))
    descriptor = None if by_path else _DESCRIPTOR.match(arguments)
    if by_path:
        paths = [_unescaped(string) for string, _ in _STRING.findall(arguments)]
    elif descriptor is not None and not descriptor[2]:
        paths = [_unescaped(descriptor[1])]
    else:
        paths = []  # no file, or one that nobody will ever find again
    for path in paths:
        if (file := _file_name(path, folder)) is not None:
            return _known_call(name, file, arguments, result)
    return None


def _file_name(path: bytes, folder: Path) -> str | None:
    """What the record calls the file, or the folder itself; None if it does not matter."""
    where = Path(path.decode(errors="replace"))
    if where == folder:
        return ""
    if where.parent != folder or where.name in _IRRELEVANT:
        return None
    return where.name if where.name == ACKS or where.name.startswith(DATABASE) else None


def _known_call(name: str, file: str, arguments: str, result: str) -> Call | None:
    match name, file:
        case "write", str() if file == ACKS:
            return Ack(_data(arguments).decode().rstrip("\n"))
        case _, str() if file == ACKS:
            return None
        case "fsync" | "fdatasync", _:
            return Sync(file)
        case "openat" | "open", "":
            return None
        case "pwrite64", _:
            data, offset = _data(arguments), int(arguments.rpartition(", ")[2])
            return Write(file, offset, data if result == "?" else data[: int(result)])
        case "ftruncate", _:
            return Truncate(file, int(arguments.rpartition(", ")[2]))
        case "openat" | "open", _ if "O_TRUNC" not in arguments:
            return Create(file) if "O_CREAT" in arguments else None
        case "unlink" | "unlinkat", _:
            return Unlink(file)
    raise RecordUnreadable(f"nothing is known of {name} on {file or 'the folder'}")


def _data(arguments: str) -> bytes:
    match = _STRING.search(arguments)
    if match is None or match[2]:
        raise RecordUnreadable(f"the data of a call is cut off: {arguments[:200]}")
    return _unescaped(match[1])


def _unescaped(text: str) -> bytes:
    """What ``-xx`` has escaped; older versions leave the paths of descriptors as they are."""
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
