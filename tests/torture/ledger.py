"""Ledgers: files of events that outlive the processes that write them.

A ledger is a folder with one file for each writer, so that a process that is killed in the middle
of a line can spoil nobody else's. Its name is that of the kind of its events. Times are those of
`time.monotonic`, which all processes of one machine share and which no clock jump disturbs.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from asyncjobs.stores.sqlite.processes.locks import sync_data


class Ack(NamedTuple):
    """A client was told that there is a job: from now on it must never be lost.

    Attributes:
        submission: that which was answered so, as `Facts.submissions` has them.
    """

    id: str
    method: str
    path: str
    at: float
    submission: str = ""


class Answer(NamedTuple):
    """What a client got that was no "not yet".

    Attributes:
        state: the job's, or empty if the answer says that there is no such job.
        digest: of the body.
        at_once: whether it was told by the request that made the job, and not by a poll.
    """

    id: str
    state: str
    status: int
    digest: str
    at: float
    at_once: bool = False


class Cancel(NamedTuple):
    """A client is about to ask for a job to be cancelled."""

    id: str
    at: float


class Effect(NamedTuple):
    """A handler has begun, has come to its end, or was cut off.

    Attributes:
        once: whether its route is one that must not be run twice.
        what: ``begin``, ``end`` or ``cut``.
    """

    id: str
    once: bool
    attempt: int
    pid: int
    what: str
    at: float


class Written(NamedTuple):
    """A version of a job was written, and its writer was told so."""

    id: str
    version: int
    state: str
    attempt: int
    crashes: int
    worker: str | None
    pid: int
    at: float


class Joined(NamedTuple):
    """The process `pid` opened the store, and is called `worker` there."""

    worker: str
    pid: int
    at: float


class Signalled(NamedTuple):
    """The harness is about to do something to a process: written before it is done.

    Attributes:
        kind: one of `HARMLESS` or `REQUESTS`, `STOPPING` or `GONE`, or else what the process dies
            of.
    """

    pid: int
    kind: str
    at: float


#: After these a process lives and works on.
HARMLESS = frozenset({"stop", "cont"})
#: These ask a process to come to its end; it may still run what it has.
REQUESTS = frozenset({"term", "int", "hup"})
#: The process has let the others know that it was told to stop.
STOPPING = "stopping"
#: The process has ended by itself, it turned out.
GONE = "gone"

Event = Ack | Answer | Cancel | Effect | Written | Joined | Signalled
E = TypeVar("E", Ack, Answer, Cancel, Effect, Written, Joined, Signalled)


class Ledger(Generic[E]):
    """The file of one writer. May be written in any thread.

    Args:
        folder: of all ledgers.
        kind: the type of the events.
        sync: whether events are on the disk when `write` returns. What is written survives the
            death of its process in any case.
    """

    def __init__(self, folder: Path, kind: type[E], *, sync: bool = False) -> None:
        folder = folder / kind.__name__.lower()
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(folder / name, flags, 0o600)
        self._sync = sync

    def write(self, *events: E) -> None:
        """Add these events, all or a beginning of them."""
        os.write(self._fd, "".join(f"{json.dumps(event)}\n" for event in events).encode())
        if self._sync:
            sync_data(self._fd)

    def close(self) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """All that the ledgers of one folder say, each kind in the order of time."""

    acks: Sequence[Ack] = ()
    answers: Sequence[Answer] = ()
    cancels: Sequence[Cancel] = ()
    effects: Sequence[Effect] = ()
    history: Sequence[Written] = ()
    joined: Sequence[Joined] = ()
    signals: Sequence[Signalled] = ()


def read_records(folder: Path) -> Records:
    """What the ledgers of `folder` say by now; they may still be written."""
    return Records(
        acks=read_ledger(folder, Ack),
        answers=read_ledger(folder, Answer),
        cancels=read_ledger(folder, Cancel),
        effects=read_ledger(folder, Effect),
        history=read_ledger(folder, Written),
        joined=read_ledger(folder, Joined),
        signals=read_ledger(folder, Signalled),
    )


def read_ledger(folder: Path, kind: type[E]) -> list[E]:
    """The events of one kind, in the order of time."""
    events = [
        # The last line of a writer may be one that it was killed in, or is just writing.
        kind._make(json.loads(line))
        for path in (folder / kind.__name__.lower()).glob("*")
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return sorted(events, key=_time_of)


def _time_of(event: Any) -> float:
    return float(event.at)
