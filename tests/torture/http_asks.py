"""What is sent to a server and what comes back, as values; and what must come back."""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

#: What says who asks. It looks like no credential, so that handlers have it, too.
OWNER = "X-Owner"
#: What says that an operator asks, and what that may do.
OPERATOR, VIEW, STEER = "X-Operator", "view", "steer"
#: And that nobody knows who that is: the app refuses to say.
STRANGER = "stranger"
#: What the guards look at: each lets in who sends the key to what it takes the request for.
DOOR = "X-Door"
OPEN = "open"
#: Of organisations, and of teams, each of which has a door of its own.
NAMES = ("north", "south")
GUARDED = "/guarded"
SHUT = "the door is shut"
#: Below it each job is found by a poll route that the app has written by hand.
BY_HAND = "/hand"
#: Tells what is held in the process that answers.
HELD = "/held"
PLAIN, FINE = "/plain", "fine"
#: A header that results have besides their body, with the mark of their owner.
MARK = "X-Mark"
MAX_BODY = 20_000
#: Less than hypercorn takes.
MAX_HEADERS = 8192
MAX_QUEUED, MAX_QUEUED_PER_OWNER = 24, 10

#: Nobody is one as well.
OWNERS = ("ann", "ben", "cho", None)
#: Those who submit more jobs than may be queued, and do nothing else.
CROWD = ("dan", "eve", "fay")
#: Those behind a guard: method and path.
GUARDED_ROUTES = (
    ("POST", f"{GUARDED}/upload"),
    ("GET", f"{GUARDED}/rooms/7"),
    ("POST", "/reports"),
    ("POST", "/secrets"),
    *(("POST", f"/{kind}/{name}/upload") for kind, name in product(["org", "team"], NAMES)),
)
#: Every one that makes a job which comes to its end.
ROUTES = (
    ("POST", "/upload"),
    ("PUT", "/things/one"),
    ("PUT", "/things/two%20words"),
    ("GET", "/slow"),
    ("POST", "/missing"),
    ("GET", "/moved"),
    ("GET", "/file"),
    ("GET", "/fails"),
    ("POST", "/fails"),
    ("GET", "/reports"),
    ("POST", "/files"),
    *GUARDED_ROUTES,
    ("POST", "/once"),
    ("POST", "/line"),
    ("POST", "/steps"),
    ("POST", "/prefers"),
)
ENDLESS, FAILS = "/endless", "/fails"
#: One job of it runs at a time, so that others wait in the queue.
LINE = "/line"
#: The route with `key=`, the header that this looks at, and how a body begins that has it fail.
ONCE, ONCE_KEY, IN_VAIN = "/once", "X-Once", b"in vain "
#: The jobs of the first tell how far they are; the second one answers with results.
STEPS, PREFERS = "/steps", "/prefers"
#: So many event streams a process has open at a time.
MAX_WATCHING = 20

#: In latin-1, as what is no text is to be sent, too.
Pairs = tuple[tuple[str, str], ...]


class Deliberate(Exception):
    """What the handler raises that is there to raise."""


def mark_of(owner: str | None) -> str:
    """What is in all results of this owner, and in nobody else's."""
    return f"mark-{hashlib.sha256(repr(owner).encode()).hexdigest()[:20]}"


def endpoint_of(method: str, path: str) -> str:
    """That of the view that a request to a route is for: several have one, and one path has two."""
    match path.split("?")[0].split("/")[1:]:
        case ["reports"]:
            return f"reports {method}"
        case [("files" | "secrets")]:
            return "files"
        case ["guarded", name, *_]:
            return f"guarded {name}"
        case [name, *_]:
            return name
    return ""


def key_of(path: str) -> str | None:
    """What opens the door before a route, if there is one."""
    match path.split("/")[1:]:
        case ["org" | "team", name, *_]:
            return name
        case [("guarded" | "reports" | "secrets"), *_]:
            return OPEN
    return None


class Known(NamedTuple):
    """A job that somebody was told of.

    Attributes:
        body: that its request had; None if nobody can tell what the handler makes of the request,
            as that was not what it should have been.
        told: its result, if that was told in the request that made it.
        cancel_after: seconds that its client has given it; None for no limit.
    """

    id: str
    owner: str | None
    method: str
    path: str
    body: bytes | None
    told: Answer | None = None
    cancel_after: float | None = None

    @property
    def fails(self) -> bool:
        """Whether its handler does."""
        in_vain = self.body is not None and self.body.startswith(IN_VAIN)
        return self.path == FAILS or (self.path == ONCE and in_vain)

    @property
    def guard(self) -> str | None:
        """The key that its URLs want."""
        return key_of(self.path) if (self.method, self.path) in GUARDED_ROUTES else None


