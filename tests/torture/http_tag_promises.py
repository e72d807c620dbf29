"""What is promised of tags: plain functions of an answer and of what came before.

Each is a generator of breaches; its docstring is the sentence that was promised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .http_asks import Ask, Exchange, Expect
from .http_ledger import Ledger, place_of, subject_of, version_of
from .http_results import NOT_YET
from .promises import Breach

#: Of any answer that there is.
ANY = "*"

_TAG = r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_WAIT = re.compile(r"wait=(\d+)")


def only_who_has_it_is_told_so(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """A 304 is for an answer of success that the client has, as it was told at this URL to who may
    see as much."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or answer.status != 304:
        return
    held, tag = tags_in(ask), answer.header("etag")
    if held is None or tag is None or not {ANY, weak(tag)} & held:
        yield ask.job_id, f"nobody has said that he has {tag}, but {held}"
        return
    document = ledger.tags.get(place_of(ask), {}).get(tag)
    if document is not None and not 200 <= document.status < 300:
        yield ask.job_id, f"{tag} is no success: {document}"
    at_status = ask.job is not None and ask.path == f"/jobs/{ask.job.id}"
    state = answer.header("job-state")
    if not at_status and state in ("failed", "cancelled", "interrupted"):
        yield ask.job_id, f"no answer of a job that has {state} is a success"


def who_has_it_is_told_so(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Nobody is sent an answer of success that he says to have."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.expect is not Expect.OWN:
        return
    if ask.method not in ("GET", "HEAD") or not 200 <= answer.status < 300:
        return
    held, tag = tags_in(ask), answer.header("etag")
    if held is not None and tag is not None and {ANY, weak(tag)} & held:
        yield ask.job_id, f"he has {tag}"


def one_tag_one_document(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """A tag that comes again at a URL stands for the same document."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.job is None or ask.method != "GET":
        return
    before = ledger.tags.get(place_of(ask), {}).get(answer.header("etag") or "")
    if before is None or answer.status == 304 or answer.header("job-state") is None:
        return
    if (answer.status, answer.body) != before:
        yield ask.job_id, f"it was {before}"


def answers_get_no_older(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """No answer tells of a job as it was before one that had arrived when it was asked for."""
    answer = exchange.answer
    life = None if answer is None else ledger.lives.get(subject_of(answer) or "")
    if answer is None or life is None:
        return
    version, before = version_of(answer), life.version_before(exchange.sent)
    if version is not None and version < before:
        yield subject_of(answer) or "", f"version {version}, after {before} was told"
    final = life.state_at(exchange)
    if final is not None and answer.header("job-state") != final:
        yield subject_of(answer) or "", f"it was {final} all the time"


def held_until_it_differs(exchange: Exchange, ledger: Ledger) -> Iterator[Breach]:
    """Who has the answer already, and waits, is not told so before he has waited, unless the job is
    final."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or answer.status != 304 or ask.expect is not Expect.OWN:
        return
    wait = _WAIT.fullmatch(answer.header("preference-applied") or "")
    is_pending = answer.header("job-state") in NOT_YET
    if wait is not None and is_pending and ANY not in (tags_in(ask) or ()):
        waited = exchange.arrived - exchange.sent
        if waited < int(wait.group(1)):
            yield ask.job_id, f"after {waited:.3f} s"


def tags_in(ask: Ask) -> set[str] | None:
    """The tags that it says its client has, without their weakness; None if it says nothing of
    that, or not so that it could be read."""
    written = ", ".join(ask.said("if-none-match")).strip(" \t")
    if written == ANY:
        return {ANY}
    return set(re.findall(_TAG, written)) if _TAGS.fullmatch(written) else None


def weak(tag: str) -> str:
    """The tag by which others are compared with it."""
    return tag.removeprefix("W/")


OF_TAGS = (
    only_who_has_it_is_told_so,
    who_has_it_is_told_so,
    one_tag_one_document,
    answers_get_no_older,
    held_until_it_differs,
)
