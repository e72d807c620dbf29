"""The life of a job: what the table of transitions allows, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncjobs import transitions
from asyncjobs.errors import (
    AsyncJobsError,
    ConfigurationError,
    HandlerFailed,
    InvalidTransition,
    JobInterrupted,
    JobTimedOut,
    JobWasCancelled,
)
from asyncjobs.given import is_storable
from asyncjobs.handler import RouteSettings
from asyncjobs.job import (
    FINAL,
    Job,
    Progress,
    Request,
    Response,
    State,
)
from asyncjobs.outcome import Outcome, Raised, Stopped, Unusable, in_words
from asyncjobs.settings import Settings
from asyncjobs.testing import BROKEN, CANCELLED, INTERRUPTED, NOW, a_job
from asyncjobs.transitions import MAX_REASON, TRANSITIONS, Step, next_state
from asyncjobs.verdict import (
    MAX_BACKOFF,
    MAX_CRASHES,
    Verdict,
    backoff,
    cancelled,
    concluded,
    gone,
    is_due,
    never_started,
    orphaned,
)

RANDOM = random.Random(1)
RAISED = Raised(Response(502), "ValueError: no such report")

STEPS: dict[str, Callable[[Job], Job]] = {
    "start": lambda job: transitions.start(job, "worker", NOW),
    "release": lambda job: transitions.release(job, "given back"),
    "rescue": lambda job: transitions.rescue(job, NOW + 1, "its process died"),
    "postpone": lambda job: transitions.postpone(job, NOW + 1, "it raised"),
    "report": lambda job: transitions.report(job, Progress(1, 2)),
    "ask to cancel": lambda job: transitions.ask_to_cancel(job),
    "finish": lambda job: transitions.finish(job, 200, NOW),
    "finish with 500": lambda job: transitions.finish(job, 500, NOW),
    "fail": lambda job: transitions.fail(job, NOW, BROKEN),
    "cancel": lambda job: transitions.cancel(job, NOW, CANCELLED),
    "interrupt": lambda job: transitions.interrupt(job, NOW, INTERRUPTED),
    "give up": lambda job: transitions.give_up(job, NOW, INTERRUPTED),
    "retry": lambda job: transitions.retry(job, NOW),
}

paths = st.lists(st.sampled_from(sorted(STEPS)), max_size=12)


def follow(path: list[str]) -> list[Job]:
    """The jobs along a path, leaving out the steps that are not allowed."""
    jobs = [a_job()]
    for step in path:
        try:
            jobs.append(STEPS[step](jobs[-1]))
        except InvalidTransition:
            continue
    return jobs


@given(paths)
def test_every_step_is_one_version_and_in_the_table(path: list[str]) -> None:
    """Each step adds one to the version and leads where the table says."""
    jobs = follow(path)
    for before, after in pairwise(jobs):
        assert after.version == before.version + 1
        assert after.state in TRANSITIONS[before.state].values()


@given(paths)
def test_what_a_job_was_made_from_never_changes(path: list[str]) -> None:
    """Id, route, path, owner, age and policy are the same for all of a job's life."""

    def fixed(job: Job) -> tuple[object, ...]:
        return (
            *(job.id, job.route, job.path, job.owner, job.created, job.repeatable),
            *(job.program, job.ttl),
        )

    assert len({fixed(job) for job in follow(path)}) == 1


@given(paths)
def test_the_fields_say_what_the_state_says(path: list[str]) -> None:
    """A worker is there while the job runs, and only then; an end is there once it is final."""
    for job in follow(path):
        assert (job.worker is not None) == (job.state is State.RUNNING)
        assert (job.finished is not None) == job.state.is_final
        assert (job.expires is not None) == job.state.is_final
        assert not job.cancel_requested or job.state is State.RUNNING


@given(paths)
def test_an_attempt_has_a_number_of_its_own(path: list[str]) -> None:
    """No two starts of a job have the same number: handlers fence with it."""
    jobs = follow(path)
    starts = [
        after.attempt
        for before, after in pairwise(jobs)
        if before.state is State.QUEUED and after.state is State.RUNNING
    ]
    assert starts == sorted(set(starts))


