"""Those who watch, and those who stand in line: attacks, chosen by luck alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from . import http_junk as junk
from .http_asks import (
    ENDLESS,
    GUARDED_ROUTES,
    LINE,
    MAX_WATCHING,
    OWNERS,
    PREFERS,
    STEPS,
    Answer,
    Ask,
    Ending,
    Expect,
    Known,
    Pairs,
    Reads,
    Sending,
    key_of,
)
from .http_events import events_of
from .http_results import told_of

if TYPE_CHECKING:
    from .http_attacks import Attacks

Answers = Sequence[Answer | None]

#: Jobs that are watched from their beginning on: method and path.
WATCHED = (
    ("POST", STEPS),
    ("POST", STEPS),
    ("POST", LINE),
    ("GET", "/slow"),
    ("POST", "/fails"),
    ("GET", "/guarded/rooms/7"),
)
EVENTS = ("Accept", "text/event-stream")
#: Who says one of these would rather have events than JSON.
EVENTS_WANTED = (
    *("text/event-stream", "text/event-stream, */*;q=0.1", "TEXT/Event-Stream"),
    *("text/event-stream;q=0.9, application/json;q=0.5", "text/*, application/json;q=0.1"),
    *("text/event-stream; charset=utf-8", "text/html, text/event-stream;q=0.2"),
)
#: And who says one of these would not.
JSON_WANTED = (
    *("*/*", "application/json, text/event-stream", "text/event-stream;q=0.5, application/json"),
    *("text/html", "application/*", "text/event-stream;q=0", "text/event-streams"),
)
#: Nobody can tell what these want.
JUNK_WANTED = (
    *junk.VALUES["Accept"],
    *("text/event-stream;q=x", "text/event-stream;q=-1", "text/event-stream;q=9e999", "text/"),
    *("text/event-stream;q=nan, application/json", "text/event-stream,,,;", '"text/event-stream"'),
    *("text/event-stream;charset=", "text/event-stream;" * 300, "text/event-stream\xff", ""),
)
#: What nobody has as the id of an event that he has seen.
JUNK_SEEN = (
    *("", "-1", "+3", "3.0", "0x3", "3, 3", '"3"', "\xff", "\xb2", "NaN", "1" * 20, "9" * 5000),
    *("\u0663".encode().decode("latin-1"), "a" * 3000, "3;", "null", "1e3", "1_0"),
)
#: What somebody may have, whatever the job.
SEEN = ("0", "1", "2", "3", "4", "9", "00003", "9" * 19)
#: How somebody reads.
READS = (
    *(Reads(), Reads(), Reads(is_slow=True)),
    *(Reads(events=1, ending=Ending.RESET), Reads(events=1), Reads(events=2)),
    *(Reads(seconds=0.1), Reads(seconds=0.2, ending=Ending.RESET), Reads(events=0)),
    Reads(events=0, ending=Ending.RESET, is_slow=True),  # who takes nothing of the first one
)
#: What may be said to a route that answers with results.
PREFERRED: Sequence[Pairs] = (
    *((), (), (("Prefer", "respond-async"),), (("Prefer", "wait=5"),)),
    *((("Prefer", "respond-async, wait=5"),), (("Prefer", "wait=20"), ("Prefer", "respond-async"))),
)
#: Of who does not wait for an answer.
GOING = (Ending.CLOSE, Ending.RESET)


def watching(attacks: Attacks) -> Sending:
    """Several watch a job from its beginning on, which may be cancelled meanwhile; then somebody
    looks how it is."""
    ask = _submission(attacks, *attacks.draw(WATCHED))
    templates = [_template(attacks) for _ in range(attacks.random.randint(1, 3))]
    if attacks.random.random() < 0.2:
        templates.append(Ask(method="DELETE", path="", expect=Expect.OWN))
    version = attacks.random.choice([1, 2])
    return Sending(
        kind="", asks=(ask,), bodies=(ask.body,), then=partial(_watch, ask, templates, version)
    )


def watching_known(attacks: Attacks) -> Sending:
    """The owner of a job that has been there for a while watches it."""
    job = attacks.job()
    if job is None:
        return watching(attacks)
    templates = [_template(attacks) for _ in range(attacks.random.randint(1, 3))]
    return _watched(job, templates, attacks.random.choice([1, 2]))


def coming_back(attacks: Attacks) -> Sending:
    """Somebody who has watched a job to its end comes back, with what he has seen and with what he
    has not."""
    ask = _submission(attacks, "POST", STEPS)
    seen: list[int | str] = [-1, attacks.draw((0, 0, 1, 1000)), attacks.draw(JUNK_SEEN)]
    reads = Reads(is_slow=attacks.random.random() < 0.2)
    template = Ask(method="GET", path="", headers=(EVENTS,), expect=Expect.WATCHED, reads=reads)
    version = attacks.random.choice([1, 2])
    back = partial(_come_back, template, seen, version)
    watch = partial(_watch, ask, [template], version, then=back)
    return Sending(kind="", asks=(ask,), bodies=(ask.body,), then=watch)


def foreign_watching(attacks: Attacks) -> Sending:
    """Somebody watches a job of somebody else's, and one that never was."""
    job = attacks.job()
    if job is None:
        return watching(attacks)
    headers = _headers(attacks, EVENTS_WANTED)
    owner, key = attacks.other(job.owner), attacks.random.choice([None, key_of(job.path)])
    method = attacks.random.choice(["GET", "GET", "HEAD"])
    unknown = job._replace(id=attacks.an_id())
    template = Ask(method=method, path="", headers=headers, expect=Expect.UNKNOWN)
    ask, twin = [replace(_about(template, each), owner=owner, key=key) for each in (job, unknown)]
    ask = replace(ask, twin=twin)
    return Sending(kind="", asks=(ask,), version=attacks.random.choice([1, 2]))


