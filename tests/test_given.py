"""Numbers and text that somebody gives, and what is made of them: for any value at all."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart
from quart.wrappers import Request
from werkzeug.datastructures import Headers

from asyncjobs import given as checks
from asyncjobs.job import Progress
from asyncjobs.running.current import MESSAGE_LIMIT, RunningJob
from asyncjobs.testing import NOW, a_job
from asyncjobs.web.answering.retry_after import retry_after
from asyncjobs.web.http.preferences import preferences_of
from asyncjobs.web.http.seconds import MAX_DELTA_SECONDS

HUGE = 10**400
MANY_DIGITS = 10**5000  # which Python does not write out
LINE = st.text(st.characters(exclude_characters="\r\n"))
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates as well
NO_NUMBERS: list[Any] = [
    *(True, None, "1", b"1", [], object(), 1j, Decimal(1), Fraction(1, 2), ValueError("1")),
]


class Reading(float):
    """What a library gives for a float, as numpy does."""

    def __repr__(self) -> str:
        return f"Reading({float(self)})"


class Silent:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@given(st.integers() | st.floats())
def test_a_number_is_finite_and_plain(value: float) -> None:
    """What is taken for a number is finite, an int or a float itself, and the value given."""
    try:
        taken = checks.number("n", value)
    except ValueError:
        assert not (isinstance(value, float) and math.isfinite(value))
        assert not (isinstance(value, int) and abs(value) < 2**1023)
    else:
        assert taken == value
        assert type(taken) is type(value)
        assert json.loads(json.dumps(taken, allow_nan=False)) == value


@given(st.floats(allow_nan=False))
def test_a_number_may_be_infinite_where_that_is_said(value: float) -> None:
    """Infinity is taken where it stands for no limit, and nan nowhere."""
    assert checks.number("n", value, infinite=True) == value
    for bad in (math.nan, HUGE, -HUGE, MANY_DIGITS):
        with pytest.raises(ValueError, match=r"^n must be"):
            checks.number("n", bad, infinite=True)


def test_a_number_of_a_librarys_own_type_is_made_plain() -> None:
    """A subclass of float is taken for the float that it is."""
    assert type(checks.number("n", Reading(1.5))) is float


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_named(value: Any) -> None:
    """Anything else is a TypeError that names the argument, the value and its type."""
    with pytest.raises(TypeError) as caught:
        checks.number("total", value)
    assert str(caught.value).startswith("total must be an int or a float, not ")
    assert type(value).__name__.removesuffix("Type") in str(caught.value)


@pytest.mark.parametrize("value", [Decimal(1), Fraction(1, 2)], ids=repr)
def test_what_could_be_a_number_is_told_how(value: Any) -> None:
    """What can be made a float is told how."""
    with pytest.raises(TypeError, match=r"give float\(total\)"):
        checks.number("total", value)


@given(ANY_TEXT | st.integers() | st.binary() | st.lists(ANY_TEXT))
def test_a_value_can_be_shown(value: Any) -> None:
    """A value in a message is short, whatever it is."""
    assert len(checks.shown(value)) <= 101
    assert checks.shown(MANY_DIGITS) == "a value of the type int that has no repr"
    assert checks.shown(Silent()) == "a value of the type Silent that has no repr"


@given(ANY_TEXT)
def test_text_can_be_stored(value: str) -> None:
    """What is taken for text has a form in UTF-8."""
    if re.search("[\ud800-\udfff]", value):
        with pytest.raises(ValueError, match=r"^owner has a lone surrogate"):
            checks.text("owner", value)
    else:
        assert checks.text("owner", value).encode().decode() == value


@given(ANY_TEXT.map(lambda text: text * 50), st.none() | st.floats(allow_nan=False, max_value=1e9))
def test_a_progress_can_be_stored_and_sent(message: str, total: float | None) -> None:
    """A progress that was taken is JSON in UTF-8, with no more of a message than there may be."""
    job = a_running_job()
    before = job.latest = Progress(1)
    try:
        job.progress(2, total, message)
    except ValueError:
        assert total == -math.inf
        assert job.latest is before
        return
    latest = job.latest
    assert latest is not None
    assert latest.message is not None
    sent = json.dumps([latest.current, latest.total, latest.message], allow_nan=False)
    assert json.loads(sent) == [2, total, latest.message]
    assert len(latest.message) <= MESSAGE_LIMIT
    if not re.search("[\ud800-\udfff]", message):
        assert latest.message == message[:MESSAGE_LIMIT]
    assert latest.message.encode().decode() == latest.message


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("x" * 1001, "x" * 1000),
        ("\0", "\0"),
        ("", ""),
    ],
)
def test_a_message_is_made_storable(message: str, kept: str) -> None:
    """A message is cut at 1,000 characters, and a lone surrogate in it is replaced."""
    job = a_running_job()
    job.progress(1, message=message)
    assert job.latest == Progress(1, None, kept)


def preferring(header: str) -> Request:
    """A request with this `Prefer`."""
    app = Quart("prefer")
    return app.request_class(
        "GET",
        "http",
        "/",
        b"",
        Headers([("Prefer", header)]),
        "",
        "1.1",
        send_push_promise=lambda path, headers: None,  # type: ignore[arg-type, return-value]
        scope={},  # type: ignore[typeddict-item]
    )


def wait_in(header: str) -> int | None:
    """The wait that this `Prefer` has."""
    return preferences_of(preferring(header)).wait


@given(LINE | st.text("wait=0123456789;,\"'* ").map(lambda text: f"wait={text}"))
def test_any_preference_is_understood_or_ignored(header: str) -> None:
    """Of whatever a client writes, nothing but a whole number of seconds that HTTP knows comes."""
    wait = wait_in(header)
    assert wait is None or (type(wait) is int and 0 <= wait <= MAX_DELTA_SECONDS)


@given(st.integers(0, 10**5000), st.integers(0, 5000))
def test_any_number_of_seconds_can_be_preferred(seconds: int, zeros: int) -> None:
    """A number of seconds with however many digits is that number, up to what HTTP knows."""
    digits = "0" * zeros + f"{Decimal(seconds):f}"
    assert wait_in(f"wait={digits}") == min(seconds, MAX_DELTA_SECONDS)


@pytest.mark.parametrize(
    "wait",
    [
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "\N{FULLWIDTH DIGIT FIVE}",
        "²",
        "1_0",
        "0.5",
        "+1",
        "nan",
        "inf",
    ],
)
def test_only_ascii_digits_are_a_number_of_seconds(wait: str) -> None:
    """Other digits than those of ASCII, and other numbers than whole ones, are no preference."""
    assert wait_in(f"wait={wait}") is None
    assert wait_in(f"wait*=UTF-8''{quote(wait)}") is None


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12),
    st.floats(0, 1, exclude_max=True),
)
def test_when_to_ask_again(jump: float, chance: float) -> None:
    """Retry-After is a whole number of seconds from 1 to 37, a quarter more than 30, wherever the
    clock has jumped."""
    after = retry_after(a_job(created=NOW), NOW + jump, chance)
    assert type(after) is int
    assert 1 <= after <= 37


def a_running_job() -> RunningJob:
    """A job that runs nowhere: only its own words are of interest."""
    nowhere: Any = None
    return RunningJob(a_job(), nowhere, nowhere, lambda: None, lambda: False)
