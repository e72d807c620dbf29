"""What clients were told of each job, in answers and in events, with the times of that.

Clients ask at the same time, so that only what had arrived before something else was sent is known
to have been before it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asyncjobs.job import State

from .http_asks import LINE, Answer, Exchange, Expect
from .http_events import events_of, is_stream
from .http_ledger import without_view
from .http_results import told_of

_OUR_TAG = re.compile(r'"([0-9a-f]{32})\.(\d+)(?:\..+)?"')
# As many digits as a version may have: anything else is no id of ours.
_VERSION = re.compile(r"[0-9]{1,19}")


class Said(NamedTuple):
    """What somebody was told of a job.

    Attributes:
        document: its status, without what depends on who looks, and when; None if it was not told.
        ahead: as it was told in that; `...` if it was not.
        sent: when it was not yet asked for.
        arrived: when it had been told.
    """

    version: int
    state: str
    document: dict[str, Any] | None
    ahead: Any
    sent: float
    arrived: float


class NoMore(NamedTuple):
    """Somebody was told that there is nothing more to be said of a job.

    Attributes:
        seen: the version that he has said to have seen.
    """

    job_id: str
    seen: int
    sent: float


class Joined(NamedTuple):
    """A request that may have made a job which waits in the line.

    Attributes:
        job_id: of whose job somebody was told.
    """

    job_id: str | None
    sent: float
    arrived: float


@dataclass(frozen=True)
class Lives:
    """Of all jobs.

    Attributes:
        said: by their ids.
        retried: the ids of those that somebody wanted to run once more.
        at_once: for each connection to one process, how many streams were open at one moment.
    """

    said: dict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    no_more: list[NoMore] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)
    retried: set[str] = field(default_factory=set)
    at_once: list[int] = field(default_factory=list)

    def add(self, exchanges: Sequence[Exchange]) -> None:
        """All that one client has sent at once, or one after the other, and what came of it."""
        for exchange in exchanges:
            self._add(exchange)
        if exchanges and exchanges[0].sending.version == 2:
            answers = [each.answer for each in exchanges if each.answer is not None]
            self.at_once.append(sum(is_stream(each) and not each.is_whole for each in answers))

    def _add(self, exchange: Exchange) -> None:
        ask, answer, sent, arrived = (
            exchange.ask,
            exchange.answer,
            exchange.sent,
            exchange.arrived,
        )
        if ask is None:
            return
        if ask.path.partition("?")[0] == LINE or ask.path.endswith("/retry"):
            job = None if answer is None else told_of(ask, answer)
            self.joined.append(Joined(None if job is None else job.id, sent, arrived))
        if ask.path.endswith("/retry") and ask.job is not None:
            self.retried.add(ask.job.id)
        if answer is None:
            return
        for job_id, said in _told_in(answer, exchange):
            self.said[job_id].append(said)
        seen = seen_by(exchange)
        if answer.status == 204 and seen is not None and ask.job is not None:
            self.no_more.append(NoMore(ask.job.id, seen, sent))


def seen_by(exchange: Exchange) -> int | None:
    """The version that a watcher has said to have seen, if he has said so."""
    ask = exchange.ask
    if ask is None or ask.expect not in (Expect.WATCHED, Expect.TOLD):
        return None
    said = ask.said("last-event-id")
    return int(said[0]) if len(said) == 1 and _VERSION.fullmatch(said[0].strip()) else None


def statuses_in(answer: Answer) -> list[dict[str, Any]]:
    """The status documents that are told of one job, in events or as an answer."""
    if is_stream(answer):
        documents = [event.document for event in events_of(answer.body)]
    elif answer.status == 200 and answer.header("content-type") == "application/json":
        documents = [answer.json()]
    else:
        return []
    told = [each for each in documents if isinstance(each, dict)]
    return [each for each in told if {"state", "links"} <= each.keys()]


def _told_in(answer: Answer, exchange: Exchange) -> Iterator[tuple[str, Said]]:
    sent, arrived = exchange.sent, exchange.arrived
    if is_stream(answer):
        for event in events_of(answer.body):
            document = event.document or {}
            if event.version is not None and isinstance(document.get("id"), str):
                yield (
                    document["id"],
                    _said(event.version, document.get("state"), document, sent, arrived),
                )
        return
    tag, state = _OUR_TAG.fullmatch(answer.header("etag") or ""), answer.header("job-state")
    if tag is not None and state in [*State]:
        told = statuses_in(answer)
        said = _said(int(tag.group(2)), state, told[0] if told else None, sent, arrived)
        yield tag.group(1), said


def _said(
    version: int, state: Any, document: dict[str, Any] | None, sent: float, arrived: float
) -> Said:
    if document is None:
        return Said(version, state, None, ..., sent, arrived)
    ahead = document.get("ahead", ...)
    return Said(version, state, without_view(document), ahead, sent, arrived)
