"""`Prefer: wait=N`, as RFC 7240 has it: when a poll is held, and when not."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Request
from werkzeug.datastructures import Headers

from apps.signals import Signals
from asyncjobs.web.http.preferences import preferences_of
from asyncjobs.web.http.seconds import MAX_DELTA_SECONDS
from conftest import Serve
from server import Server, received, submit


def preferring(*lines: str) -> Request:
    """A request with these lines of `Prefer`."""
    headers = Headers([("Prefer", line) for line in lines])
    scope: Any = {}
    return Request("GET", "http", "/", b"", headers, "", "1.1", scope, send_push_promise=None)  # type: ignore[arg-type]


def wait_in(*lines: str) -> int | None:
    """The wait that a request with these lines of `Prefer` has."""
    return preferences_of(preferring(*lines)).wait


WAITS = {
    ("wait=1",): 1,
    ("wait=0",): 0,
    ("wait=007",): 7,
    (f"wait={'9' * 5000}",): MAX_DELTA_SECONDS,
    # The names of preferences are case-insensitive, and blanks around the sign are "bad" only.
    ("Wait=1",): 1,
    ("WAIT = 1",): 1,
    ("wait\t=\t1\t",): 1,
    # Parameters are of the preference, and void nothing.
    ("wait=1; foo=bar",): 1,
    ("wait=1;",): 1,
    ("wait=1 ;;",): 1,
    ('wait=1; foo="a, wait=3; b"',): 1,
    ("respond-async; wait=3, wait=1",): 1,
    # It is one of a list, on one line or on several.
    ("respond-async, wait=1",): 1,
    ("wait=1, handling=lenient",): 1,
    (",, wait=1,",): 1,
    ("respond-async", "wait=1"): 1,
    ("wait=1", "respond-async"): 1,
    ("", "wait=1"): 1,
    # Of two the first counts, also if it makes no sense.
    ("wait=1, wait=2",): 1,
    ("wait=1", "wait=2"): 1,
    ("Wait=1", "wait=2"): 1,
    ("wait, wait=2",): None,
    ("wait=soon", "wait=2"): None,
    # What looks like one only.
    ('wait="1"',): None,
    ("wait='1'",): None,
    ("wait*=1",): None,
    ("wait*=utf-8''1",): None,
    ('x="wait=1"',): None,
    ('x="a, wait=1"',): None,
    (r'x="\", wait=1"',): None,
    ('"wait=1"',): None,
    ('x="open, wait=1',): None,
    ("x-wait=1",): None,
    ("waiting=1",): None,
    ("wait",): None,
    ("wait=",): None,
    ("=1",): None,
    ("wait=1 2",): None,
    ("wait=1=2",): None,
    ("wait=-1",): None,
    ("wait=+1",): None,
    ("wait=1.5",): None,
    ("wait=1_0",): None,
    ("wait=\xb2",): None,
    ("",): None,
    (): None,
}


@pytest.mark.parametrize("lines", WAITS, ids=lambda lines: ascii(lines)[:60])
def test_the_wait_that_a_client_prefers(lines: tuple[str, ...]) -> None:
    """`wait` is found as one preference of the list that all lines are together, whatever its case
    and parameters; what has its name or its number in a string of its own is none."""
    assert wait_in(*lines) == WAITS[lines]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["respond-async"], (None, True)),
        (["Respond-Async"], (None, True)),
        (["respond-async; foo=bar"], (None, True)),
        (['respond-async=""'], (None, True)),
        (["respond-async="], (None, True)),
        (["respond-async, wait=10"], (10, True)),
        (["wait=10, handling=lenient, respond-async"], (10, True)),
        (["wait=10", "return=minimal", "respond-async"], (10, True)),
        (["respond-async, respond-async, wait=1, wait=2"], (1, True)),
        (["respond-async, wait=soon"], (None, True)),
        (["respond-async=no"], (None, False)),
        (["respond-asynchronously"], (None, False)),
        (['x="respond-async"'], (None, False)),
        (['x="a, respond-async", wait=3'], (3, False)),
        (["wait=3; respond-async"], (3, False)),
        ([""], (None, False)),
        ([], (None, False)),
    ],
    ids=lambda case: ascii(case)[:40],
)
def test_who_prefers_not_to_wait(lines: list[str], expected: tuple[int | None, bool]) -> None:
    """`respond-async` is found anywhere in the list, beside a `wait` and others; it has no value,
    and an empty one is none."""
    assert preferences_of(preferring(*lines)) == expected


TOKENS = st.text("abcdefgxyz-*'1", min_size=1)
VALUES = TOKENS | st.text('abc ,;=1wait\\"').map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
BLANKS = st.sampled_from(["", " ", "\t", "  "])
PARAMETERS = st.lists(st.just("") | TOKENS | st.tuples(TOKENS, VALUES).map("=".join), max_size=3)
OTHERS = TOKENS | st.tuples(TOKENS, BLANKS, VALUES).map(lambda it: f"{it[0]}{it[1]}={it[1]}{it[2]}")


@given(
    before=st.lists(OTHERS, max_size=3),
    name=st.sampled_from(["wait", "Wait", "WAIT"]),
    blank=BLANKS,
    seconds=st.integers(0, 10**12),
    parameters=PARAMETERS,
    after=st.lists(OTHERS | st.just("wait=77"), max_size=3),
    lines=st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_a_wait_among_other_preferences(
    before: list[str],
    name: str,
    blank: str,
    seconds: int,
    parameters: list[str],
    after: list[str],
    lines: list[bool],
) -> None:
    """Whatever well-formed preferences stand around it, on whatever lines, the first `wait` is the
    one that counts."""
    wait = f"{name}{blank}={blank}{seconds}" + "".join(f"{blank};{each}" for each in parameters)
    preferences = [*before, wait, *after]
    written = [preferences[0]]
    for preference, begins_line in zip(preferences[1:], lines, strict=False):
        if begins_line:
            written.append(preference)
        else:
            written[-1] += f"{blank},{blank}{preference}"
    assert wait_in(*written) == min(seconds, MAX_DELTA_SECONDS)


@given(st.lists(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")), max_size=3))
def test_whatever_it_says_it_is_a_wait_or_none(lines: list[str]) -> None:
    """No value of the header is an error, and a wait is a number of seconds that HTTP knows."""
    wait = wait_in(*lines)
    assert wait is None or 0 <= wait <= MAX_DELTA_SECONDS
    assert preferences_of(preferring(*lines)) in ((wait, False), (wait, True))


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve("apps.contract:app")


HELD = [["WAIT=30; foo=bar"], ["respond-async", "wait=30;", "wait=0"]]
NOT_HELD = [['wait="30"'], ['x="wait=30"', '"wait=30"'], ["wait*=30"], ["wait=\xff\xfe"]]


@pytest.mark.parametrize("case", range(len(HELD)))
def test_a_poll_that_is_held(server: Server, signals: Signals, case: int) -> None:
    """A poll that prefers so is held until the result is there."""
    with server.client() as client, server.connect() as connection:
        poll = submit(client, "GET", f"/wait/held-{case}")
        send_poll(connection, poll, HELD[case], f"held-{case}.polled")
        signals.wait(f"held-{case}.polled")
        signals.send(f"held-{case}.go")
        answer = received(connection).lower()
    assert answer.startswith(b"http/1.1 200 ")
    assert b"preference-applied: wait=30" in answer


@pytest.mark.parametrize("case", range(len(NOT_HELD)))
def test_a_poll_that_is_not_held(server: Server, signals: Signals, case: int) -> None:
    """A poll whose preference is none is answered before the result is there."""
    with server.client() as client, server.connect() as connection:
        poll = submit(client, "GET", f"/wait/not-held-{case}")
        send_poll(connection, poll, NOT_HELD[case], f"not-held-{case}.polled")
        answer = received(connection).lower()
        signals.send(f"not-held-{case}.go")
    assert answer.startswith(b"http/1.1 202 ")
    assert b"preference-applied" not in answer


def send_poll(connection: socket.socket, poll: str, lines: list[str], arrival: str) -> None:
    head = [
        f"GET {poll} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"X-Arrival: {arrival}",
        *(f"Prefer: {line}" for line in lines),
    ]
    connection.sendall("".join(f"{line}\r\n" for line in [*head, ""]).encode("latin-1"))
