"""The promises, as pure functions from what is known in the end to what breaks them.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import NamedTuple

from asyncjobs.job import FINAL, SUSPECT_CRASHES, Job, State
from asyncjobs.settings import Settings
from asyncjobs.verdict import MAX_CRASHES

from .deaths import KIND, is_poison
from .facts import Facts

#: A job's id, and what is wrong with it.
Breach = tuple[str, str]
Promise = Callable[[Facts], Iterator[Breach]]


class Broken(NamedTuple):
    """A promise that was broken, and the evidence."""

    promise: str
    job_id: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.promise}\n    job {self.job_id or '-'}: {self.evidence}"


def broken_promises(facts: Facts) -> list[Broken]:
    """All breaches of all promises."""
    return [
        Broken(sentence(promise), job_id, evidence)
        for promise in PROMISES
        for job_id, evidence in promise(facts)
    ]


def sentence(promise: Callable[..., Iterator[Breach]]) -> str:
    """What was promised."""
    assert promise.__doc__ is not None  # stripped by python -OO only
    return " ".join(promise.__doc__.split())


def digest(body: bytes) -> str:
    """What an answer's body is known by."""
    return hashlib.sha256(body).hexdigest()[:16]


def no_ack_is_lost(facts: Facts) -> Iterator[Breach]:
    """Every acknowledged job is final in the end."""
    for ack in facts.records.acks:
        stored = facts.stored.get(ack.id)
        if stored is None:
            yield ack.id, f"{ack} is not in the store"
        elif not stored.job.state.is_final:
            yield ack.id, f"it is still {stored.job.state}, due {stored.job.due}, {stored.job}"


def unknown_jobs_end(facts: Facts) -> Iterator[Breach]:
    """A job whose client was cut off before it was told of it is final in the end, too."""
    acknowledged = {ack.id for ack in facts.records.acks}
    for job_id, (job, _) in facts.stored.items():
        if job_id not in acknowledged and not job.state.is_final:
            yield job_id, f"it is still {job.state}, due {job.due}, {job}"


def one_job_a_submission(facts: Facts) -> Iterator[Breach]:
    """A submission makes one job at most, and its client is told of that one."""
    for submission, times in Counter(facts.submissions.values()).items():
        if times > 1:
            jobs = [
                job_id for job_id, made_of in facts.submissions.items() if made_of == submission
            ]
            yield jobs[0], f"submission {submission} has made {jobs}"
    for ack in facts.records.acks:
        if (made_of := facts.submissions.get(ack.id, ack.submission)) != ack.submission:
            yield ack.id, f"{ack}, but submission {made_of} has made it"


def known_to_all(facts: Facts) -> Iterator[Breach]:
    """Every server knows an acknowledged job at any time, and answers as the contract says."""
    for answer in facts.records.answers:
        if not answer.state:
            yield answer.id, f"a client got {answer}"


def at_most_once(facts: Facts) -> Iterator[Breach]:
    """The handler of an at-most-once route begins once at most."""
    for job_id in facts.effects:
        begins = facts.begins(job_id)
        if len(begins) > 1 and begins[0].once:
            yield job_id, f"it has begun {len(begins)} times: {begins}"


def one_begin_an_attempt(facts: Facts) -> Iterator[Breach]:
    """No attempt begins twice."""
    for job_id in facts.effects:
        for attempt, times in Counter(begun.attempt for begun in facts.begins(job_id)).items():
            if times > 1:
                yield job_id, f"attempt {attempt} has begun {times} times: {facts.begins(job_id)}"


def attempts_come_first(facts: Facts) -> Iterator[Breach]:
    """No handler begins before its attempt is in the store."""
    for job_id in facts.effects:
        stored = facts.stored.get(job_id)
        for begun in facts.begins(job_id):
            if stored is None or stored.job.attempt < begun.attempt:
                yield job_id, f"{begun}, but the store has {stored}"


def no_overlap(facts: Facts) -> Iterator[Breach]:
    """The attempts of a job never overlap in living processes."""
    for job_id in facts.effects:
        for earlier, later in pairwise(facts.begins(job_id)):
            if not facts.has_ended(earlier, later.at):
                yield job_id, f"{later} while {earlier} was still running"


