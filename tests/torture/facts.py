"""What is known when a harness has come to its end: the ledgers and the store, and what they imply.

The history has gaps: a process may be killed when its write is on the disk and it does not know it
yet. So whatever is concluded here rests on what is there, and never on what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from asyncjobs.job import Job, Response, State

from .ledger import GONE, HARMLESS, REQUESTS, STOPPING, Effect, Records, Signalled, Written


class Stored(NamedTuple):
    """A job as the store has it in the end, with its response if it is final."""

    job: Job
    response: Response | None


class Take(NamedTuple):
    """A job that was running became queued or final, and it was said so by `entry.pid`.

    Attributes:
        runner: the process that ran it.
    """

    entry: Written
    runner: int


class Facts:
    """The evidence, and ways to look things up in it.

    Attributes:
        integrity: what ``PRAGMA integrity_check`` says.
        submissions: by the ids of the jobs that were made of them: what tells each from all others.
    """

    def __init__(
        self,
        records: Records,
        stored: Mapping[str, Stored],
        integrity: str,
        submissions: Mapping[str, str] | None = None,
    ) -> None:
        self.records = records
        self.stored = stored
        self.integrity = integrity
        self.submissions = submissions or {}
        self.effects: dict[str, list[Effect]] = defaultdict(list)
        for effect in records.effects:
            self.effects[effect.id].append(effect)
        self.history: dict[str, list[Written]] = defaultdict(list)
        for entry in records.history:
            self.history[entry.id].append(entry)
        self._pid_of = {joined.worker: joined.pid for joined in records.joined}
        self._signals: dict[int, list[Signalled]] = defaultdict(list)
        for signalled in records.signals:
            self._signals[signalled.pid].append(signalled)

    def begins(self, job_id: str) -> list[Effect]:
        """Each time that the handler of this job began."""
        return [effect for effect in self.effects[job_id] if effect.what == "begin"]

    def killed(self, pid: int) -> Signalled | None:
        """What the process died of, if we have killed it."""
        for signalled in self._signals[pid]:
            if signalled.kind not in HARMLESS | REQUESTS | {STOPPING, GONE}:
                return signalled
        return None

    def was_killed(self, pid: int, at: float) -> bool:
        """Whether we had killed the process by then."""
        killed = self.killed(pid)
        return killed is not None and killed.at <= at

    def was_to_end(self, pid: int, at: float) -> bool:
        """Whether we had killed the process by then, or asked it to end."""
        return any(
            signalled.kind not in HARMLESS and signalled.at <= at
            for signalled in self._signals[pid]
        )

    def was_stopping(self, pid: int, at: float) -> bool:
        """Whether the process had let others know by then that it was told to stop."""
        return any(
            signalled.kind == STOPPING and signalled.at <= at for signalled in self._signals[pid]
        )

    def stood_still(self, pid: int, since: float, until: float) -> bool:
        """Whether we had stopped the process at some time in between, and let it go on."""
        return any(
            signalled.kind in HARMLESS and since <= signalled.at <= until
            for signalled in self._signals[pid]
        )

    def has_ended(self, begun: Effect, by: float) -> bool:
        """Whether what has begun was over by then, in whatever way."""
        end = self.end(begun)
        return (
            (end is not None and end.at <= by)
            or self.was_killed(begun.pid, by)
            or any(gone.kind == GONE and gone.at <= by for gone in self._signals[begun.pid])
        )

    def end(self, begun: Effect) -> Effect | None:
        """The end of what has begun, or where it was cut off."""
        for effect in self.effects[begun.id]:
            ended = effect.what != "begin" and effect.at >= begun.at
            if ended and (effect.attempt, effect.pid) == (begun.attempt, begun.pid):
                return effect
        return None

    def crashes(self, job: Job) -> tuple[int, int]:
        """How many crashes the job must have, and how many it may have.

        Of some deaths it is not known whether it is to blame for them: where the process was told
        to stop in the same moment, or where nobody knows which one ran it.
        """
        blamed = [self._is_blamed(job, attempt) for attempt in range(1, job.attempt + 1)]
        return blamed.count(True), blamed.count(True) + blamed.count(None)

    def _is_blamed(self, job: Job, attempt: int) -> bool | None:
        """Whether this attempt has come to a crash that counts; None if it may have or not."""
        is_last = attempt == job.attempt
        if is_last and job.state in (State.RUNNING, State.SUCCEEDED, State.FAILED):
            return False
        runner = self._runner_of(job.id, attempt)
        if runner is not None and self._has_let_go(runner, job.id, attempt):
            return False
        death = None if runner is None else self.killed(runner)
        if death is None:
            return None
        known = {told.kind for told in self._signals[death.pid] if told.at <= death.at}
        if STOPPING in known:
            return False
        # Who is cancelled may have been asked to stop before the death, or be queued after it.
        unsure = known & REQUESTS or (is_last and job.state is State.CANCELLED)
        return None if unsure else True

    def _has_let_go(self, runner: int, job_id: str, attempt: int) -> bool:
        """Whether the process itself has said that it does not run this attempt any more."""
        return any(
            (entry.pid, entry.attempt) == (runner, attempt) and entry.state != State.RUNNING
            for entry in self.history[job_id]
        )

    def takes(self) -> Iterator[Take]:
        """Whenever a running job was given back or ended without a result of its handler's."""
        for entries in self.history.values():
            by_version = {entry.version: entry for entry in entries}
            for entry in entries:
                before = by_version.get(entry.version - 1)
                if not _was_running(entry, before):
                    continue
                runner = self._runner(entry, before)
                if runner is not None and _is_take(entry, runner):
                    yield Take(entry, runner)

    def _runner(self, entry: Written, before: Written | None) -> int | None:
        if before is not None and before.worker is not None:
            return self._pid_of.get(before.worker)
        return self._runner_of(entry.id, entry.attempt)

    def _runner_of(self, job_id: str, attempt: int) -> int | None:
        for begun in self.begins(job_id):
            if begun.attempt == attempt:
                return begun.pid
        for entry in self.history[job_id]:
            if entry.attempt == attempt and entry.worker is not None:
                return self._pid_of.get(entry.worker)
        return None


def _was_running(entry: Written, before: Written | None) -> bool:
    """Whether the job was running until `entry`."""
    if before is not None:
        return before.state == State.RUNNING
    # Nothing else leads there, in a harness in which no operator retries.
    return entry.state == State.INTERRUPTED or (entry.state == State.QUEUED and entry.attempt > 0)


def _is_take(entry: Written, runner: int) -> bool:
    if entry.state in (State.QUEUED, State.INTERRUPTED):
        return True
    return entry.state != State.RUNNING and entry.pid != runner
