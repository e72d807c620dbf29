"""What is sent, by luck alone: plain functions from randomness and from what is known so far."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any, Generic, TypeVar

from . import http_junk as junk
from .http_asks import (
    BY_HAND,
    ENDLESS,
    GUARDED_ROUTES,
    MAX_BODY,
    NAMES,
    OPEN,
    OWNERS,
    PLAIN,
    ROUTES,
    STRANGER,
    Ask,
    Ending,
    Expect,
    Known,
    Pairs,
    Sending,
    key_of,
)
from .http_ledger import Ledger

T = TypeVar("T")
Item = Any

#: So many jobs are asked for: the last ones.
REMEMBERED = 300
ENDINGS = tuple(Ending)
#: How many of those who submit a job wait for its result.
WAITING = 0.4
#: So many endless jobs are made at most by clients that hang up, and are told of none.
MOST_ENDLESS = 10
#: Of who does not wait for an answer.
GOING = (Ending.CLOSE, Ending.RESET)
#: Ways to ask for a job of somebody else's: a method, and which of its URLs.
FOREIGN = (*product(("GET", "GET", "HEAD", "DELETE"), range(5)), *[("POST", 0)] * 3)
#: What those are who are no operators.
NO_OPERATORS = (None, None, None, STRANGER)
#: Ways to ask for a job without its key: a method, and whether there is a `Prefer`.
KEYLESS = (*product(("GET", "HEAD", "DELETE", "OPTIONS"), (False, True)), ("POST", False))
_ID = 32


class Deck(Generic[T]):
    """Draws all of `items` in any order, and again: none waits for long to have its turn."""

    def __init__(self, random: Random, items: Iterable[T]) -> None:
        self._random = random
        self._items = list(items)
        self._left: list[T] = []

    def draw(self) -> T:
        if not self._left:
            self._left = self._random.sample(self._items, len(self._items))
        return self._left.pop()


#: What makes an attack, and how often it is chosen among the others.
Kinds = Mapping[str, tuple[Callable[["Attacks"], Sending], int]]


class Attacks:
    """Chooses what to send next.

    Args:
        kinds: of attacks, and how often each is chosen.

    Attributes:
        ledger: of what was told so far.
        jobs: those that may be asked for: whoever is told of one adds it.
        endless: those that run until they are cancelled.
        left: how many of those there are that nobody was told of.
        keyed: submissions with keys that others may have as well.
        walks: so many walks through the list were begun.
        beside: what the next clients send, at the same time.
    """

    def __init__(self, random: Random, kinds: Kinds, ledger: Ledger) -> None:
        self.random = random
        self.ledger = ledger
        self.jobs: list[Known] = []
        self.endless: list[Known] = []
        self.left = 0
        self.keyed: list[Ask] = []
        self.walks = 0
        self.beside: list[Sending] = []
        self._by_name = kinds
        self._first = [*["submissions"] * len(ROUTES), *random.sample([*kinds], len(kinds))]
        self._kinds = Deck(
            random, [kind for kind, (_, times) in kinds.items() for _ in range(times)]
        )
        self._decks: dict[int, Deck[Item]] = {}

    def next(self) -> tuple[Sending, Sending]:
        """What one client sends, and what another one sends after it, which must be answered.

        The first ones make a job of each route: there is to be something to ask for. Then each kind
        has its turn.
        """
        if self.beside:
            return self.beside.pop(0), fine(self)
        kind = self._first.pop(0) if self._first else self._kinds.draw()
        sending = replace(self._by_name[kind][0](self), kind=kind)
        self.beside = [replace(each, kind=kind) for each in self.beside]
        return sending, fine(self)

    def draw(self, items: Sequence[T]) -> T:
        """One of a table that is there for good: each in its turn."""
        deck = self._decks.setdefault(id(items), Deck(self.random, items))
        drawn: T = deck.draw()
        return drawn

    def know(self, job: Known, sending: Sending) -> None:
        """Have it asked for from now on. Who goes on with an endless job sees to its end."""
        if job.path == ENDLESS:
            if sending.then is None:
                self.endless.append(job)
        else:
            self.jobs = [*self.jobs[-REMEMBERED:], job]

    def job(self, route: tuple[str, str] | None = None) -> Known | None:
        """One that is known, if there is any of this route."""
        jobs = [job for job in self.jobs if route in (None, (job.method, job.path))]
        return self.random.choice(jobs) if jobs else None

    def an_id(self) -> str:
        """One that no job has."""
        return f"{self.random.getrandbits(4 * _ID):0{_ID}x}"

    def a_body(self) -> bytes:
        """One that no other request has."""
        return b"%032x" % self.random.getrandbits(128) + b"." * self.random.randrange(100)

    def other(self, owner: str | None) -> str | None:
        """Somebody else."""
        return self.random.choice([each for each in OWNERS if each != owner])


def submission(attacks: Attacks) -> Ask:
    """That of a job which comes to its end; some wait for that."""
    method, path = attacks.draw(ROUTES)
    body = b"" if method == "GET" else attacks.a_body()
    owner = attacks.draw(OWNERS)
    waits = attacks.random.random() < WAITING
    return Ask(
        method=method,
        path=path,
        owner=owner,
        key=key_of(path),
        headers=(("Prefer", attacks.draw(junk.WAITS)),) if waits else (),
        body=body,
        expect=Expect.ACCEPTED,
    )


def urls(job: Known) -> list[tuple[str, str]]:
    """All that a job can be asked for at: what stands before its id, and what behind."""
    everywhere = [(f"{job.path}/", ""), ("/jobs/", ""), ("/jobs/", "/result"), (f"{BY_HAND}/", "")]
    return [*everywhere, *((tasks, "") for tasks in task_lists(job)[:1])]


#: Where it can be had run once more.
RETRY = ("/jobs/", "/retry")


def places_for(job: Known, method: str) -> list[tuple[str, str]]:
    """Those of its URLs that answer to a method."""
    if method == "POST":
        return [RETRY]
    return urls(job)[:3] if method == "DELETE" else urls(job)


def task_lists(job: Known) -> list[str]:
    """Where the jobs of an organisation or of a team are found, and then those of the others."""
    kind, *_ = job.path.split("/")[1:]
    if kind not in ("org", "team"):
        return []
    names = sorted(NAMES, key=lambda name: name != key_of(job.path))
    return [f"/{kind}/{name}/tasks/" for name in names]


def question(
    attacks: Attacks, job: Known, *, method: str | None = None, place: int | None = None
) -> Ask:
    """The owner asks for the job, or has it cancelled or retried.

    Args:
        place: which of its URLs, where it can be asked for so.
    """
    method = method or attacks.random.choices(["GET", "HEAD", "DELETE"], [16, 2, 2])[0]
    places = places_for(job, method)
    if place is None:
        place = attacks.random.randrange(len(places))
    before, behind = places[place % len(places)]
    return Ask(
        method=method,
        path=f"{before}{job.id}{behind}",
        owner=job.owner,
        key=key_of(job.path),
        job=job,
        expect=Expect.RETRIED if method == "POST" else Expect.OWN,
    )


def foreign_question(attacks: Attacks, job: Known) -> Ask:
    """Somebody else asks for it, or asks the owner's question in the wrong place; and the same for
    an id that never was."""
    method, place = attacks.draw(FOREIGN)
    ask = question(attacks, job, method=method, place=place)
    before, _, behind = ask.path.partition(job.id)
    owner = attacks.other(job.owner)
    if attacks.random.random() < 0.1:
        owner, behind = job.owner, ""
        before = f"{attacks.random.choice([path for _, path in ROUTES if path != job.path])}/"
    spelling = attacks.draw(junk.SPELLINGS) if attacks.random.random() < 0.4 else "{id}"
    headers: Pairs = ()
    if attacks.random.random() < 0.4:
        headers = (("Prefer", attacks.draw(junk.PREFERENCES)),)
    if attacks.random.random() < 0.2:
        headers = (*headers, attacks.draw(junk.SPECIAL))
    key = attacks.random.choice([ask.key, key_of(before), None])
    operator = None if owner == job.owner else attacks.draw(NO_OPERATORS)
    ask = replace(ask, owner=owner, headers=well_formed(headers), key=key, operator=operator)

    def about(job_id: str) -> str:
        return f"{before}{junk.spelled(spelling, job_id)}{behind}"

    unknown = job._replace(id=attacks.an_id())
    twin = replace(ask, path=about(unknown.id), job=unknown)
    return replace(ask, path=about(job.id), expect=Expect.UNKNOWN, twin=twin)


def keyless_submission(attacks: Attacks, method: str, path: str) -> Ask:
    """To a guarded route, with the key to another one or with none."""
    if path != "/reports":  # whose other endpoint answers to OPTIONS
        method = attacks.random.choice([method, "OPTIONS"])
    preference = attacks.random.choice([None, "respond-async", "wait=5"])
    headers: Pairs = () if preference is None else (("Prefer", preference),)
    key = wrong_key(attacks, path)
    return Ask(method=method, path=path, key=key, headers=headers, expect=Expect.SHUT)


def keyless_question(attacks: Attacks, job: Known, before: str, behind: str) -> Ask:
    """The owner asks for a guarded job there, with the key to another one or with none."""
    method, prefers = attacks.draw(KEYLESS)
    if method == "DELETE" and (before, behind) not in urls(job)[:3]:
        method = "GET"
    if method == "POST":
        before, behind = RETRY
    headers: Pairs = (("Prefer", attacks.draw(junk.PREFERENCES)),) if prefers else ()
    ask = Ask(
        method=method,
        path=f"{before}{job.id}{behind}",
        owner=job.owner,
        key=wrong_key(attacks, job.path),
        headers=well_formed(headers),
        job=job,
        expect=Expect.SHUT,
    )
    if before in task_lists(job) and key_of(before) != key_of(job.path):
        ask = replace(ask, key=key_of(before))
    if method != "OPTIONS":
        return ask
    unknown = job._replace(id=attacks.an_id())
    twin = replace(ask, path=f"{before}{unknown.id}{behind}", job=unknown)
    return replace(ask, expect=Expect.NOTHING, twin=twin)


def wrong_key(attacks: Attacks, path: str) -> str | None:
    """One that does not open the door before `path`."""
    keys = [None, OPEN, *NAMES]
    return attacks.random.choice([key for key in keys if key != key_of(path)])


def well_formed(headers: Pairs) -> Pairs:
    """Those that do not make another request of it: in HTTP/1.1 nor in HTTP/2."""
    spoils = {
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "te",
        "expect",
    }
    return tuple(
        (name, value)
        for name, value in headers
        if name.lower() not in spoils and not set(value) & set("\0\r\n") and value == value.strip()
    )


def fine(attacks: Attacks) -> Sending:
    """What must be answered, whatever has been sent before."""
    job = attacks.job()
    ask = Ask(method="GET", path=PLAIN, expect=Expect.FINE)
    if job is not None and attacks.random.random() < 0.5:
        ask = question(attacks, job, method="GET")
    return Sending(kind="probes", asks=(ask,))


# One function for each kind of attack.


def submit(attacks: Attacks) -> Sending:
    """As it should be."""
    ask = submission(attacks)
    return Sending(kind="", asks=(ask,), bodies=(ask.body,), version=attacks.random.choice([1, 2]))


def submit_with_junk(attacks: Attacks) -> Sending:
    """As it should be, but for what is preferred."""
    headers = well_formed(attacks.draw(junk.SUBMISSION_PREFERENCES))
    ask = replace(submission(attacks), headers=headers)
    return Sending(kind="", asks=(ask,), bodies=(ask.body,), version=attacks.random.choice([1, 2]))


def poll(attacks: Attacks) -> Sending:
    """The owner asks for a job, in the ways that there are."""
    job = attacks.job()
    if job is None:
        return submit(attacks)
    ask = question(attacks, job)
    if attacks.random.random() < 0.6:
        preference = attacks.draw(junk.PREFERENCES)
        ask = replace(ask, headers=well_formed((("Prefer", preference),)))
    return Sending(kind="", asks=(ask,), version=attacks.random.choice([1, 2]))


def foreign(attacks: Attacks) -> Sending:
    """Somebody asks for a job of somebody else's."""
    job = attacks.job()
    if job is None:
        return submit(attacks)
    return Sending(
        kind="", asks=(foreign_question(attacks, job),), version=attacks.random.choice([1, 2])
    )


