"""Submissions that are repeated: with the same key, at the same time or later, by others, torn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import http_junk as junk
from . import http_wrong as wrong
from .http_asks import IN_VAIN, ONCE, ONCE_KEY, OWNERS, Ask, Expect, Pairs, Sending, key_of
from .http_attacks import GOING, Attacks, submission, well_formed

KEY = "Idempotency-Key"
#: So many requests with keys are remembered: the last ones.
REMEMBERED = 60
#: Keys are made of these and of a number, so that no two tests of luck have the same.
WORDS = ("", "a", "key", "a b", 'say "x"', "back\\slash", "8e03978e-40d5", "x" * 220, "()[]{}@,;")
#: So many repeats are sent by one client.
AT_ONCE = 3
#: What makes it another request, or its sender somebody else.
OTHERS = ("body", "type", "method", "query", "owner", "route")
#: One path each, whose view has others as well.
SIBLINGS = {
    "/things/one": "/things/two%20words",
    "/files": "/secrets",
    "/org/north/upload": "/org/south/upload",
    "/team/south/upload": "/team/north/upload",
}
#: So many keys of the route are in use at a time: small, so that they come again.
_KEYS_OF_ROUTE = 12


def keyed(attacks: Attacks) -> Sending:
    """A submission with a new key, and at the same time its repeats, and others with its key."""
    ask = _with_key(attacks, submission(attacks))
    attacks.keyed = [*attacks.keyed[-REMEMBERED:], ask]
    for _ in range(attacks.random.randint(1, 4)):
        attacks.beside.append(_repeat(attacks, ask))
    if attacks.random.random() < 0.3:
        attacks.beside.append(sent(attacks, _another(attacks, ask)))
    if attacks.random.random() < 0.3:
        return _all_sent(attacks, [_written_anew(attacks, ask) for _ in range(AT_ONCE)])
    return _repeat(attacks, ask)


def keyed_again(attacks: Attacks) -> Sending:
    """Keys that came before, with the same requests or with others."""
    asks = []
    for _ in range(AT_ONCE if attacks.keyed else 0):
        ask = attacks.random.choice(attacks.keyed)
        if attacks.random.random() < 0.6:
            ask = _another(attacks, ask)
        asks.append(_written_anew(attacks, ask))
    return _all_sent(attacks, asks) if asks else keyed(attacks)


def torn_and_repeated(attacks: Attacks) -> Sending:
    """A client that is gone before it is answered, or before its body is all there, comes back."""
    ask = _with_key(attacks, submission(attacks))
    attacks.keyed = [*attacks.keyed[-REMEMBERED:], ask]
    again = sent(attacks, _written_anew(attacks, ask))
    cut = attacks.random.randrange(len(ask.body)) if ask.body else None
    return replace(
        _unheard(again),
        sent=cut if attacks.random.random() < 0.4 else None,
        ending=attacks.draw(GOING),
        pause=attacks.random.uniform(0.0, 0.03),
        then=lambda answers: again,
    )


def junk_keys(attacks: Attacks) -> Sending:
    """What is no key: there is no job."""
    values = attacks.draw(wrong.KEYS)
    headers = tuple((KEY, value) for value in values)
    refusal = ("invalid-request", KEY)
    ask = replace(submission(attacks), headers=headers, expect=Expect.REFUSED, refusal=refusal)
    return sent(attacks, ask)


def keys_of_route(attacks: Attacks) -> Sending:
    """The route tells the key: whatever else it says, a request with it is the same job, unless
    that has ended in vain."""
    number = attacks.random.randrange(_KEYS_OF_ROUTE)
    body = IN_VAIN * attacks.random.choice([True, False]) + attacks.a_body()
    ask = Ask(
        method="POST",
        path=ONCE,
        owner=attacks.draw(OWNERS),
        headers=((ONCE_KEY, f"once {number}"), ("Prefer", "wait=20")),
        body=body,
        expect=Expect.ACCEPTED,
        repeats=f"once {number}",
    )
    others = [replace(ask, body=attacks.a_body(), headers=ask.headers[:1]) for _ in range(2)]
    if attacks.random.random() < 0.2:  # its client's goes before
        key = attacks.an_id()
        ask = replace(ask, headers=(*ask.headers, (KEY, key)), expect=Expect.KEYED, repeats=key)
    for _ in range(attacks.random.randint(0, 2)):
        attacks.beside.append(sent(attacks, ask))
    again = _all_sent(attacks, others)
    return replace(sent(attacks, ask), then=lambda answers: again)


def sent(attacks: Attacks, ask: Ask) -> Sending:
    """In either version of HTTP."""
    return Sending(kind="", asks=(ask,), bodies=(ask.body,), version=attacks.random.choice([1, 2]))


def _all_sent(attacks: Attacks, asks: Sequence[Ask]) -> Sending:
    """Several, in HTTP/2 all at once."""
    bodies = tuple(ask.body for ask in asks)
    version = attacks.random.choice([1, 2])
    return Sending(kind="", asks=tuple(asks), bodies=bodies, version=version)


def _with_key(attacks: Attacks, ask: Ask) -> Ask:
    key = f"{attacks.draw(WORDS)}{attacks.random.getrandbits(64):x}"
    return _written_anew(attacks, replace(ask, expect=Expect.KEYED, repeats=key))


def _written_anew(attacks: Attacks, ask: Ask) -> Ask:
    """The same request, with the same key, in another one of the ways to write it."""
    written = f'"{_escaped(ask.repeats or "")}"'
    if _is_token(ask.repeats or "") and attacks.random.random() < 0.5:
        written = ask.repeats or ""
    elif attacks.random.random() < 0.2:
        written = f'{written}; a=1;b="x"'
    name = attacks.random.choice([KEY, KEY.lower()])
    others = tuple(each for each in ask.headers if each[0].lower() not in (KEY.lower(), "prefer"))
    return replace(ask, headers=(*others, *_preference(attacks), (name, written)))


def _preference(attacks: Attacks) -> Pairs:
    """Some wait, and it makes no other request of it."""
    waits = attacks.random.random() < 0.4
    return well_formed((("Prefer", attacks.draw(junk.WAITS)),)) if waits else ()


def _repeat(attacks: Attacks, ask: Ask) -> Sending:
    """One of several, of which some are gone before they are answered."""
    sending = sent(attacks, _written_anew(attacks, ask))
    if attacks.random.random() < 0.85:
        return sending
    pause = attacks.random.uniform(0.0, 0.02)
    return replace(_unheard(sending), ending=attacks.draw(GOING), pause=pause)


def _unheard(sending: Sending) -> Sending:
    """The same by who is not there for the answer."""
    asks = tuple(replace(ask, expect=Expect.ANYTHING) for ask in sending.asks)
    return replace(sending, asks=asks)


def _another(attacks: Attacks, ask: Ask) -> Ask:
    """Another request, or somebody else's, with the same key."""
    what = attacks.draw(OTHERS)
    if what == "type":
        return replace(ask, headers=(*ask.headers, ("Content-Type", "text/x-other")))
    if what == "owner":
        return replace(ask, owner=attacks.other(ask.owner))
    if what == "method" and ask.path == "/fails":
        return replace(ask, method="POST" if ask.method == "GET" else "GET")
    if what == "query" and ask.path == "/upload":
        return replace(ask, path=f"/upload?x={attacks.random.randrange(9)}")
    if what == "route":
        path = SIBLINGS.get(ask.path, "/missing")
        return replace(
            ask, method="PUT" if "things" in path else "POST", path=path, key=key_of(path)
        )
    return replace(ask, body=attacks.a_body())


def _escaped(key: str) -> str:
    return key.replace("\\", "\\\\").replace('"', '\\"')


def _is_token(key: str) -> bool:
    return all(char.isalnum() or char in "!#$%&'*+-.^_`|~:/=" for char in key)
