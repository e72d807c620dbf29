"""What must be true of all answers, and of the server in the end: plain functions of what was seen.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncjobs.job import State

from .http_asks import (
    FINE,
    MARK,
    ONCE,
    OWNERS,
    SHUT,
    Answer,
    Ask,
    Deliberate,
    Exchange,
    Expect,
    Known,
    mark_of,
    result_ask,
)
from .http_expected import WRONG
from .http_lives import Lives
from .http_problems import is_documented, problem_of
from .http_results import MAKING, NOT_YET, told_of, wrong_in_own, wrong_in_submission
from .http_stream_promises import OF_LIVES, OF_STREAMS, wrong_in_told, wrong_in_watched
from .promises import Breach, Broken, sentence

#: Statuses of a server that does not speak what it was told to: of the protocol, not of the app.
NOT_SPOKEN = frozenset({501, 505})
#: Seconds: who is told to come again later than that waits for what is there already.
LATEST_RETRY = 37  # a quarter more than half a minute, by chance
#: Why what is asked rightly may be refused all the same: another promise says when.
CROWDED = ("quota", "queue-full")
_TRACEBACK = "Traceback (most recent call last)"
_AND_THEN = ("During handling of", "The above exception was")
# What Quart does before an app is asked: with a target that is no path, in HTTP/2 with a query that
# is no text, and with a WebSocket where a preprocessor wants the values of its URL.
_QUARTS_OWN = ("_from_scope\n", "request.query_string.decode()", "in preprocess_websocket\n")
_WEBSOCKET = re.compile(rb"upgrade:\s*websocket", re.IGNORECASE)
# What asyncio says of an exception that nobody was told of, wherever it happens.
_UNHEARD = ("was never retrieved", "was never awaited", "was destroyed but it is pending")


class Left(NamedTuple):
    """A job, as the store has it in the end.

    Attributes:
        body: of its request.
        created: when it was made, as cursors tell it.
        reason: why it has ended as it has.
    """

    id: str
    state: State
    body: bytes
    owner: str | None = None
    created: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class End:
    """What is known when all has been sent.

    Attributes:
        results: of each job that a client was told of, the last answer to its owner.
        cancelled: the jobs that those who may have wanted to be cancelled, or may have.
        retried: those that they wanted to be run once more, or may have.
        unended: jobs of the store that do not come to their end.
        stored: each job of the store.
        sent: the bodies that were sent in full, and how many jobs may be made of each.
        brief: the bodies of requests that gave their jobs a time.
        refused: the bodies of requests that were refused.
        listed: jobs that were in lists of such as are no operators, and whose lists these were.
        cursors: that the list has told, and to whom.
        queued: how many jobs have waited in the queue at a time at most, of each owner.
        workers: of the server.
        held: what a process still waits for although all clients have gone.
        log: of the server.
        deaths: of its processes, in words.
        lives: what clients were told of each job.
    """

    results: Sequence[tuple[Known, Answer | None]]
    cancelled: frozenset[str]
    unended: Sequence[str]
    stored: Sequence[Left]
    sent: Mapping[bytes, int]
    held: Sequence[str]
    log: str
    deaths: Sequence[str]
    retried: frozenset[str] = frozenset()
    brief: frozenset[bytes] = frozenset()
    refused: frozenset[bytes] = frozenset()
    listed: Mapping[str, set[str | None]] = field(default_factory=dict)
    cursors: Sequence[tuple[Ask, str]] = ()
    queued: Mapping[str | None, int] = field(default_factory=dict)
    workers: int = 1
    lives: Lives = field(default_factory=Lives)


def broken_by(exchange: Exchange) -> Iterator[Broken]:
    """What an answer breaks."""
    for promise in OF_ANSWERS:
        for job_id, evidence in promise(exchange):
            yield Broken(sentence(promise), job_id, f"{evidence}\n    {exchange}")


def broken_in_the_end(
    end: End, promises: Sequence[Callable[[End], Iterator[Breach]]]
) -> Iterator[Broken]:
    """What is broken although each answer was right."""
    for promise in promises:
        for job_id, evidence in promise(end):
            yield Broken(sentence(promise), job_id, evidence)


# Of each answer.


def no_server_errors(exchange: Exchange) -> Iterator[Breach]:
    """No answer is a 5xx, but for documented problems and results of handlers that have failed."""
    for answer in _answers(exchange):
        if answer.status < 500 or is_documented(answer):
            continue
        ask = exchange.ask
        job = None if ask is None else ask.job or told_of(ask, answer)
        may_fail = job is not None and (job.fails or (job.path, job.body) == (ONCE, None))
        has_failed = answer.header("job-state") == "failed" and may_fail
        if not has_failed and not _is_the_servers(exchange, answer):
            yield _id(exchange), f"{answer.status}"


def no_tracebacks(exchange: Exchange) -> Iterator[Breach]:
    """No answer has a traceback in it."""
    for answer in _answers(exchange):
        if _TRACEBACK in answer.text or re.search(r'File \\?"[^"]*", line \d', answer.text):
            yield _id(exchange), "a traceback"


def nobody_elses(exchange: Exchange) -> Iterator[Breach]:
    """Nothing of a result is in the hands of anybody but its owner, and of operators who ask for
    it."""
    ask = exchange.ask
    asks = ask.owner if ask is not None else None
    for answer in _answers(exchange):
        for owner in OWNERS:
            is_for = owner == asks or (ask is not None and _may_see(ask, owner))
            if not is_for and mark_of(owner) in answer.text:
                yield _id(exchange), f"{asks} was given what is {owner}'s"


def _may_see(ask: Ask, owner: str | None) -> bool:
    """Whether an operator asks for what is this owner's."""
    of_list = ask.expect is Expect.PAGE
    return ask.is_operators and (of_list or (ask.job is not None and ask.job.owner == owner))


