"""Bugs in streams of events, in the place of jobs in line, and in results that are preferred.

Each is put around what is there, in all apps of the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar
from weakref import WeakSet

from quart import Quart, Request, Response
from quart.typing import ResponseTypes

from asyncjobs.documents import status_of
from asyncjobs.errors import InvalidTransition, JobNotFound
from asyncjobs.job import FINAL, Job, State
from asyncjobs.job import Response as StoredResponse
from asyncjobs.jobs import Jobs
from asyncjobs.store import ANYONE, Owner, Query
from asyncjobs.web.answering import answers, polls, submission, watching
from asyncjobs.web.answering.app_side import AppSide
from asyncjobs.web.answering.preferred import Granted, granted_to_submission
from asyncjobs.web.answering.submitted import Submitted
from asyncjobs.web.answering.watching import EventStream, Watching
from asyncjobs.web.callers.operator import Right
from asyncjobs.web.http.event_stream import COMMENT, event, wants_events
from asyncjobs.web.http.preferences import Preferences
from asyncjobs.web.quart_side import current_request

T = TypeVar("T")
Events = AsyncIterator[bytes]


def changes_events(change: Callable[[Events], AsyncGenerator[bytes, None]]) -> Callable[[], None]:
    """A bug: other things are sent to who watches than should be."""

    def plant() -> None:
        events = Watching._events

        async def careless(self: Watching, *args: Any) -> AsyncGenerator[bytes, None]:
            async with aclosing(events(self, *args)) as rightly, aclosing(change(rightly)) as sent:
                async for part in sent:
                    yield part

        Watching._events = careless  # type: ignore[assignment, method-assign]

    return plant


def _is_last(part: bytes) -> bool:
    return any(b'"state":"%b"' % state.encode() in part for state in FINAL)


async def _without_first(events: Events) -> AsyncGenerator[bytes, None]:
    """What it is now is known; only changes are told."""
    await anext(events)
    async for part in events:
        yield part


async def _without_last(events: Events) -> AsyncGenerator[bytes, None]:
    """The end of the stream is told by its end."""
    async for part in events:
        if not _is_last(part):
            yield part


async def _on_and_on(events: Events) -> AsyncGenerator[bytes, None]:
    """There is a sign of life, also at the end."""
    async for part in events:
        yield part
    yield COMMENT


async def _counted(events: Events) -> AsyncGenerator[bytes, None]:
    """Ids are numbers, but those of nothing."""
    async for part in events:
        yield b"\n".join(b"id: 1" if line[:3] == b"id:" else line for line in part.split(b"\n"))


async def _rounded(events: Events) -> AsyncGenerator[bytes, None]:
    """The end is told before its status is known."""
    async for part in events:
        yield part.replace(b'"status":2', b'"status":null,"was":2') if _is_last(part) else part


def watch_for_anyone() -> None:
    """Nobody asks whose job it is that is watched."""
    seen = AppSide.seen

    async def careless(
        self: AppSide, read: Callable[..., Awaitable[T]], job_id: str
    ) -> tuple[T, Right | None]:
        if wants_events(current_request()):
            return await read(job_id, owner=ANYONE), None
        return await seen(self, read, job_id)

    AppSide.seen = careless  # type: ignore[method-assign]


def keep_by_version() -> None:
    """An event is made once for each version, whichever job that is of."""
    made: dict[int, bytes] = {}

    def careless(name: str, event_id: int, data: bytes) -> bytes:
        return made.setdefault(event_id, event(name, event_id, data))

    vars(watching)["event"] = careless


def tell_the_owner() -> None:
    """Whose a job is, everybody is told."""
    told = answers.told

    def careless(job: Job, links: answers.Links, ahead: Any, *, with_owner: bool) -> answers.Told:
        return told(job, links, ahead, with_owner=True)

    answers.told = careless


def tell_nobody_ahead() -> None:
    """Of a job that runs nobody is ahead, and so it says."""

    def careless(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"ahead": 0, **status_of(*args, **kwargs)}

    vars(answers)["status_of"] = careless


def count_the_whole_line() -> None:
    """Those behind are ahead as well."""

    async def careless(self: Jobs, job: Job) -> int:
        queued = Query(states=frozenset({State.QUEUED}), routes=frozenset({job.route}))
        return len(await self.find(queued))

    Jobs.ahead = careless  # type: ignore[method-assign]


def see_by_last_event_id(seen: Callable[[str], int | None]) -> Callable[[], None]:
    """A bug: what `Last-Event-ID` says is taken for `seen` of it."""

    def careless(request: Request) -> int | None:
        return seen(request.headers.get("Last-Event-ID", ""))

    return lambda: vars(watching).update(last_event_id=careless)


def _nothing(said: str) -> None:
    """Whoever comes back has seen nothing."""


def _all(said: str) -> int | None:
    """Whoever comes back has seen everything."""
    return 10**19 if said.isdigit() and said.isascii() else None


def watch_by_any_means() -> None:
    """Who knows of events wants them."""

    def careless(request: Request) -> bool:
        return "event-stream" in request.headers.get("Accept", "")

    vars(polls)["wants_events"] = careless


def at_the_end(what: Callable[[EventStream, Any], Awaitable[None]]) -> Callable[[], None]:
    """A bug at the end of a stream.

    Args:
        what: is given the stream, and what it ends with.
    """

    def plant() -> None:
        leave = EventStream.__aexit__

        async def careless(self: EventStream, *exc_info: Any) -> None:
            await what(self, exc_info)
            await leave(self, *exc_info)

        EventStream.__aexit__ = careless  # type: ignore[method-assign]

    return plant


async def _write_it_down(stream: EventStream, exc_info: Any) -> None:
    """Who goes has done something wrong."""
    if exc_info[0] is not None:
        logging.getLogger("asyncjobs").error("a stream was cut", exc_info=exc_info)


def keep_watchers() -> None:
    """Nobody looks whether those who watch are still there."""
    kept = []

    async def careless(self: EventStream, *exc_info: Any) -> None:
        kept.append(self)

    EventStream.__aexit__ = careless  # type: ignore[method-assign]


def cancel_with_the_last() -> None:
    """What nobody watches any more nobody wants."""
    answer, watched = Watching.answer, dict[int, tuple[Jobs, Job]]()

    def noted(self: Watching, jobs: Jobs, job: Job, *args: Any) -> Response:
        response = answer(self, jobs, job, *args)
        watched[id(response.response)] = jobs, job
        return response

    async def cancel(stream: EventStream, exc_info: Any) -> None:
        jobs, job = watched[id(stream)]
        with suppress(InvalidTransition):
            await asyncio.shield(jobs.cancel(job.id))

    Watching.answer = noted  # type: ignore[assignment, method-assign]
    at_the_end(cancel)()


def count_no_watchers() -> None:
    """However many there are, there is room for one more."""
    answer = Watching.answer

    def careless(self: Watching, *args: Any) -> Response:
        self._open = WeakSet()
        return answer(self, *args)

    Watching.answer = careless  # type: ignore[assignment, method-assign]


def tell_of_the_past() -> None:
    """One in two jobs is known as it was when somebody asked for it first."""
    get, known = Jobs.get, dict[str, Job]()

    async def careless(self: Jobs, job_id: str, *, owner: Owner = ANYONE) -> Job:
        job = await get(self, job_id, owner=owner)
        return known.setdefault(job_id, job) if job_id < "8" else job

    Jobs.get = careless  # type: ignore[method-assign]


def grants(change: Callable[[Granted], Granted]) -> Callable[[], None]:
    """A bug: a submission waits for something else than it should."""

    def careless(preferences: Preferences, max_wait: float, *, is_held: bool) -> Granted:
        return change(granted_to_submission(preferences, max_wait, is_held=is_held))

    return lambda: vars(submission).update(granted_to_submission=careless)


def _nobody_waits(granted: Granted) -> Granted:
    """Unless it is said, nobody wants to wait."""
    return Granted(result=False) if granted.applied is None else granted


def _all_wait(granted: Granted) -> Granted:
    """Who would rather not wait, waits a second."""
    if granted.result or granted.applied is None:
        return granted
    return Granted(1, applied=granted.applied)


def forget_what_is_told() -> None:
    """What a client has as the answer it does not need once more."""
    answer, poll, told = Submitted.answer, Jobs.poll, set[str]()

    async def careless(self: Submitted, said: ResponseTypes) -> ResponseTypes:
        result = await answer(self, said)
        if result is not said and self._applied is None:
            told.add(self._following.job_id)
        return result

    async def forgetful(
        self: Jobs, job_id: str, *, owner: Owner = ANYONE
    ) -> tuple[Job, StoredResponse | None]:
        if job_id in told:
            raise JobNotFound(job_id)
        return await poll(self, job_id, owner=owner)

    Submitted.answer, Jobs.poll = careless, forgetful  # type: ignore[method-assign]


def _planted(plant: Callable[[], None]) -> Callable[[Quart], None]:
    return lambda app: plant()


#: By its name: what plants the bug in an app.
HTTP_STREAM_BUGS: Mapping[str, Callable[[Quart], None]] = {
    name: _planted(plant)
    for name, plant in {
        "watched-by-anyone": watch_for_anyone,
        "stream-without-snapshot": changes_events(_without_first),
        "stream-without-the-end": changes_events(_without_last),
        "stream-goes-on": changes_events(_on_and_on),
        "ids-are-no-versions": changes_events(_counted),
        "end-is-told-otherwise": changes_events(_rounded),
        "events-of-other-jobs": keep_by_version,
        "owner-is-told": tell_the_owner,
        "none-ahead-of-the-running": tell_nobody_ahead,
        "all-are-ahead": count_the_whole_line,
        "never-sent-away": see_by_last_event_id(_nothing),
        "sent-away-too-early": see_by_last_event_id(_all),
        "events-for-all": watch_by_any_means,
        "cut-stream-in-log": at_the_end(_write_it_down),
        "watchers-are-kept": keep_watchers,
        "watcher-cancels": cancel_with_the_last,
        "watchers-without-end": count_no_watchers,
        "told-of-the-past": tell_of_the_past,
        "nobody-waits": grants(_nobody_waits),
        "all-wait": grants(_all_wait),
        "told-and-forgotten": forget_what_is_told,
    }.items()
}
