"""Limits that are met: of the queue, of an owner's part of it, and of headers."""

from __future__ import annotations

from dataclasses import replace

from .http_asks import CROWD, LINE, MAX_HEADERS, MAX_QUEUED_PER_OWNER, OWNERS, Ask, Expect, Sending
from .http_attacks import Attacks, question, submission
from .http_keys import sent

#: So many jobs are submitted at once by each of the crowd: more than may wait, and together no more
#: than a connection takes.
EACH = 13


def crowd(attacks: Attacks) -> Sending:
    """More jobs than may wait, of several owners, all at once."""
    asks = [
        Ask(method="POST", path=LINE, owner=owner, body=attacks.a_body(), expect=Expect.QUEUED)
        for owner in CROWD
        for _ in range(EACH)
    ]
    bodies = tuple(ask.body for ask in asks)
    for _ in range(2):
        attacks.beside.append(_into_the_crowd(attacks))
    return Sending(kind="", asks=tuple(asks), bodies=bodies, version=2)


def group(attacks: Attacks) -> Sending:
    """Few enough that all of them may wait."""
    owner = attacks.draw(OWNERS)
    asks = [
        Ask(method="POST", path=LINE, owner=owner, body=attacks.a_body(), expect=Expect.QUEUED)
        for _ in range(MAX_QUEUED_PER_OWNER // 2)
    ]
    bodies = tuple(ask.body for ask in asks)
    return Sending(kind="", asks=tuple(asks), bodies=bodies, version=2)


def large_headers(attacks: Attacks) -> Sending:
    """More than may be in the headers of what would be a job; a poll may have as much."""
    many = tuple((f"X-Many-{number}", "x" * 900) for number in range(MAX_HEADERS // 900 + 1))
    large = attacks.random.choice([many, (("X-Large", "x" * MAX_HEADERS),)])
    job = attacks.job()
    if job is not None and attacks.random.random() < 0.3:
        return sent(attacks, replace(question(attacks, job, method="GET"), headers=large))
    ask, refusal = submission(attacks), ("headers-too-large", str(MAX_HEADERS))
    headers = (*ask.headers, *large)
    return sent(attacks, replace(ask, headers=headers, expect=Expect.REFUSED, refusal=refusal))


def _into_the_crowd(attacks: Attacks) -> Sending:
    """Somebody else, who has few jobs, comes at the same time."""
    ask = submission(attacks)
    if attacks.random.random() < 0.5:
        ask = Ask(
            method="POST",
            path=LINE,
            owner=attacks.draw(OWNERS),
            body=attacks.a_body(),
            expect=Expect.QUEUED,
        )
    return sent(attacks, ask)