def foreign_is_unknown(exchange: Exchange) -> Iterator[Breach]:
    """A job of somebody else's is answered for as one that never was, to the byte."""
    ask, answer, twin = exchange.ask, exchange.answer, exchange.twin
    if ask is None or ask.expect is not Expect.UNKNOWN:
        return
    if answer is None or twin is None:
        yield _id(exchange), f"no answer, or none to its twin, which was answered {twin}"
    elif _nameless(answer, ask) != _nameless(twin, ask.twin):
        yield _id(exchange), f"an unknown one was answered {twin}"
    elif answer.status < 300 or answer.header("job-state") is not None:
        yield _id(exchange), "both are answered for"


def guards_guard(exchange: Exchange) -> Iterator[Breach]:
    """Whom a guard refuses a route it refuses all URLs of the route's jobs."""
    ask, answer, twin = exchange.ask, exchange.answer, exchange.twin
    if ask is None or ask.expect not in (Expect.SHUT, Expect.NOTHING):
        return
    body = b"" if ask.method == "HEAD" else SHUT.encode()
    if answer is not None and (answer.status, answer.body) == (403, body):
        return
    is_alike = answer and twin and _nameless(answer, ask) == _nameless(twin, ask.twin)
    if ask.expect is Expect.SHUT or not is_alike:
        yield _id(exchange), "the guard has not refused it"


def other_sites_change_nothing(exchange: Exchange) -> Iterator[Breach]:
    """A page of another site cancels and retries no jobs of its users."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or ask.expect is not Expect.CROSS_SITE:
        return
    if answer is None or problem_of(answer) != "cross-site-request":
        yield _id(exchange), "it was not refused"


def well_formed_is_answered(exchange: Exchange) -> Iterator[Breach]:
    """What is asked rightly is answered rightly, whatever others have sent before or meanwhile."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or ask.expect not in _WRONG:
        return
    if answer is None:
        yield _id(exchange), "no answer"
    elif ask.expect not in MAKING or problem_of(answer) not in CROWDED:
        for wrong in _WRONG[ask.expect](ask, answer):
            yield _id(exchange), wrong


