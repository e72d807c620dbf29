"""The harnesses find each kind of broken promise in their ledgers, and none where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from asyncjobs.job import Job, Response, State
from asyncjobs.torture import promises
from asyncjobs.torture.facts import Facts, Stored
from asyncjobs.torture.ledger import (
    STOPPING,
    Ack,
    Answer,
    Cancel,
    Effect,
    Joined,
    Ledger,
    Records,
    Signalled,
    Written,
    read_records,
)
from asyncjobs.torture.promises import PROMISES, Broken, broken_promises, digest, sentence

ID = "5e" * 16
#: Two processes, and what they are called in the store.
P, Q = 100, 200
WORKERS = {P: "worker of P", Q: "worker of Q"}


def a_result(attempt: int, pid: int) -> Response:
    return Response(200, (), json.dumps({"id": ID, "attempt": attempt, "pid": pid}).encode())


def a_job(
    state: State, *, version: int, attempt: int, crashes: int = 0, repeatable: bool = True
) -> Job:
    return Job(
        *(ID, "again", "/again", 0.0, None, repeatable),
        state=state,
        version=version,
        attempt=attempt,
        crashes=crashes,
    )


def written(
    version: int, state: State, attempt: int, pid: int, at: float, *, crashes: int = 0
) -> Written:
    worker = WORKERS[pid] if state is State.RUNNING else None
    return Written(ID, version, state.value, attempt, crashes, worker, pid, at)


def effect(what: str, attempt: int, pid: int, at: float, *, once: bool = False) -> Effect:
    return Effect(ID, once, attempt, pid, what, at)


#: P runs a job and is killed; Q takes it, runs it again, and a client gets the result.
RERUN = Records(
    acks=[Ack(ID, "PUT", "/again", 1.1)],
    answers=[Answer(ID, "succeeded", 200, digest(a_result(2, Q).body), 5.0)],
    effects=[effect("begin", 1, P, 1.2), effect("begin", 2, Q, 3.1), effect("end", 2, Q, 3.2)],
    history=[
        written(2, State.RUNNING, 1, P, 1.0),
        written(3, State.QUEUED, 1, Q, 2.5),
        written(4, State.RUNNING, 2, Q, 3.0),
        written(5, State.SUCCEEDED, 2, Q, 3.5),
    ],
    joined=[Joined(WORKERS[P], P, 0.0), Joined(WORKERS[Q], Q, 0.0)],
    signals=[Signalled(P, "in-handler", 2.0)],
)
RERUN_JOB = Stored(a_job(State.SUCCEEDED, version=5, attempt=2, crashes=1), a_result(2, Q))
#: The same where P has given the job back.
GIVEN_BACK_JOB = Stored(RERUN_JOB.job._replace(crashes=0), RERUN_JOB.response)

#: The same with a job that must not be repeated.
INTERRUPTED = replace(
    RERUN,
    answers=[Answer(ID, "interrupted", 500, digest(b"interrupted"), 5.0)],
    effects=[effect("begin", 1, P, 1.2, once=True)],
    history=[written(2, State.RUNNING, 1, P, 1.0), written(3, State.INTERRUPTED, 1, Q, 2.5)],
)
INTERRUPTED_JOB = Stored(
    a_job(State.INTERRUPTED, version=3, attempt=1, crashes=1, repeatable=False),
    Response(500, (), b"interrupted"),
)


def found(
    records: Records,
    stored: Stored | None,
    integrity: str = "ok",
    submissions: Mapping[str, str] | None = None,
) -> set[Callable[..., object]]:
    """The promises that are found broken."""
    facts = Facts(records, {} if stored is None else {ID: stored}, integrity, submissions)
    broken = {broken.promise for broken in broken_promises(facts)}
    return {promise for promise in PROMISES if sentence(promise) in broken}


@pytest.mark.parametrize(
    ("records", "stored"),
    [(RERUN, RERUN_JOB), (INTERRUPTED, INTERRUPTED_JOB)],
    ids=["rerun", "interrupted"],
)
def test_a_clean_history_is_clean(records: Records, stored: Stored) -> None:
    """A job whose process was killed, and that went on as its route says, breaks no promise."""
    assert not found(records, stored)


@pytest.mark.parametrize(
    "history", [RERUN.history[1:], RERUN.history[::2], RERUN.history[1::2], []]
)
def test_a_gap_in_the_history_breaks_nothing(history: list[Written]) -> None:
    """A process may die before it has written down what it did: that proves nothing."""
    assert not found(replace(RERUN, history=history), RERUN_JOB)


def test_a_process_that_was_asked_to_end_may_give_its_jobs_back() -> None:
    """After SIGTERM a process gives back what it has not begun, and others may run it."""
    records = replace(
        RERUN,
        effects=RERUN.effects[1:],
        history=[RERUN.history[0], written(3, State.QUEUED, 1, P, 2.5), *RERUN.history[2:]],
        signals=[Signalled(P, "term", 2.0)],
    )
    assert not found(records, GIVEN_BACK_JOB)


def test_an_acknowledged_job_that_is_gone_is_found() -> None:
    """An acknowledged job must be in the store in the end."""
    assert promises.no_ack_is_lost in found(RERUN, None)


def test_an_acknowledged_job_that_does_not_end_is_found() -> None:
    """An acknowledged job must be final in the end."""
    stored = Stored(a_job(State.QUEUED, version=6, attempt=2, crashes=1), None)
    assert found(RERUN, stored) == {promises.no_ack_is_lost}


def test_a_job_that_nobody_was_told_of_and_does_not_end_is_found() -> None:
    """Whose client was cut off is owed nothing, but its job comes to its end."""
    stored = Stored(a_job(State.QUEUED, version=6, attempt=2, crashes=1), None)
    assert found(replace(RERUN, acks=[]), stored) == {promises.unknown_jobs_end}
    assert not found(replace(RERUN, acks=[], answers=[]), RERUN_JOB)


@pytest.mark.parametrize("submissions", [{ID: "1", "07" * 16: "1"}, {ID: "2"}])
def test_a_submission_with_another_job_is_found(submissions: Mapping[str, str]) -> None:
    """One that has made two jobs, or whose client is told of one that it has not made."""
    records = replace(RERUN, acks=[Ack(ID, "PUT", "/again", 1.1, "1")])
    assert not found(records, RERUN_JOB, submissions={ID: "1", "07" * 16: "2"})
    assert found(records, RERUN_JOB, submissions=submissions) == {promises.one_job_a_submission}


def test_a_job_that_begins_again_after_its_result_was_told_is_found() -> None:
    """What is told early, be it the very result of what begins, is told before it is there."""
    early = RERUN.answers[0]._replace(at=3.0, at_once=True)
    records = replace(RERUN, answers=[early])
    assert found(records, RERUN_JOB) == {promises.results_are_for_good}
    assert not found(replace(RERUN, answers=[early._replace(at=3.2)]), RERUN_JOB)


def test_a_server_that_does_not_know_a_job_is_found() -> None:
    """A 404 for an acknowledged job is a broken promise even if the job is there in the end."""
    records = replace(RERUN, answers=[*RERUN.answers, Answer(ID, "", 404, "", 6.0)])
    assert found(records, RERUN_JOB) == {promises.known_to_all}


def test_a_doubled_effect_is_found() -> None:
    """The handler of an at-most-once route must not begin again, whatever happened before."""
    records = replace(
        INTERRUPTED,
        effects=[
            *INTERRUPTED.effects,
            effect("begin", 2, Q, 3.0, once=True),
            effect("end", 2, Q, 3.2, once=True),
        ],
    )
    stored = Stored(INTERRUPTED_JOB.job._replace(attempt=2), INTERRUPTED_JOB.response)
    assert found(records, stored) == {promises.at_most_once}


def test_an_attempt_that_begins_twice_is_found() -> None:
    """An attempt that was not in the store when its handler began shows when it begins again."""
    records = replace(
        RERUN, effects=[RERUN.effects[0], effect("begin", 1, P, 1.9), *RERUN.effects[1:]]
    )
    assert promises.one_begin_an_attempt in found(records, RERUN_JOB)


@pytest.mark.parametrize(
    "stored", [None, Stored(RERUN_JOB.job._replace(attempt=1), RERUN_JOB.response)]
)
def test_an_effect_before_its_attempt_is_found(stored: Stored | None) -> None:
    """There is no effect of an attempt that the store does not know."""
    assert promises.attempts_come_first in found(replace(RERUN, acks=[]), stored)


def test_attempts_that_overlap_are_found() -> None:
    """While an attempt runs in a living process, no other may begin."""
    records = replace(RERUN, signals=[Signalled(P, "stop", 2.0), Signalled(P, "in-handler", 9.0)])
    assert promises.no_overlap in found(records, RERUN_JOB)


def test_two_results_are_found() -> None:
    """A job becomes final once."""
    records = replace(RERUN, history=[*RERUN.history, written(6, State.FAILED, 2, P, 4.0)])
    stored = Stored(RERUN_JOB.job._replace(version=6), RERUN_JOB.response)
    assert found(records, stored) == {promises.one_result}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(ID, "succeeded", 200, digest(a_result(1, P).body), 4.0),
        Answer(ID, "interrupted", 500, RERUN.answers[0].digest, 4.0),
    ],
)
def test_another_answer_is_found(answer: Answer) -> None:
    """Whoever polls gets the same result."""
    records = replace(RERUN, answers=[answer, *RERUN.answers])
    assert found(records, RERUN_JOB) == {promises.one_answer}


def test_a_version_that_is_written_twice_is_found() -> None:
    """A write that takes no notice of another one shows in the versions."""
    records = replace(RERUN, history=[*RERUN.history, written(4, State.RUNNING, 2, P, 3.3)])
    assert found(records, RERUN_JOB) == {promises.one_writer_a_version}


def test_a_write_that_is_undone_is_found() -> None:
    """What the store has said was written must not be older in the end."""
    stored = Stored(RERUN_JOB.job._replace(version=4), RERUN_JOB.response)
    assert found(RERUN, stored) == {promises.no_write_is_undone}


@pytest.mark.parametrize("signals", [[], [Signalled(P, "stop", 2.0)], [Signalled(P, "x", 9.0)]])
@pytest.mark.parametrize("history", [INTERRUPTED.history, INTERRUPTED.history[1:]])
def test_a_job_taken_from_the_living_is_found(
    signals: list[Signalled], history: list[Written]
) -> None:
    """Who is stopped is not dead, and who dies later neither; also if the claim is not known."""
    records = replace(INTERRUPTED, signals=signals, history=history)
    assert promises.only_the_dead_lose_jobs in found(records, INTERRUPTED_JOB)


@pytest.mark.parametrize("kind", ["term", "gone"])
def test_a_job_that_a_process_left_behind_is_found(kind: str) -> None:
    """Who is asked to end must not leave running jobs to others."""
    records = replace(INTERRUPTED, signals=[Signalled(P, kind, 2.0)], effects=[])
    assert found(records, INTERRUPTED_JOB) == {promises.only_the_dead_lose_jobs}


@pytest.mark.parametrize("end", [[], [effect("cut", 1, P, 2.2)]])
def test_a_handler_that_is_cut_is_found(end: list[Effect]) -> None:
    """Who is asked to end lets its handlers come to their end."""
    records = replace(
        RERUN,
        effects=[RERUN.effects[0], *end, *RERUN.effects[1:]],
        history=[RERUN.history[0], written(3, State.QUEUED, 1, P, 2.5), *RERUN.history[2:]],
        signals=[Signalled(P, "term", 2.0), Signalled(P, "gone", 2.9)],
    )
    assert found(records, GIVEN_BACK_JOB) == {promises.only_the_dead_cut_handlers}


def test_a_job_given_back_without_a_reason_is_found() -> None:
    """A process that nobody has asked to end must not give its jobs back."""
    records = replace(
        INTERRUPTED,
        history=[INTERRUPTED.history[0], written(3, State.INTERRUPTED, 1, P, 2.5)],
        effects=[],
        signals=[],
    )
    stored = Stored(INTERRUPTED_JOB.job._replace(crashes=0), INTERRUPTED_JOB.response)
    assert found(records, stored) == {promises.only_the_dead_lose_jobs}


@pytest.mark.parametrize("response", [a_result(1, P), a_result(2, P), a_result(3, Q)])
def test_a_result_without_its_effect_is_found(response: Response) -> None:
    """The result of a job is that of an attempt that came to its end."""
    stored = Stored(RERUN_JOB.job, response)
    assert found(replace(RERUN, answers=[]), stored) == {promises.results_have_effects}


def test_a_failure_of_ours_is_found() -> None:
    """The handlers of the harnesses do not fail, so no job may."""
    stored = Stored(RERUN_JOB.job._replace(state=State.FAILED), Response(500))
    records = replace(RERUN, answers=[])
    assert found(records, stored) == {promises.no_failure_of_ours}


def test_a_job_that_is_given_up_too_soon_is_found() -> None:
    """What may be repeated is, until it has crashed five times."""
    job = INTERRUPTED_JOB.job._replace(repeatable=True)
    stored = Stored(job, INTERRUPTED_JOB.response)
    assert found(INTERRUPTED, stored) == {promises.rerun_before_interrupted}


@pytest.mark.parametrize("crashes", [0, 2])
def test_a_crash_that_is_not_counted_or_twice_is_found(crashes: int) -> None:
    """The death of a process that nobody has told to stop is one crash of what ran in it."""
    stored = Stored(RERUN_JOB.job._replace(crashes=crashes), RERUN_JOB.response)
    assert found(RERUN, stored) == {promises.crashes_are_counted}


@pytest.mark.parametrize("crashes", [0, 1])
def test_who_was_told_to_stop_and_is_killed_may_not_have_noticed(crashes: int) -> None:
    """A crash may count or not where a process dies in the moment in which it is told to stop."""
    records = replace(RERUN, signals=[Signalled(P, "term", 1.9), *RERUN.signals])
    assert not found(records, Stored(RERUN_JOB.job._replace(crashes=crashes), RERUN_JOB.response))


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_job_that_is_cancelled_may_have_crashed_before(crashes: int) -> None:
    """Who is cancelled may have been asked to stop while it ran, or as it waited after a crash."""
    job = a_job(State.CANCELLED, version=4, attempt=1, crashes=crashes)
    records = replace(
        RERUN,
        history=RERUN.history[:2],
        effects=RERUN.effects[:1],
        answers=[],
        cancels=[Cancel(ID, 2.4)],
    )
    assert not found(records, Stored(job, Response(410)))


def test_a_job_that_nobody_has_cancelled_is_found() -> None:
    """Who hangs up has not asked for that."""
    job = a_job(State.CANCELLED, version=4, attempt=1, crashes=1)
    records = replace(RERUN, history=RERUN.history[:2], effects=RERUN.effects[:1], answers=[])
    assert found(records, Stored(job, Response(410))) == {promises.cancelled_for_a_client}


def test_a_crash_that_counts_after_the_process_was_told_to_stop_is_found() -> None:
    """Once a process has let the others know that it stops, nobody is to blame for its death."""
    told = [Signalled(P, "term", 1.8), Signalled(P, STOPPING, 1.9)]
    records = replace(RERUN, signals=[*told, *RERUN.signals])
    assert not found(records, GIVEN_BACK_JOB)
    assert found(records, RERUN_JOB) == {promises.crashes_are_counted}


OTHER = "07" * 16


@pytest.mark.parametrize(("crashes", "beside"), [(2, True), (2, False), (1, True)])
def test_suspects_side_by_side_are_found(crashes: int, beside: bool) -> None:
    """Two jobs with two crashes each must not run in one process at the same time."""
    suspects = [
        entry._replace(id=job_id, crashes=most)
        for job_id, most in ((ID, 2), (OTHER, crashes))
        for entry in RERUN.history
    ]
    effects = [
        effect("begin", 2, Q, 3.1),
        effect("end", 2, Q, 3.2),
        effect("begin", 2, Q, 3.15 if beside else 3.25)._replace(id=OTHER),
        effect("end", 2, Q, 3.3)._replace(id=OTHER),
    ]
    is_found = promises.suspects_run_alone in found(
        replace(RERUN, history=suspects, effects=effects), RERUN_JOB
    )
    assert is_found == (crashes == 2 and beside)


@pytest.mark.parametrize(
    ("state", "crashes", "broken"),
    [
        (State.INTERRUPTED, 5, False),
        (State.CANCELLED, 2, False),
        (State.INTERRUPTED, 4, True),
        (State.SUCCEEDED, 5, True),
        (State.QUEUED, 2, True),
    ],
)
def test_a_poison_job_that_is_not_convicted_is_found(
    state: State, crashes: int, broken: bool
) -> None:
    """A job that takes its processes down has to end, for that reason, after five crashes."""
    job = a_job(state, version=9, attempt=5, crashes=crashes)._replace(path="/poison/loop/kill")
    facts = Facts(RERUN, {ID: Stored(job, None)}, "ok")
    assert bool(list(promises.poison_is_convicted(facts))) == broken


@pytest.mark.parametrize(
    ("death", "poison", "broken"),
    [("poison: kill", 2, True), ("poison: kill", 3, False), ("kill all", 2, False)],
)
def test_an_innocent_that_is_lost_is_found(death: str, poison: int, broken: bool) -> None:
    """Only three poison jobs or more, or kills from outside, may take an innocent job along."""
    innocent = a_job(State.INTERRUPTED, version=11, attempt=5, crashes=5)
    stored = {
        str(number): Stored(innocent._replace(path="/poison/thread/exit"), Response(500))
        for number in range(poison)
    }
    stored[ID] = Stored(innocent, Response(500))
    facts = Facts(replace(RERUN, signals=[Signalled(P, death, 2.0)]), stored, "ok")
    assert bool(list(promises.innocents_survive(facts))) == broken


def test_a_damaged_file_is_found() -> None:
    """SQLite's own check must be content."""
    assert found(RERUN, RERUN_JOB, "row 7 missing from index") == {promises.file_is_sound}


def test_a_broken_promise_says_which_and_shows_its_evidence() -> None:
    """People read the sentence that was promised, the job, and what was seen."""
    (broken,) = broken_promises(Facts(RERUN, {ID: RERUN_JOB}, "not ok"))
    assert broken == Broken("The file passes SQLite's integrity check.", "", "not ok")
    assert "not ok" in str(broken)


def test_ledgers_survive_their_writers(tmp_path: Path) -> None:
    """All that any writer has written is read, in the order of time, without a line cut off."""
    ledgers = [Ledger(tmp_path, Signalled, sync=sync) for sync in (True, False)]
    events = [Signalled(pid, "stop", float(pid)) for pid in range(4)]
    ledgers[0].write(events[3], events[1])
    ledgers[1].write(events[2])
    ledgers[1].write(events[0])
    for ledger in ledgers:
        ledger.close()
    with next((tmp_path / "signalled").iterdir()).open("a") as torn:
        torn.write('[7, "st')
    assert read_records(tmp_path) == Records(
        **{kind: [] for kind in ("acks", "answers", "cancels", "effects", "history", "joined")},
        signals=events,
    )