def test_a_succeeded_job_stays_what_it_is() -> None:
    """There is no way out of success."""
    job = transitions.finish(transitions.start(a_job(), "worker", NOW), 200, NOW)
    for step in STEPS.values():
        with pytest.raises(InvalidTransition):
            step(job)


def test_an_invalid_step_says_what_cannot_be_done() -> None:
    """The error names the state and the step."""
    with pytest.raises(InvalidTransition, match="a job that is queued cannot succeed"):
        transitions.finish(a_job(), 200, NOW)


def test_the_table_knows_every_state_and_every_event() -> None:
    """No state is without a row, every event leads somewhere, and final states are known."""
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Step)
    assert {state for state in State if state.is_final} == set(FINAL)
    assert next_state(State.QUEUED, Step.START) is State.RUNNING


@pytest.mark.parametrize(
    ("status", "state"),
    [(200, "succeeded"), (404, "succeeded"), (499, "succeeded"), (500, "failed"), (503, "failed")],
)
def test_success_is_a_status_below_500(status: int, state: str) -> None:
    """A response below 500 is a success: also a 404 is what the handler wanted to say."""
    assert transitions.finish(transitions.start(a_job(), "worker", NOW), status, NOW).state == state


@pytest.mark.parametrize(
    ("outcome", "repeatable", "state", "status"),
    [
        (Response(200), False, "succeeded", 200),
        (Response(500), True, "failed", 500),
        (Unusable(HandlerFailed("x")), True, "failed", 500),
        (Raised(Response(503), "ValueError: no such report"), True, "failed", 503),
        (Raised(Response(400), "ValueError: no such report"), True, "succeeded", 400),
        (Stopped(JobTimedOut("x")), True, "failed", 504),
        (Stopped(JobWasCancelled("x")), True, "cancelled", 410),
        (Stopped(JobInterrupted("x")), False, "interrupted", 500),
        (Stopped(JobInterrupted("x")), True, "queued", None),
    ],
)
def test_what_an_outcome_makes_of_a_job(
    outcome: Outcome, repeatable: bool, state: str, status: int | None
) -> None:
    """Each outcome has its state and its response; only what may be repeated is queued again. What
    ends is kept for as long as the job itself says."""
    job = transitions.start(a_job(repeatable=repeatable, ttl=60), "worker", NOW)
    ended, response = conclude(job, outcome)
    assert ended.state == state
    assert (response and response.status) == status
    assert ended.expires == (NOW + 60 if ended.state.is_final else None)


@pytest.mark.parametrize(
    "outcome",
    [
        *(Response(500), Unusable(HandlerFailed("x")), Stopped(JobTimedOut("x"))),
        *(Stopped(JobWasCancelled("x")), Stopped(JobInterrupted("x"))),
    ],
)
def test_only_exceptions_are_tried_again(outcome: Outcome) -> None:
    """With retries left too, whatever is no exception of the handler is the job's end."""
    job = transitions.start(a_job(), "worker", NOW)
    assert conclude(job, outcome, retries=9)[0].state.is_final


@given(st.integers(), st.integers(0, 5))
def test_retries(seed: int, retries: int) -> None:
    """A job whose handler raises runs again as often as its route says, and waits in between."""
    rng, job = random.Random(seed), a_job()
    for error in range(1, retries + 1):
        job, response = conclude(
            transitions.start(job, "worker", NOW), RAISED, retries=retries, rng=rng
        )
        assert (job.state, job.errors, job.crashes, response) == (State.QUEUED, error, 0, None)
        assert NOW <= job.due <= NOW + 2 ** (error - 1)
    job, response = conclude(
        transitions.start(job, "worker", NOW), RAISED, retries=retries, rng=rng
    )
    assert (job.state, job.attempt, response) == (State.FAILED, retries + 1, RAISED.answer)


def test_a_cancelled_job_is_not_tried_again() -> None:
    """A job that was to be cancelled when its handler raised, or was stopped, does not go back."""
    job = transitions.ask_to_cancel(transitions.start(a_job(repeatable=True), "worker", NOW))
    for outcome in (
        Raised(Response(500), "ValueError: no such report"),
        Stopped(JobInterrupted("x")),
    ):
        ended, response = conclude(job, outcome, retries=9)
        assert (ended.state, response and response.status) == (State.CANCELLED, 410)


