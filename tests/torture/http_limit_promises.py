"""What is promised of limits, and of what the store has in the end: plain functions.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

from collections.abc import Iterator

from asyncjobs.listing import Cursor

from .http_asks import MAX_QUEUED, MAX_QUEUED_PER_OWNER, Exchange
from .http_ledger import InLine, Ledger
from .http_problems import is_documented, problem_of
from .http_promises import CROWDED, End
from .promises import Breach

#: In the place of an owner.
EVERYBODY = "everybody"
#: Seconds: who was in a queue before that is so no longer.
_LONG_AGO = 10.0
#: A start is noted a moment after it came to pass.
_ABOUT = 5


def only_a_crowd_is_refused(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Nobody is refused as too much is in the queue, unless it may be; and whoever is, is told when
    to come again."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or (name := problem_of(answer)) not in CROWDED:
        return
    waiting = [each.owner for each in ledger.line if _may_wait(each, exchange, ledger)]
    if name == "quota" and waiting.count(ask.owner) < MAX_QUEUED_PER_OWNER:
        yield "", f"{ask.owner} has {waiting.count(ask.owner)} at most"
    if name == "queue-full" and len(waiting) < MAX_QUEUED:
        yield "", f"there are {len(waiting)} at most"
    if not is_documented(answer) or answer.header("retry-after") is None:
        yield "", f"that is no {name}"


def _may_wait(each: InLine, exchange: Exchange, ledger: Ledger) -> bool:
    """Whether that submission may be in the queue when this one is to be stored."""
    life = ledger.lives.get(each.job_id or "")
    gone = each.refused if life is None else min(life.ended, each.refused)
    return exchange.sent - _LONG_AGO < each.sent < exchange.arrived and gone > exchange.sent


# Of the end.


def the_queue_has_its_limits(end: End) -> Iterator[Breach]:
    """No more jobs are let into the queue than may wait there, of one owner and of all; of several
    processes each may let in as many, and no more."""
    most = {owner: MAX_QUEUED_PER_OWNER for owner in end.queued if owner is not None}
    for owner, limit in {**most, EVERYBODY: MAX_QUEUED}.items():
        if (count := end.queued.get(owner, 0)) > limit * end.workers + _ABOUT:
            yield "", f"of {owner} there were {count}"


def refused_is_refused(end: End) -> Iterator[Breach]:
    """No job is made of a request that was refused."""
    for left in end.stored:
        if left.body in end.refused:
            yield left.id, f"it was made of {left.body!r}, which was refused"


def lists_are_their_owners(end: End) -> Iterator[Breach]:
    """In the list of who is no operator are jobs of his own alone, also such as nobody was told
    of."""
    owners = {left.id: left.owner for left in end.stored}
    for job_id, askers in end.listed.items():
        if others := askers - {owners.get(job_id)}:
            yield job_id, f"it is {owners.get(job_id)}'s, and was listed to {others}"


def cursors_are_their_owners(end: End) -> Iterator[Breach]:
    """A cursor is told to who is no operator behind a job of his own alone."""
    places = {(left.owner, left.created) for left in end.stored}
    for ask, cursor in end.cursors:
        place = Cursor.from_text(cursor)
        if not ask.is_operators and (ask.owner, place.created) not in places:
            yield "", f"{ask.owner} was told of {place} by {ask.path}"


OF_THE_STORE = (
    the_queue_has_its_limits,
    refused_is_refused,
    lists_are_their_owners,
    cursors_are_their_owners,
)
