"""Values that must be refused by name, or be as if they were not there; and such as are right,
however odd they look."""

from __future__ import annotations

import math
import sys
from datetime import timedelta, timezone

from asyncjobs.given import MAX_INT
from asyncjobs.listing import Cursor

#: Of `Idempotency-Key`, on so many lines.
KEYS = (
    *((each,) for each in ("", '""', '"', '"x', 'x"', "a b", "\xff", "(a)", "a,b", "?", '"a" "b"')),
    *((each,) for each in ("a" * 256, f'"{"a" * 256}"', '"\\a"', '"\xff"', '"a",', "é", "a;b=c")),
    ("a", "a"),
    ('"a"', '"b"'),
    (f'"{"a" * 2000}"',),
)
#: Of `If-None-Match`.
TAGS = (
    *('"', 'x"', "x", "W/", 'w/"x"', '"a" "b"', '"a"; "b"', "*, *", '"a", *', '*, "a"', '"a b"'),
    *('W/"a" W/"b"', "'a'", "W/*", '"a"\t"b"', ",", ";"),
)
#: Of `Cancel-After`, on so many lines.
PATIENCES = (
    *(
        (each,)
        for each in ("", "-1", "+1", "1e3", ".5", "1.", "0x10", "inf", "nan", "1_0", "1;a=b")
    ),
    *(
        (each,)
        for each in ('"1"', "1 s", "1,", ",", "1,2", "\xb2", "2147483649", "9" * 21, "1.0.0")
    ),
    *((each,) for each in ("0." + "1" * 21, "1 2", "NaN", "\u0661".encode().decode("latin-1"))),
    ("1", "2"),
)


def _of(name: str, *written: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{name}={value}") for value in written)


_DAY, _TIME = "2026-01-01", "T00:00:00"
#: Names of parameters of the list, and what a URL has of them.
PARAMETERS = (
    *_of("state", "", "x", "QUEUED", "queued,failed", "%00", "%ff", "queued%20", "queued&state=x"),
    *_of("limit", "", "0", "501", "-1", "1e1", "x", "+1", "%D9%A1", "9" * 5000, "1.0", "%201"),
    *_of("limit", "1_0", "0x1", "1&limit=1", "2&limit=1"),
    *_of("since", "", "x", "0", "1700000000", _DAY, "%00", f"{_DAY}{_TIME}", f"{_DAY}T00:00Z"),
    *_of("since", f"2026-13-01{_TIME}Z", f"2026-02-30{_TIME}Z", f"{_DAY}T24:00:01Z"),
    *_of("since", f"{_DAY}{_TIME}Z&since={_DAY}{_TIME}Z"),
    *_of("before", f"0000-01-01{_TIME}Z", f"0000-01-01{_TIME}%2B00:00", f"{_DAY}{_TIME}%2B99:00"),
    *_of("before", f"{_DAY}{_TIME}%2B1", f"{_DAY}{_TIME}-00:60", f"{_DAY}{_TIME}Z%20"),
    *_of("cursor", "", "x", "A" * 21, "A" * 23, "%21" * 22, "/" * 22, "A" * 21 + "B", "_" * 22),
    *_of("cursor", "f_8" * 7 + "A", "A" * 5000, "x&cursor=y"),
    *_of("owner", "ben", "", "%00"),
    *_of("Limit", "1"),
    *_of("states", "queued"),
    *_of("id", ""),
    ("offset", "state=queued&offset=3&limit=2"),
)


def _place(created: float, number: int) -> str:
    return str(Cursor(created, number))


#: Cursors that nobody was told: places are where they are.
CURSORS = (
    *(_place(created, 1) for created in (0.0, -1.0, -math.pi, 1e300, -sys.float_info.max, 5e-324)),
    *(_place(2e9, number) for number in (0, -1, MAX_INT, -MAX_INT - 1)),
    _place(sys.float_info.max, MAX_INT),
)
#: What somebody may ask for who has no list.
QUERIES = (
    *("", "?limit=1", "?state=failed", "?x=1", "?owner=ann", "?cursor=x", "?limit=x", "?%ff", "?"),
)
#: That have an offset.
ZONES = (timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8)))
