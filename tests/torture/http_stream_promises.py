"""What must be true of streams of events, and of what is told of a job along its life.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise, permutations
from typing import TYPE_CHECKING

from asyncjobs.job import FINAL, State

from .http_asks import MAX_WATCHING, PREFERS, Answer, Ask, Exchange, Expect
from .http_events import Block, blocks_of, events_of, is_stream
from .http_lives import Joined, Lives, Said, seen_by, statuses_in
from .http_results import wrong_in_own
from .promises import Breach

if TYPE_CHECKING:
    from .http_promises import End

#: States go from one to the next of these.
_ORDER: Mapping[str, int] = {State.QUEUED: 0, State.RUNNING: 1, **dict.fromkeys(FINAL, 2)}
#: What is said of each stream, and nothing else of these.
_HEADERS = {
    "cache-control": "no-store",
    "vary": "Accept",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}
_FIELDS = ["event", "id", "data"]
_ASYNC = "respond-async"


# Of each answer.


def opens_with_a_snapshot(exchange: Exchange) -> Iterator[Breach]:
    """A stream opens with the status of the job, at once."""
    for ask, answer in _streams(exchange):
        first = next(blocks_of(answer.body), None)
        if first is None:
            if answer.is_whole or ask.reads is None or ask.reads.events > 0:
                yield ask.job_id, "nothing has come"
        elif not first.is_event:
            yield ask.job_id, f"it has opened with {first}"
        elif _rank(_state(first)) < _rank(answer.header("job-state")):
            yield ask.job_id, f"it is older than its headers: {answer.headers}, {first}"


def ids_only_grow(exchange: Exchange) -> Iterator[Breach]:
    """The ids in a stream are versions of the job, and only grow; what has the same one tells that
    others are ahead."""
    for ask, answer in _streams(exchange):
        events = events_of(answer.body)
        for event in events:
            if event.version is None:
                yield ask.job_id, f"that is no version: {event}"
        for one, other in pairwise(events):
            if one.version is None or other.version is None or one.version < other.version:
                continue
            before, after = one.document or {}, other.document or {}
            is_moved = before.get("ahead") != after.get("ahead")
            if one.version > other.version or not is_moved:
                yield ask.job_id, f"{one} was followed by {other}"


def ends_with_the_end(exchange: Exchange) -> Iterator[Breach]:
    """The last event of a stream is the end of the job, and then the stream ends."""
    for ask, answer in _streams(exchange):
        blocks = [*blocks_of(answer.body)]
        ends = [number for number, block in enumerate(blocks) if block.is_final]
        if answer.is_whole and not ends:
            yield ask.job_id, "it has ended, and the job has not"
        if ends and ends[0] < len(blocks) - 1:
            yield ask.job_id, f"it goes on after the end of the job: {blocks[ends[0] + 1]}"
        has_left = ask.reads is not None and len(blocks) >= ask.reads.events
        if ends and not (answer.is_whole or has_left):
            yield ask.job_id, "it has not ended with the job"


def events_are_statuses(exchange: Exchange) -> Iterator[Breach]:
    """Each event is the status document of the job that is watched, as its owner is told it."""
    for ask, answer in _streams(exchange):
        for block in blocks_of(answer.body):
            if not block.is_event:
                if set(block.names) != {""}:
                    yield ask.job_id, f"that is no event, and no comment: {block}"
            elif block.names != _FIELDS or block.value("event") != "status":
                yield ask.job_id, f"that is no event of ours: {block}"
            elif not _is_status_of(ask, block):
                yield ask.job_id, f"that is no status of this job: {block}"


def who_has_seen_the_end_is_sent_away(exchange: Exchange) -> Iterator[Breach]:
    """Who comes back and has seen the end of the job is answered 204, so that it does not come
    again, and nobody else is."""
    ask, answer, seen = exchange.ask, exchange.answer, seen_by(exchange)
    if ask is None or answer is None or ask.expect not in (Expect.WATCHED, Expect.TOLD):
        return
    if answer.status == 204:
        if seen is None or answer.header("job-state") not in FINAL or answer.body:
            yield ask.job_id, f"it was sent away, and has seen {seen}"
    elif is_stream(answer) and seen is not None and ask.method != "HEAD":
        first = next(iter(events_of(answer.body)), None)
        if first is not None and first.is_final and (first.version or 0) <= seen:
            yield ask.job_id, f"it was told what it has seen: {first}"


def ahead_is_of_the_queued(exchange: Exchange) -> Iterator[Breach]:
    """How many are ahead is told of each queued job, and of no other: a number, or null."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.job is None:
        return
    for document in statuses_in(answer):
        ahead = document.get("ahead", ...)
        is_told, is_queued = ahead is not ..., document["state"] == State.QUEUED
        is_number = ahead is None or (type(ahead) is int and ahead >= 0)
        if is_told != is_queued or (is_told and not is_number):
            yield ask.job_id, f"{ahead} are ahead: {document}"


