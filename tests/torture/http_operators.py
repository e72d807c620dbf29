"""Operators, of whom some may look and others steer; and jobs that are run once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from . import http_junk as junk
from . import http_wrong as wrong
from .http_asks import (
    ENDLESS,
    LINE,
    OWNERS,
    STEER,
    VIEW,
    Answer,
    Ask,
    Expect,
    Known,
    Sending,
)
from .http_attacks import Attacks, question, submission, submit
from .http_keys import sent
from .http_results import told_of

#: What an operator wants, and what he may do.
WANTED = (
    *product(("GET", "GET", "HEAD", "DELETE", "POST"), (VIEW, STEER)),
    *[("DELETE", VIEW)] * 3,
    ("POST", VIEW),
)
#: So many jobs are asked for by one client.
AT_ONCE = 3
#: Seconds that a client gives a job: none, too few for some, and more than any takes.
SHORT_PATIENCES = ("0", "0.03", "0.2", "0.4")
PATIENCES = (*SHORT_PATIENCES, "3600", "2147483648")


def operated(attacks: Attacks) -> Sending:
    """An operator asks for jobs of anybody's, or wants them to be cancelled or retried."""
    jobs = [job for _ in range(AT_ONCE) if (job := attacks.job()) is not None]
    if not jobs:
        return submit(attacks)
    asks = tuple(_operator_asks(attacks, job) for job in jobs)
    return Sending(kind="", asks=asks, version=attacks.random.choice([1, 2]))


def _operator_asks(attacks: Attacks, job: Known) -> Ask:
    method, operator = attacks.draw(WANTED)
    owner = attacks.draw(OWNERS)
    if attacks.endless and (method, operator) == ("DELETE", VIEW):
        job = attacks.random.choice(attacks.endless)  # which nobody else cancels
        owner = attacks.other(job.owner)
    ask = replace(question(attacks, job, method=method), owner=owner, operator=operator)
    is_change = method in ("DELETE", "POST")
    if is_change and operator == VIEW and ask.owner != job.owner:
        return replace(ask, expect=Expect.REFUSED, refusal=("view-only", "cancel or retry"))
    if method == "GET" and job.path != ENDLESS and attacks.random.random() < 0.3:
        return replace(ask, headers=(("Prefer", attacks.draw(junk.WAITS)),))
    return ask


def retried(attacks: Attacks) -> Sending:
    """The owner has a job run once more, be it in a state for that or not; and asks how it does."""
    failed = [job for job in attacks.jobs if job.fails]
    job = attacks.random.choice(failed) if failed else attacks.job()
    if attacks.random.random() < 0.3:
        job = attacks.job()
    if job is None:
        return submit(attacks)
    retry = question(attacks, job, method="POST")
    if attacks.random.random() < 0.3:
        attacks.beside.append(sent(attacks, retry))  # one of the two comes too late
    look = question(attacks, job, method="GET")
    result = replace(look, headers=(("Prefer", "wait=20"),))
    asks = (retry, result, retry) if attacks.random.random() < 0.3 else (retry, result)
    return _in_turn(asks, 1)


def cancelled_and_retried(attacks: Attacks) -> Sending:
    """A job that does not end by itself is cancelled, begun anew, and cancelled once more, by its
    owner or by who may steer all."""
    owner, version = attacks.draw(OWNERS), attacks.random.choice([1, 2])
    operators = [attacks.random.choice([None, STEER]) for _ in range(3)]
    others = [attacks.random.choice(OWNERS) for _ in range(3)]
    ask = Ask(method="GET", path=ENDLESS, owner=owner, expect=Expect.ACCEPTED)
    place = attacks.random.randrange(3)

    def steer(answers: Sequence[Answer | None]) -> Sending | None:
        job = told_of(ask, answers[0]) if answers and answers[0] is not None else None
        if job is None:
            return None
        end = replace(
            question(attacks, job, method="GET", place=place), headers=(("Prefer", "wait=20"),)
        )
        steps = []
        for method, operator, other in zip(
            ("DELETE", "POST", "DELETE"), operators, others, strict=True
        ):
            step = question(attacks, job, method=method, place=0)
            steps.append(
                step if operator is None else replace(step, owner=other, operator=operator)
            )
        look = question(attacks, job, method="GET", place=1)
        return _in_turn([look, steps[0], end, look, steps[1], steps[2], end], version)

    return replace(sent(attacks, ask), then=steer)


def brief(attacks: Attacks) -> Sending:
    """Clients give their jobs so many seconds: each is cancelled then, and not before."""
    attacks.beside.append(_brief(attacks))
    return _brief(attacks)


def _brief(attacks: Attacks) -> Sending:
    ask = submission(attacks)
    if attacks.random.random() < 0.6:
        path = attacks.random.choice([ENDLESS, LINE])
        method = "GET" if path == ENDLESS else "POST"
        body = b"" if method == "GET" else attacks.a_body()
        ask = replace(ask, method=method, path=path, key=None, headers=(), body=body)
    seconds = attacks.draw(SHORT_PATIENCES if ask.path == ENDLESS else PATIENCES)
    ask = replace(ask, headers=(*ask.headers, ("Cancel-After", seconds)))
    place = attacks.random.randrange(3)

    def wait(answers: Sequence[Answer | None]) -> Sending | None:
        job = told_of(ask, answers[0]) if answers and answers[0] is not None else None
        return None if job is None else _in_turn(_looks(attacks, job, place), 1)

    return replace(sent(attacks, ask), then=wait)


def junk_patience(attacks: Attacks) -> Sending:
    """What is no number of seconds is told so: there is no job."""
    headers = tuple(("Cancel-After", value) for value in attacks.draw(wrong.PATIENCES))
    refusal = ("invalid-request", "Cancel-After")
    ask = replace(submission(attacks), headers=headers, expect=Expect.REFUSED, refusal=refusal)
    return sent(attacks, ask)


def _looks(attacks: Attacks, job: Known, place: int) -> list[Ask]:
    """The owner looks how long it may take, waits for its end, and looks how that came."""
    status = question(attacks, job, method="GET", place=1)
    end = question(attacks, job, method="GET", place=place)
    return [status, replace(end, headers=(("Prefer", "wait=20"),)), status]


def _in_turn(asks: Sequence[Ask], version: int) -> Sending:
    """Each after the answer to the one before, with the times of that."""
    first, *rest = asks
    then = (lambda answers: _in_turn(rest, version)) if rest else None
    return Sending(kind="", asks=(first,), version=version, then=then)