def results_are_private(exchange: Exchange) -> Iterator[Breach]:
    """No shared cache is told that it may keep what belongs to an owner."""
    ask = exchange.ask
    owner = None if ask is None else ask.job.owner if ask.job is not None else ask.owner
    if owner is None:
        return
    for answer in _answers(exchange):
        said = (answer.header("cache-control") or "").lower()
        if answer.header("job-state") is not None and ("public" in said or "s-maxage" in said):
            yield _id(exchange), said


def retries_are_soon(exchange: Exchange) -> Iterator[Breach]:
    """Nobody is told to ask again later than in half a minute, and by chance a quarter more."""
    for answer in _answers(exchange):
        for said in answer.all("retry-after"):
            if not (said.isascii() and said.isdigit() and 1 <= int(said) <= LATEST_RETRY):
                yield _id(exchange), said


# Of the end.


def accepted_jobs_end(end: End) -> Iterator[Breach]:
    """Each job that was accepted comes to its end, and its owner has its result."""
    for job, answer in end.results:
        if answer is None or answer.header("job-state") in (None, *NOT_YET):
            yield job.id, f"its owner is answered {answer}"
            continue
        if answer.header("job-state") == "succeeded" and mark_of(job.owner) not in answer.text:
            yield job.id, f"that is no result of its owner's: {answer}"
        for wrong in wrong_in_own(result_ask(job), job, answer):
            yield job.id, f"{wrong}: {answer}"
    for job_id in end.unended:
        yield job_id, "it is not at its end"


def nobody_else_cancels(end: End) -> Iterator[Breach]:
    """A job is cancelled by its owner alone, by who may steer all, or as its client gave it no
    longer; a retry undoes that."""
    for job, answer in end.results:
        is_cancelled = answer is not None and answer.header("job-state") == "cancelled"
        if is_cancelled and job.id not in end.cancelled:
            yield job.id, f"{job.owner} has not cancelled it: {answer}"
    judged = end.cancelled | {job.id for job, _ in end.results}
    for left in end.stored:
        if left.state is not State.CANCELLED or left.id in judged:
            continue
        if left.body not in end.brief or "Cancel-After" not in (left.reason or ""):
            yield left.id, "nobody was told of it, so that nobody has cancelled it"


def told_at_once_is_told_again(end: End) -> Iterator[Breach]:
    """A result that is told in the request which made the job is the one that polls tell, unless it
    was none of success, and the job was run once more."""
    for job, answer in end.results:
        if job.told is None or answer is None or _result(job.told) == _result(answer):
            continue
        if job.id not in end.retried or job.told.header("job-state") == "succeeded":
            yield job.id, f"it was {job.told}, and is {answer}"


def one_job_a_request(end: End) -> Iterator[Breach]:
    """No request makes two jobs, nor do two with one key."""
    times = Counter(left.body for left in end.stored)
    for left in end.stored:
        if left.body and times[left.body] > max(1, end.sent.get(left.body, 0)):
            yield left.id, f"{times[left.body]} jobs have the body {left.body!r}"


def bodies_are_whole(end: End) -> Iterator[Breach]:
    """No job is made of a body that did not arrive in full."""
    for left in end.stored:
        if left.body and left.body not in end.sent:
            yield left.id, f"its body is {left.body!r}"


def nothing_is_held(end: End) -> Iterator[Breach]:
    """Nothing waits for clients that have gone."""
    for held in end.held:
        yield "", held


def log_is_quiet(end: End) -> Iterator[Breach]:
    """Nothing that a client sends has a traceback in the log."""
    for traceback in tracebacks(end.log):
        if Deliberate.__name__ not in traceback and not _is_not_ours(traceback):
            yield "", traceback
    for words in _UNHEARD:
        if words in end.log:
            yield "", f"in the log: {words}"


def server_lives(end: End) -> Iterator[Breach]:
    """No process of the server dies of what it is sent."""
    for death in end.deaths:
        yield "", death


OF_ANSWERS = (
    no_server_errors,
    no_tracebacks,
    nobody_elses,
    foreign_is_unknown,
    guards_guard,
    other_sites_change_nothing,
    well_formed_is_answered,
    results_are_private,
    retries_are_soon,
    *OF_STREAMS,
)
OF_THE_END = (
    accepted_jobs_end,
    nobody_else_cancels,
    told_at_once_is_told_again,
    one_job_a_request,
    bodies_are_whole,
    nothing_is_held,
    log_is_quiet,
    server_lives,
    *OF_LIVES,
)