def at_the_door(attacks: Attacks) -> Sending:
    """Somebody without the key submits to a guarded route, and asks for a job of his behind it,
    wherever that can be asked for."""
    if not attacks.jobs:
        return submit(attacks)
    method, path = attacks.draw(GUARDED_ROUTES)
    asks = [keyless_submission(attacks, method, path)]
    job = attacks.job((method, path))
    if job is not None:
        places = dict.fromkeys([*urls(job), *((tasks, "") for tasks in task_lists(job))])
        asks += [keyless_question(attacks, job, *place) for place in places]
    return Sending(kind="", asks=tuple(asks), version=attacks.random.choice([1, 2]))


def cross_site(attacks: Attacks) -> Sending:
    """Pages of other sites have a job of their user's cancelled."""
    job = attacks.job()
    if job is None:
        return submit(attacks)
    origins = [("Origin", attacks.draw(junk.ORIGINS)) for _ in range(3)]
    headers = [*origins, ("Sec-Fetch-Site", attacks.draw(junk.SITES))]
    ask = question(attacks, job, method=attacks.random.choice(["DELETE", "DELETE", "POST"]))
    ask = replace(ask, expect=Expect.CROSS_SITE)
    return Sending(kind="", asks=tuple(replace(ask, headers=(each,)) for each in headers))