ENDLESS: dict[str, Callable[[Job], Verdict]] = {
    "given back": lambda job: conclude(job, Stopped(JobInterrupted("x")), max_starts=4),
    "raised": lambda job: conclude(job, RAISED, retries=99, max_starts=4),
    "never started": lambda job: never_started(job, NOW, 4),
    "died, not blamed": lambda job: orphan(job, blamed=False, max_starts=4),
    "died": lambda job: orphan(job._replace(crashes=0), max_starts=4),
}


@pytest.mark.parametrize("why", ENDLESS)
def test_no_job_is_started_for_ever(why: str) -> None:
    """A job that comes to no end is started `max_starts` times, whatever the reasons, and is told
    why it is not any more; if an operator has it retried, it has as many starts once more."""
    job = a_job(repeatable=True)
    for earlier in (0, 4):
        for start in range(1, 5):
            job, response = ENDLESS[why](transitions.start(job, "worker", NOW))
            assert job.attempt == earlier + start
            assert (job.state is State.QUEUED) == (start < 4)
        assert response is not None
        if why == "raised":
            assert (job.state, response) == (State.FAILED, RAISED.answer)
        else:
            assert job.state is State.INTERRUPTED
            assert b"was started 4 times" in response.body
        job = transitions.retry(job, NOW)


@given(st.floats(0.01, 100), st.integers(0, 10_000), st.integers())
def test_waits_grow_up_to_a_limit(base: float, times: int, seed: int) -> None:
    """The wait before a rerun is between nothing and the doubled base, and never over the limit."""
    wait = backoff(base, times, random.Random(seed))
    assert 0 <= wait <= min(MAX_BACKOFF, base * 2 ** min(times, 100))


def after_failures(crashes: int, errors: int, random: random.Random) -> Job:
    """A job that failed so often, the last time now."""
    job = a_job(repeatable=True)
    for _ in range(crashes):
        job, _ = orphan(transitions.start(job, "worker", NOW), random)
    for _ in range(errors):
        job, _ = concluded(
            transitions.start(job, "worker", NOW),
            Raised(Response(500), "ValueError: no such report"),
            NOW,
            random,
            retries=99,
            max_starts=99,
        )
    return job


@given(st.integers(0, 4), st.integers(0, 9), st.randoms(use_true_random=False))
def test_when_a_job_is_due(crashes: int, errors: int, random: random.Random) -> None:
    """A job that failed is due once it has waited for as long as it was told to; any other is due
    as soon as it is queued."""
    job = after_failures(crashes, errors, random)
    assert is_due(job, job.due)
    assert is_due(job, NOW) is (job.due <= NOW)
    if job.due > NOW:
        assert not is_due(job, (NOW + job.due) / 2)


@given(st.floats(-1e9, 1e9))
def test_a_job_that_never_failed_is_due(back: float) -> None:
    """A job that is new, was given back or shall be retried waits for no clock, wherever it is."""
    new = a_job()
    given_back = transitions.release(transitions.start(new, "worker", NOW), "given back")
    retried = transitions.retry(
        transitions.fail(
            transitions.start(after_failures(2, 2, random.Random(0)), "worker", NOW), NOW, BROKEN
        ),
        NOW,
    )
    assert all(is_due(job, NOW - back) for job in (new, given_back, retried))


@given(st.integers(0, 4), st.integers(0, 9), st.floats(0, 1e9), st.randoms(use_true_random=False))
def test_a_clock_that_was_set_back_keeps_no_job_waiting(
    crashes: int, errors: int, back: float, random: random.Random
) -> None:
    """However far the clock is set back, a job waits for no longer than the longest wait after the
    failures that it had."""
    job = after_failures(crashes, errors, random)
    longest = max(0.5 * 2 ** (crashes - 1) if crashes else 0, 2 ** (errors - 1) if errors else 0)
    assert is_due(job, NOW - back) or job.due - (NOW - back) <= min(longest, MAX_BACKOFF)


