"""Whatever is sent to a server, it lives and lets nothing out; and if it did not, the harness would
find it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from asyncjobs.torture.http import Plan, torture
from asyncjobs.torture.http_asks import Answer, Known
from asyncjobs.torture.http_attacks import KINDS
from asyncjobs.torture.http_bugs import HTTP_BUGS
from asyncjobs.torture.http_promises import (
    End,
    accepted_jobs_end,
    bodies_are_whole,
    foreign_is_unknown,
    guards_guard,
    log_is_quiet,
    no_server_errors,
    no_tracebacks,
    nobody_else_cancels,
    nobody_elses,
    nothing_is_held,
    other_sites_change_nothing,
    results_are_private,
    retries_are_soon,
    server_lives,
    tracebacks,
    well_formed_is_answered,
)
from asyncjobs.torture.http_results import result_of
from asyncjobs.torture.promises import sentence

#: One of these is found broken of each bug.
FOUND = {
    "status-for-anyone": {foreign_is_unknown},
    "result-for-anyone": {nobody_elses, foreign_is_unknown},
    "cancel-for-anyone": {foreign_is_unknown},
    "foreign-has-own-body": {foreign_is_unknown},
    "foreign-has-own-header": {foreign_is_unknown},
    "unguarded-status": {guards_guard},
    "unguarded-result": {guards_guard},
    "unguarded-if-preferred": {guards_guard},
    "unguarded-head": {guards_guard},
    "unguarded-cancel": {guards_guard},
    "unguarded-options": {guards_guard},
    "guards-are-asked-once": {guards_guard},
    "guards-see-matched-endpoint": {guards_guard},
    "guards-see-matched-arguments": {guards_guard},
    "guards-see-matched-team": {guards_guard},
    "guards-see-no-defaults": {guards_guard},
    "shared-results": {nobody_elses, foreign_is_unknown, guards_guard},
    "results-for-all-caches": {results_are_private},
    "other-sites-cancel": {other_sites_change_nothing},
    "origin-raises": {no_server_errors},
    "preference-raises": {no_server_errors},
    "traceback-in-body": {no_tracebacks},
    "traceback-in-log": {log_is_quiet},
    "dies-of-a-header": {server_lives},
    "half-a-body": {bodies_are_whole},
    "wait-for-nobody": {nothing_is_held},
    # Of a job that is not found, nobody knows which guards to ask.
    "forgets-jobs": {well_formed_is_answered, accepted_jobs_end, guards_guard},
    "results-are-cut": {well_formed_is_answered, accepted_jobs_end},
    "location-unresolved": {well_formed_is_answered, accepted_jobs_end},
    "state-of-the-handlers": {well_formed_is_answered, accepted_jobs_end},
    "retry-in-an-hour": {retries_are_soon},
}


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_attack_breaks_no_promise(workers: int, tmp_path: Path) -> None:
    """Hundreds of requests that are malformed, torn, somebody else's, or as they should be."""
    report = await torture(Plan(requests=400, workers=[workers]), tmp_path, Random(12))
    assert not report.broken, "\n".join(map(str, report.broken))
    assert report.requests >= 400
    assert report.kinds.keys() >= KINDS.keys()
    assert report.states["succeeded"]


@pytest.mark.parametrize("bug", sorted(HTTP_BUGS))
async def test_the_harness_finds_a_planted_bug(bug: str, tmp_path: Path) -> None:
    """With a bug of the kind that it is there to find, it finds a promise broken that says so."""
    report = await torture(Plan(requests=500, workers=[0], bug=bug), tmp_path, Random(12))
    assert {broken.promise for broken in report.broken} & set(map(sentence, FOUND[bug]))


JOB = Known("0" * 32, "ann", "POST", "/upload", b"body")
FAILING = JOB._replace(path="/fails")


LINK = ("link", f'</jobs/{JOB.id}>; rel="status"')


def answered(state: str, status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("job-state", state), LINK, *headers), body)


def result(job: Known = JOB) -> Answer:
    """That which `job` must have."""
    status, body, said = result_of(job) or (0, b"", {})
    return answered("succeeded", status, body, *said.items())


def end(
    answer: Answer | None = None, *, job: Known = JOB, cancelled: frozenset[str] = frozenset()
) -> End:
    """That of a run with one job, of which its owner was told `answer` last."""
    return End(
        results=[(job, answer)],
        cancelled=cancelled,
        unended=[],
        stored=[],
        sent=frozenset(),
        held=[],
        log="",
        deaths=[],
    )


@pytest.mark.parametrize(
    "answer",
    [
        None,
        answered("running"),
        Answer(404, (), b""),
        result(JOB._replace(owner="ben")),
        result(JOB._replace(path="/missing")),
        result()._replace(body=result().body[:-1]),
        result()._replace(headers=(*result().headers, ("job-state", "running"))),
        result()._replace(headers=(*result().headers, ("location", "made"))),
        answered("failed", 500),
    ],
    ids=str,
)
def test_a_job_without_its_result_is_a_breach(answer: Answer | None) -> None:
    """A job that does not end, that its owner cannot find, with a result that is not his, that is
    not what the handler has answered, or with none although its handler does not fail."""
    assert list(accepted_jobs_end(end(answer)))


def test_a_result_is_no_breach() -> None:
    """A job that has ended with its owner's result, or with none as it has failed."""
    assert not list(accepted_jobs_end(end(result())))
    assert not list(accepted_jobs_end(end(answered("failed", 500), job=FAILING)))


def test_a_job_that_its_owner_has_not_cancelled_is_a_breach() -> None:
    """A job that was cancelled although its owner has not asked for that; no other one."""
    assert list(nobody_else_cancels(end(answered("cancelled"))))
    assert not list(nobody_else_cancels(end(answered("cancelled"), cancelled=frozenset({JOB.id}))))


def test_a_traceback_is_told_with_its_causes() -> None:
    """What was raised while something else was handled is one traceback, the next is another."""
    cause = "Traceback (most recent call last):\n  File x\nValueError: 1"
    whole = (
        f"{cause}\n\nDuring handling of the above exception, another exception occurred:\n\n{cause}"
    )
    assert list(tracebacks(f"first\n{whole}\nthen\n{cause}\nlast")) == [whole, cause]
