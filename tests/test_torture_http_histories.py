"""What the HTTP harness makes of an answer in the light of those before: what was surely before it,
and what may have happened at the same time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from asyncjobs.job import State
from asyncjobs.listing import Cursor
from asyncjobs.torture.http_asks import (
    FAILS,
    IN_VAIN,
    ONCE,
    ONCE_KEY,
    OPEN,
    VIEW,
    Answer,
    Ask,
    Exchange,
    Expect,
    Known,
    Sending,
)
from asyncjobs.torture.http_histories import broken_before
from asyncjobs.torture.http_key_promises import (
    another_request_is_refused,
    one_answer_is_no_repeats,
    one_key_one_job,
)
from asyncjobs.torture.http_ledger import Ledger, Life
from asyncjobs.torture.http_limit_promises import (
    EVERYBODY,
    cursors_are_their_owners,
    lists_are_their_owners,
    refused_is_refused,
    the_queue_has_its_limits,
)
from asyncjobs.torture.http_list_promises import nothing_of_others, walks_are_whole
from asyncjobs.torture.http_promises import Left
from asyncjobs.torture.http_steer_promises import cancel_after_is_obeyed, retries_begin_from_an_end
from asyncjobs.torture.http_tag_promises import (
    answers_get_no_older,
    held_until_it_differs,
    one_tag_one_document,
    only_who_has_it_is_told_so,
    who_has_it_is_told_so,
)
from asyncjobs.torture.promises import sentence
from test_torture_http import end

ONE, TWO = "1" * 32, "2" * 32
JOB = Known(ONE, "ann", "POST", "/upload", b"body")
FAILING = Known(ONE, "ann", "POST", FAILS, b"")

Headers = tuple[str, str]


def exchanged(ask: Ask, answer: Answer | None, sent: float = 1.0, arrived: float = 2.0) -> Exchange:
    """A request, with all of its body, and its answer."""
    sending = Sending(kind="", asks=(ask,), bodies=(ask.body,))
    return Exchange(sending, ask, answer, None, sent, arrived if answer is not None else math.inf)


def breaches(*wave: Exchange, ledger: Ledger | None = None) -> list[str]:
    """The sentences that are broken by answers which came in this order."""
    ledger = ledger or Ledger()
    for exchange in wave:
        ledger.asked(exchange)
    broken: list[str] = []
    for exchange in wave:
        broken += [each.promise for each in broken_before(exchange, ledger)]
        ledger.learn(exchange)
    return broken


def accepted(
    job_id: str, *headers: Headers, path: str = "/upload", state: str = "queued"
) -> Answer:
    own = (("location", f"{path}/{job_id}"), about(job_id), ("job-state", state), *headers)
    return Answer(202, own, b'{"TaskId":"%b"}' % job_id.encode())


def about(job_id: str) -> Headers:
    return "link", f'</jobs/{job_id}>; rel="status"'


def polled(state: str, version: int | None = 3, status: int = 200, *headers: Headers) -> Answer:
    tag = () if version is None else (("etag", f'"{ONE}.{version}"'),)
    return Answer(status, (about(ONE), ("job-state", state), *tag, *headers), b"")


SUBMITTED = Ask(
    method="POST",
    path="/upload",
    owner="ann",
    headers=(("Idempotency-Key", "k"),),
    body=b"body",
    expect=Expect.KEYED,
    repeats="k",
)
OTHER = replace(SUBMITTED, body=b"another body")
REPLAYED = ("idempotent-replayed", "true")
REUSED = Answer(
    422,
    (("content-type", "application/problem+json"),),
    b'{"type": "urn:asyncjobs:problem:idempotency-key-reused"}',
)
POLL = Ask(method="GET", path=f"/upload/{ONE}", owner="ann", job=JOB, expect=Expect.OWN)
RETRY = Ask(
    method="POST",
    path=f"/jobs/{ONE}/retry",
    owner="ann",
    job=FAILING,
    expect=Expect.RETRIED,
)


# Keys.


def test_a_key_with_two_jobs_is_a_breach() -> None:
    """The same request with the same key, and another job; a repeat that is told of its job and a
    key that another owner has, is none."""
    first = exchanged(SUBMITTED, accepted(ONE))
    assert sentence(one_key_one_job) in breaches(first, exchanged(SUBMITTED, accepted(TWO)))
    assert not breaches(first, exchanged(SUBMITTED, accepted(ONE, REPLAYED)))
    assert not breaches(first, exchanged(replace(SUBMITTED, owner="ben"), accepted(TWO)))


def test_another_request_with_a_key_is_to_be_refused() -> None:
    """Whether its job is told to another request, or the request itself is refused."""
    first = exchanged(SUBMITTED, accepted(ONE))
    assert sentence(another_request_is_refused) in breaches(
        first, exchanged(OTHER, accepted(ONE, REPLAYED))
    )
    assert sentence(another_request_is_refused) in breaches(first, exchanged(SUBMITTED, REUSED))
    assert sentence(another_request_is_refused) in breaches(exchanged(OTHER, REUSED))
    assert not breaches(first, exchanged(OTHER, REUSED))


def test_a_refusal_may_come_before_the_answer_to_who_was_faster() -> None:
    """Two with one key at the same time: which of them has it is told to them in any order, even if
    whoever has it hears nothing of that."""
    assert not breaches(exchanged(OTHER, REUSED, 1.0, 2.0), exchanged(SUBMITTED, None, 1.5))


def test_two_answers_as_the_maker_of_a_job_are_a_breach() -> None:
    """Each of them says that it is no repeat's."""
    twice = [exchanged(SUBMITTED, accepted(ONE)) for _ in range(2)]
    assert sentence(one_answer_is_no_repeats) in breaches(*twice)


