"""How a stream of events is read by the harness, and what breaks a promise about it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from asyncjobs.torture.http_asks import (
    MAX_WATCHING,
    PREFERS,
    Answer,
    Ask,
    Exchange,
    Expect,
    Known,
    Pairs,
    Reads,
    Sending,
)
from asyncjobs.torture.http_events import blocks_of, events_of, unchunked
from asyncjobs.torture.http_lives import Joined, Lives, NoMore, Said
from asyncjobs.torture.http_promises import End
from asyncjobs.torture.http_stream_promises import (
    OF_LIVES,
    OF_STREAMS,
    ahead_is_of_the_queued,
    ahead_only_shrinks,
    all_say_the_same,
    ends_with_the_end,
    events_are_statuses,
    ids_only_grow,
    no_more_streams_than_may_be,
    opens_with_a_snapshot,
    results_unless_not_preferred,
    states_only_go_forwards,
    versions_only_grow,
    who_has_seen_the_end_is_sent_away,
    who_is_sent_away_has_seen_it,
    wrong_in_told,
    wrong_in_watched,
)

JOB = Known("0" * 32, "ann", "POST", "/steps", b"body")
HEADERS: Pairs = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("x-accel-buffering", "no"),
    ("vary", "Accept"),
    ("cache-control", "no-store"),
    ("link", f'</jobs/{JOB.id}>; rel="status"'),
    ("job-state", "running"),
    ("x-content-type-options", "nosniff"),
)
SENDING = Sending(kind="")


# How it is read.


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_read_as_browsers_read_them(end: bytes) -> None:
    """Fields up to an empty line, one space after the colon taken off; lines of data are one text;
    a comment is no event; and what has not come in full is not there yet."""
    lines = [b"event: status", b"id: 3", b'data: {"state":', b'data:"succeeded"}', b""]
    body = end.join([*lines, b":", b"", b"retry: 5", b"", b"", b"id: 4", b"data: {", b"data: }"])
    event, comment, retry = blocks_of(body)
    assert (event.value("event"), event.version, event.is_final) == ("status", 3, True)
    assert event.document == {"state": "succeeded"}
    assert (comment.fields, retry.fields) == ((("", ""),), (("retry", "5"),))
    assert events_of(body) == [event]


@pytest.mark.parametrize("said", ["", "x", "-1", "\u0663", "1.0"])
def test_an_id_that_is_no_number_is_no_version(said: str) -> None:
    """It is not taken for one."""
    (event,) = events_of(f"id: {said}\ndata: {{}}\n\n".encode())
    assert event.version is None


def test_a_chunked_body_is_read_as_far_as_it_has_come() -> None:
    """Wherever it is cut: nothing is lost, nothing is made up, and the end is known by its mark."""
    raw, body = b"5\r\nab\r\nc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", b"ab\r\nc0123456789abcdef"
    so_far = [unchunked(raw[:length]) for length in range(len(raw) + 1)]
    assert all(body.startswith(part) for part, _ in so_far)
    assert [len(part) for part, _ in so_far] == sorted(len(part) for part, _ in so_far)
    assert so_far[-1] == (body, True)
    assert [is_whole for _, is_whole in so_far].count(True) == len("\r\n\r\n") - 1


# What breaks a promise.


def document(state: str, **others: Any) -> dict[str, Any]:
    links = {"self": f"/jobs/{JOB.id}", "result": f"/jobs/{JOB.id}/result"}
    return {"id": JOB.id, "state": state, "links": links, **others}


def event(version: object, state: str, **others: Any) -> bytes:
    data = json.dumps(document(state, **others))
    return f"event: status\nid: {version}\ndata: {data}\n\n".encode()


QUEUED, RUNNING, END = event(1, "queued", ahead=2), event(2, "running"), event(3, "succeeded")


def watched(
    *parts: bytes,
    is_whole: bool = True,
    state: str = "running",
    seen: str | None = None,
    reads: Reads | None = Reads(),  # noqa: B008 - a value
    status: int = 200,
    expect: Expect = Expect.WATCHED,
) -> Exchange:
    """Somebody has watched `JOB`, and was sent these."""
    told = {"Accept": "text/event-stream"} | ({} if seen is None else {"Last-Event-ID": seen})
    ask = Ask(
        method="GET",
        path=f"/jobs/{JOB.id}",
        owner=JOB.owner,
        headers=tuple(told.items()),
        job=JOB,
        expect=expect,
        reads=reads,
    )
    headers = tuple(("job-state", state) if each[0] == "job-state" else each for each in HEADERS)
    return Exchange(SENDING, ask, Answer(status, headers, b"".join(parts), is_whole))


@pytest.mark.parametrize(
    "exchange",
    [
        watched(RUNNING, END),
        watched(QUEUED, event(1, "queued", ahead=0), b":\n\n", END, state="queued"),
        watched(RUNNING, is_whole=False, reads=Reads(events=1)),
        watched(is_whole=False, reads=Reads(events=0)),
        watched(END, is_whole=False, reads=Reads(events=1)),
        watched(END, seen="2", state="succeeded"),
        watched(END, seen="x", state="succeeded"),
        watched(seen="3", state="succeeded", status=204),
    ],
    ids=str,
)
def test_a_stream_as_it_should_be_breaks_nothing(exchange: Exchange) -> None:
    """From the job as it is to its end, or to where its client has gone."""
    for promise in OF_STREAMS:
        assert list(promise(exchange)) == []


@pytest.mark.parametrize(
    "exchange",
    [
        watched(),
        watched(is_whole=False),
        watched(b":\n\n", RUNNING, END),
        watched(b"retry: 5\n\n", RUNNING, END),
        watched(QUEUED, RUNNING, END),
    ],
    ids=str,
)
def test_a_stream_that_does_not_open_with_the_status_is_a_breach(exchange: Exchange) -> None:
    """One without anything, one that opens with something else, or with what was before."""
    assert list(opens_with_a_snapshot(exchange))


@pytest.mark.parametrize(
    "exchange",
    [
        watched(END, RUNNING),
        watched(RUNNING, RUNNING, END),
        watched(event("", "running"), END),
        watched(event("x", "running"), END),
    ],
    ids=str,
)
def test_ids_that_do_not_grow_are_a_breach(exchange: Exchange) -> None:
    """Those that go back, that come again with the same, or that are no versions."""
    assert list(ids_only_grow(exchange))


@pytest.mark.parametrize(
    "exchange",
    [
        watched(RUNNING),
        watched(RUNNING, END, is_whole=False),
        watched(RUNNING, END, b":\n\n"),
        watched(END, event(4, "succeeded")),
    ],
    ids=str,
)
def test_a_stream_that_does_not_end_with_the_job_is_a_breach(exchange: Exchange) -> None:
    """One that ends before, that does not end, or that goes on."""
    assert list(ends_with_the_end(exchange))


@pytest.mark.parametrize(
    "part",
    [
        event(2, "running", owner="ann"),
        event(2, "running", id="1" * 32),
        event(2, "running", links={"self": f"/jobs/{JOB.id}"}),
        event(2, "at work"),
        b"event: status\nid: 2\ndata: {\n\n",
        b"id: 2\ndata: {}\n\n",
        RUNNING.replace(b"event: status", b"event: other"),
        RUNNING.replace(b"\n\n", b"\nretry: 1\n\n"),
        b"retry: 1\n\n",
    ],
    ids=str,
)
def test_an_event_that_is_no_status_of_the_job_is_a_breach(part: bytes) -> None:
    """That of another job, with what is not for its owner, or in another form."""
    assert list(events_are_statuses(watched(part, END)))


@pytest.mark.parametrize(
    "exchange",
    [
        watched(END, seen="3", state="succeeded"),
        watched(END, seen="4", state="succeeded"),
        watched(status=204, state="succeeded"),
        watched(status=204, state="succeeded", seen="x"),
        watched(status=204, state="running", seen="3"),
    ],
    ids=str,
)
def test_who_is_sent_away_wrongly_or_never_is_a_breach(exchange: Exchange) -> None:
    """Who has seen the end and is told it again, and who has not and is told nothing."""
    assert list(who_has_seen_the_end_is_sent_away(exchange))


@pytest.mark.parametrize(
    "part",
    [
        event(1, "queued"),
        event(1, "queued", ahead=-1),
        event(1, "queued", ahead="2"),
        event(1, "queued", ahead=True),
        event(2, "running", ahead=0),
        event(3, "succeeded", ahead=None),
    ],
    ids=str,
)
def test_ahead_of_what_does_not_wait_is_a_breach(part: bytes) -> None:
    """A job that is queued without it, or with what is no number; and any other with it."""
    assert list(ahead_is_of_the_queued(watched(part, state="queued")))
    assert not list(ahead_is_of_the_queued(watched(event(1, "queued", ahead=None))))


@pytest.mark.parametrize(
    ("exchange", "is_wrong"),
    [
        (watched(RUNNING), False),
        (watched(status=204), True),
        (watched(status=404), True),
        (watched(status=503), True),
    ],
    ids=str,
)
def test_who_watches_is_answered_with_events(exchange: Exchange, is_wrong: bool) -> None:
    """Or that there are no more, without a word of nginx; or, as a problem, too many of them."""
    assert exchange.ask is not None
    assert exchange.answer is not None
    assert bool([*wrong_in_watched(exchange.ask, exchange.answer)]) == is_wrong
    refusal = Answer(503, (("retry-after", "5"),), b'{"type":"urn:x:too-many-watchers"}')
    for wrong in (wrong_in_watched, wrong_in_told):
        assert not [*wrong(exchange.ask, refusal)]
        assert [*wrong(exchange.ask, refusal._replace(headers=()))]


PREFERENCE = Ask(method="POST", path=PREFERS, owner="ann", body=b"x", expect=Expect.ACCEPTED)


@pytest.mark.parametrize(
    ("said", "status", "state", "applied", "is_wrong"),
    [
        (None, 201, "succeeded", None, False),
        (None, 202, "running", None, True),
        (None, 201, "succeeded", "wait=300", True),
        ("respond-async", 202, "running", "respond-async", False),
        ("respond-async", 201, "succeeded", "respond-async", True),
        ("respond-async", 202, "running", None, True),
        ("wait=5", 202, "running", "wait=5", False),
    ],
)
def test_a_result_against_a_preference_is_a_breach(
    said: str | None, status: int, state: str, applied: str | None, is_wrong: bool
) -> None:
    """Where nothing is preferred it is the result, with `respond-async` it is not."""
    headers = () if said is None else (("Prefer", said),)
    ask = Ask(**{**_fields(PREFERENCE), "headers": headers})
    told = () if applied is None else (("preference-applied", applied),)
    answer = Answer(status, (("job-state", state), *told), b"")
    breaches = results_unless_not_preferred(Exchange(SENDING, ask, answer))
    assert bool([*breaches]) == is_wrong


def _fields(ask: Ask) -> dict[str, Any]:
    return {name: getattr(ask, name) for name in Ask.__slots__}


# What breaks one in the end.


def said(
    version: int,
    state: str,
    *,
    at: float = 0.0,
    ahead: Any = ...,
    document: dict[str, Any] | None = None,
) -> Said:
    """Asked for at this time, and told right away."""
    return Said(version, state, document, ahead, at, at + 0.5)


def end(*told: Said, **others: Any) -> End:
    """That of a run in which this was told of one job."""
    lives = Lives(**others)
    lives.said[JOB.id].extend(told)
    return End(
        results=[],
        cancelled=frozenset(),
        unended=[],
        stored=[],
        sent={},
        held=[],
        log="",
        deaths=[],
        lives=lives,
    )


LIFE: Sequence[Said] = (
    said(1, "queued", at=1, ahead=2),
    said(1, "queued", at=2, ahead=1),
    said(2, "running", at=3),
    said(3, "succeeded", at=4),
)


def test_a_life_as_it_should_be_breaks_nothing() -> None:
    """Queued, running, at its end; and who has seen that is told that there is no more."""
    whole = end(*LIFE, no_more=[NoMore(JOB.id, 3, 5)], at_once=[MAX_WATCHING])
    for promise in OF_LIVES:
        assert list(promise(whole)) == []


def test_what_was_before_is_not_told_after() -> None:
    """Unless it was asked for before that had been told."""
    assert list(versions_only_grow(end(*LIFE, said(2, "running", at=5))))
    assert not list(versions_only_grow(end(*LIFE, said(2, "running", at=4.2))))


@pytest.mark.parametrize("states", [["running", "queued"], ["failed", "running"], ["failed"] * 2])
def test_a_life_that_goes_back_is_a_breach(states: Sequence[str]) -> None:
    """Unless somebody had the job retried, whose life begins anew."""
    told = [said(version, state) for version, state in enumerate(states)]
    assert list(states_only_go_forwards(end(*told)))
    is_retry = states[0] == "failed"
    assert bool([*states_only_go_forwards(end(*told, retried={JOB.id}))]) != is_retry


def test_two_that_say_something_else_are_a_breach() -> None:
    """Of one version: another state, or another document; one alone may have none."""
    one, other = {"status": 200}, {"status": None}
    first = said(3, "succeeded", document=one)
    assert list(all_say_the_same(end(first, said(3, "failed"))))
    assert list(all_say_the_same(end(said(3, "succeeded"), first, first._replace(document=other))))
    assert not list(all_say_the_same(end(said(3, "succeeded"), first, said(2, "failed"))))


def test_who_comes_before_a_job_in_line_is_a_breach() -> None:
    """Unless he has come at the same time, and was stored later than somebody has looked."""
    told = said(1, "queued", at=2, ahead=1), said(1, "queued", at=3, ahead=2)
    mine = Joined(JOB.id, 1, 1.5)
    assert list(ahead_only_shrinks(end(*told, joined=[mine])))
    for other, is_before in [(Joined(None, 0.5, math.inf), True), (Joined(None, 1, 1.9), False)]:
        assert bool([*ahead_only_shrinks(end(*told, joined=[mine, other]))]) != is_before
    anew = told[1]._replace(version=4)
    assert not list(ahead_only_shrinks(end(told[0], anew, joined=[mine])))


def test_who_has_not_seen_all_is_not_sent_away() -> None:
    """By what had been told before he came."""
    assert list(who_is_sent_away_has_seen_it(end(*LIFE, no_more=[NoMore(JOB.id, 2, 5)])))
    assert not list(who_is_sent_away_has_seen_it(end(*LIFE, no_more=[NoMore(JOB.id, 2, 4.2)])))


def test_more_streams_than_there_may_be_are_a_breach() -> None:
    """At one time in one process."""
    assert list(no_more_streams_than_may_be(end(at_once=[MAX_WATCHING + 1])))
