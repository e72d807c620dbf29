"""Conditional requests: with tags that were told, that might be, that are others', and that are
none; and such as are held until the answer differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import http_wrong as wrong
from .http_asks import ENDLESS, OWNERS, Answer, Ask, Expect, Known, Pairs, Sending
from .http_attacks import Attacks, question, submission, submit
from .http_keys import sent
from .http_results import told_of

#: Ways to say which tags one has: of the right one, of one that is another, and of a guess.
SAYINGS = (
    *("{tag}", "{tag}", "W/{tag}", "{other}, {tag}", " , {tag} ,, {other}", "{other}", "{guess}"),
    *("*", "{tag} {other}", "{bare}", "{other}, W/{guess}, {tag}"),
)
#: So many ways are tried on one answer.
AT_ONCE = 3
#: Seconds after which a client is told that nothing has changed: the shortest wait that there is.
SHORT_WAIT = 1
#: And so many as nobody would wait here.
LONG_WAIT = 200
#: Seconds that a job is given which others wait for.
BRIEF = (0.05, 0.2, 0.4)


def conditional(attacks: Attacks) -> Sending:
    """The owner asks for a job, and then says that he has that answer, or another one."""
    job = attacks.job()
    if job is None:
        return submit(attacks)
    ask = question(attacks, job, method="GET")
    sayings = [attacks.draw(SAYINGS) for _ in range(AT_ONCE)]
    method = attacks.random.choice(["GET", "GET", "HEAD"])
    guess = f'"{job.id}.{attacks.random.randrange(1, 6)}"'
    other = _any_tag(attacks, job)
    lines, version = attacks.random.random() < 0.2, attacks.random.choice([1, 2])

    def again(answers: Sequence[Answer | None]) -> Sending | None:
        tag = _tag_in(answers)
        if tag is None:
            return None
        bare, asks = tag.strip('"'), []
        for saying in sayings:
            said = saying.format(tag=tag, other=other, guess=guess, bare=bare)
            headers: Pairs = (("If-None-Match", said.strip()),)
            if lines:
                headers = (("If-None-Match", other), *headers)
            asks.append(replace(ask, method=method, headers=headers))
        return Sending(kind="", asks=tuple(asks), version=version)

    return replace(sent(attacks, ask), then=again)


def junk_conditions(attacks: Attacks) -> Sending:
    """What is no list of tags is as if it were not there; and no submission is conditional."""
    job = attacks.job()
    headers: Pairs = (("If-None-Match", attacks.draw(wrong.TAGS)),)
    if job is None or attacks.random.random() < 0.3:
        ask = submission(attacks)
        headers = (("If-None-Match", "*"), *ask.headers)
        return sent(attacks, replace(ask, headers=headers))
    return sent(attacks, replace(question(attacks, job, method="GET"), headers=headers))


def held(attacks: Attacks) -> Sending:
    """Who has the answer already waits until there is another one, or for as long as he has said:
    of a job that runs until its time is over, or for ever."""
    place, version = attacks.random.randrange(4), attacks.random.choice([1, 2])
    if attacks.endless and attacks.random.random() < 0.3:
        return _held(attacks, attacks.random.choice(attacks.endless), place, version, SHORT_WAIT)
    seconds = attacks.draw(BRIEF)
    ask = Ask(
        method="GET",
        path=ENDLESS,
        owner=attacks.draw(OWNERS),
        headers=(("Cancel-After", str(seconds)),),
        expect=Expect.ACCEPTED,
    )

    def look(answers: Sequence[Answer | None]) -> Sending | None:
        job = told_of(ask, answers[0]) if answers and answers[0] is not None else None
        return None if job is None else _held(attacks, job, place, version, LONG_WAIT)

    return replace(sent(attacks, ask), then=look)


def _held(attacks: Attacks, job: Known, place: int, version: int, seconds: int) -> Sending:
    """The owner asks for the job, and then for another answer than that."""
    ask = question(attacks, job, method="GET", place=place)

    def wait(answers: Sequence[Answer | None]) -> Sending | None:
        tag = _tag_in(answers)
        if tag is None:
            return None
        headers = (("If-None-Match", tag), ("Prefer", f"wait={seconds}"))
        return Sending(kind="", asks=(replace(ask, headers=headers),), version=version)

    return Sending(kind="", asks=(ask,), version=version, then=wait)


def _tag_in(answers: Sequence[Answer | None]) -> str | None:
    return answers[0].header("etag") if answers and answers[0] is not None else None


def _any_tag(attacks: Attacks, job: Known) -> str:
    """One that this job has not, or has no longer."""
    places = [*attacks.ledger.tags.values()]
    tags = [*attacks.random.choice(places)] if places else []
    return tags[0] if tags and job.id not in tags[0] else f'"{attacks.an_id()}.3"'
