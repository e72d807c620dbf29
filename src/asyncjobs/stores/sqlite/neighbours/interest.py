"""Who wants to hear of which job: a datagram costs as much as a read, and none is sent for nothing.

A process in which somebody waits for a job asks the one that runs it, or all if it is queued, to be
told when the job is at another version than the one that it knows. It is told once, reads again,
and asks again if somebody still waits. All of this may be forgotten: it looks by itself, later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from ....hints import Changed, Overruled, Queued
from ....job import Job, State
from .messages import Tellable

#: Stands for all peers in the place of a name.
EVERYBODY: Final = ""
#: Jobs that one process asks about, and questions that it is asked about jobs, each of which one
#: peer has about one job; the oldest are forgotten first.
MAX_JOBS = 20_000


def whom_to_ask(job: Job, me: str) -> str | None:
    """Who will know what becomes of this job; None if that is this process, or nothing will."""
    if job.state is State.RUNNING:
        return None if job.worker == me else job.worker
    return EVERYBODY if job.state is State.QUEUED else None


def whom_to_tell(old: Job | None, new: Job, me: str) -> Iterator[tuple[str, Tellable]]:
    """Whom this process tells of its own write, though nobody asked: names, and hints for them."""
    if old is not None and old.worker not in (None, me):
        assert old.worker is not None
        yield old.worker, Overruled()
        yield old.worker, Changed(old.id)
    if new.state is State.QUEUED:
        yield EVERYBODY, Queued()


class Asked:
    """Whom this process has asked about which version of a job, so that it asks once."""

    def __init__(self, limit: int = MAX_JOBS) -> None:
        self._limit = limit
        self._asked: dict[str, tuple[str, int]] = {}

    def add(self, name: str, job: Job) -> bool:
        """Whether there is something to ask `name` that it was not asked yet."""
        question = name, job.version
        if self._asked.get(job.id) == question:
            return False
        self._asked[job.id] = question
        if len(self._asked) > self._limit:
            del self._asked[next(iter(self._asked))]
        return True

    def answered(self, job_ids: Iterable[str]) -> None:
        """Who answers for a job forgets who asked."""
        for job_id in job_ids:
            self._asked.pop(job_id, None)


class Wanted:
    """The peers that want to be told of a job's next change."""

    def __init__(self, limit: int = MAX_JOBS) -> None:
        self._limit = limit
        self._wanted: dict[str, set[str]] = {}
        self._questions = 0

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def add(self, name: str, job_id: str) -> None:
        """`name` wants to be told of this job."""
        names = self._wanted.setdefault(job_id, set())
        if name not in names:
            names.add(name)
            self._questions += 1
        while self._questions > self._limit:
            self._forget(next(iter(self._wanted)))

    def take(self, job_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Whom to tell that these jobs have changed: names and ids, each once."""
        for job_id in job_ids:
            for name in self._forget(job_id):
                yield name, job_id

    def _forget(self, job_id: str) -> Collection[str]:
        names = self._wanted.pop(job_id, ())
        self._questions -= len(names)
        return names