@pytest.mark.parametrize("body", [b"fine", IN_VAIN])
def test_a_key_of_the_route_is_free_again_once_its_job_has_ended_in_vain(body: bytes) -> None:
    """Another job with it is a breach before that; the same job is one after it."""
    headers = ((ONCE_KEY, "k"),)
    ask = replace(SUBMITTED, path=ONCE, headers=headers, body=body, expect=Expect.ACCEPTED)
    known = Known(ONE, "ann", "POST", ONCE, body)
    poll = replace(POLL, path=f"{ONCE}/{ONE}", job=known)
    has_failed = body is IN_VAIN
    wave = [
        exchanged(ask, accepted(ONE, path=ONCE), 1.0, 2.0),
        exchanged(poll, polled("failed" if has_failed else "succeeded"), 3.0, 4.0),
    ]
    anew = exchanged(ask, accepted(TWO, path=ONCE), 5.0, 6.0)
    again = exchanged(ask, accepted(ONE, REPLAYED, path=ONCE, state="failed"), 5.0, 6.0)
    assert (sentence(one_key_one_job) in breaches(*wave, anew)) is not has_failed
    if has_failed:
        assert sentence(one_key_one_job) in breaches(*wave, again)


def after(*wave: Exchange) -> Ledger:
    """What is known after all of these."""
    ledger = Ledger()
    for step in (ledger.asked, ledger.learn):
        for exchange in wave:
            step(exchange)
    return ledger


def test_requests_with_one_key_make_one_job() -> None:
    """However many they are, and one more for each other owner, and for each without a key."""
    repeats = [exchanged(SUBMITTED, answer) for answer in (accepted(ONE), None, None)]
    others = exchanged(replace(SUBMITTED, owner="ben"), None)
    assert after(*repeats).most_jobs({}) == {b"body": 1}
    assert after(*repeats, others).most_jobs({b"body": 3}) == {b"body": 5}


@pytest.mark.parametrize(("body", "most"), [(b"fine", 1), (IN_VAIN, 2)])
def test_requests_with_one_key_of_the_route_make_one_job(body: bytes, most: int) -> None:
    """Unless they may end in vain, or it may have been cancelled."""
    headers = ((ONCE_KEY, "k"),)
    ask = replace(SUBMITTED, path=ONCE, headers=headers, body=body, expect=Expect.ACCEPTED)
    wave = [exchanged(ask, accepted(ONE, path=ONCE)), exchanged(ask, None)]
    assert after(*wave).most_jobs({}) == {body: most}
    cancel = replace(POLL, job=Known(ONE, "ann", "POST", ONCE, b"fine"), method="DELETE")
    assert after(*wave, exchanged(cancel, None)).most_jobs({}) == {body: 2}