def one_result(facts: Facts) -> Iterator[Breach]:
    """No job has two results."""
    for job_id, entries in facts.history.items():
        results = [entry for entry in entries if entry.state in FINAL]
        if len(results) > 1:
            yield job_id, f"final was written {len(results)} times: {results}"


def one_answer(facts: Facts) -> Iterator[Breach]:
    """Whoever asks for a result gets the one that is stored."""
    for answer in facts.records.answers:
        job, response = facts.stored.get(answer.id, (None, None))
        if not answer.state or job is None or response is None:
            continue  # another promise is about that
        kept = (job.state.value, response.status, digest(response.body))
        if kept != (answer.state, answer.status, answer.digest):
            yield answer.id, f"a client got {answer}, the store has {kept}"


def results_are_for_good(facts: Facts) -> Iterator[Breach]:
    """A job whose result somebody was told is never begun again."""
    for answer in facts.records.answers:
        for begun in facts.begins(answer.id) if answer.state else ():
            if begun.at > answer.at:
                yield answer.id, f"{begun}, after a client got {answer}"


def cancelled_for_a_client(facts: Facts) -> Iterator[Breach]:
    """A job is cancelled only if a client has asked for that: to hang up asks for nothing."""
    asked = {cancel.id for cancel in facts.records.cancels}
    for job_id, (job, _) in facts.stored.items():
        if job.state is State.CANCELLED and job_id not in asked:
            yield job_id, f"nobody has cancelled it: {job}"


def one_writer_a_version(facts: Facts) -> Iterator[Breach]:
    """No version of a job is written twice: who has lost a job can change nothing."""
    for job_id, entries in facts.history.items():
        for version, times in Counter(entry.version for entry in entries).items():
            if times > 1:
                writes = [entry for entry in entries if entry.version == version]
                yield job_id, f"version {version} was written {times} times: {writes}"


def no_write_is_undone(facts: Facts) -> Iterator[Breach]:
    """What was written is there, or something newer."""
    for job_id, entries in facts.history.items():
        newest = max(entries, key=lambda entry: entry.version)
        stored = facts.stored.get(job_id)
        version = 0 if stored is None else stored.job.version
        if version < newest.version:
            yield job_id, f"{newest}, but the store has version {version}"


def only_the_dead_lose_jobs(facts: Facts) -> Iterator[Breach]:
    """A job is taken from a process only if that was killed, or given back if it had to end."""
    for entry, runner in facts.takes():
        if entry.pid == runner:
            if not facts.was_to_end(runner, entry.at):
                yield entry.id, f"{entry}, but nobody had asked process {runner} to end"
        elif not facts.was_killed(runner, entry.at):
            yield entry.id, f"{entry}, but process {runner}, which ran it, was not killed"


def only_the_dead_cut_handlers(facts: Facts) -> Iterator[Breach]:
    """A handler comes to its end, unless its process is killed or its job is cancelled."""
    for job_id, (job, _) in facts.stored.items():
        for begun in facts.begins(job_id):
            end = facts.end(begun)
            cut = end is None or end.what == "cut"
            if cut and job.state is not State.CANCELLED and not facts.killed(begun.pid):
                yield job_id, f"{begun} was cut off: {facts.effects[job_id]}, {job}"


def results_have_effects(facts: Facts) -> Iterator[Breach]:
    """A job has succeeded only if the attempt that its result names came to its end."""
    for job_id, (job, response) in facts.stored.items():
        if job.state is not State.SUCCEEDED or response is None:
            continue
        named = json.loads(response.body)
        if not any(
            (effect.what, effect.attempt, effect.pid) == ("end", named["attempt"], named["pid"])
            for effect in facts.effects[job_id]
        ):
            yield job_id, f"its result is {named}, its effects are {facts.effects[job_id]}"
        elif (job_id, job.attempt) != (named["id"], named["attempt"]):
            yield job_id, f"its result is {named}, but the job is {job}"


def no_failure_of_ours(facts: Facts) -> Iterator[Breach]:
    """No job fails whose handler has not failed."""
    for job_id, (job, response) in facts.stored.items():
        if job.state is State.FAILED:
            yield job_id, f"it has failed with {response}"


