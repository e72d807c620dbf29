"""Which jobs to show to somebody who looks: the newest first, a page at a time.

Each job has its place in that order for good: it is made of when the job was made, and of a number
that grows as jobs come. So a page that begins behind such a place neither repeats nor leaves out a
job, whatever has happened since the page before.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from .given import MAX_INT, described, number, shown, text, whole
from .job import Job, State
from .owner import ANYONE, Owner

#: The most jobs that a page can have, and that a store looks at for one.
MAX_PAGE = 1000

_PLACE = struct.Struct(">dq")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of all jobs, behind which a page begins. To be had as `Page.next`.

    ``str(cursor)`` is a text of 22 letters, digits, dashes and underscores, for a URL; `from_text`
    is the reverse. Whoever knows the code can read from it when a job was made, and about how many
    there were before.

    Attributes:
        created: when the job at this place was made, in seconds since the epoch.
        number: of jobs that were made at the same time, the one that came later has the larger one.

    Raises:
        TypeError, ValueError: one of them is no such number.
    """

    created: float
    number: int

    def __post_init__(self) -> None:
        number("the time of a cursor", self.created)
        whole("the number of a cursor", self.number, least=-MAX_INT - 1)

    def __str__(self) -> str:
        packed = _PLACE.pack(self.created, self.number)
        return urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, written: str) -> Self:
        """The cursor that was written so.

        Raises:
            TypeError: it is no str.
            ValueError: no cursor is written so.
        """
        text("a cursor", written)
        try:
            cursor = cls(*_PLACE.unpack(urlsafe_b64decode(f"{written}==")))
        except (ValueError, struct.error):
            cursor = None
        # The decoder passes over what is none of its letters.
        if cursor is None or str(cursor) != written:
            raise ValueError(
                f"{shown(written)} is no cursor: give the text of `Page.next` as it was, or none, "
                "for the first page"
            )
        return cursor


class Page(NamedTuple):
    """Some jobs, the newest first.

    Attributes:
        jobs: there may be none of them, and more on the next page.
        next: where the next page begins; None if there is none.
    """

    jobs: list[Job]
    next: Cursor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which jobs to list, the newest first: those that were made last, and of those that were made
    at the same time, those that came last. A field left at None does not restrict.

    A store goes through all jobs, or through those of one owner, and looks at 1,000 of them at most
    for a page. So a page that is to leave some out may be shorter than its limit, or empty, with
    others behind it: the end is where `Page.next` is None.

    Attributes:
        owner: the jobs of this owner; None is nobody in particular, `ANYONE` restricts nothing.
        program: the jobs of this program, and those that belong to anybody.
        states: jobs in one of these.
        routes: jobs of one of these: endpoints, or names of functions.
        since: jobs that were made at this time or later, in seconds since the epoch.
        before: jobs that come behind this place, which is the `next` of an earlier page.
        limit: a page has so many at most, from 1 to 1,000.

    Raises:
        TypeError, ValueError: one of them is no such thing.
    """

    owner: Owner = ANYONE
    program: str | None = None
    states: frozenset[State] | None = None
    routes: frozenset[str] | None = None
    since: float | None = None
    before: Cursor | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if self.owner is not ANYONE and self.owner is not None:
            text("owner", self.owner)
        if self.program is not None:
            text("program", self.program)
        for state in _set("states", self.states):
            State(state)
        for route in _set("routes", self.routes):
            text("a route", route)
        if self.since is not None:
            number("since", self.since)
        if not (self.before is None or isinstance(self.before, Cursor)):
            raise TypeError(
                f"before must be a Cursor, not {described(self.before)}: make one of a text with "
                "Cursor.from_text()"
            )
        whole("limit", self.limit, least=1, most=MAX_PAGE)

    def matches(self, job: Job) -> bool:
        """Whether `job` is one of those asked for, `before` and the limit aside."""
        return (
            (self.owner is ANYONE or job.owner == self.owner)
            and (self.program is None or job.program in (None, self.program))
            and (self.states is None or job.state in self.states)
            and (self.routes is None or job.route in self.routes)
            and (self.since is None or job.created >= self.since)
        )


def _set(name: str, value: Any) -> frozenset[Any]:
    """A text would be one as well to Python, of its letters."""
    if value is None:
        return frozenset()
    if not isinstance(value, frozenset):
        raise TypeError(f"{name} must be a frozenset, not {described(value)}")
    return value