class Expect(enum.Enum):
    """What the answer must be."""

    ANYTHING = enum.auto()
    #: The plain route's.
    FINE = enum.auto()
    #: A 202 that names a job, or its result if that is waited for.
    ACCEPTED = enum.auto()
    #: The owner's own job.
    OWN = enum.auto()
    #: The same as that to its `twin`, which asks for what never was.
    UNKNOWN = enum.auto()
    #: The guard's.
    SHUT = enum.auto()
    #: The guard's, or the same as that to its `twin`: no guard is asked, and nothing is told.
    NOTHING = enum.auto()
    #: A refusal, as the request comes from another site.
    CROSS_SITE = enum.auto()
    #: As `ACCEPTED`, or a refusal as another request has the same key.
    KEYED = enum.auto()
    #: As `ACCEPTED`, or a refusal as there are too many in the queue.
    QUEUED = enum.auto()
    #: The status of a job that is queued once more, or that it is in no state for that.
    RETRIED = enum.auto()
    #: A page of the list.
    PAGE = enum.auto()
    #: No list: the same as that to its `twin`.
    NO_LIST = enum.auto()
    #: The problem that `Ask.refusal` names.
    REFUSED = enum.auto()
    #: The events of the owner's own job, or that there are no more.
    WATCHED = enum.auto()
    #: The same, or the status.
    TOLD = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request that is one, whatever is in its headers.

    Attributes:
        key: sent to the guards.
        operator: what who asks says to be, besides being an owner.
        headers: besides `Host`, the length of the body, and what says who asks.
        job: what it is about.
        twin: asks the same about an id that no job has.
        repeats: the key that a repeat of it is known by, however that is written; None if it has
            none, or if what is written there is no key.
        refusal: the name of the problem that it must be answered by, and a word in its detail.
        walk: the number of the walk through the list that it is a step of.
        reads: how the answer is read, if that may be a stream.
    """

    method: str
    path: str
    owner: str | None = None
    key: str | None = None
    operator: str | None = None
    headers: Pairs = ()
    body: bytes = b""
    expect: Expect = Expect.ANYTHING
    job: Known | None = None
    twin: Ask | None = None
    repeats: str | None = None
    refusal: tuple[str, str] = ("", "")
    walk: int | None = None
    reads: Reads | None = None

    def __str__(self) -> str:
        body = f" {self.body!r}" if self.body else ""
        return f"{self.method} {self.path} {dict(self.all_headers('x'))}{body}"

    @property
    def prefers(self) -> bool:
        """Whether it has a preference, be it one that nobody understands."""
        return bool(self.said("prefer"))

    @property
    def job_id(self) -> str:
        """Of the job that it is about; empty if of none."""
        return "" if self.job is None else self.job.id

    @property
    def is_operators(self) -> bool:
        """Whether who asks may see all jobs."""
        return self.operator in (VIEW, STEER)

    @property
    def steers(self) -> str | None:
        """What it wants to be done to its job, if that may be: "cancel" or "retry"."""
        if self.job is None or not (self.owner == self.job.owner or self.operator == STEER):
            return None
        if self.expect not in (Expect.OWN, Expect.ANYTHING, Expect.RETRIED):
            return None
        if self.method == "POST" and "/retry" in self.path:
            return "retry"
        return "cancel" if self.method == "DELETE" else None

    def said(self, name: str) -> list[str]:
        """All that its own headers say under this name, which is in lower case."""
        return [value for each, value in self.headers if each.lower() == name]

    def all_headers(self, host: str) -> Pairs:
        """Those that it is sent with."""
        given = {name.lower() for name, _ in self.headers}
        own = [("Host", host)]
        if self.body or self.method in ("POST", "PUT"):
            own.append(("Content-Length", str(len(self.body))))
        if self.owner is not None:
            own.append((OWNER, self.owner))
        if self.key is not None:
            own.append((DOOR, self.key))
        if self.operator is not None:
            own.append((OPERATOR, self.operator))
        return (*(header for header in own if header[0].lower() not in given), *self.headers)


def result_ask(job: Known) -> Ask:
    """Its owner asks for a job's result, and waits for it."""
    return Ask(
        method="GET",
        path=f"{job.path}/{job.id}",
        owner=job.owner,
        key=key_of(job.path),
        headers=(("Prefer", "wait=5"),),
        job=job,
        expect=Expect.OWN,
    )


