"""What is promised of repeated submissions: plain functions of an answer and of what came before.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

from collections.abc import Iterator

from asyncjobs.job import FINAL

from .http_asks import ONCE_KEY, Exchange, Known
from .http_ledger import Ledger, Life, Use, fingerprint_of, scopes_of
from .http_problems import problem_of
from .http_results import REPLAYED, told_of
from .promises import Breach

REUSED = "idempotency-key-reused"
#: States in which a key of the route is free again.
_IN_VAIN = FINAL - {"succeeded"}


def one_key_one_job(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """The same key and the same request are the same job; with a key of the route, until that has
    ended in vain."""
    ask, answer = exchange.ask, exchange.answer
    job = told_of(ask, answer) if ask is not None and answer is not None else None
    if ask is None or job is None:
        return
    for scope in scopes_of(ask):
        use = ledger.keys[scope]
        if scope[0] == "route":
            yield from _wrong_in_route(exchange, ledger, use, job)
        elif others := use.jobs.keys() - {job.id}:
            yield job.id, f"{scope} was that of {others}"


def _wrong_in_route(exchange: Exchange, ledger: Ledger, use: Use, job: Known) -> Iterator[Breach]:
    own = ledger.lives.get(job.id, Life(job.owner, job))
    for other in use.jobs.keys() - {job.id}:
        # Whichever of the two came first.
        lives = own, ledger.lives[other]
        if not any(life.was_ever_in_vain(exchange.arrived) for life in lives):
            yield job.id, f"{other} has the same key, and neither has ended in vain"
    if job.id in use.jobs and own.state_at(exchange) in _IN_VAIN:
        yield job.id, "it had ended in vain, and so was no job for this key any more"


def another_request_is_refused(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Another request with the key of a client's is refused, and no other one is."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None:
        return
    job, is_refused = told_of(ask, answer), problem_of(answer) == REUSED
    for scope in scopes_of(ask):
        use, own = ledger.keys[scope], fingerprint_of(ask)
        if job is not None and scope[0] == "client" and use.jobs.get(job.id, own) != own:
            yield job.id, f"it was made of {use.jobs[job.id]}"
        if not is_refused:
            continue
        if scope[0] == "route":
            yield "", "a key of the route is that of any request"
        elif own in use.jobs.values():
            yield "", f"this very request has made {[*use.jobs]}"
        elif not any(other != own and at < exchange.arrived for other, at in use.sent.items()):
            yield "", "no other request had this key"


def one_answer_is_no_repeats(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Of the submissions that are answered with a job one alone has made it, and all others are
    told so."""
    ask, answer = exchange.ask, exchange.answer
    job = told_of(ask, answer) if ask is not None and answer is not None else None
    if ask is None or answer is None or job is None:
        return
    said = answer.header(REPLAYED)
    life = ledger.lives.get(job.id)
    if said not in (None, "true"):
        yield job.id, f"it is a repeat: {said}"
    elif said is None and life is not None and life.firsts:
        yield job.id, "somebody was told of it as its maker before"
    elif said is not None and not (ask.said("idempotency-key") or ask.said(ONCE_KEY.lower())):
        yield job.id, "nobody has given it a key"


OF_KEYS = (one_key_one_job, another_request_is_refused, one_answer_is_no_repeats)