def keyless_watching(attacks: Attacks) -> Sending:
    """The owner of a job behind a guard watches it without the key."""
    jobs = [job for job in attacks.jobs if (job.method, job.path) in GUARDED_ROUTES]
    if not jobs:
        return watching(attacks)
    job = attacks.random.choice(jobs)
    headers = _headers(attacks, EVENTS_WANTED)
    ask = _about(Ask(method="GET", path="", headers=headers, expect=Expect.SHUT), job)
    ask = replace(ask, key=None)
    return Sending(kind="", asks=(ask,), version=attacks.random.choice([1, 2]))


def torn_watching(attacks: Attacks) -> Sending:
    """A watcher is gone before anything has come, or takes nothing of what comes."""
    job = attacks.random.choice(attacks.endless) if attacks.endless else attacks.job()
    if job is None:
        return watching(attacks)
    ask = _about(Ask(method="GET", path="", headers=_headers(attacks, EVENTS_WANTED)), job)
    version = attacks.random.choice([1, 2])
    return Sending(
        kind="",
        asks=(ask,) * (1 if version == 1 else 3),
        ending=attacks.draw(GOING),
        pause=attacks.random.uniform(0.0, 0.2),
        version=version,
    )


def crowd(attacks: Attacks) -> Sending:
    """More watch at once than may."""
    reads = Reads(seconds=0.0, ending=attacks.draw(GOING))
    template = Ask(method="GET", path="", headers=(EVENTS,), expect=Expect.WATCHED, reads=reads)
    templates = [template] * (MAX_WATCHING + 3)
    if attacks.endless:
        return _watched(attacks.random.choice(attacks.endless), templates, 2)
    ask = _submission(attacks, "GET", ENDLESS)
    return Sending(kind="", asks=(ask,), then=partial(_watch, ask, templates, 2))


def standing_in_line(attacks: Attacks) -> Sending:
    """Several jobs of which one runs at a time: their owners look how many are ahead, and look once
    more when others have come."""
    asks = [_submission(attacks, "POST", LINE) for _ in range(6)]
    first, second = asks[:3], asks[3:]
    watched = Ask(method="GET", path="", headers=(EVENTS,), expect=Expect.WATCHED, reads=Reads())
    follow = partial(_look, first, then=partial(_join, second, watched))
    return _submitted(first, follow)


def preferring(attacks: Attacks) -> Sending:
    """To a route that answers with results."""
    ask = replace(_submission(attacks, "POST", PREFERS), headers=attacks.draw(PREFERRED))
    return Sending(kind="", asks=(ask,), bodies=(ask.body,), version=attacks.random.choice([1, 2]))


# What a client does when it has been answered.


def _watch(
    submission: Ask,
    templates: Sequence[Ask],
    version: int,
    answers: Answers,
    *,
    then: Callable[[Known, Answers], Sending | None] | None = None,
) -> Sending | None:
    """It watches the job that it has submitted."""
    job = None if answers[0] is None else told_of(submission, answers[0])
    if job is None:
        return None
    sending = _watched(job, templates, version)
    return sending if then is None else replace(sending, then=partial(then, job))