def junk_headers(attacks: Attacks) -> Sending:
    """A request that would be one, were it not for some of its headers."""
    job = attacks.job()
    ask = submission(attacks)
    if job is not None and attacks.random.random() < 0.6:
        ask = question(attacks, job, method=attacks.random.choice(["GET", "GET", "DELETE"]))
    tables = [attacks.random.choice([junk.SPECIAL, junk.GENERIC]) for _ in range(3)]
    headers = tuple(attacks.draw(table) for table in tables[: attacks.random.randint(1, 3)])
    if attacks.random.random() < 0.3:
        headers = (*headers, headers[0])
    ask = replace(ask, headers=headers, expect=Expect.ANYTHING)
    # Whatever its headers say of its length, it ends there at the latest.
    bodies = tuple(ask.body[:length] for length in range(len(ask.body) + 1))
    return Sending(
        kind="", asks=(ask,), bodies=bodies, version=attacks.random.choices([1, 2], [2, 1])[0]
    )


def junk_path(attacks: Attacks) -> Sending:
    """A path that leads nowhere, and a method that no route has."""
    job = attacks.job()
    path = attacks.draw(junk.PATHS)
    if job is not None and attacks.random.random() < 0.4:
        before, behind = attacks.random.choice([*urls(job), RETRY])
        path = f"{before}{junk.spelled(attacks.draw(junk.SPELLINGS), job.id)}{behind}"
    method = attacks.draw(junk.METHODS)
    body = attacks.a_body() if method in ("POST", "PUT") else b""
    owner = job.owner if job is not None else None
    key = key_of(job.path) if job is not None else None
    ask = Ask(method=method, path=path, owner=owner, key=key, body=body, job=job)
    return Sending(
        kind="", asks=(ask,), bodies=(body,), version=attacks.random.choices([1, 2], [2, 1])[0]
    )


