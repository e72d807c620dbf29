"""What was asked and told so far, with its times: what later answers are held against.

Clients ask at the same time, so that only what had arrived before another request was sent is known
to have been before it. What was only sent may have happened at any time from then on, and for ever
if nobody was told of it.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from asyncjobs.job import FINAL

from .http_asks import (
    IN_VAIN,
    LINE,
    ONCE,
    ONCE_KEY,
    Answer,
    Ask,
    Exchange,
    Expect,
    Known,
    endpoint_of,
)
from .http_results import NOT_YET, REPLAYED, told_of

#: Whose, for what, and the key itself: client and route have keys of their own.
Scope = tuple[str, str | None, str, str]
#: What tells a request from any other that does something else.
Fingerprint = tuple[str, str, str, bytes]
#: A URL, and who looks at it where that makes a difference.
Place = tuple[str, str]

_OUR_TAG = re.compile(r'"([0-9a-f]{32})\.(\d+)[^"]*"')
_STATUS_LINK = re.compile(r'</jobs/([0-9a-f]{32})>; rel="status"')
#: What is no job: nothing is made of a request that is answered by one of these.
_NO_JOB = frozenset({400, 403, 413, 422, 429, 431, 503})


class Deed(NamedTuple):
    """What somebody wanted to be done to a job, and may have come to pass.

    Attributes:
        arrived: when that was answered; never if it was not.
        is_done: whether the answer says so.
    """

    sent: float
    arrived: float
    is_done: bool


class Told(NamedTuple):
    """What an answer has said of a job.

    Attributes:
        version: of the job, if that was told.
    """

    sent: float
    arrived: float
    state: str
    version: int | None


class InLine(NamedTuple):
    """A submission of a job that has to wait for others of its kind.

    Attributes:
        job_id: that it has become.
        refused: when it was told that it will become none.
    """

    owner: str | None
    sent: float
    job_id: str | None
    refused: float


@dataclass(slots=True)
class Life:
    """All that is known of one job.

    Attributes:
        job: what its client knows of it; None of one that was only seen in a list.
        asked: when it was asked for, by the clock on the wall.
        since: when somebody was told of it.
        told: all that was said of it.
        cancels, retries: what was wanted of it.
        firsts: how many submissions have been answered as the one that has made it.
    """

    owner: str | None
    job: Known | None = None
    asked: float = 0.0
    since: float = math.inf
    told: list[Told] = field(default_factory=list)
    cancels: list[Deed] = field(default_factory=list)
    retries: list[Deed] = field(default_factory=list)
    firsts: int = 0

    @property
    def may_be_cancelled(self) -> bool:
        """Whether it may be so by now: somebody has asked for it since it was retried last, or the
        time is over that its client has given it."""
        retried = [deed.sent for deed in self.retries if deed.is_done]
        given = None if self.job is None or retried else self.job.cancel_after
        if given is not None and self.asked + given <= time.time():
            return True
        return any(deed.arrived > max(retried, default=0.0) for deed in self.cancels)

    @property
    def ended(self) -> float:
        """When somebody was told for the first time that it has ended."""
        return min((told.arrived for told in self.told if told.state in FINAL), default=math.inf)

    def was_before(self, moment: float, state: str) -> bool:
        """Whether somebody was told by then that it is in that state."""
        return any(told.state == state and told.arrived < moment for told in self.told)

    def version_before(self, moment: float) -> int:
        """The newest that somebody was told of by then."""
        versions = (told.version for told in self.told if told.arrived < moment)
        return max((version for version in versions if version is not None), default=0)

    def state_at(self, exchange: Exchange, *, is_retry: bool = False) -> str | None:
        """The final state that it surely had all the time from the request to its answer.

        Args:
            is_retry: whether the request itself may have ended that.
        """
        deeds = [deed for deed in self.retries if not (is_retry and deed.sent == exchange.sent)]
        for told in reversed(self.told):
            is_known = told.state in FINAL and told.arrived < exchange.sent
            if is_known and not any(
                deed.arrived > told.sent and deed.sent < exchange.arrived for deed in deeds
            ):
                return told.state
        return None

    def was_ever_in_vain(self, moment: float) -> bool:
        """Whether it may have ended without success by then, for all that anybody knows."""
        if self.job is None or self.job.body is None or self.job.fails:
            return True
        return self.job.cancel_after is not None or any(deed.sent < moment for deed in self.cancels)


@dataclass(slots=True)
class Use:
    """A key that submissions had.

    Attributes:
        sent: the requests that came with it, and when each was sent first.
        jobs: those that were told of, and by which request each was first.
    """

    sent: dict[Fingerprint, float] = field(default_factory=dict)
    jobs: dict[str, Fingerprint] = field(default_factory=dict)


class Document(NamedTuple):
    """What an answer with a tag was."""

    status: int
    body: bytes


@dataclass(slots=True)
class Walk:
    """A walk through the list.

    Attributes:
        sent: when it began.
        ids: of all jobs so far, in order.
    """

    sent: float
    ids: list[str] = field(default_factory=list)


class Ledger:
    """Everything that was asked, and that came back.

    Attributes:
        lives: by the ids of the jobs.
        keys: by what each is known by.
        tags: the documents that were told, by place and tag.
        walks: by number.
        cursors: that the list has told, and what for.
        listed: jobs that were in a list of somebody who is no operator, and whose lists these were.
        ended: what was told of jobs that have ended, by id and by when.
        line: submissions of jobs that may have to wait for others.
        brief: the bodies of requests that gave their jobs a time.
        bodies: by body, the keys that it was sent in full with.
    """

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.keys: defaultdict[Scope, Use] = defaultdict(Use)
        self.tags: dict[Place, dict[str, Document]] = defaultdict(dict)
        self.walks: dict[int, Walk] = {}
        self.cursors: list[tuple[Ask, str]] = []
        self.listed: defaultdict[str, set[str | None]] = defaultdict(set)
        self.ended: dict[tuple[str, str], dict[str, Any]] = {}
        self.line: list[InLine] = []
        self.brief: set[bytes] = set()
        self._sent: Counter[bytes] = Counter()
        self._refusals: Counter[bytes] = Counter()
        self.bodies: defaultdict[bytes, set[Scope]] = defaultdict(set)

    def asked(self, exchange: Exchange) -> None:
        """What follows from a request alone, and from when it was answered. All of a wave come
        before the first answer is judged."""
        ask, answer = exchange.ask, exchange.answer
        if ask is None:
            return
        if ask.job is None:
            self._sent[ask.body] += 1
            if ask.said("cancel-after"):
                self.brief.add(ask.body)
        if ask.job is None and ask.path == LINE:
            self.line.append(_in_line(exchange))
        for scope in scopes_of(ask):
            use, request = self.keys[scope], fingerprint_of(ask)
            use.sent[request] = min(exchange.sent, use.sent.get(request, exchange.sent))
            if ask.body in exchange.sending.bodies:
                self.bodies[ask.body].add(scope)
        if ask.job is not None and ask.expect in (Expect.OWN, Expect.RETRIED):
            self.life(ask.job)
        if ask.steers is not None and ask.job is not None:
            is_refused = answer is not None and 400 <= answer.status < 500
            if not is_refused or ask.expect is Expect.ANYTHING:
                life = self.life(ask.job)
                deeds = life.cancels if ask.steers == "cancel" else life.retries
                is_done = answer is not None and answer.status == 200
                deeds.append(Deed(exchange.sent, exchange.arrived, is_done))

    def learn(self, exchange: Exchange) -> None:
        """What follows from an answer, once that is judged. Those of a wave come in the order in
        which they arrived."""
        ask, answer = exchange.ask, exchange.answer
        if ask is None or answer is None:
            return
        job = told_of(ask, answer)
        if job is not None:
            life = self.life(job)
            life.since = min(life.since, exchange.arrived)
            life.asked = life.asked or time.time() - (time.monotonic() - exchange.sent)
            life.firsts += answer.header(REPLAYED) is None
            for scope in scopes_of(ask):
                self.keys[scope].jobs.setdefault(job.id, fingerprint_of(ask))
        elif ask.job is None and answer.status in _NO_JOB:
            self._refusals[ask.body] += 1
        self._learn_state(exchange, answer)
        self._learn_tag(ask, answer, job)
        self._learn_page(exchange, ask, answer)

    def knows(self, job: Known) -> bool:
        """Whether a client was told of it, and has not only seen it in a list."""
        life = self.lives.get(job.id)
        return life is not None and life.since < math.inf

    def life(self, job: Known) -> Life:
        """That of a job that is known."""
        life = self.lives.setdefault(job.id, Life(job.owner))
        if life.job is None or life.job.body is None:
            life.job = job
        return life

    def walk(self, number: int, exchange: Exchange) -> Walk:
        """The walk that an answer is a step of."""
        return self.walks.setdefault(number, Walk(exchange.sent))

    @property
    def cancelled(self) -> set[str]:
        """The jobs that may be cancelled in the end."""
        return {job_id for job_id, life in self.lives.items() if life.may_be_cancelled}

    @property
    def refused(self) -> set[bytes]:
        """The bodies of which no request was answered by anything but a refusal."""
        return {
            body for body, times in self._refusals.items() if body and times == self._sent[body]
        }

    @property
    def retried(self) -> set[str]:
        """Those that may have been begun anew."""
        return {job_id for job_id, life in self.lives.items() if life.retries}

    def most_jobs(self, sent: Mapping[bytes, int]) -> dict[bytes, int]:
        """How many jobs may be made of each body.

        Args:
            sent: how often each was sent in full without a key.
        """
        most = dict(sent)
        for body, scopes in self.bodies.items():
            of_keys = sum(self._most_of_key(scope, body) for scope in scopes)
            most[body] = most.get(body, 0) + of_keys
        return most

    def _most_of_key(self, scope: Scope, body: bytes) -> int:
        if scope[0] == "client":
            return 1
        # A key of the route is free again once its job has ended in vain.
        if body.startswith(IN_VAIN):
            return self._sent[body]
        return 1 + sum(len(self.lives[job_id].cancels) for job_id in self.keys[scope].jobs)

    def _learn_state(self, exchange: Exchange, answer: Answer) -> None:
        life, state = self.lives.get(subject_of(answer) or ""), answer.header("job-state")
        if life is not None and state in (*FINAL, *NOT_YET):
            told = Told(exchange.sent, exchange.arrived, state, version_of(answer))
            life.told.append(told)

    def _learn_tag(self, ask: Ask, answer: Answer, job: Known | None) -> None:
        tag, place = answer.header("etag"), place_of(ask)
        if job is not None and job.told is not None:
            place = (f"{job.path}/{job.id}", "")
        elif ask.job is None or ask.method != "GET" or answer.header("job-state") is None:
            return
        if tag is not None and answer.status != 304:
            self.tags[place].setdefault(tag, Document(answer.status, answer.body))

    def _learn_page(self, exchange: Exchange, ask: Ask, answer: Answer) -> None:
        entries = entries_of(exchange)
        if ask.walk is not None:
            self.walk(ask.walk, exchange).ids += [entry["id"] for entry in entries]
        if (cursor := cursor_in(ask, answer)) is not None:
            self.cursors.append((ask, cursor))
        for entry in entries:
            self._learn_entry(ask, entry)

    def _learn_entry(self, ask: Ask, entry: dict[str, Any]) -> None:
        owner = entry["owner"] if ask.is_operators else ask.owner
        if not ask.is_operators:
            self.listed[entry["id"]].add(ask.owner)
        self.lives.setdefault(entry["id"], Life(owner))
        if entry["state"] in FINAL:
            self.ended.setdefault((entry["id"], str(entry["finished"])), without_view(entry))


def _in_line(exchange: Exchange) -> InLine:
    ask, answer = exchange.ask, exchange.answer
    assert ask is not None
    job = None if answer is None else told_of(ask, answer)
    is_refused = answer is not None and answer.status in _NO_JOB
    refused = exchange.arrived if is_refused else math.inf
    return InLine(ask.owner, exchange.sent, None if job is None else job.id, refused)


def scopes_of(ask: Ask) -> Iterator[Scope]:
    """The key by which a repeat of a submission is known, if it has one: its client's own goes
    before its route's."""
    if ask.job is not None or ask.repeats is None:
        return
    kind = "route" if is_of_route(ask) else "client"
    yield kind, ask.owner, endpoint_of(ask.method, ask.path), ask.repeats