def test_a_job_that_is_given_back_keeps_its_place() -> None:
    """A job that is given back goes before all that were made after it, and its time is a time."""
    job = after_failures(1, 1, random.Random(0))
    assert (
        transitions.release(transitions.start(job, "worker", NOW + 60), "given back").due
        == job.created
    )


def test_cancelling() -> None:
    """A queued job is cancelled at once, and so is one whose process has died; a running one is
    asked to stop."""
    ended, response = cancelled(a_job(), NOW, runs=False)
    assert (ended.state, response and response.status) == (State.CANCELLED, 410)
    asked, response = cancelled(transitions.start(a_job(), "worker", NOW), NOW, runs=True)
    assert (asked.state, asked.cancel_requested, response) == (State.RUNNING, True, None)
    ended, response = cancelled(transitions.start(a_job(), "worker", NOW), NOW, runs=False)
    assert (ended.state, response and response.status) == (State.CANCELLED, 410)


@given(st.integers(), st.booleans())
def test_orphans(seed: int, cancel_requested: bool) -> None:
    """After a crash a job is run again if it may be, with a growing wait, until it has crashed
    its process too often; all others are interrupted, or cancelled if somebody wanted that."""
    rng = random.Random(seed)
    job = a_job(repeatable=True)
    for crash in range(1, MAX_CRASHES + 1):
        job = transitions.start(job, "worker", NOW)
        if cancel_requested:
            assert orphan(transitions.ask_to_cancel(job), rng)[0].state is State.CANCELLED
        job, response = orphan(job, rng)
        if crash < MAX_CRASHES:
            assert (job.state, job.crashes, response) == (State.QUEUED, crash, None)
            assert job.is_suspect == (crash >= 2)
            assert NOW <= job.due <= NOW + 0.5 * 2 ** (crash - 1)
    assert (job.state, job.crashes) == (State.INTERRUPTED, MAX_CRASHES)
    assert response is not None
    assert b"died 5 times under it" in response.body
    once = transitions.start(a_job(repeatable=False), "worker", NOW)
    interrupted, _ = orphan(once, rng)
    assert (interrupted.state, interrupted.crashes) == (State.INTERRUPTED, 1)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_process_that_was_told_to_stop_blames_nobody(repeatable: bool) -> None:
    """If a process was told to stop and then was killed, no crash is counted."""
    job = transitions.start(a_job(repeatable=repeatable, crashes=4), "worker", NOW)
    ended, _ = orphan(job, blamed=False)
    assert ended.state is (State.QUEUED if repeatable else State.INTERRUPTED)
    assert ended.crashes == 4


# Reasons.


@given(paths)
def test_why_a_job_is_where_it_is(path: list[str]) -> None:
    """A job that has ended without success, or was queued again, says why, and keeps that while it
    runs once more; a new one has no reason, nor one that succeeded."""
    for before, after in pairwise(follow(path)):
        if after.state is State.SUCCEEDED:
            assert after.reason is None
        elif after.state is State.RUNNING:
            assert after.reason == before.reason
        else:
            assert after.reason
    assert a_job().reason is None


@given(paths)
def test_a_final_job_has_the_status_of_its_result(path: list[str]) -> None:
    """A job has an HTTP status as long as it is final, and it is a success below 500."""
    for job in follow(path):
        assert (job.status is not None) == job.state.is_final
        assert (job.status == 200) == (job.state is State.SUCCEEDED)