def test_what_was_refused_every_time_is_refused() -> None:
    """Not if it may be a job of another request with the same body."""
    assert after(exchanged(OTHER, REUSED)).refused == {b"another body"}
    assert not after(exchanged(OTHER, REUSED), exchanged(OTHER, None)).refused


# Tags.


def conditional(*tags: str) -> Ask:
    return replace(POLL, headers=(("If-None-Match", ", ".join(tags)),))


def test_an_answer_that_is_older_than_one_before_is_a_breach() -> None:
    """Only if that had arrived before the other one was asked for."""
    told = exchanged(POLL, polled("running", 3), 1.0, 2.0)
    assert sentence(answers_get_no_older) in breaches(
        told, exchanged(POLL, polled("running", 2), 2.5, 3.0)
    )
    assert not breaches(told, exchanged(POLL, polled("running", 2), 1.5, 3.0))


def test_a_job_that_comes_back_from_its_end_is_a_breach() -> None:
    """Unless it is retried, by whoever, at any time between the two answers."""
    told = exchanged(replace(POLL, job=FAILING), polled("failed", None, 500), 1.0, 2.0)
    back = exchanged(replace(POLL, job=FAILING), polled("queued", None, 202), 3.0, 4.0)
    assert sentence(answers_get_no_older) in breaches(told, back)
    assert not breaches(told, exchanged(RETRY, None, 3.5), back)
    before = exchanged(RETRY, polled("queued", None), 0.0, 0.5)
    assert sentence(answers_get_no_older) in breaches(before, told, back)


def test_not_modified_is_for_who_has_it_alone() -> None:
    """A 304 to who has said nothing of that tag; a full answer to who has."""
    tag, other = f'"{ONE}.3"', f'"{TWO}.3"'
    modified, full = polled("running", 3, 304), polled("running", 3, 202)
    assert sentence(only_who_has_it_is_told_so) in breaches(exchanged(conditional(other), modified))
    assert sentence(who_has_it_is_told_so) in breaches(exchanged(conditional(other, tag), full))
    assert not breaches(exchanged(conditional(other, f"W/{tag}"), modified))
    assert not breaches(exchanged(conditional(other), full))
    assert not breaches(exchanged(conditional(f"{other} {tag}"), full))  # which is no list


def test_a_failure_is_never_not_modified() -> None:
    """A 304 is for an answer of success."""
    wrong = exchanged(conditional("*"), polled("failed", 3, 304))
    assert sentence(only_who_has_it_is_told_so) in breaches(wrong)


def test_a_tag_with_two_documents_is_a_breach() -> None:
    """At one URL; another one has tags of its own."""
    first = exchanged(POLL, polled("running", 3, 202)._replace(body=b"one"), 1.0, 2.0)
    second = exchanged(POLL, polled("running", 3, 202)._replace(body=b"two"), 1.0, 2.0)
    elsewhere = replace(POLL, path=f"/hand/{ONE}")
    assert sentence(one_tag_one_document) in breaches(first, second)
    assert not breaches(first, second._replace(ask=elsewhere))


@pytest.mark.parametrize(("arrived", "is_wrong"), [(1.5, True), (2.0, False)])
def test_who_waits_for_another_answer_is_told_too_early(arrived: float, is_wrong: bool) -> None:
    """That nothing has changed, before the second is over that was waited for."""
    ask = replace(POLL, headers=(("If-None-Match", f'"{ONE}.3"'), ("Prefer", "wait=1")))
    answer = polled("running", 3, 304, ("preference-applied", "wait=1"))
    broken = breaches(exchanged(ask, answer, 1.0, arrived))
    assert (sentence(held_until_it_differs) in broken) is is_wrong


# Lists.


def page(*ids: str, next: str | None = None) -> Answer:
    entries = [entry(job_id) for job_id in ids]
    link = () if next is None else (("link", f'<{next}>; rel="next"'),)
    body = json.dumps({"jobs": entries, "next": next}).encode()
    return Answer(200, (("cache-control", "no-store"), *link), body)


def entry(job_id: str, **told: object) -> dict[str, object]:
    links = {"self": f"/jobs/{job_id}", "result": f"/jobs/{job_id}/result"}
    empty = dict.fromkeys(["progress", "cancel_at", "started", "finished", "reason", "status"])
    return {
        "id": job_id,
        "state": "queued",
        "route": "upload",
        "attempt": 0,
        "crashes": 0,
        "cancel_requested": False,
        "created": "2026-11-22T09:00:00.000+00:00",
        **empty,
        "links": links,
        **told,
    }