def tracebacks(log: str) -> Iterator[str]:
    """Each traceback in a server's log, with those of its causes."""
    lines = log.splitlines()
    begun = None
    for number, line in enumerate(lines):
        if begun is None and _TRACEBACK in line:
            begun = number
        elif begun is not None and not line.startswith(" ") and line and _is_last(lines, number):
            yield "\n".join(lines[begun : number + 1])
            begun = None
    if begun is not None:
        yield "\n".join(lines[begun:])


def _is_last(lines: Sequence[str], number: int) -> bool:
    """Whether a line, which is not indented, is the end of a traceback: no other one follows."""
    if _TRACEBACK in lines[number] or lines[number].startswith(_AND_THEN):
        return False
    return not any(line.startswith(_AND_THEN) for line in lines[number + 1 : number + 3])


def _is_not_ours(traceback: str) -> bool:
    """Whether hypercorn, reading what was sent, has not even come to call the app, or Quart has not
    come to make a request of it."""
    of_the_server = not re.search(r'File "[^"]*/(quart|asyncjobs)/', traceback)
    if of_the_server and re.search(r'File "[^"]*/hypercorn/', traceback):
        return True
    return any(words in traceback for words in _QUARTS_OWN)


def _is_the_servers(exchange: Exchange, answer: Answer) -> bool:
    """Whether the app was not asked: a server does not speak so, or Quart made no request of it."""
    ask = exchange.ask
    if answer.status == 500 and ask is None and _WEBSOCKET.search(exchange.sending.wire):
        return True
    if answer.body or answer.header("content-type") is not None:
        return False
    is_odd = ask is None or not ask.path.startswith("/") or not ask.path.isascii()
    return answer.status in NOT_SPOKEN or (answer.status == 500 and is_odd)


def _nameless(answer: Answer, ask: Ask | None) -> Answer:
    """The answer without what is another one for each connection, and for each id."""
    assert ask is not None
    assert ask.job is not None
    own = answer.of_its_own()
    for job_id in (ask.job.id, ask.job.id.upper()):
        headers = tuple((name, value.replace(job_id, "ID")) for name, value in own.headers)
        own = Answer(own.status, headers, own.body.replace(job_id.encode(), b"ID"))
    return own


def _wrong_in_fine(ask: Ask, answer: Answer) -> Iterator[str]:
    if (answer.status, answer.body) != (200, FINE.encode()):
        yield f"that is not {FINE}"


def _wrong_in_own(ask: Ask, answer: Answer) -> Iterator[str]:
    assert ask.job is not None
    if (ask.method, problem_of(answer)) == ("DELETE", "invalid-transition"):
        if answer.status != 409:
            yield "that is no conflict"
    else:
        yield from wrong_in_own(ask, ask.job, answer)


def _wrong_across_sites(ask: Ask, answer: Answer) -> Iterator[str]:
    if answer.status == 404:  # whoever's page it is, the job is its owner's
        yield "a job of the owner's own is unknown"


_WRONG: dict[Expect, Callable[[Ask, Answer], Iterator[str]]] = {
    Expect.FINE: _wrong_in_fine,
    Expect.ACCEPTED: wrong_in_submission,
    Expect.OWN: _wrong_in_own,
    Expect.CROSS_SITE: _wrong_across_sites,
    **WRONG,
    Expect.WATCHED: wrong_in_watched,
    Expect.TOLD: wrong_in_told,
}


def _result(answer: Answer) -> tuple[object, ...]:
    """What is the same whoever asks for a result, and where."""
    told = {name: answer.all(name) for name in ("job-state", "etag", "content-type", "link", MARK)}
    return answer.status, answer.body, told


def _answers(exchange: Exchange) -> Iterator[Answer]:
    return (answer for answer in (exchange.answer, exchange.twin) if answer is not None)


def _id(exchange: Exchange) -> str:
    return "" if exchange.ask is None else exchange.ask.job_id
