"""Whatever is sent to a server, it lives and lets nothing out; and if it did not, the harness would
find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from asyncjobs.job import State
from asyncjobs.torture.http import Plan, torture
from asyncjobs.torture.http_asks import Answer, Ask, Exchange, Expect, Known, Sending
from asyncjobs.torture.http_bugs import HTTP_BUGS
from asyncjobs.torture.http_key_promises import (
    another_request_is_refused,
    one_answer_is_no_repeats,
    one_key_one_job,
)
from asyncjobs.torture.http_kinds import KINDS
from asyncjobs.torture.http_limit_promises import (
    cursors_are_their_owners,
    only_a_crowd_is_refused,
    refused_is_refused,
    the_queue_has_its_limits,
)
from asyncjobs.torture.http_list_promises import (
    entries_are_documents,
    guarded_jobs_are_in_no_list,
    no_list_is_nothing,
    nothing_of_others,
    pages_are_as_asked,
    walks_are_whole,
)
from asyncjobs.torture.http_promises import (
    End,
    Left,
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
    one_job_a_request,
    other_sites_change_nothing,
    results_are_private,
    retries_are_soon,
    server_lives,
    told_at_once_is_told_again,
    tracebacks,
    well_formed_is_answered,
)
from asyncjobs.torture.http_results import result_of
from asyncjobs.torture.http_steer_promises import (
    cancel_after_is_obeyed,
    retries_begin_from_an_end,
    viewers_steer_nothing,
)
from asyncjobs.torture.http_stream_promises import (
    ahead_is_of_the_queued,
    ahead_only_shrinks,
    all_say_the_same,
    ends_with_the_end,
    events_are_statuses,
    ids_only_grow,
    no_more_streams_than_may_be,
    opens_with_a_snapshot,
    results_unless_not_preferred,
    versions_only_grow,
    who_has_seen_the_end_is_sent_away,
    who_is_sent_away_has_seen_it,
)
from asyncjobs.torture.http_tag_promises import (
    answers_get_no_older,
    held_until_it_differs,
    one_tag_one_document,
    only_who_has_it_is_told_so,
    who_has_it_is_told_so,
)
from asyncjobs.torture.promises import sentence

#: What is sent follows from it, and from what is answered.
SEED = 4
#: So often a server with a bug is attacked, until that is found: nearly all are the first time.
LIVES = 4
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
    "told-anothers-result": {nobody_elses, well_formed_is_answered, told_at_once_is_told_again},
    "told-to-be-kept": {well_formed_is_answered},
    "told-without-place": {well_formed_is_answered},
    "job-made-again-by-wait": {one_job_a_request},
    "hang-up-cancels": {nobody_else_cancels},
    "submitter-is-not-heard": {nothing_is_held},
    "junk-preference-refused": {well_formed_is_answered},
    "key-forgotten": {one_key_one_job},
    "key-noted-too-late": {one_job_a_request},
    "key-of-route-for-good": {one_key_one_job},
    "key-for-any-request": {another_request_is_refused},
    "key-of-anybody": {nothing_of_others},
    "repeats-are-not-told": {one_answer_is_no_repeats},
    "refused-and-made": {refused_is_refused},
    "failures-not-modified": {only_who_has_it_is_told_so},
    "any-tag-not-modified": {only_who_has_it_is_told_so},
    "weak-tags-are-none": {who_has_it_is_told_so},
    "tag-of-the-state": {one_tag_one_document},
    "status-of-before": {answers_get_no_older},
    "not-held": {held_until_it_differs},
    "list-of-everybody": {nothing_of_others},
    "list-of-nobody": {no_list_is_nothing},
    "cursor-behind-others": {cursors_are_their_owners},
    "list-in-any-state": {pages_are_as_asked},
    "list-too-long": {pages_are_as_asked},
    "page-without-its-last": {walks_are_whole},
    "page-begins-too-early": {walks_are_whole},
    "list-without-reasons": {entries_are_documents},
    "list-unguarded": {guarded_jobs_are_in_no_list},
    "owners-told-to-owners": {entries_are_documents},
    "owners-not-told": {entries_are_documents},
    "viewers-steer": {viewers_steer_nothing},
    "everybody-views": {foreign_is_unknown},
    "refused-and-cancelled": {nobody_else_cancels},
    "success-is-retried": {retries_begin_from_an_end},
    "cancelled-is-not-retried": {retries_begin_from_an_end},
    "retried-as-it-was": {retries_begin_from_an_end},
    "cancelled-early": {cancel_after_is_obeyed},
    "cancel-after-forgotten": {cancel_after_is_obeyed},
    "overdue-is-started": {cancel_after_is_obeyed},
    "headers-of-any-size": {well_formed_is_answered},
    "queue-without-end": {the_queue_has_its_limits},
    "queue-full-early": {only_a_crowd_is_refused},
    "cursor-raises": {no_server_errors},
    # Of streams, of the line, and of results that are preferred.
    "watched-by-anyone": {foreign_is_unknown},
    "stream-without-snapshot": {opens_with_a_snapshot},
    "stream-without-the-end": {ends_with_the_end, opens_with_a_snapshot},
    "stream-goes-on": {ends_with_the_end},
    "ids-are-no-versions": {ids_only_grow},
    "end-is-told-otherwise": {all_say_the_same},
    "events-of-other-jobs": {events_are_statuses},
    "owner-is-told": {events_are_statuses},
    "none-ahead-of-the-running": {ahead_is_of_the_queued},
    "all-are-ahead": {ahead_only_shrinks},
    "never-sent-away": {who_has_seen_the_end_is_sent_away},
    "sent-away-too-early": {who_has_seen_the_end_is_sent_away, who_is_sent_away_has_seen_it},
    "events-for-all": {well_formed_is_answered},
    "cut-stream-in-log": {log_is_quiet},
    "watchers-are-kept": {nothing_is_held},
    "watcher-cancels": {nobody_else_cancels},
    "watchers-without-end": {no_more_streams_than_may_be},
    "told-of-the-past": {versions_only_grow, all_say_the_same},
    "nobody-waits": {results_unless_not_preferred},
    "all-wait": {results_unless_not_preferred},
    "told-and-forgotten": {accepted_jobs_end, well_formed_is_answered},
}


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_attack_breaks_no_promise(workers: int, tmp_path: Path) -> None:
    """Hundreds of requests that are malformed, torn, somebody else's, or as they should be."""
    report = await torture(Plan(requests=600, workers=[workers]), tmp_path, Random(SEED))
    assert not report.broken, "\n".join(map(str, report.broken))
    assert report.requests >= 600
    assert report.kinds.keys() >= KINDS.keys()
    assert report.states["succeeded"]
    assert report.at_once
    assert report.streams.keys() >= {"opened", "read to the end", "no more", "refused"}