def malformed(attacks: Attacks) -> Sending:
    """What is no request."""
    line, head = attacks.draw(junk.LINES), attacks.draw(junk.HEADS)
    if attacks.random.random() < 0.5:
        line = b"GET /plain HTTP/1.1"
    wire = line + b"\r\n" + head + b"\r\n\r\n"
    if attacks.random.random() < 0.2:
        wire = _garbled(attacks.random, wire)
    return Sending(kind="", wire=wire, ending=attacks.draw(ENDINGS))


def bad_body(attacks: Attacks) -> Sending:
    """A body that is too long, is longer than was said, or is chunked as no body is."""
    start = b"POST /upload HTTP/1.1\r\nHost: x\r\n"
    body = attacks.a_body()
    sort = attacks.random.randrange(5)
    if sort == 0:
        size = attacks.random.choice([MAX_BODY + 1, 10**12])
        wire = start + b"Content-Length: %d\r\n\r\n" % size + b"." * (MAX_BODY + 1)
        return Sending(kind="", wire=wire)
    if sort == 1:
        wire = start + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) + b"x" * 50
        return Sending(kind="", wire=wire, bodies=(body,))
    if sort == 2:
        wire = start + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(body)
        return Sending(kind="", wire=wire + _chunked(attacks.random, body), bodies=(body,))
    wire = start + b"Transfer-Encoding: chunked\r\n\r\n"
    if sort == 3:
        return Sending(kind="", wire=wire + _chunked(attacks.random, body), bodies=(body,))
    # What is a body to this point is none yet; some of them end, and then it is one.
    return Sending(kind="", wire=wire + attacks.draw(junk.CHUNKS), bodies=(b"abcde",))