class Ending(enum.Enum):
    """What a client does when it has sent what it sends."""

    #: It reads the answers.
    READ = enum.auto()
    #: It closes its own side first.
    HALF_CLOSE = enum.auto()
    #: It goes, after a moment.
    CLOSE = enum.auto()
    #: The same, and has the server's system told so.
    RESET = enum.auto()


class Reads(NamedTuple):
    """How somebody reads a stream: to its end, if none of these comes before.

    Attributes:
        events: after so many the client goes.
        seconds: after so long it goes, once it has had the first.
        ending: how it goes.
        is_slow: whether it takes a few bytes at a time.
    """

    events: float = math.inf
    seconds: float = math.inf
    ending: Ending = Ending.CLOSE
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is sent over one connection, or where the server closes it over several.

    Attributes:
        kind: for the figures.
        asks: in HTTP/1.1 one after the other, in HTTP/2 all at once, and so where any of them is
            read as a stream: over connections of their own in HTTP/1.1.
        wire: bytes to be sent in the place of them, which need not be HTTP.
        sent: so much of the last body, if not all.
        pipelined: whether all are sent before the first answer is read.
        pause: seconds before the end, where nobody reads.
        version: of HTTP.
        bodies: of the jobs that may be made of it: those that are sent in full.
        then: makes of the answers what the same client sends after that, if anything.
    """

    kind: str
    asks: tuple[Ask, ...] = ()
    wire: bytes = b""
    sent: int | None = None
    pipelined: bool = False
    ending: Ending = Ending.READ
    pause: float = 0.0
    version: int = 1
    bodies: tuple[bytes, ...] = ()
    then: Callable[[Sequence[Answer | None]], Sending | None] | None = None

    @property
    def requests(self) -> int:
        """How many there are in it."""
        return len(self.asks) + sum(ask.twin is not None for ask in self.asks) or 1


class Answer(NamedTuple):
    """What came back.

    Attributes:
        headers: with names in lower case.
        is_whole: whether its client has read it to its end.
    """

    status: int
    headers: Pairs
    body: bytes
    is_whole: bool = True

    def header(self, name: str) -> str | None:
        """The first of this name."""
        return next((value for each, value in self.headers if each == name), None)

    @property
    def text(self) -> str:
        """All of it, to be searched."""
        return f"{self.headers} {self.body.decode('latin-1')}"

    def all(self, name: str) -> list[str]:
        """All of this name."""
        return [value for each, value in self.headers if each == name]

    def json(self) -> Any:
        """What its body says; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def of_its_own(self) -> Answer:
        """Without what depends on the time, or on the connection it came by."""
        headers = tuple(each for each in self.headers if each[0] not in ("date", "connection"))
        return self._replace(headers=headers)

    def __str__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


class Exchange(NamedTuple):
    """A request and its answer, or None if there was none.

    Attributes:
        ask: None if it was none.
        twin: the answer to its twin.
        sent: when it was not yet sent, by a clock that only goes forward.
        arrived: when it was answered; never if it was not.
    """

    sending: Sending
    ask: Ask | None
    answer: Answer | None
    twin: Answer | None = None
    sent: float = 0.0
    arrived: float = math.inf

    def __str__(self) -> str:
        asked = self.ask if self.ask is not None else repr(self.sending.wire[:600])
        return f"{self.sending.kind}: {asked}\n    was answered {self.answer}"


class Done(NamedTuple):
    """What was sent, and all that came back, with the times before and after that."""

    sending: Sending
    answers: list[Answer | None]
    sent: float = 0.0
    arrived: float = math.inf


def exchanges(done: Done) -> Iterator[Exchange]:
    """Each request with its answer, and that to its twin."""
    sending, answers, sent, arrived = done
    rest = iter(answers)
    for ask in sending.asks:
        answer = next(rest, None)
        twin = next(rest, None) if ask.twin is not None else None
        when = math.inf if answer is None else arrived
        yield Exchange(sending, ask, answer, twin, sent, when)
    for answer in rest:
        yield Exchange(sending, None, answer, None, sent, arrived)
