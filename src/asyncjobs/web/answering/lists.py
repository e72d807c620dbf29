"""The view of the list: whose jobs are listed, which of them are asked for, and the next page.

On a page are those jobs alone whose status documents the same request would get at their own URLs:
also what the guards of a blueprint refuse there is left out here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from quart import Request, Response

from ...errors import JobNotFound
from ...given import MAX_INT
from ...job import State
from ...listing import Cursor, Listing
from ...owner import ANYONE, Owner
from ..callers.operator import Right
from ..http.paths import path_of
from ..http.query import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Pairs,
    Parameters,
    moment_of,
    pairs_of,
    query_of,
    whole_of,
)
from ..quart_side import current_request
from ..routing.marks import LIST_ENDPOINT
from ..routing.routes import OwnRoute
from . import answers
from .app_side import AppSide, answering_errors
from .guards import lets_in

_NAMES = "state", "route", "since", "before", "limit", "cursor"
_REPEATABLE = "state", "route"
_A_TIME = "a time with its offset (RFC 3339), such as 2026-11-22T09:00:00Z"


class Lists:
    """Lists the jobs of one app, to those who have any or may see all."""

    def __init__(self, side: AppSide) -> None:
        self.side = side

    @property
    def own_routes(self) -> list[OwnRoute]:
        """The route of the list; none where nobody would ever get one, so that what the app has
        there is its own."""
        if not self.side.tells_callers_apart:
            return []
        return [OwnRoute("", LIST_ENDPOINT, self.list, ["GET"], is_polled=False)]

    @answering_errors
    async def list(self, **view_args: Any) -> Response:
        """The view of the list."""
        request = current_request()
        jobs = await self.side.started()
        right = await self.side.operator()
        owner = await self._owner(right)
        pairs = pairs_of(request.query_string)
        page = await jobs.list(listing_of(pairs, owner, is_operator=right is not None))
        documents = [
            answers.document_of(job, self.side.links(job, request), with_owner=right is not None)
            for job in page.jobs
            if await lets_in(self.side.app, jobs, job, request)
        ]
        following = None if page.next is None else self._url(request, behind(page.next, pairs))
        return answers.listed(self.side.app, documents, following)

    async def _owner(self, right: Right | None) -> Owner:
        """Whose jobs are listed to who may do that with those of all."""
        if right is not None:
            return ANYONE
        owner = await self.side.owner()
        if owner is None:
            raise JobNotFound("who is nobody in particular has no jobs that could be listed")
        return owner

    def _url(self, request: Request, pairs: Pairs) -> str:
        return f"{path_of(request.root_path, self.side.prefix)}?{query_of(pairs)}"


def listing_of(pairs: Pairs, owner: Owner, *, is_operator: bool) -> Listing:
    """What is asked for by these parameters.

    Args:
        owner: whose jobs may be listed.
        is_operator: whether the parameters may restrict that further.

    Raises:
        InvalidRequest
    """
    names = (*_NAMES, "owner") if is_operator else _NAMES
    given = Parameters(pairs, names, _REPEATABLE)
    limits = partial(whole_of, least=1, most=MAX_LIMIT)
    asked = given.one("owner", str, "that of a job") if is_operator else None
    states = given.all("state", State, f"one of {', '.join(State)}")
    routes = given.all("route", str, "an endpoint, or the name of a function")
    before = given.one("before", moment_of, _A_TIME)
    cursor = given.one("cursor", Cursor.from_text, "that of the `next` of a page, as it was")
    return Listing(
        owner=owner if asked is None else asked,
        states=frozenset(states) or None,
        routes=frozenset(routes) or None,
        since=given.one("since", moment_of, _A_TIME),
        before=_further(cursor, None if before is None else Cursor(before, -MAX_INT - 1)),
        limit=given.one("limit", limits, f"a number from 1 to {MAX_LIMIT}") or DEFAULT_LIMIT,
    )


def behind(cursor: Cursor, pairs: Pairs) -> Pairs:
    """The parameters of the page that begins there, with all else that was asked for."""
    return [*[pair for pair in pairs if pair[0] != "cursor"], ("cursor", str(cursor))]


def _further(*places: Cursor | None) -> Cursor | None:
    """Of these places, the one that has fewer jobs behind it: those are behind all of them."""
    told = [place for place in places if place is not None]
    return min(told, key=lambda place: (place.created, place.number), default=None)