def results_unless_not_preferred(exchange: Exchange) -> Iterator[Breach]:
    """A route that answers with results does so, unless its client would rather not wait; and only
    what a client has preferred is said to be obeyed."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.path != PREFERS or answer.status >= 400:
        return
    if ask.expect is not Expect.ACCEPTED:
        return
    preferences = ask.said("prefer")
    is_result = answer.header("job-state") in FINAL
    applied = answer.header("preference-applied")
    if not preferences and (not is_result or applied is not None):
        yield "", "nothing was preferred, and it is not the result, or says what was"
    if preferences == [_ASYNC] and (is_result or applied != _ASYNC):
        yield "", "its client would rather not have waited"


OF_STREAMS = (
    opens_with_a_snapshot,
    ids_only_grow,
    ends_with_the_end,
    events_are_statuses,
    who_has_seen_the_end_is_sent_away,
    ahead_is_of_the_queued,
    results_unless_not_preferred,
)


# Of the end.


def versions_only_grow(end: End) -> Iterator[Breach]:
    """Nobody is told of a job as it was before what somebody had been told of it already."""
    for job_id, said in end.lives.said.items():
        before = sorted(said, key=lambda each: each.arrived)
        arrivals = [each.arrived for each in before]
        newest = list(accumulate((each.version for each in before), max))
        for each in said:
            count = bisect_left(arrivals, each.sent)
            if count and newest[count - 1] > each.version:
                yield job_id, f"version {newest[count - 1]} was told, and then {each}"


def states_only_go_forwards(end: End) -> Iterator[Breach]:
    """A job is queued, then it runs, then it has ended, and so it stays, unless it is retried."""
    for job_id, said in end.lives.said.items():
        for one, other in pairwise(sorted(said, key=lambda each: each.version)):
            if one.version == other.version:
                continue
            # Its end may be one of the versions in between, of which nobody was told.
            had_ended = one.state in FINAL or other.version > one.version + 1
            is_retried = had_ended and job_id in end.lives.retried
            stays = one.state in FINAL and other.version > one.version
            if not is_retried and (stays or _rank(one.state) > _rank(other.state)):
                yield job_id, f"{one} was followed by {other}"


def all_say_the_same(end: End) -> Iterator[Breach]:
    """Of one version of a job all say the same: each event, each status, each poll."""
    for job_id, said in end.lives.said.items():
        first: dict[int, Said] = {}
        for each in sorted(said, key=lambda each: each.document is None):
            known = first.setdefault(each.version, each)
            is_other = None not in (known.document, each.document) and (
                known.document != each.document
            )
            if known.state != each.state or is_other:
                yield job_id, f"{known}, but {each}"


def ahead_only_shrinks(end: End) -> Iterator[Breach]:
    """Once a job is in the line, nobody comes in before it: no more are ahead of it than before."""
    for joined in end.lives.joined:
        told = [each for each in end.lives.said.get(joined.job_id or "", ()) if _is_placed(each)]
        for before, each in permutations(told, 2):
            more = each.ahead - before.ahead
            is_same = before.version == each.version and before.arrived < each.sent
            if is_same and more > 0 and more > _come_with_it(end.lives, joined, before.sent):
                yield joined.job_id or "", f"{before}, and then {each}"


def who_is_sent_away_has_seen_it(end: End) -> Iterator[Breach]:
    """Who is told that there is nothing more of a job has seen all of it."""
    for job_id, seen, sent in end.lives.no_more:
        for said in end.lives.said.get(job_id, ()):
            if said.arrived < sent and said.version > seen:
                yield job_id, f"it was sent away with {seen}, after {said}"


def no_more_streams_than_may_be(end: End) -> Iterator[Breach]:
    """A process has no more streams open at a time than `max_watching`."""
    for count in end.lives.at_once:
        if count > MAX_WATCHING:
            yield "", f"{count} were open at once"


OF_LIVES = (
    versions_only_grow,
    states_only_go_forwards,
    all_say_the_same,
    ahead_only_shrinks,
    who_is_sent_away_has_seen_it,
    no_more_streams_than_may_be,
)


def counts_of(exchange: Exchange) -> Iterator[str]:
    """What is to be counted of streams, for the figures."""
    for _, answer in _streams(exchange):
        yield "opened"
        if answer.is_whole:
            yield "read to the end"
        yield from ("events" for _ in events_of(answer.body))
    if exchange.answer is not None and exchange.answer.status == 204:
        yield "no more"
    if exchange.answer is not None and is_refusal(exchange.answer):
        yield "refused"


def wrong_in_watched(ask: Ask, answer: Answer) -> Iterator[str]:
    """What is wrong with the answer to who watches his own job."""
    if is_refusal(answer):
        if answer.header("retry-after") is None:
            yield "nothing tells when to come back"
        return
    if not (is_stream(answer) or answer.status == 204):
        yield "that is no stream of events"
        return
    told = _HEADERS if answer.status == 200 else {**_HEADERS, "x-accel-buffering": None}
    for name, value in told.items():
        if answer.all(name) != ([] if value is None else [value]):
            yield f"its {name} is not {value}"
    assert ask.job is not None
    if f'</jobs/{ask.job.id}>; rel="status"' not in answer.all("link"):
        yield "its status is not told where it is"
    if answer.header("job-state") not in [*State] or answer.header("etag") is not None:
        yield "its state is not told, or that it may be kept"
    if answer.body and (answer.status == 204 or ask.method == "HEAD"):
        yield "it has a body"


def wrong_in_told(ask: Ask, answer: Answer) -> Iterator[str]:
    """The same where the client has not said clearly that it wants events."""
    if is_stream(answer) or answer.status == 204 or is_refusal(answer):
        yield from wrong_in_watched(ask, answer)
    else:
        assert ask.job is not None
        yield from wrong_in_own(ask, ask.job, answer)


def is_refusal(answer: Answer) -> bool:
    """Whether there are as many streams as there may be."""
    document = answer.json() if answer.status == 503 else None
    return isinstance(document, dict) and str(document.get("type")).endswith(":too-many-watchers")


def _streams(exchange: Exchange) -> Iterator[tuple[Ask, Answer]]:
    """The stream that somebody has opened of his own job, if it is one."""
    ask, answer = exchange.ask, exchange.answer
    if ask is not None and answer is not None and ask.method != "HEAD" and is_stream(answer):
        yield ask, answer


def _is_status_of(ask: Ask, event: Block) -> bool:
    document, job = event.document, ask.job
    if document is None or job is None:
        return False
    links = {"self": f"/jobs/{job.id}", "result": f"/jobs/{job.id}/result"}
    is_own = ask.owner == job.owner
    told = document.get("id"), document.get("links"), "owner" in document
    return told == (job.id, links, not is_own) and document.get("state") in [*State]


def _state(event: Block) -> object:
    return (event.document or {}).get("state")


def _rank(state: object) -> int:
    """How far a job has come."""
    return _ORDER.get(str(state), -1)


def _is_placed(said: Said) -> bool:
    return type(said.ahead) is int


def _come_with_it(lives: Lives, joined: Joined, looked: float) -> int:
    """How many may be before a job in the line, and have come to be seen there after somebody had
    looked: they were sent before the job was told of, and answered after that look."""
    return sum(each.sent < joined.arrived and each.arrived > looked for each in lives.joined)
