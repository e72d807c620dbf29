"""What is promised of cancelling, of retrying, and of who may: plain functions of an answer and of
what came before.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncjobs.job import FINAL

from .http_asks import ENDLESS, VIEW, Exchange, Expect
from .http_ledger import Ledger, Life
from .http_list_promises import FIELDS, documents_in
from .http_problems import problem_of
from .promises import Breach

#: Times are told in milliseconds: so much may two of them be off.
_ROUNDED = timedelta(milliseconds=2)
#: From these a job can be run once more.
_RETRIABLE = frozenset({"failed", "cancelled", "interrupted"})


def viewers_steer_nothing(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """An operator who may look, and no more, cancels and retries no job of anybody else's."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.job is None or ask.operator != VIEW:
        return
    is_change = ask.method in ("DELETE", "POST")
    if is_change and ask.owner != ask.job.owner and problem_of(answer) != "view-only":
        yield ask.job.id, "that was not refused"


def retries_begin_from_an_end(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """A job is run once more from a final state alone in which it has not succeeded, and from any
    such; it is the same job then."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.job is None or ask.expect is not Expect.RETRIED:
        return
    life = ledger.life(ask.job)
    surely = life.state_at(exchange, is_retry=True)
    if answer.status == 200 and not _may_be_in_vain(life, exchange):
        yield ask.job.id, "it can have come to no end but success"
    if answer.status == 200 and surely == "succeeded":
        yield ask.job.id, "it had succeeded"
    if answer.status == 409 and surely in _RETRIABLE:
        yield ask.job.id, f"it had {surely}, and nobody else has had it retried"
    document = answer.json()
    if answer.status == 200 and isinstance(document, dict):
        told = document.get("id"), document.get("state"), document.get("cancel_requested")
        if told != (ask.job.id, "queued", False):
            yield ask.job.id, f"it is not in the queue, but {told}"
        for name in ("cancel_at", "started", "finished", "status"):
            if document.get(name) is not None:
                yield ask.job.id, f"{name} is {document.get(name)}, of before"


def _may_be_in_vain(life: Life, exchange: Exchange) -> bool:
    if life.job is not None and life.job.body is not None and life.job.path == ENDLESS:
        return any(deed.sent < exchange.arrived for deed in life.cancels) or (
            life.job.cancel_after is not None
        )
    return life.was_ever_in_vain(exchange.arrived)


def cancel_after_is_obeyed(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Cancel-After is told as it was given, cancels no job before, and starts none whose time was
    over when it came; nobody else's job has one."""
    for document, _ in documents_in(exchange):
        life = ledger.lives.get(str(document.get("id")))
        if not FIELDS.keys() <= document.keys():
            continue  # another promise is about that
        if life is not None and life.job is not None and life.job.body is not None:
            for wrong in _wrong_in_times(document, life):
                yield life.job.id, f"{wrong}: {document}"


def _wrong_in_times(document: dict[str, Any], life: Life) -> Iterator[str]:
    assert life.job is not None
    given, told = life.job.cancel_after, document["cancel_at"]
    if life.retries:
        return  # it has none any more, or still has: another promise is about the answer to that
    if given is None:
        if told is not None:
            yield "it has no limit"
        return
    least = datetime.fromtimestamp(life.asked, UTC) + timedelta(seconds=given) - _ROUNDED
    most = datetime.fromisoformat(document["created"]) + timedelta(seconds=given) + _ROUNDED
    if (told is None) is not (document["state"] in FINAL):
        yield "what has ended has no limit any more, and what has not ended has its own"
    elif told is not None and not least <= datetime.fromisoformat(told) <= most:
        yield f"its client has given it {given} s: {least} to {most}"
    if document["state"] == "cancelled" and not life.cancels:
        yield from _wrong_in_cancelled(document, least)
    if given == 0 and (document["attempt"] or document["state"] not in ("queued", "cancelled")):
        yield "it was started"


def _wrong_in_cancelled(document: dict[str, Any], least: datetime) -> Iterator[str]:
    if datetime.fromisoformat(document["finished"]) < least:
        yield "it was cancelled before its time was over"
    if "Cancel-After" not in (document["reason"] or ""):
        yield "nothing tells why it was cancelled"


OF_STEERING = (viewers_steer_nothing, retries_begin_from_an_end, cancel_after_is_obeyed)