WALK = Ask(method="GET", path="/jobs?limit=1", owner="ann", expect=Expect.PAGE, walk=1)
NEXT = "/jobs?limit=1&cursor=x"
BEHIND = replace(WALK, path=NEXT)


def test_a_walk_that_leaves_out_a_job_is_a_breach() -> None:
    """One that was told of before the walk began; it may be on any of its pages, and whether there
    is one that came meanwhile is not said."""
    told = exchanged(SUBMITTED, accepted(ONE), 1.0, 2.0)
    first = exchanged(WALK, page(TWO, next=NEXT), 3.0, 4.0)
    assert sentence(walks_are_whole) in breaches(told, first, exchanged(BEHIND, page(), 5.0, 6.0))
    assert not breaches(told, first, exchanged(BEHIND, page(ONE), 5.0, 6.0))
    meanwhile = exchanged(SUBMITTED, accepted(ONE), 1.0, 3.5)
    assert not breaches(meanwhile, first, exchanged(BEHIND, page(), 5.0, 6.0))


@pytest.mark.parametrize("state", ["succeeded", "running"])
def test_a_walk_of_those_that_have_succeeded_comes_by_all_of_them(state: str) -> None:
    """Which somebody was told of before: of one that runs it is not known whether it has by now."""
    wave = [
        exchanged(SUBMITTED, accepted(ONE), 1.0, 2.0),
        exchanged(POLL, polled(state, 3), 2.0, 3.0),
        exchanged(replace(WALK, path="/jobs?limit=1&state=succeeded"), page(), 4.0, 5.0),
    ]
    assert (sentence(walks_are_whole) in breaches(*wave)) is (state == "succeeded")


def test_a_walk_that_comes_by_a_job_twice_is_a_breach() -> None:
    """On two of its pages."""
    first = exchanged(WALK, page(ONE, next=NEXT), 3.0, 4.0)
    assert sentence(walks_are_whole) in breaches(first, exchanged(BEHIND, page(ONE), 5.0, 6.0))


def test_what_a_guard_refuses_need_not_be_on_a_walk() -> None:
    """Whose key was not sent; with it, it has to be."""
    ask = replace(SUBMITTED, path="/guarded/upload")
    told = exchanged(ask, accepted(ONE, path="/guarded/upload"), 1.0, 2.0)
    assert not breaches(told, exchanged(WALK, page(), 3.0, 4.0))
    with_key = exchanged(replace(WALK, key=OPEN), page(), 3.0, 4.0)
    assert sentence(walks_are_whole) in breaches(told, with_key)


def test_what_is_somebody_elses_is_a_breach_wherever_it_is_told() -> None:
    """In any answer but an operator's, unless who asks has said it himself."""
    told = exchanged(SUBMITTED, accepted(ONE), 1.0, 2.0)
    ask = replace(WALK, owner="ben", walk=None)
    assert sentence(nothing_of_others) in breaches(told, exchanged(ask, page(ONE), 3.0, 4.0))
    echo = exchanged(replace(ask, path=f"/jobs?{ONE}=1"), Answer(400, (), ONE.encode()), 3.0, 4.0)
    assert not breaches(told, echo)
    seen = exchanged(replace(ask, operator=VIEW), page(ONE), 3.0, 4.0)
    assert sentence(nothing_of_others) not in breaches(told, seen)


# Retries, and what is cancelled.


def test_a_job_that_cannot_have_failed_is_not_retried() -> None:
    """Nor one that is known to have succeeded."""
    retry = replace(RETRY, job=JOB)
    answer = polled("queued", None)._replace(body=json.dumps(entry(ONE)).encode())
    assert sentence(retries_begin_from_an_end) in breaches(exchanged(retry, answer))
    assert not breaches(exchanged(RETRY, answer))
    cancel = exchanged(replace(POLL, method="DELETE"), None, 0.0)
    assert not breaches(cancel, exchanged(retry, answer))