def _watched(job: Known, templates: Sequence[Ask], version: int) -> Sending:
    """It watches a job, and looks how that is."""
    asks = tuple(_about(template, job) for template in templates)
    look = Sending(kind="", asks=(_status(job),))
    return Sending(kind="", asks=asks, version=version, then=lambda _: look)


def _come_back(
    template: Ask, seen: Sequence[int | str], version: int, job: Known, answers: Answers
) -> Sending | None:
    """It watches once more, with what it has seen then."""
    events = [] if answers[0] is None else events_of(answers[0].body)
    last = (events[-1].version or 0) if events else 0
    said = [str(last + each) if isinstance(each, int) else each for each in seen]
    headers = [(EVENTS, ("Last-Event-ID", each)) for each in said]
    return _watched(job, [replace(template, headers=each) for each in headers], version)


def _look(
    submissions: Sequence[Ask],
    answers: Answers,
    *,
    then: Callable[[Sequence[Known], Answers], Sending | None],
) -> Sending | None:
    """It looks how the jobs are that it has submitted."""
    told = [
        told_of(ask, answer)
        for ask, answer in zip(submissions, answers, strict=False)
        if answer is not None
    ]
    jobs = [job for job in told if job is not None]
    if not jobs:
        return None
    return Sending(kind="", asks=tuple(map(_status, jobs)), then=partial(then, jobs))


def _join(
    submissions: Sequence[Ask], watched: Ask, jobs: Sequence[Known], answers: Answers
) -> Sending:
    """It submits more, looks how the first ones are, and watches the last of those."""
    watch = _watched(jobs[-1], [watched], 1)
    look = Sending(kind="", asks=tuple(map(_status, jobs)), then=lambda _: watch)
    return _submitted(submissions, lambda _: look)


def _submitted(submissions: Sequence[Ask], then: Callable[[Answers], Sending | None]) -> Sending:
    bodies = tuple(ask.body for ask in submissions)
    return Sending(kind="", asks=tuple(submissions), bodies=bodies, version=2, then=then)


# What is asked.


def _submission(attacks: Attacks, method: str, path: str) -> Ask:
    """Of who does not wait."""
    return Ask(
        method=method,
        path=path,
        owner=attacks.draw(OWNERS),
        key=key_of(path),
        headers=(("Prefer", "respond-async"),),
        body=b"" if method == "GET" else attacks.a_body(),
        expect=Expect.ACCEPTED,
    )


def _template(attacks: Attacks) -> Ask:
    """How somebody watches, whatever the job."""
    dice = attacks.random.random()
    reads = attacks.draw(READS)
    method = "HEAD" if dice < 0.05 else "GET"
    if dice < 0.7:
        headers, expect = _headers(attacks, EVENTS_WANTED), Expect.WATCHED
    elif dice < 0.85:
        headers, expect = _headers(attacks, JUNK_WANTED), Expect.TOLD
    else:
        headers, expect = _headers(attacks, JSON_WANTED), Expect.OWN
    return Ask(method=method, path="", headers=headers, expect=expect, reads=reads)


def _headers(attacks: Attacks, accepts: Sequence[str]) -> Pairs:
    headers: Pairs = (("Accept", attacks.draw(accepts)),)
    if (dice := attacks.random.random()) < 0.6:
        headers += (("Last-Event-ID", attacks.draw(SEEN if dice < 0.3 else JUNK_SEEN)),)
    return tuple(header for header in headers if header[1] == header[1].strip())


def _about(template: Ask, job: Known) -> Ask:
    """The same, of a job and its owner."""
    return replace(template, path=f"/jobs/{job.id}", owner=job.owner, key=key_of(job.path), job=job)


def _status(job: Known) -> Ask:
    """Its owner looks how it is."""
    return _about(Ask(method="GET", path="", expect=Expect.OWN), job)


#: Each kind of attack, and how often it is chosen among the others.
WATCHER_KINDS: Mapping[str, tuple[Callable[[Attacks], Sending], int]] = {
    "watchers": (watching, 6),
    "watchers of known jobs": (watching_known, 5),
    "watchers that come back": (coming_back, 3),
    "foreign watchers": (foreign_watching, 4),
    "keyless watchers": (keyless_watching, 2),
    "torn watchers": (torn_watching, 4),
    "crowds of watchers": (crowd, 1),
    "jobs in line": (standing_in_line, 3),
    "results preferred": (preferring, 4),
}