@pytest.mark.parametrize("bug", sorted(HTTP_BUGS))
async def test_the_harness_finds_a_planted_bug(bug: str, tmp_path: Path) -> None:
    """With a bug of the kind that it is there to find, it finds a promise broken that says so."""
    sought = set(map(sentence, FOUND[bug]))
    plan = Plan(requests=LIVES * 900, workers=LIVES * [0], bug=bug, sought=sought)
    report = await torture(plan, tmp_path, Random(SEED))
    assert {broken.promise for broken in report.broken} & sought


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
    answer: Answer | None = None,
    *,
    job: Known = JOB,
    cancelled: frozenset[str] = frozenset(),
    stored: Sequence[Left] = (),
    sent: Mapping[bytes, int] | None = None,
) -> End:
    """That of a run with one job, of which its owner was told `answer` last."""
    return End(
        results=[(job, answer)],
        cancelled=cancelled,
        unended=[],
        stored=stored,
        sent=sent or {},
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


def test_a_job_that_nobody_knew_and_is_cancelled_is_a_breach() -> None:
    """Who hangs up before he is told of his job has not cancelled it."""
    left = Left("1" * 32, State.CANCELLED, b"")
    assert list(nobody_else_cancels(end(stored=[left])))
    assert not list(nobody_else_cancels(end(stored=[left], cancelled=frozenset({left.id}))))
    assert not list(nobody_else_cancels(end(stored=[left._replace(state=State.SUCCEEDED)])))


@pytest.mark.parametrize(
    "told",
    [
        result()._replace(status=200),
        result()._replace(body=b"another body"),
        result()._replace(headers=(*result().headers, ("etag", '"2"'))),
    ],
    ids=str,
)
def test_a_result_that_is_told_in_two_ways_is_a_breach(told: Answer) -> None:
    """By the request that made the job, and by the polls that came after."""
    assert list(told_at_once_is_told_again(end(result(), job=JOB._replace(told=told))))
    for once in (None, result()):
        assert not list(told_at_once_is_told_again(end(result(), job=JOB._replace(told=once))))


def test_a_request_that_made_two_jobs_is_a_breach() -> None:
    """Two jobs with a body that was sent once."""
    jobs = [Left(digit * 32, State.SUCCEEDED, b"body") for digit in "12"]
    assert list(one_job_a_request(end(stored=jobs, sent={b"body": 1})))
    assert not list(one_job_a_request(end(stored=jobs, sent={b"body": 2})))
    assert not list(one_job_a_request(end(stored=[job._replace(body=b"") for job in jobs])))


SUBMISSION = Ask(
    method="POST",
    path="/upload",
    owner="ann",
    headers=(("Prefer", "wait=5"),),
    body=b"body",
    expect=Expect.ACCEPTED,
)
TOLD = (("content-location", f"/upload/{JOB.id}"), ("preference-applied", "wait=5"))
AT_ONCE = result()._replace(headers=(*result().headers, *TOLD, ("cache-control", "no-store")))


@pytest.mark.parametrize(
    "answer",
    [
        AT_ONCE._replace(status=200),
        AT_ONCE._replace(body=result(JOB._replace(owner="ben")).body),
        AT_ONCE._replace(headers=(*result().headers, *TOLD, ("cache-control", "max-age=60"))),
        AT_ONCE._replace(headers=(*result().headers, TOLD[1], ("cache-control", "no-store"))),
        AT_ONCE._replace(headers=(*result().headers, TOLD[0], ("cache-control", "no-store"))),
    ],
    ids=["status", "body", "to be kept", "no place", "no preference"],
)
def test_a_result_that_is_told_at_once_and_wrongly_is_a_breach(answer: Answer) -> None:
    """One with another status or body, that caches may keep, or that does not say where it is told
    again, or that it was waited for."""
    sending = Sending(kind="", asks=(SUBMISSION,))
    assert not list(well_formed_is_answered(Exchange(sending, SUBMISSION, AT_ONCE)))
    assert list(well_formed_is_answered(Exchange(sending, SUBMISSION, answer)))


def test_a_traceback_is_told_with_its_causes() -> None:
    """What was raised while something else was handled is one traceback, the next is another."""
    cause = "Traceback (most recent call last):\n  File x\nValueError: 1"
    whole = (
        f"{cause}\n\nDuring handling of the above exception, another exception occurred:\n\n{cause}"
    )
    assert list(tracebacks(f"first\n{whole}\nthen\n{cause}\nlast")) == [whole, cause]