def is_of_route(ask: Ask) -> bool:
    """Whether the key is that which the route sees."""
    return ask.path == ONCE and not ask.said("idempotency-key") and bool(ask.said(ONCE_KEY.lower()))


def fingerprint_of(ask: Ask) -> Fingerprint:
    """What makes a request the same one."""
    return ask.method, ask.path, ", ".join(ask.said("content-type")), ask.body


def place_of(ask: Ask) -> Place:
    """Where a job is asked for: operators are told more of it at its status."""
    is_status = ask.job is not None and ask.path == f"/jobs/{ask.job.id}"
    is_others = ask.is_operators and ask.job is not None and ask.job.owner != ask.owner
    return ask.path, "operator" if is_status and is_others else ""


def subject_of(answer: Answer) -> str | None:
    """The id of the job that an answer says to be about."""
    found = [match.group(1) for link in answer.all("link") if (match := _STATUS_LINK.search(link))]
    return found[0] if found else None


def version_of(answer: Answer) -> int | None:
    """That of the job, if the answer has a tag of ours."""
    match = _OUR_TAG.fullmatch(answer.header("etag") or "")
    if match is None or match.group(1) != subject_of(answer):
        return None
    return int(match.group(2))


def entries_of(exchange: Exchange) -> list[dict[str, Any]]:
    """The jobs on a page of the list; none if it is no such page."""
    ask, answer = exchange.ask, exchange.answer
    if ask is None or answer is None or ask.expect is not Expect.PAGE or answer.status != 200:
        return []
    document = answer.json()
    entries = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return []
    wanted = {"id", "state", "route", "created", "finished"}
    wanted |= {"owner"} if ask.is_operators else set()
    if not all(isinstance(entry, dict) and wanted <= entry.keys() for entry in entries):
        return []  # another promise is about that
    return entries


def next_in(answer: Answer | None) -> str | None:
    """The URL of the page behind this one."""
    document = None if answer is None else answer.json()
    url = document.get("next") if isinstance(document, dict) else None
    return url if isinstance(url, str) else None


def cursor_in(ask: Ask, answer: Answer) -> str | None:
    """The place where the page behind this one begins."""
    url = next_in(answer) if ask.expect is Expect.PAGE else None
    return None if url is None else dict(parse_qsl(urlsplit(url).query)).get("cursor")


def without_view(document: dict[str, Any]) -> dict[str, Any]:
    """A status document without what depends on who looks, and when."""
    return {name: value for name, value in document.items() if name not in ("owner", "ahead")}
