"""The list: asked for with all that it takes, and with what it does not; walked through to its end
while other jobs are made; with cursors that were told to others; by who has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from asyncjobs.job import State

from . import http_wrong as wrong
from .http_asks import (
    NAMES,
    OPEN,
    OWNERS,
    STEER,
    STRANGER,
    VIEW,
    Answer,
    Ask,
    Expect,
    Sending,
)
from .http_attacks import Attacks
from .http_keys import sent
from .http_ledger import next_in

#: Owners who have a list.
SOME = tuple(owner for owner in OWNERS if owner is not None)
#: Endpoints whose URLs have the same name, and none of which is behind a guard.
PLAIN_ROUTES = ("upload", "missing", "slow", "fails", "once")
#: Who asks: an owner as himself, or an operator, who may be an owner as well.
ASKERS = (None, None, None, VIEW, STEER)
#: A walk takes about so many pages, and never more than that.
PAGES, MOST_PAGES = (2, 3, 5, 9), 400
#: So many pages are asked for at once.
AT_ONCE = 3
#: What is asked for: each of these with or without others.
PARAMETERS = ("state", "states", "route", "since", "before", "limit", "owner")


def listed(attacks: Attacks) -> Sending:
    """Pages of some jobs, and perhaps the one behind the first of them."""
    asks = []
    for _ in range(AT_ONCE):
        ask = _ask(attacks, attacks.draw(ASKERS))
        pairs = []
        for name in attacks.random.sample(PARAMETERS, attacks.random.choice([0, 1, 1, 2, 3])):
            pairs += _parameter(attacks, ask, name)
        asks.append(replace(ask, path=_url(dict.fromkeys(pairs))))
    return Sending(
        kind="",
        asks=tuple(asks),
        version=attacks.random.choice([1, 2]),
        then=lambda answers: _next(asks[0], answers, 1),
    )


def walked(attacks: Attacks) -> Sending:
    """To the end, while others make jobs."""
    ask = _ask(attacks, attacks.draw(ASKERS))
    known = sum(
        ask.is_operators or life.owner == ask.owner for life in attacks.ledger.lives.values()
    )
    pairs = [("limit", str(max(1, min(500, known // attacks.draw(PAGES)))))]
    if attacks.random.random() < 0.3:
        pairs.append(("route", attacks.draw(PLAIN_ROUTES)))
    if attacks.random.random() < 0.3:
        pairs.append(("state", State.SUCCEEDED))  # which a job is for good
    attacks.walks += 1
    ask = replace(ask, path=_url(pairs), walk=attacks.walks)
    # Each page by a connection of its own, which may be to the other process.
    walk = Sending(kind="", asks=(ask,), then=lambda answers: _next(ask, answers, MOST_PAGES))
    for _ in range(3):
        attacks.beside.append(_made_beside(attacks, ask.owner))
    return walk


def foreign_cursors(attacks: Attacks) -> Sending:
    """A cursor is a place, and no permission: those of others, and places that are made up."""
    ask = _ask(attacks, None)
    cursors = [cursor for asked, cursor in attacks.ledger.cursors if asked.owner != ask.owner]
    cursor = attacks.draw(wrong.CURSORS)
    if cursors and attacks.random.random() < 0.7:
        cursor = attacks.random.choice(cursors)
    limit = str(attacks.random.choice([1, 7, 500]))
    return sent(attacks, replace(ask, path=_url([("limit", limit), ("cursor", cursor)])))


def junk_parameters(attacks: Attacks) -> Sending:
    """What is unknown or wrong is told so by its name."""
    name, query = attacks.draw(wrong.PARAMETERS)
    operator = attacks.draw(ASKERS)
    if operator is not None and name == "owner":  # which are for operators to say
        operator = None
    refusal = ("invalid-request", name)
    ask = replace(
        _ask(attacks, operator), path=f"/jobs?{query}", expect=Expect.REFUSED, refusal=refusal
    )
    return sent(attacks, ask)


def no_list(attacks: Attacks) -> Sending:
    """Who is nobody in particular has none, whatever he asks for; who is not let in has none."""
    twin = Ask(method="GET", path=f"/jobs/{attacks.an_id()}", expect=Expect.NO_LIST)
    query = attacks.draw(wrong.QUERIES)
    ask = replace(twin, path=f"/jobs{query}", twin=twin)
    if attacks.random.random() < 0.3:
        ask = replace(ask, operator=STRANGER, twin=replace(twin, operator=STRANGER))
    return sent(attacks, ask)


def _ask(attacks: Attacks, operator: str | None) -> Ask:
    owner = attacks.draw(SOME if operator is None else OWNERS)
    key = attacks.random.choice([None, OPEN, *NAMES])
    return Ask(
        method="GET", path="/jobs", owner=owner, key=key, operator=operator, expect=Expect.PAGE
    )


def _parameter(attacks: Attacks, ask: Ask, name: str) -> list[tuple[str, str]]:
    random = attacks.random
    match name:
        case "state":
            return [("state", random.choice([*State]))]
        case "states":
            return [("state", state) for state in random.sample([*State], 2)]
        case "route":
            return [("route", attacks.draw(PLAIN_ROUTES))]
        case "limit":
            return [("limit", str(random.choice([1, 2, 5, 50, 500])))]
        case "owner" if ask.is_operators:
            return [("owner", random.choice(SOME))]
        case "since" | "before":
            zone = random.choice([UTC, *wrong.ZONES])
            moment = datetime.now(zone) - timedelta(milliseconds=random.randrange(20_000))
            return [(name, moment.isoformat(timespec="milliseconds"))]
    return []


def _next(ask: Ask, answers: Sequence[Answer | None], left: int) -> Sending | None:
    """The next page, if there is one, and no more than so many are wanted."""
    url = next_in(answers[0]) if answers else None
    if url is None or not left:
        return None
    there = replace(ask, path=url)
    return Sending(kind="", asks=(there,), then=lambda answers: _next(ask, answers, left - 1))


def _made_beside(attacks: Attacks, owner: str | None) -> Sending:
    """A job that comes while somebody walks."""
    return sent(
        attacks,
        Ask(
            method="POST",
            path="/upload",
            owner=owner,
            body=attacks.a_body(),
            expect=Expect.ACCEPTED,
        ),
    )


def _url(pairs: Sequence[tuple[str, str]] | dict[tuple[str, str], None]) -> str:
    return f"/jobs?{urlencode([*pairs])}" if pairs else "/jobs"