RUNNING = transitions.start(a_job(repeatable=True), "worker", NOW)
ONCE = RUNNING._replace(repeatable=False)


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (lambda: conclude(RUNNING, Response(404)), None),
        (lambda: conclude(RUNNING, Response(503)), "the handler answered 503"),
        (lambda: conclude(RUNNING, RAISED), "ValueError: no such report"),
        (lambda: conclude(RUNNING, RAISED, retries=1), "ValueError: no such report"),
        (lambda: conclude(RUNNING, Raised(Response(404), "NotThere")), None),
        (lambda: conclude(RUNNING, Unusable(HandlerFailed("not JSON"))), "not JSON"),
        (lambda: conclude(RUNNING, Stopped(JobTimedOut("too slow"))), "too slow"),
        (lambda: conclude(RUNNING, Stopped(JobInterrupted("stopped"))), "stopped"),
        (lambda: conclude(ONCE, Stopped(JobInterrupted("stopped"))), "stopped"),
        (lambda: conclude(RUNNING, Stopped(JobWasCancelled("unwanted"))), "unwanted"),
        (lambda: cancelled(a_job(), NOW, runs=False), "the job was cancelled before it started"),
        (lambda: never_started(RUNNING, NOW, 25), "it is not known whether its start was stored"),
        (lambda: orphan(RUNNING), "its process died"),
        (lambda: orphan(RUNNING, blamed=False), "its process ended before it did"),
        (lambda: gone(a_job(), NOW), "the program has no handler 'report' any more"),
    ],
)
def test_the_reason_of_each_verdict(verdict: Callable[[], Verdict], reason: str | None) -> None:
    """Whatever becomes of a job, it says why; and where there is a result, the job has its HTTP
    status, be it the handler's own or that of a problem document."""
    job, response = verdict()
    assert job.reason == reason
    assert job.status == (response and response.status)


@given(st.text(st.characters(), max_size=3000) | st.text("\ud83d\udca5x\0", max_size=2000))
def test_a_reason_can_be_stored(words: str) -> None:
    """Whatever an exception says is a reason of 1 kB at most, which UTF-8 and any column for text
    can hold: it is cut between two characters, and what cannot be held is replaced."""
    reason = transitions.as_reason(words)
    assert len(reason.encode()) <= MAX_REASON
    assert "\0" not in reason
    if "\0" not in words and is_storable(words):
        is_whole = len(words.encode()) <= MAX_REASON
        assert reason == words if is_whole else words.startswith(reason.removesuffix("…"))
        assert is_whole or reason.endswith("…")
        assert is_whole or len(reason.encode()) > MAX_REASON - 4


class Mute(Exception):
    """One whose message cannot be read."""

    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such report"), "ValueError: no such report"),
        (KeyError("x"), "KeyError: 'x'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (Mute(), "Mute: its message cannot be read"),
    ],
)
def test_an_exception_in_words(error: Exception, words: str) -> None:
    """An exception is told by its type and its message, if it has one that can be read."""
    assert in_words(error) == words


def conclude(
    job: Job,
    outcome: Outcome,
    *,
    retries: int = 0,
    max_starts: int = 25,
    rng: random.Random = RANDOM,
) -> Verdict:
    return concluded(job, outcome, NOW, rng, retries=retries, max_starts=max_starts)


def orphan(
    job: Job,
    rng: random.Random = RANDOM,
    *,
    blamed: bool = True,
    max_starts: int = 25,
) -> Verdict:
    return orphaned(job, NOW, rng, blamed=blamed, max_starts=max_starts)


def test_retries_must_fit_into_the_starts() -> None:
    """A route that wants more retries than a job may be started is refused, and told the way."""

    async def perform(request: Request) -> Outcome:
        raise NotImplementedError

    settings = Settings(max_starts=5)
    RouteSettings(retries=4).handler("report", perform, settings, threaded=False)
    with pytest.raises(ConfigurationError, match="'max_starts'"):
        RouteSettings(retries=5).handler("report", perform, settings, threaded=False)


def test_a_job_whose_handler_has_gone() -> None:
    """A queued job that nobody can run any more fails, and says why."""
    failed, response = gone(a_job(), NOW)
    assert (failed.state, response and response.status) == (State.FAILED, 500)
    assert response is not None
    assert b"urn:asyncjobs:problem:handler-gone" in response.body


def all_errors(base: type[AsyncJobsError]) -> list[type[AsyncJobsError]]:
    return [base, *(error for sub in base.__subclasses__() for error in all_errors(sub))]


def test_problems_have_names_of_their_own() -> None:
    """Every error that is sent to clients has a name of its own, which stays its problem's type."""
    sent = [error for error in all_errors(AsyncJobsError) if "name" in vars(error)]
    assert len({error.name for error in sent}) == len(sent)
    assert all(400 <= error.status < 600 and error.title for error in sent)
