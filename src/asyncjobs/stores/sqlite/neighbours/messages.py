"""What the processes of a store say to each other, in words::

    ask <name> <job id>:<version> ...
    tell <hint> ...

``ask``: the process called `name` knows these jobs at these versions, and wants to be told once
when they are at others. ``tell`` carries hints: the id of a job that has changed, ``queued`` or
``overruled``. Processes of an earlier release say the same, and leave out what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from ....hints import Changed, Overruled, Queued
from ..processes.names import is_name

#: So many things fit into one datagram: an id and a version take up to 53 bytes and a blank.
PER_DATAGRAM = 35

_JOB_ID = re.compile("[0-9a-f]{32}")
_KNOWN = re.compile("([0-9a-f]{32}):([0-9]{1,19})")

#: The hints that one process gives another.
Tellable = Changed | Queued | Overruled


@dataclass(frozen=True, slots=True)
class Ask:
    """The process called `name` wants to be told when a job is not at the version it knows."""

    name: str
    known: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tell:
    """Hints for whoever listens in the process that gets it."""

    hints: tuple[Tellable, ...]


def word_of(hint: Tellable) -> str:
    """The hint, as `tell` carries it."""
    match hint:
        case Changed(job_id):
            return job_id
        case Queued():
            return "queued"
        case Overruled():
            return "overruled"


def encode(head: str, things: Iterable[str]) -> tuple[bytes, list[str]]:
    """A datagram with as many of the `things` as fit into it, and which these are."""
    fitting = list(islice(things, PER_DATAGRAM))
    return " ".join([head, *fitting]).encode("ascii"), fitting


def decode(data: bytes) -> Ask | Tell | None:
    """The message, or None if it is none: nobody but this program should send any, but may.

    Of more things than `encode` puts into one, only so many are taken.
    """
    try:
        words = data.decode("ascii").split(" ")
    except UnicodeDecodeError:
        return None
    match words:
        case ["ask", name, *things] if is_name(name):
            known = [_KNOWN.fullmatch(thing) for thing in things[:PER_DATAGRAM]]
            return Ask(name, {each[1]: int(each[2]) for each in known if each is not None})
        case ["tell", *things]:
            hints = map(_hint_of, things[:PER_DATAGRAM])
            return Tell(tuple(hint for hint in hints if hint is not None))
    return None


def _hint_of(word: str) -> Tellable | None:
    if _JOB_ID.fullmatch(word):
        return Changed(word)
    if word == "queued":
        return Queued()
    return Overruled() if word == "overruled" else None