def test_a_retry_is_refused_for_a_reason_alone() -> None:
    """A job that has failed is retried, unless somebody else may have had it retried just then."""
    failed = exchanged(replace(POLL, job=FAILING), polled("failed", None, 500), 1.0, 2.0)
    refused = exchanged(RETRY, Answer(409, (), b""), 3.0, 4.0)
    assert sentence(retries_begin_from_an_end) in breaches(failed, refused)
    assert not breaches(failed, exchanged(RETRY, None, 3.5), refused)


def test_a_cancellation_from_before_the_retry_cancels_nothing_after_it() -> None:
    """Who wants the job of after it to be cancelled has to say so again, or for the first time when
    it is retried just then."""
    life = Life("ann", JOB)
    ledger = Ledger()
    ledger.lives[ONE] = life
    ledger.asked(exchanged(replace(POLL, method="DELETE"), polled("cancelled"), 1.0, 2.0))
    assert life.may_be_cancelled
    ledger.asked(exchanged(RETRY, polled("queued"), 3.0, 4.0))
    assert not life.may_be_cancelled
    ledger.asked(exchanged(replace(POLL, method="DELETE"), None, 0.5))
    assert life.may_be_cancelled


@pytest.mark.parametrize(
    "told",
    [
        {"cancel_at": None},
        {"cancel_at": "2026-11-22T09:00:05.000+00:00"},
        {"state": "succeeded", "finished": "2026-11-22T09:00:01.000+00:00"},
        {"state": "cancelled", "cancel_at": None, "finished": "2026-11-22T09:00:09.000+00:00"},
        {"state": "cancelled", "cancel_at": None, "finished": "2026-11-22T09:00:11.000+00:00"},
    ],
    ids=str,
)
def test_a_time_that_is_not_as_it_was_given_is_a_breach(told: dict[str, object]) -> None:
    """It is not told, it is another one, it is told of a job that has ended, or that is cancelled
    before it, or for another reason."""
    job = JOB._replace(cancel_after=10.0)
    ask = replace(POLL, path=f"/jobs/{ONE}", job=job)
    right = {"cancel_at": "2026-11-22T09:00:10.000+00:00"}

    def answer(**told: object) -> Answer:
        return polled("running", None)._replace(body=json.dumps(entry(ONE, **told)).encode())

    def told_of(**told: object) -> list[str]:
        ledger = Ledger()
        ledger.life(job).asked = datetime(2026, 11, 22, 9, tzinfo=UTC).timestamp()
        return breaches(exchanged(ask, answer(**told)), ledger=ledger)

    assert sentence(cancel_after_is_obeyed) in told_of(**{**right, **told})
    assert not told_of(**right)


# Of the end.


def lefts(*owners: str) -> list[Left]:
    ids: Iterator[str] = iter([ONE, TWO])
    return [
        Left(next(ids), State.SUCCEEDED, b"body", owner, float(number))
        for number, owner in enumerate(owners)
    ]


def test_what_the_store_says_of_a_list_is_a_breach() -> None:
    """A job that is listed to somebody else, or a place that is behind no job of his."""
    stored: Sequence[Left] = lefts("ann", "ben")
    own, others = Cursor(0.0, 1), Cursor(1.0, 1)
    right = replace(end(stored=stored), listed={ONE: {"ann"}}, cursors=[(WALK, str(own))])
    assert not list(lists_are_their_owners(right))
    assert not list(cursors_are_their_owners(right))
    assert list(lists_are_their_owners(replace(right, listed={ONE: {"ann", "ben"}})))
    assert list(cursors_are_their_owners(replace(right, cursors=[(WALK, str(others))])))


def test_a_job_that_was_refused_is_a_breach() -> None:
    """One with the body of a request that was told so, and of no other one."""
    assert list(refused_is_refused(replace(end(stored=lefts("ann")), refused=frozenset({b"body"}))))
    assert not list(refused_is_refused(end(stored=lefts("ann"))))


@pytest.mark.parametrize("whose", ["ann", EVERYBODY])
def test_a_queue_that_is_too_long_is_a_breach(whose: str) -> None:
    """That of an owner, or of all of them."""
    assert list(the_queue_has_its_limits(replace(end(), queued={whose: 100})))
    assert not list(the_queue_has_its_limits(replace(end(), queued={whose: 10})))
    assert not list(the_queue_has_its_limits(replace(end(), queued={None: 40})))
