"""An app with jobs answers as Quart does, whatever it is asked, and whatever becomes of its client.

The same conversation is played to an app and to the same app with `QuartJobs`, which puts a
connection class of its own into it. Nothing that anybody can see of the two may differ.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from asyncjobs.web.answering import connection
from conversations import Outcome, Script, Way, come_of
from everything_app import LONGER_THAN_ANY, SHORT, STREAMED, THREADED, UNSENT, VIEWS, WAITING

READING = ("reads", "reads_twice", "reads_parts", "form", "json")
HOOKS = ("take notes", "suspend", "answer", "raise after", "raise in teardown")
#: A file is closed by a thread, at any time.
STREAMED_WITHOUT_FILES = tuple(view for view in STREAMED if view != "file")
FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)
#: All that the specification asks of a scope.
NO_MORE = (("asgi", None), ("client", None), ("server", None), ("state", None))

ways = pytest.mark.parametrize("way", ["a queue", "a function"])
views = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(autouse=True)
def listening_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request has to grow old before anybody listens to its client."""
    monkeypatch.setattr(connection, "PATIENCE", 0, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's, with a file to be sent in three parts."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "file.txt").write_bytes(b"a line\n" * 3000)
    return folder


def alike(script: Script, way: Way, folder: Path) -> Outcome:
    """What comes of a conversation, as that is the same with jobs and without."""
    expected = come_of(script, way, folder, with_jobs=False)
    found = come_of(script, way, folder, with_jobs=True)
    if way == "a queue":
        assert but_for_the_task(found, script) == but_for_the_task(expected, script)
    else:
        assert found == expected
    return expected


def but_for_the_task(outcome: Outcome, script: Script) -> Outcome:
    """Without all that differs as the task of the server may be the one that handles the request:
    a middleware finds there what the view has put into a context variable, a view that cancels the
    task that it runs in cancels that one, and a server that cancels it once the answer is complete
    finds it over, where Quart waits for the client to go."""
    notes = [note for note in outcome.notes if not note.startswith("middleware:")]
    is_over = script.event == "cancelled" and script.point is not None and outcome.is_complete
    ended = "by itself" if is_over or script.view == "cancels_itself" else outcome.ended
    return replace(outcome, notes=notes, ended=ended)


# What is asked.


@ways
@views
def test_each_view_answers_as_ever(folder: Path, way: Way, view: str) -> None:
    """Status, headers, body, what ran in which order, what was raised and logged: whatever a view
    returns or raises, if the whole request is there before the app is called."""
    alike(Script(view), way, folder)


@ways
@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize("custom", [False, True], ids=["", "own class"])
def test_hooks_run_as_ever(folder: Path, way: Way, hooks: str, custom: bool) -> None:
    """Hooks that answer, wait, or raise; and the methods of the app's own connection class."""
    for view in ("created", "broken", "stream", "slow", "foreign"):
        outcome = alike(Script(view, hooks=hooks, custom=custom), way, folder)
        assert custom == ("own: begun" in outcome.notes)


@ways
@pytest.mark.parametrize("view", [*READING, "text", "slow", "stream"])
@pytest.mark.parametrize("body", [(b"a=1",), (b"a=1", b"&b=", b"2"), (b"", b"a=1", b"")])
def test_a_body_comes_as_ever(folder: Path, way: Way, view: str, body: tuple[bytes, ...]) -> None:
    """A body in pieces, of which some are there before the app is called: none, some, or all."""
    script = Script(view, method="POST", headers=FORM, body=body)
    pieces = range(len(body) + 1)
    for early, lone_end in [*((early, True) for early in pieces), (0, False), (99, False)]:
        outcome = alike(replace(script, early=early, lone_end=lone_end), way, folder)
        assert outcome.is_complete
        assert view != "reads" or outcome.answer[1]["body"] == b"".join(body)


@ways
@pytest.mark.parametrize("view", ["reads", "form"])
@pytest.mark.parametrize("length", [None, b"3", b"6", b"100"])
@pytest.mark.parametrize("early", [1, 99])
def test_a_body_over_the_limit_is_refused_as_ever(
    folder: Path, way: Way, view: str, length: bytes | None, early: int
) -> None:
    """``MAX_CONTENT_LENGTH`` counts what comes, and what is announced."""
    headers = FORM if length is None else (*FORM, (b"content-length", length))
    script = Script(view, method="POST", headers=headers, early=early, body=(b"a=1", b"&b="))
    outcome = alike(replace(script, config=(("MAX_CONTENT_LENGTH", 5),)), way, folder)
    assert outcome.answer[0]["status"] == 413


@ways
@pytest.mark.parametrize("view", ["reads", "form", "json", "text"])
@pytest.mark.parametrize("early", [0, 1])
def test_a_body_that_does_not_come_is_waited_for_as_ever(
    folder: Path, way: Way, view: str, early: int
) -> None:
    """``BODY_TIMEOUT`` ends the wait for it, and a view that wants none of it does not wait."""
    script = Script(view, method="POST", body=(b"a=1",), whole=False, early=early)
    alike(replace(script, config=(("BODY_TIMEOUT", SHORT),)), way, folder)


@ways
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "HEAD"},
        {"method": "HEAD", "view": "stream"},
        {"method": "OPTIONS"},
        {"method": "DELETE"},
        {"method": "BREW"},
        {"path": "/nowhere"},
        {"path": "/slashed"},
        {"path": "/slashed/", "query": b"a=%20&a=b"},
        {"path": "http://localhost/text"},
        {"path": "/text", "scope": (("root_path", "/root"),)},
        {"path": "/root/text", "scope": (("root_path", "/root"),)},
        {"version": "1.0", "scope": (("headers", ()),)},
        {"version": "1.0", "view": "stream"},
        {"version": "2", "view": "pushing"},
        {"version": "1.1", "view": "pushing"},
        {"view": "pushing", "scope": (("extensions", None),)},
        {"view": "mapping", "query": b"\xff"},
        {"view": "mapping", "query": b"a=%ff&b", "headers": ((b"x-odd", b"\xff"),)},
        {"view": "mapping", "scope": NO_MORE},
        {"view": "created", "headers": ((b"cookie", b"session=forged; a=b"),)},
        {"view": "file", "headers": ((b"range", b"bytes=3-9"),)},
        {"view": "file", "headers": ((b"if-modified-since", b"Fri, 01 Jan 2100 00:00:00 GMT"),)},
        {"view": "json", "headers": ((b"content-type", b"application/json"),), "body": (b"{}",)},
        {"view": "broken", "config": (("PROPAGATE_EXCEPTIONS", True),)},
        {"view": "teapot", "config": (("TRAP_HTTP_EXCEPTIONS", True),)},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_odd_requests_are_answered_as_ever(folder: Path, way: Way, changes: dict[str, Any]) -> None:
    """Methods, paths, versions, scopes with no more than they must have, and odd bytes."""
    alike(replace(Script("text"), **changes), way, folder)