def torn_body(attacks: Attacks) -> Sending:
    """A client is gone before its body is all there."""
    ask = submission(attacks)
    while not ask.body:
        ask = submission(attacks)
    version = attacks.random.choices([1, 2], [2, 1])[0]
    ending = attacks.draw(GOING)
    pause = attacks.random.uniform(0.0, 0.05)
    if version == 1 and attacks.random.random() < 0.4:
        wire = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: x\r\n"
        for name, value in ask.all_headers("x"):
            if name not in ("Host", "Content-Length"):
                wire += f"{name}: {value}\r\n"
        whole = _chunked(attacks.random, ask.body).removesuffix(b"0\r\n\r\n")
        wire += "Transfer-Encoding: chunked\r\n\r\n"
        cut = attacks.random.randrange(len(whole) // 2, len(whole) + 1)
        return Sending(kind="", wire=wire.encode() + whole[:cut], ending=ending, pause=pause)
    sent = attacks.random.randrange(len(ask.body))
    return Sending(
        kind="",
        asks=(replace(ask, expect=Expect.ANYTHING),),
        sent=sent,
        ending=ending,
        pause=pause,
        version=version,
    )


def torn_wait(attacks: Attacks) -> Sending:
    """A client is gone while its poll is held, or, if there is no such job yet, there is one."""
    if not attacks.endless or (len(attacks.endless) < 4 and attacks.random.random() < 0.3):
        owner = attacks.draw(OWNERS)
        ask = Ask(method="GET", path=ENDLESS, owner=owner, expect=Expect.ACCEPTED)
        return Sending(kind="", asks=(ask,))
    job = attacks.random.choice(attacks.endless)
    ask = question(attacks, job, method="GET")
    while ask.path == f"/jobs/{job.id}":  # which is never held
        ask = question(attacks, job, method="GET")
    preference = ("Prefer", f"wait={attacks.random.choice([100, 10**6, 10**30])}")
    return Sending(
        kind="",
        asks=(replace(ask, headers=(preference,), expect=Expect.ANYTHING),),
        ending=attacks.draw(GOING),
        pause=attacks.random.uniform(0.0, 0.2),
        version=attacks.random.choices([1, 2], [2, 1])[0],
    )


def torn_submission(attacks: Attacks) -> Sending:
    """A client is gone while it waits for the result of what it has submitted: the job goes on."""
    ask = submission(attacks)
    if attacks.left < MOST_ENDLESS:
        attacks.left += 1
        ask = Ask(method="GET", path=ENDLESS, owner=attacks.draw(OWNERS))
    preference = ("Prefer", f"wait={attacks.random.choice([100, 10**6, 10**30])}")
    return Sending(
        kind="",
        asks=(replace(ask, headers=(preference,), expect=Expect.ANYTHING),),
        bodies=(ask.body,),
        ending=attacks.draw(GOING),
        pause=attacks.random.uniform(0.0, 0.2),
        version=attacks.random.choice([1, 2]),
    )


def torn_answer(attacks: Attacks) -> Sending:
    """A client is gone when it has asked, before it is answered or while it is."""
    ask = question_or_submission(attacks, 0.4)
    return Sending(
        kind="",
        asks=(replace(ask, expect=Expect.ANYTHING),),
        bodies=(ask.body,),
        ending=attacks.draw(GOING),
        pause=attacks.random.uniform(0.0, 0.02),
        version=attacks.random.choice([1, 2]),
    )


def together(attacks: Attacks) -> Sending:
    """Several owners ask over one connection, as behind a proxy: all at once, or in turn."""
    asks: list[Ask] = []
    for _ in range(attacks.random.randint(2, 5)):
        job = attacks.job()
        dice = attacks.random.random()
        if job is None or dice < 0.2:
            asks.append(submission(attacks))
        elif dice < 0.6:
            asks.append(question(attacks, job, method="GET"))
        else:
            asks.append(foreign_question(attacks, job))
    return Sending(
        kind="",
        asks=tuple(asks),
        bodies=tuple(ask.body for ask in asks),
        pipelined=attacks.random.random() < 0.6,
        version=attacks.random.choices([1, 2], [2, 1])[0],
    )


def question_or_submission(attacks: Attacks, questions: float) -> Ask:
    """What owners may ask; the share of `questions` once there are jobs to ask for."""
    job = attacks.job()
    dice = attacks.random.random()
    return question(attacks, job) if job is not None and dice < questions else submission(attacks)


def half_closed(attacks: Attacks) -> Sending:
    """A client that says nothing more listens on."""
    ask = question_or_submission(attacks, 0.6)
    return Sending(
        kind="",
        asks=(replace(ask, expect=Expect.ANYTHING),),
        bodies=(ask.body,),
        ending=Ending.HALF_CLOSE,
    )


def junk_frames(attacks: Attacks) -> Sending:
    """Frames of HTTP/2 that nobody should send, after its preface or an upgrade to it."""
    random = attacks.random
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    if random.random() < 0.1:
        preface = preface[: random.randrange(3, len(preface))]
    wire = preface + _frame(4, 0, 0, b"")
    for _ in range(random.randint(1, 6)):
        wire += _junk_frame(random)
    if random.random() < 0.2:
        wire = _garbled(random, wire)
    return Sending(kind="", wire=wire, ending=attacks.draw(ENDINGS), pause=0.02, version=2)


def _junk_frame(random: Random) -> bytes:
    kind, flags = random.choice([*range(10), 255]), random.choice([0, 1, 4, 5, 8, 0x20, 0xFF])
    stream = random.choice([0, 1, 1, 1, 2, 3, 5, 2**31 - 1])
    payload = random.choice(
        [
            b"",
            b"\0" * 4,
            b"\xff" * 4,
            random.randbytes(random.randrange(40)),
            struct.pack(">I", stream) + b"\xff",  # depends on itself
            struct.pack(">HI", random.randrange(10), random.getrandbits(32)),
            _GET_PLAIN,
            _GET_PLAIN + b"\x00\x04:bad\x01x",
            _GET_PLAIN + b"\x00\x01X\x01x",  # a name in upper case
            _GET_PLAIN + b"\x00\x0acontent-length"[:2] + b"x" * 10 + b"\x03999",
            b"\x82\x86",  # without a path
            b"\x82\x86\x04\x00",  # with an empty one
            b"\x82\x86\x04\x03/\xff\xfe",
        ]
    )
    return _frame(kind, flags, stream, payload)


#: A request for /plain, compressed: method, scheme, path, authority.
_GET_PLAIN = b"\x82\x86\x04\x06/plain\x01\x01x"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _chunked(random: Random, body: bytes) -> bytes:
    cut = random.randrange(len(body) + 1)
    chunks = [part for part in (body[:cut], body[cut:]) if part]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"


def _garbled(random: Random, wire: bytes) -> bytes:
    """Some of its bytes are others, or it ends early."""
    garbled = bytearray(wire[:5000])
    for _ in range(random.randint(1, 5)):
        garbled[random.randrange(len(garbled))] = random.randrange(256)
    return bytes(garbled[: random.randrange(1, len(garbled) + 1)])


#: Each kind of attack that needs no more than these, and how often it is chosen among the others.
KINDS: Kinds = {
    "submissions": (submit, 8),
    "junk preferences": (submit_with_junk, 4),
    "polls": (poll, 8),
    "foreign jobs": (foreign, 10),
    "guarded jobs": (at_the_door, 8),
    "other sites": (cross_site, 5),
    "junk in headers": (junk_headers, 12),
    "junk in paths": (junk_path, 8),
    "no requests": (malformed, 6),
    "bad bodies": (bad_body, 5),
    "torn bodies": (torn_body, 4),
    "torn waits": (torn_wait, 4),
    "torn submissions": (torn_submission, 4),
    "torn answers": (torn_answer, 4),
    "several at once": (together, 4),
    "half-closed": (half_closed, 2),
    "junk frames": (junk_frames, 5),
}
