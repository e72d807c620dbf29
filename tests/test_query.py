"""What is asked for behind the question mark is understood as it was meant, or refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncjobs import Cursor, Listing, State
from asyncjobs.errors import InvalidRequest
from asyncjobs.given import MAX_INT
from asyncjobs.owner import ANYONE
from asyncjobs.testing import NOW
from asyncjobs.web.answering.lists import behind, listing_of
from asyncjobs.web.http.query import moment_of, pairs_of, query_of

NINE = datetime(2026, 11, 22, 9, tzinfo=UTC).timestamp()
MOMENTS = {
    "2026-11-22T09:00:00Z": NINE,
    "2026-11-22t09:00:00z": NINE,
    "2026-11-22 09:00:00Z": NINE,
    "2026-11-22T09:00:00+00:00": NINE,
    "2026-11-22T09:00:00-00:00": NINE,
    "2026-11-22T11:30:00+02:30": NINE,
    "2026-11-21T23:00:00-10:00": NINE,
    "2026-11-22T09:00:00.5Z": NINE + 0.5,
    "2026-11-22T09:00:00.123456789Z": NINE + 0.123456,
    "0001-01-01T00:00:00+23:59": datetime(1, 1, 1, tzinfo=UTC).timestamp() - 86340,
    "9999-12-31T23:59:59-23:59": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() + 86340,
}
NO_MOMENTS = [
    "", " ", "yesterday", "1700000000", "2026-11-22", "2026-11-22T09:00:00", "2026-11-22T09:00Z",
    "2026-11-22T09Z", "20261122T090000Z", "2026-W47-7T09:00:00Z", "2026-11-22T09:00:00+0000",
    "2026-11-22T09:00:00+00", "2026-11-22T09:00:00 Z", "2026-11-22T09:00:00,5Z",
    "2026-11-22T09:00:00.Z", "2026-13-22T09:00:00Z", "2026-11-31T09:00:00Z",
    "2026-11-22T24:00:01Z", "2026-11-22T09:00:00+24:00", "2026-11-22T09:00:00Z\n",
    "2026-11-22T09:00:00-00:60", "2026-11-22T09:00:00+05:75",
    "0000-01-01T00:00:00Z", "-2026-11-22T09:00:00Z", "12026-11-22T09:00:00Z",
    "\N{ARABIC-INDIC DIGIT TWO}026-11-22T09:00:00Z", "inf", "nan", "2026-11-22T09:00:00Z" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("written", MOMENTS)
def test_times_of_rfc_3339(written: str) -> None:
    """A time with its offset is read, to the microsecond."""
    assert moment_of(written) == MOMENTS[written]


@pytest.mark.parametrize("written", [each for each in MOMENTS if "+" in each])
def test_a_plus_that_was_not_written_as_one(written: str) -> None:
    """In a query string a plus stands for a blank: where it comes before an offset, who has left it
    as it was meant a plus."""
    ((_, came),) = pairs_of(f"since={written}".encode())
    assert "+" not in came
    assert moment_of(came) == MOMENTS[written]


@pytest.mark.parametrize("written", NO_MOMENTS, ids=range(len(NO_MOMENTS)))
def test_what_is_no_time_of_rfc_3339(written: str) -> None:
    """Whatever else Python would read as a time, or nobody, is none."""
    with pytest.raises(InvalidRequest, match=r"(?s)the parameter 'since' is .*: it must be a time"):
        listing_of([("since", written)], "ada", is_operator=False)


CURSOR = Cursor(NOW, 7)
LEAST = -MAX_INT - 1
ASKED: dict[str, Listing] = {
    "": Listing(owner="ada", limit=50),
    "state=failed": Listing(owner="ada", states=frozenset({State.FAILED}), limit=50),
    "state=failed&state=queued&state=failed": Listing(
        owner="ada", states=frozenset({State.FAILED, State.QUEUED}), limit=50
    ),
    "route=report&route=admin.report": Listing(
        owner="ada", routes=frozenset({"report", "admin.report"}), limit=50
    ),
    "route=%E2%98%83": Listing(owner="ada", routes=frozenset({"\N{SNOWMAN}"}), limit=50),
    "limit=1": Listing(owner="ada", limit=1),
    "limit=500": Listing(owner="ada", limit=500),
    "limit=007": Listing(owner="ada", limit=7),
    f"cursor={CURSOR}": Listing(owner="ada", before=CURSOR, limit=50),
    "since=2026-11-22T09:00:00Z": Listing(owner="ada", since=NINE, limit=50),
    "before=2026-11-22T09:00:00Z": Listing(owner="ada", before=Cursor(NINE, LEAST), limit=50),
    # Both hold: the page begins behind the one that comes later in the list.
    f"before=2026-11-22T09:00:00Z&cursor={CURSOR}": Listing(owner="ada", before=CURSOR, limit=50),
    f"cursor={Cursor(NINE, 7)}&before=2026-11-22T09:00:00Z": Listing(
        owner="ada", before=Cursor(NINE, LEAST), limit=50
    ),
}


@pytest.mark.parametrize("query", ASKED)
def test_what_is_asked_for(query: str) -> None:
    """Each parameter restricts the list, and all together do."""
    assert listing_of(pairs_of(query.encode()), "ada", is_operator=False) == ASKED[query]


def test_an_operator_asks_for_an_owner() -> None:
    """Operators, and they alone, may ask for the jobs of one owner."""
    for query, owner in ((b"", ANYONE), (b"owner=bob", "bob"), (b"owner=", "")):
        assert listing_of(pairs_of(query), ANYONE, is_operator=True).owner == owner
    with pytest.raises(InvalidRequest, match="there is no parameter 'owner'"):
        listing_of(pairs_of(b"owner=ada"), "ada", is_operator=False)


A_STATE = "one of queued, running, succeeded, failed, cancelled, interrupted"
A_TIME = "a time with its offset (RFC 3339), such as 2026-11-22T09:00:00Z"
WRONG = {
    b"stat=failed": "there is no parameter 'stat': there are state, route, since, before, limit, "
    "cursor",
    b"a": "there is no parameter 'a': ",
    b"=": "there is no parameter '': ",
    b"%FF=1": "there is no parameter '\N{REPLACEMENT CHARACTER}': ",
    b"\xff=1": "there is no parameter '\N{REPLACEMENT CHARACTER}': ",
    b"State=failed": "there is no parameter 'State': ",
    b"state=done": f"the parameter 'state' is 'done': it must be {A_STATE}",
    b"state=FAILED": "the parameter 'state' is 'FAILED': ",
    b"state=": "the parameter 'state' is '': ",
    b"state=failed,queued": "the parameter 'state' is 'failed,queued': ",
    b"state=queued&state=x": "the parameter 'state' is 'x': ",
    b"limit=0": "the parameter 'limit' is '0': it must be a number from 1 to 500",
    b"limit=501": "the parameter 'limit' is '501': ",
    b"limit=-1": "the parameter 'limit' is '-1': ",
    b"limit=%2B1": "the parameter 'limit' is '+1': ",
    b"limit=1.0": "the parameter 'limit' is '1.0': ",
    b"limit=1_0": "the parameter 'limit' is '1_0': ",
    b"limit=": "the parameter 'limit' is '': ",
    "limit=\N{ARABIC-INDIC DIGIT TWO}".encode(): "the parameter 'limit' is ",
    b"limit=" + b"1" * 5000: "the parameter 'limit' is '111",
    b"limit=5&limit=5": "the parameter 'limit' is there once more, as '5': give it once",
    b"since=yesterday": f"the parameter 'since' is 'yesterday': it must be {A_TIME}",
    b"since=2026-11-22T09:00:00": "the parameter 'since' is '2026-11-22T09:00:00': ",
    b"before=now": f"the parameter 'before' is 'now': it must be {A_TIME}",
    b"before=2026-11-22T09:00:00Z&before=": "the parameter 'before' is there once more, as '': ",
    b"cursor=": "the parameter 'cursor' is '': it must be that of the `next` of a page, as it was",
    b"cursor=x": "the parameter 'cursor' is 'x': ",
    f"cursor={CURSOR}=".encode(): "the parameter 'cursor' is ",
    f"cursor={CURSOR}&cursor={CURSOR}".encode(): "the parameter 'cursor' is there once more, as ",
}


@pytest.mark.parametrize("query", WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_asked_for(query: bytes) -> None:
    """What is unknown, twice or none of what it may be is refused, in words that name the
    parameter, show what was given, be it shortened, and say what it may be."""
    with pytest.raises(InvalidRequest, match=re.escape(WRONG[query])) as refused:
        listing_of(pairs_of(query), "ada", is_operator=False)
    assert len(str(refused.value)) < 400


@given(st.binary(max_size=60))
def test_whatever_bytes_are_asked_with(query: bytes) -> None:
    """No query string is anything else than a listing, or refused."""
    for is_operator in (True, False):
        try:
            asked = listing_of(pairs_of(query), "ada", is_operator=is_operator)
        except InvalidRequest:
            continue
        assert is_operator or asked.owner == "ada"


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text(max_size=5))))
def test_the_next_page_keeps_what_was_asked_for(pairs: list[tuple[str, str]]) -> None:
    """The parameters of the next page are the same, but for the cursor, and of letters that a URL
    and a header may have."""
    pairs = [(name, value.encode("utf-8", "replace").decode()) for name, value in pairs]
    query = query_of(behind(CURSOR, pairs))
    assert re.fullmatch(r"[\w.~%&=+*-]*", query, re.ASCII)
    kept = [pair for pair in pairs if pair[0] != "cursor"]
    assert [*pairs_of(query.encode())] == [*kept, ("cursor", str(CURSOR))]