@ways
def test_a_traceback_is_shown_as_ever(folder: Path, way: Way) -> None:
    """An app under test shows what was raised. (There are addresses in it.)"""
    script = Script("broken", config=(("TESTING", True),))
    expected, outcome = (come_of(script, way, folder, with_jobs=each) for each in (False, True))

    assert outcome.is_complete
    assert outcome.answer[0]["status"] == expected.answer[0]["status"] == 500
    assert all(b"ValueError" in each.answer[1]["body"] for each in (expected, outcome))
    assert replace(outcome, answer=[]) == replace(expected, answer=[])


@ways
def test_a_message_says_no_more_than_it_must(
    folder: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request without a body may come in a message that names no body, nor that there is no
    more of it."""
    monkeypatch.setattr(Script, "messages", lambda _: [{"type": "http.request"}])
    assert alike(Script("reads"), way, folder).is_complete


# What becomes of the client.


@ways
@pytest.mark.parametrize("event", ["gone", "cancelled"])
@pytest.mark.parametrize("view", [view for view in VIEWS if view not in THREADED])
def test_who_goes_at_once_is_served_as_ever(folder: Path, way: Way, view: str, event: Any) -> None:
    """A client that has gone, and a server that gives up, before the app is called."""
    script = Script(view, point="at once", event=event)
    alike(script, way, folder)
    alike(replace(script, hooks="suspend"), way, folder)
    alike(replace(script, whole=False, body=(b"a",)), way, folder)


@ways
@pytest.mark.parametrize("event", ["gone", "cancelled"])
@pytest.mark.parametrize("view", [*READING, "text", "slow", "stubborn", "stream_that_waits"])
def test_who_goes_in_the_middle_of_the_body_is_noticed_as_ever(
    folder: Path, way: Way, view: str, event: Any
) -> None:
    """A view that waits for a body is cancelled if that does not come."""
    for early in (0, 1, 99):
        script = Script(view, method="POST", body=(b"a=1", b"&b=2"), whole=False, early=early)
        alike(replace(script, point="settled", event=event), way, folder)


@ways
@pytest.mark.parametrize("event", ["gone", "cancelled"])
@pytest.mark.parametrize("view", WAITING)
@pytest.mark.parametrize("hooks", ["take notes", "suspend", "raise in teardown"])
@pytest.mark.parametrize("custom", [False, True], ids=["", "own class"])
def test_who_goes_while_a_view_waits_is_noticed_as_ever(
    folder: Path, way: Way, view: str, hooks: str, event: Any, custom: bool
) -> None:
    """A view, or a streamed answer, that waits while its client goes is cancelled, and what it
    does about it is done: to tidy up, to go on in spite of it, to raise something else."""
    point: Any = "stream waits" if view in STREAMED else "view waits"
    script = Script(view, hooks=hooks, custom=custom, point=point, event=event)
    outcome = alike(script, way, folder)
    assert view != "slow" or "view: CancelledError()" in outcome.notes
    alike(replace(script, method="POST", body=(b"a", b"b"), early=1), way, folder)


@ways
@pytest.mark.parametrize("event", ["gone", "cancelled", None])
@pytest.mark.parametrize("waits_at", [0, 1])
@pytest.mark.parametrize(
    "view", ["text", "data", "empty", "foreign", "broken", "patient", *STREAMED_WITHOUT_FILES]
)
def test_who_goes_while_the_answer_is_sent_is_noticed_as_ever(
    folder: Path, way: Way, view: str, waits_at: int, event: Any
) -> None:
    """A server that takes no more of an answer, whose client goes, or comes round again."""
    script = Script(view, waits_at=waits_at, version="2")
    if event is not None:
        script = replace(script, point="send waits", event=event)
    outcome = alike(script, way, folder)
    assert outcome.is_complete == (event is None and view != "stream_that_raises")


@ways
@pytest.mark.parametrize("fails_at", [0, 1])
@pytest.mark.parametrize("view", ["text", "data", "foreign", "broken", *STREAMED_WITHOUT_FILES])
def test_a_server_that_cannot_send_is_answered_as_ever(
    folder: Path, way: Way, view: str, fails_at: int
) -> None:
    """An error of the server's ``send`` ends the request, as Quart's version has it."""
    for custom in (False, True):
        assert not alike(Script(view, fails_at=fails_at, custom=custom), way, folder).is_complete


@ways
@pytest.mark.parametrize("waits_at", [0, 1])
@pytest.mark.parametrize("view", ["text", "data", "foreign", "hasty", "stream", "parts", "broken"])
def test_an_answer_that_takes_too_long_is_given_up_as_ever(
    folder: Path, way: Way, view: str, waits_at: int
) -> None:
    """``RESPONSE_TIMEOUT``, and the time-out that a response brings along, end its sending."""
    limit: Any = () if view == "hasty" else (("RESPONSE_TIMEOUT", SHORT),)
    for custom in (False, True):
        script = Script(view, waits_at=waits_at, config=limit, custom=custom)
        outcome = alike(script, way, folder)
        assert "send cancelled" in outcome.notes
        assert not outcome.is_complete


@ways
@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("view", ["text", "data", "too_late", "foreign", "stream", "broken"])
def test_an_answer_that_has_no_time_is_not_sent_as_ever(
    folder: Path, way: Way, view: str, seconds: int
) -> None:
    """A time-out of no seconds is over before the first message, however quickly that could be
    sent: be it the app's or the response's own. Some of Quart's versions then wait for the client
    to go."""
    limit: Any = () if view == "too_late" else (("RESPONSE_TIMEOUT", seconds),)
    outcome = alike(Script(view, config=limit, point="settled"), way, folder)
    assert not outcome.answer
    assert outcome.ended == "returned"


@ways
@pytest.mark.parametrize("view", ["text", "data", "patient", "foreign", "stream"])
def test_an_answer_that_has_time_is_sent_as_ever(folder: Path, way: Way, view: str) -> None:
    """A time-out that is not over, and a response that has none in an app that has one."""
    seconds = SHORT if view == "patient" else LONGER_THAN_ANY
    assert alike(Script(view, config=(("RESPONSE_TIMEOUT", seconds),)), way, folder).is_complete


# All of it, mixed.

texts = st.binary(max_size=20)
scripts = st.builds(
    Script,
    view=st.sampled_from(VIEWS),
    hooks=st.sampled_from(HOOKS),
    custom=st.booleans(),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
    version=st.sampled_from(["1.0", "1.1", "2"]),
    query=texts,
    headers=st.sampled_from([(), FORM, ((b"content-type", b"application/json"),)]),
    body=st.lists(texts, max_size=4).map(tuple),
    whole=st.booleans(),
    lone_end=st.booleans(),
    early=st.integers(0, 5),
    point=st.sampled_from([None, "at once", "settled", "view waits", "stream waits", "send waits"]),
    event=st.sampled_from(["gone", "cancelled"]),
    waits_at=st.sampled_from([None, 0, 1]),
    fails_at=st.sampled_from([None, None, 0, 1]),
    config=st.sampled_from([(), (("MAX_CONTENT_LENGTH", 10),)]),
)


def comes_to_an_end(script: Script) -> bool:
    """Whether all that happens follows from the script, and something ends it."""
    waits = script.view in WAITING
    where = "stream waits" if script.view in STREAMED else "view waits"
    if waits and script.point not in (None, "at once", "settled", where):
        return False
    waiting = {
        "view waits": waits,
        "stream waits": waits,
        "send waits": script.waits_at is not None and script.view not in UNSENT,
    }
    may_be_over = not waiting.get(str(script.point), True) or script.fails_at is not None
    if script.event == "cancelled" and may_be_over:
        return False  # which it is in fewer turns of the loop
    if script.view in THREADED and script.point in ("at once", "settled"):
        return False
    if script.view == "file" and (script.waits_at, script.fails_at) != (None, None):
        return False
    if script.waits_at is not None and (waits or script.point != "send waits"):
        return False
    if not script.whole and script.view in READING:
        return script.point in ("at once", "settled")
    return script.view not in ("hasty", "too_late")


@ways
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=scripts)
def test_no_conversation_tells_the_two_apart(folder: Path, way: Way, script: Script) -> None:
    """Whatever is mixed of all this."""
    assume(comes_to_an_end(script))
    alike(script, way, folder)