def rerun_before_interrupted(facts: Facts) -> Iterator[Breach]:
    """A job that may be repeated is given up only after five deaths that it may have caused."""
    for job_id, (job, _) in facts.stored.items():
        if job.state is State.INTERRUPTED and job.repeatable and job.starts < _MAX_STARTS:
            _, most = facts.crashes(job)
            if most < MAX_CRASHES:
                yield job_id, f"it was interrupted after {most} crashes: {_life(facts, job)}"


def crashes_are_counted(facts: Facts) -> Iterator[Breach]:
    """The deaths of its processes are a job's crashes, unless they were told to stop before."""
    for job_id, (job, _) in facts.stored.items():
        least, most = facts.crashes(job)
        if not least <= job.crashes <= most:
            yield job_id, f"it has {job.crashes}, not {least} to {most}: {_life(facts, job)}"


def suspects_run_alone(facts: Facts) -> Iterator[Breach]:
    """A process runs at most one job at a time that had two crashes or more."""
    suspects = {
        (entry.id, entry.attempt)
        for entries in facts.history.values()
        for entry in entries
        if entry.state == State.RUNNING and entry.crashes >= SUSPECT_CRASHES
    }
    begins = [
        begun
        for begun in facts.records.effects
        if begun.what == "begin" and (begun.id, begun.attempt) in suspects
    ]
    for earlier, later in combinations(begins, 2):
        if earlier.pid == later.pid:
            end = facts.end(earlier)
            if end is None or end.at > later.at:
                yield later.id, f"{later} while {earlier} was still running"


def poison_is_convicted(facts: Facts) -> Iterator[Breach]:
    """A job that takes each of its processes down ends as interrupted, with five crashes."""
    for job_id, (job, _) in facts.stored.items():
        convicted = job.state is State.INTERRUPTED and job.crashes == MAX_CRASHES
        if is_poison(job) and not convicted and job.state is not State.CANCELLED:
            yield job_id, f"it is {job.state} after {job.crashes} crashes: {_life(facts, job)}"


def innocents_survive(facts: Facts) -> Iterator[Breach]:
    """Two poison jobs, or one, take no other job along."""
    poison = [stored.job for stored in facts.stored.values() if is_poison(stored.job)]
    pids = {signalled.pid for signalled in facts.records.signals}
    deaths = [death for pid in pids if (death := facts.killed(pid)) is not None]
    others = [
        death
        for death in deaths
        if not death.kind.startswith(KIND) and not facts.was_stopping(death.pid, death.at)
    ]
    if len(poison) <= 2 and not others:
        for job in lost(facts):
            yield job.id, f"it was interrupted: {_life(facts, job)}"


def lost(facts: Facts) -> list[Job]:
    """The jobs that may be repeated, and have no result although they end by themselves."""
    return [
        job
        for job, _ in facts.stored.values()
        if job.state is State.INTERRUPTED and job.repeatable and not is_poison(job)
    ]


def file_is_sound(facts: Facts) -> Iterator[Breach]:
    """The file passes SQLite's integrity check."""
    if facts.integrity != "ok":
        yield "", facts.integrity


PROMISES: tuple[Promise, ...] = (
    no_ack_is_lost,
    unknown_jobs_end,
    one_job_a_submission,
    known_to_all,
    at_most_once,
    one_begin_an_attempt,
    attempts_come_first,
    no_overlap,
    one_result,
    one_answer,
    results_are_for_good,
    cancelled_for_a_client,
    one_writer_a_version,
    no_write_is_undone,
    only_the_dead_lose_jobs,
    only_the_dead_cut_handlers,
    results_have_effects,
    no_failure_of_ours,
    rerun_before_interrupted,
    crashes_are_counted,
    suspects_run_alone,
    poison_is_convicted,
    innocents_survive,
    file_is_sound,
)

_MAX_STARTS = Settings().max_starts


def _life(facts: Facts, job: Job) -> str:
    """What is known of a job and of the processes that ran it."""
    begins = facts.begins(job.id)
    signals = [
        signalled
        for signalled in facts.records.signals
        if signalled.pid in {begun.pid for begun in begins}
    ]
    return f"{job}, {facts.history[job.id]}, {begins}, {signals}"
