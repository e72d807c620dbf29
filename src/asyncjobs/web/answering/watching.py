"""The status of a job as a stream of events: each time that it changes, until the job is final.

A stream holds nothing of the app's: the context of its request is left before the first event, and
where our own connection sends it, the request is let go of as well. Whose job it is, and whether
its guards let the client in, is asked when that connects, and each time that it connects again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakSet

from quart import Request, Response

from ...errors import JobNotFound, StoreUnavailable, TooManyWatchers
from ...job import Job, State
from ...jobs import Jobs
from ...watch import Follower
from ..http.event_stream import COMMENT, event, last_event_id, retry
from ..quart_side import stop_of_hypercorn
from . import answers
from .answers import Links, Told
from .app_side import AppSide
from .sending import LastingBody

#: Seconds between two events of a stream, at least; the final state is never held back.
PAUSE = 0.2
#: Seconds after which a stream that has nothing to say says so, at most.
HEARTBEAT = 15.0
#: Seconds after which the place of a queued job is looked at again, at most: others change it.
LOOK_AT_QUEUE = 5.0
#: Milliseconds after which a client shall come back that is sent away: so that not all do at once.
COME_BACK = 1_000, 5_000

#: Tells of a job what its status document does.
Tell = Callable[[Job], Awaitable[Told]]


class Watching:
    """Answers those who watch the jobs of one app."""

    def __init__(self, side: AppSide) -> None:
        self._side = side
        # Also those that are about to be sent. One that never is, is gone with its response.
        self._open: WeakSet[EventStream] = WeakSet()
        self._stop: asyncio.Task[None] | None = None

    def answer(self, jobs: Jobs, job: Job, links: Links, request: Request, tell: Tell) -> Response:
        """The answer to a request for the events of this job.

        Args:
            tell: tells of it.

        Raises:
            TooManyWatchers
        """
        app = self._side.app
        known = last_event_id(request)
        if job.state.is_final and known is not None and known >= job.version:
            return answers.no_more_events(app, job, links)
        if request.method == "HEAD":
            return answers.events(app, job, links, None)
        if len(self._open) >= jobs.settings.max_watching:
            raise TooManyWatchers(
                "this server sends as many event streams as it may (the setting 'max_watching'): "
                "poll, or try again later"
            )
        stream = EventStream(
            self._events(jobs, job, tell), self._open, partial(self._end_with_server, jobs)
        )
        return answers.events(app, job, links, stream)

    async def _events(self, jobs: Jobs, job: Job, tell: Tell) -> AsyncGenerator[bytes, None]:
        """What is sent to who watches a job, from what it is now to its end, or ours."""
        sent = b""
        with suppress(JobNotFound), jobs.follow(job.id) as follower:  # forgotten: nothing more
            try:
                job = await jobs.get(job.id)  # perhaps it has changed before it was followed
                yield (sent := event("status", job.version, (await tell(job)).document))
                while not job.state.is_final:
                    changed = await self._change(follower, job)
                    if changed is None and follower.has_ended:
                        yield self._come_back()
                        return
                    job = changed or job
                    # There may be more to tell than the job itself knows.
                    before, sent = sent, event("status", job.version, (await tell(job)).document)
                    yield COMMENT if sent == before else sent
                # First have all others the end, and then each stream its own.
                await asyncio.sleep(0)
            except StoreUnavailable:
                yield self._come_back()

    async def _change(self, follower: Follower, job: Job) -> Job | None:
        """The job once it has changed: its end at once, all else after a pause, in which it may
        change again. None if it is time for a sign of life, or for the end."""
        # Those who have come at the same time shall not all be sent something at the same time.
        most = LOOK_AT_QUEUE if job.state is State.QUEUED else HEARTBEAT
        silence = most * self._side.random.uniform(0.8, 1) - PAUSE
        return await follower.until_final(job, PAUSE) or await follower.until_changed(job, silence)

    def _come_back(self) -> bytes:
        return retry(self._side.random.randint(*COME_BACK))

    def _end_with_server(self, jobs: Jobs, send: Any) -> None:
        """Have all streams end when the server is about to stop: it waits for them, and without
        workers nobody else tells of that in time."""
        if self._stop is None and (stop := stop_of_hypercorn(send)) is not None:
            # In no context: that of the first to watch would be kept for as long as there is one.
            until_stop = self._until_stop(jobs, stop)
            self._stop = asyncio.create_task(until_stop, context=Context())

    async def _until_stop(self, jobs: Jobs, stop: Any) -> None:
        try:
            await stop.wait()
            jobs.end_waits()
        finally:
            self._stop = None  # the app may be served again


class EventStream(LastingBody):
    """The body of an answer that is a stream of events.

    Args:
        among: where it is as long as it is open.
        begun: told what it is sent by.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        among: WeakSet[EventStream],
        begun: Callable[[Any], None],
    ) -> None:
        super().__init__(events)
        self._among = among
        self._begun = begun
        among.add(self)

    def begin(self, send: Any) -> None:
        self._begun(send)

    async def __aexit__(self, *exc_info: object) -> None:
        self._among.discard(self)
        await super().__aexit__(*exc_info)  # type: ignore[arg-type]
