"""Plays a record again and loses power on the way, at thousands of places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from .acks import Promises
from .disk import Disk
from .recording import DATABASE, Ack, Step, Sync, Truncate, Unlink, Write


@dataclass(frozen=True, slots=True)
class Loss:
    """What is left after one loss of power.

    Attributes:
        number: its own; with the seed and the record it tells all the rest.
        cut: how many steps of the record had been made.
        unsynced: how many changes might be missing.
        files: the content of each, by its name.
        promises: what was promised by then; it grows when the next loss is asked for.
    """

    number: int
    cut: int
    unsynced: int
    files: dict[str, bytes]
    promises: Promises


def losses(steps: Sequence[Step], numbers: Iterable[int], seed: int) -> Iterator[Loss]:
    """The losses of power with these numbers, in the order of the record."""
    turns = [place for place, step in enumerate(steps) if isinstance(step.call, Truncate | Unlink)]
    cuts = []
    for number in numbers:
        random = Random(f"{seed}/{number}")
        cuts.append((_cut(len(steps), turns, random), number, random))
    disk, promises, played = Disk(), Promises(), 0
    for cut, number, random in sorted(cuts, key=lambda each: each[:2]):
        for step in steps[played:cut]:
            disk.play(step)
            # An answer counts from the moment in which its receiver might begin to act on it.
            if isinstance(step.call, Ack) and not step.ends:
                promises.take(step.call.line)
        played = cut
        yield Loss(number, cut, disk.unsynced(), disk.after_power_loss(random), promises)


def _cut(length: int, turns: Sequence[int], random: Random) -> int:
    """Anywhere, but more often soon after the start and after one of the rare `turns`."""
    if random.random() < 0.8:
        return random.randint(1, length)
    return min(length, random.choice([0, *turns]) + random.randint(1, 50))


@dataclass(frozen=True, slots=True)
class Figures:
    """What a record has in it.

    Attributes:
        checkpoints: syncs of the database's file, which end the copying of the log.
        restarts: how often the log was begun again at its start, over what was there.
        truncations: how often the log's file was cut back.
        reopenings: how often the log's file was removed, and made anew by the next who opened.
    """

    acks: int
    writes: int
    syncs: int
    checkpoints: int
    restarts: int
    truncations: int
    reopenings: int


def figures(steps: Iterable[Step]) -> Figures:
    log = f"{DATABASE}-wal"
    calls = [step.call for step in steps if not step.ends]
    log_written = False
    restarts = 0
    for call in calls:
        match call:
            case Write(name, 0) if name == log:
                restarts += log_written
                log_written = True
            case Truncate(name) | Unlink(name) if name == log:
                log_written = False
    return Figures(
        acks=sum(isinstance(call, Ack) for call in calls),
        writes=sum(isinstance(call, Write) for call in calls),
        syncs=sum(isinstance(call, Sync) for call in calls),
        checkpoints=calls.count(Sync(DATABASE)),
        restarts=restarts,
        truncations=sum(isinstance(call, Truncate) and call.name == log for call in calls),
        reopenings=calls.count(Unlink(log)),
    )
