"""`Jobs`: submit, wait, cancel. Knows no framework, and is the API for embedding."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload

from . import log
from .arguments import Callee
from .backlog import Backlog
from .control import Control
from .engines.local import LocalEngine
from .engines.slots import rivals
from .errors import JobNotFound, SetupError, StoreUnavailable
from .events import Action, Events, Finished, Retried, Submitted, Troubled
from .firsts import Firsts
from .functions import Call, Functions, check_name, name_of_function
from .given import moment, text
from .handler import Handler, RouteOptions, RouteSettings
from .health import Health, health_of
from .job import Job, Request, Response, State
from .key import Key
from .listing import Listing, Page
from .opened import Opened, abandon_lost, forget, remember
from .program import ProgramStore, introduce, program_of
from .running.claims import Claims, unknown_to
from .running.exits import watch_exit
from .running.following import ProgramControl
from .running.runner import Runner
from .running.sweeper import Sweeper
from .running.threads import Threads, is_threaded
from .running.watchdog import Watchdog
from .settings import ERASED_IN, Options, make, make_settings
from .store import ANYONE, Owner, Presence, Query, Store
from .stores import open_url
from .tasks import to_the_end
from .watch import Follower, Watch

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: No more of the jobs that are ahead of one are counted.
MAX_AHEAD = 1000
#: Where jobs are kept if nobody has said it.
DEFAULT_STORE = "sqlite:///jobs.db"


class Jobs:
    """Durable background jobs for one asyncio program.

    An async context manager, which may be entered again once it was left. Its coroutines are for
    the event loop that it was entered in, and raise a RuntimeError in any other; a thread has them
    run there by ``asyncio.run_coroutine_threadsafe(jobs.submit(...), jobs.loop).result()``.

    ::

        jobs = Jobs(store="sqlite:///jobs.db")

        @jobs.function
        async def add(a: int, b: int) -> int:
            return a + b

        async with jobs:
            job = await jobs.submit(add, 1, b=2)
            assert await jobs.result(job.id) == 3

    Args:
        clock: tells the seconds since the epoch; the store does unless it is given.
        random: for jitter.
        options: see `Settings`.

    Attributes:
        events: tells what happens to the jobs of this process; see `asyncjobs.events`.

    Raises:
        ConfigurationError: an option is unknown, has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        random: random.Random = random.Random(),  # noqa: B008 - one source for all is meant
        **options: Unpack[Options],
    ) -> None:
        self.settings = make_settings(options)
        # Of the module that makes it, which is the same in a server and in a script of the program.
        self.name = self.settings.name or program_of(sys._getframe(1).f_globals["__name__"])
        self.handlers: dict[str, Handler] = {}
        self.threads = Threads(self.settings.threads)
        self.events = Events()
        self.events.subscribe(log.say)
        self._functions = Functions()
        self._clock = clock
        self._random = random
        self._outliving: set[asyncio.Task[Any]] = set()
        self._opened: Opened | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the jobs run in.

        Raises:
            RuntimeError: they are not open.
        """
        if self._opened is None or self._opened.loop.is_closed():
            raise RuntimeError("these jobs are not open: use them within 'async with jobs'")
        return self._opened.loop

    async def __aenter__(self) -> Self:
        """Open the store and begin to run jobs, those of earlier processes included.

        Raises:
            SetupError: they are open already.
            StoreError: the message says what is wrong with the store.
        """
        await self.open()
        try:
            await self.begin()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def open(self) -> None:
        """The first half of ``async with``: open the store, and accept jobs that `begin` will run.

        Raises:
            SetupError: they are open already.
            StoreError: the message says what is wrong with the store.
        """
        abandon_lost()
        if self._opened is not None:
            raise SetupError(
                "these jobs are open already: use them as they are, or make a second `Jobs`, with "
                "a name or a store of its own"
            )
        opened = self._opened = Opened(asyncio.get_running_loop())
        settings = self.settings
        async with AsyncExitStack() as stack:
            stack.callback(self._closed)
            await stack.enter_async_context(Watchdog())
            store = opened.store = await stack.enter_async_context(
                ProgramStore(
                    _store_of(settings.store),
                    self.name,
                    self._clock,
                    erased_in=ERASED_IN[settings.keep_requests],
                )
            )
            await introduce(store, self._presence())
            opened.watch = await stack.enter_async_context(Watch(store))
            opened.control = ProgramControl(store, opened.watch, self)
            opened.backlog = Backlog(
                store, most=settings.max_queued, most_of_owner=settings.max_queued_per_owner
            )
            opened.firsts = Firsts(store)
            opened.claims = Claims(
                store, self.handlers, self.events.emit, self._random, settings.max_starts
            )
            opened.runner = await stack.enter_async_context(
                Runner(opened.claims, self, shield_time=settings.shield_time)
            )
            opened.engine = LocalEngine(
                opened.claims,
                opened.runner,
                self.threads,
                concurrency=settings.concurrency,
                drain_time=settings.drain_time,
            )
            stack.enter_context(opened.watch.subscribe(opened.heard))
            opened.stack = stack.pop_all()
        remember(self, opened)

    async def begin(self) -> None:
        """The second half: run jobs, those of earlier processes included. To be called once."""
        opened = self._here("begin")
        if opened.has_begun:
            raise SetupError("these jobs run already: `begin` is for those that `open` has opened")
        opened.has_begun = True
        await opened.stack.enter_async_context(opened.engine)
        opened.sweeper = Sweeper(
            opened.claims, gone_after=self.settings.gone_after, ended=lambda: opened.store.ended
        )
        await opened.stack.enter_async_context(opened.sweeper)

    async def __aexit__(self, *exc_info: object) -> None:
        """Accept no more jobs, let the running ones end within the drain time, and close."""
        # Also if we are cancelled meanwhile, as what is left open nobody could close any more.
        if await to_the_end(asyncio.create_task(self._close())):
            raise asyncio.CancelledError

    async def _close(self) -> None:
        opened = self._here("__aexit__")
        try:
            await self.drain()
        finally:
            await opened.stack.aclose()
        watch_exit()

    async def drain(self) -> None:
        """Accept no more jobs, let the running ones end within the drain time, give back the rest.

        Waiting readers are answered at once. Jobs and their results can still be read.
        """
        opened = self._here("drain")
        # If the server is killed before it is done, its jobs are not to blame.
        opened.store.announce(self._presence(stopping=True))
        self.end_waits()
        await opened.engine.drain()

    def end_waits(self) -> None:
        """Answer all who wait for jobs with these as they are, now and from now on: nobody is to be
        waited for who only waits."""
        self._here("end_waits").watch.end()

    def now(self) -> float:
        """The time by the clock of the store, in seconds since the epoch: what the times of jobs
        are told by."""
        return self._here("now").store.now()

    def abandon(self) -> None:
        """Close without waiting, as the event loop that the jobs were open in was closed.

        What still ran is for the next one on the store to rescue. It happens by itself when the
        next `Jobs` of this process are opened, and when the process ends.
        """
        try:
            if self._opened is not None:
                # No job is to blame for that.
                self._opened.store.announce(self._presence(stopping=True))
                self._opened.store.abandon()
        finally:
            self._closed()

    @overload
    def function(self, function: F, /) -> F: ...
    @overload
    def function(
        self, *, name: str | None = None, **options: Unpack[RouteOptions]
    ) -> Callable[[F], F]: ...
    def function(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        **options: Unpack[RouteOptions],
    ) -> Any:
        """Register a function, so that `submit` can have it run. A decorator.

        Its arguments and its result are stored as JSON: what is no plain JSON, such as a dataclass,
        a UUID or a tuple, takes an annotation that says so. A sync function runs in a thread; if it
        gives an awaitable, that is awaited. It is started once, unless it is said to be
        ``idempotent``: a call is a POST.

        Args:
            name: what its jobs are stored under; its module and qualified name unless given.
            options: see `RouteSettings`.

        Raises:
            ConfigurationError: an option is unknown, has the wrong type or is out of range.
            SetupError: the name is taken, or the function can never be run.
        """
        settings = make(RouteSettings, options, "name")
        if function is None:
            return partial(self.function, name=name, **options)
        route = name_of_function(function, name)
        callee = Callee(function, route)
        call = Call(callee, lambda: self.threads, self.settings.max_response)
        threaded = is_threaded(function)
        self.register(settings.handler(route, call, self.settings, threaded=threaded))
        self._functions.add(callee)
        return function

    def register(self, handler: Handler) -> None:
        """Have `handler` run the jobs of its route.

        Raises:
            ConfigurationError: the route's name is no text.
            SetupError: the route has a handler already.
        """
        check_name(handler.route)
        if handler.route in self.handlers:
            raise SetupError(f"there is a handler called {handler.route!r} already: name this one")
        self.handlers[handler.route] = handler
        if self._opened is not None:
            self._opened.store.announce(self._presence(stopping=self._opened.engine.is_draining))

    async def submit(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Job:
        """Have a registered function run in the background. Durable when it returns.

        Args:
            function: the function, or the name that it was registered with.
            args, kwargs: its arguments. It is called with what equals them and has the same types
                all the way down.

        Raises:
            SetupError: no such function is registered.
            Unstorable: an argument is no plain JSON, which has no nan and no infinity, and is not
                what the function's annotation of it says.
            ShuttingDown: there is no job.
            QueueFull: neither is there; it could not start at once, and `max_queued` jobs wait.
            StoreUnavailable: it is not known whether there is one; if so, it runs.
        """
        self._here("submit")
        route = self._functions.route_of(function)
        self._handler(route)
        job, _ = await self.accept(route, self._functions.call(route, args, kwargs))
        return job

    async def accept(
        self,
        route: str,
        request: Request,
        *,
        owner: str | None = None,
        matched: str | None = None,
        key: Key | None = None,
        cancel_at: float | None = None,
    ) -> tuple[Job, bool]:
        """Make `request` a job of `route`. Durable when it returns.

        Returns the job, and whether it is new: else it is the one that has the key already, as it
        is now, which is so also while no new jobs are accepted.

        Once it has begun, it goes on even if the caller is cancelled.

        Args:
            owner: whose it is.
            matched: as `Job.matched`.
            key: that no other job may have.
            cancel_at: it is cancelled then, unless it has ended before: a time as `now` tells it,
                in the years from 5 to 9977.

        Raises:
            SetupError: the route has no handler.
            TypeError, ValueError: the owner is no text, or the time none that a date can tell.
            KeyReused: another request has the key; there is no job.
            ShuttingDown: there is no job.
            QuotaExceeded, QueueFull: neither is there; it could not start at once, and as many
                jobs wait, of its owner or in all, as may.
            StoreUnavailable: it is not known whether there is one; if so, it runs.
        """
        opened = self._here("accept")
        if owner is not None:
            text("the owner of a job", owner)
        handler = self._handler(route)
        # Before anything can refuse a new job, or count it.
        if key is not None and (holder := await opened.firsts.holder(key)) is not None:
            return holder, False
        now = opened.store.now()
        if cancel_at is not None:  # never before there was a job
            cancel_at = max(moment("cancel_at", cancel_at), now)
        job = Job(
            id=uuid.uuid4().hex,
            route=route,
            path=request.path,
            created=now,
            due=now,
            owner=owner,
            repeatable=handler.is_repeatable(request),
            program=self.name,
            ttl=handler.ttl,
            cancel_at=cancel_at,
            matched=matched,
        )
        job = opened.engine.admit(job)
        kept = await self._store_new(opened, job, request, key)
        if kept.id != job.id:  # somebody was faster
            opened.engine.dismiss(job, in_doubt=False)
            return kept, False
        self.events.emit(Submitted(job))
        await opened.engine.submit(job, request)
        return job, True

    async def get(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """The job as it is now: see `Control.get`."""
        return await self._here("get").control.get(job_id, owner=owner)

    async def wait(
        self, job_id: str, timeout: float | None = None, *, owner: Owner = ANYONE
    ) -> Job:
        """The job once it is final, or as it is after `timeout` seconds, or when we shut down: see
        `Control.wait`.

        A job that waits for another one gives its place back meanwhile, and has one again when
        this returns. It is not answered when its program shuts down, but stopped.

        Raises:
            JobNotFound, TypeError, ValueError, StoreUnavailable: as there.
            RuntimeError: this is a sync handler, and no thread can take the place of its own.
        """
        return await self._here("wait").control.wait(job_id, timeout, owner=owner)

    def follow(self, job_id: str) -> AbstractContextManager[Follower]:
        """The job, to be read and then waited for: see `Watch.follow`, and `until_final`."""
        return self._here("follow").control.follow(job_id)

    async def until_final(self, follower: Follower, job: Job, limit: float) -> Job | None:
        """As `Follower.until_final`; a job that waits gives its place back meanwhile."""
        return await self._here("until_final").control.until_final(follower, job, limit)

    async def poll(self, job_id: str, *, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        """The job as it is now, and its response if it is final, else None: see `Control.poll`."""
        return await self._here("poll").control.poll(job_id, owner=owner)

    async def request(self, job_id: str) -> Request:
        """The stored request of a job.

        Raises:
            JobNotFound: there is no such job, or its request was erased: see the setting
                `keep_requests`.
        """
        return await self._here("request").store.request(job_id)

    async def response(self, job_id: str) -> Response:
        """The stored response of a final job.

        Raises:
            JobNotFound: there is no such job, or it is not final.
        """
        return await self._here("response").store.response(job_id)

    async def result(self, job_id: str, timeout: float | None = None) -> Any:
        """What the function returned, once it has: plain JSON data, where it is not registered here
        or no annotation says what it returns.

        It is for jobs of functions; of a view's job, see `poll`.

        Args:
            timeout: in seconds, as in `wait`.

        Raises:
            JobNotFound: as in `wait`.
            TypeError, ValueError: the timeout is no number.
            TimeoutError: it has not returned after `timeout` seconds, or when we shut down.
            JobFailure: `HandlerFailed` if it raised an exception, `JobWasCancelled`, `JobTimedOut`,
                `JobInterrupted`, or another of its subclasses.
        """
        opened = self._here("result")
        job = await self.wait(job_id, timeout)
        if not job.state.is_final:
            raise TimeoutError(f"job {job_id} is still {job.state}")
        return self._functions.returned(job.route, await opened.store.response(job_id))

    async def cancel(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """Cancel the job: at once if nobody runs it, else as soon as its handler stops. See
        `Control.cancel`.

        Once it has begun, it goes on even if the caller is cancelled.
        """
        cancelling = self._begin(self._cancel(self._here("cancel").control, job_id, owner))
        return await asyncio.shield(cancelling)

    async def retry(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """Queue a failed, interrupted or cancelled job once more: see `Control.retry`.

        Once it has begun, it goes on even if the caller is cancelled.
        """
        retrying = self._begin(self._retry(self._here("retry").control, job_id, owner))
        return await asyncio.shield(retrying)

    async def find(self, query: Query) -> list[Job]:
        """The jobs that `query` asks for, oldest due first: see `Control.find`.

        ::

            failed = await jobs.find(Query(states=frozenset({State.FAILED}), limit=10))
        """
        return await self._here("find").control.find(query)

    async def ahead(self, job: Job) -> int | None:
        """How many jobs will start before this one, which is queued, in the slots that it waits
        for: of its route, where that has a ``concurrency`` of its own; else of all that run as
        tasks, or in threads, as it does, but of a route with a ``concurrency`` no more than that.

        Returns None if there are more than 1,000, if the job is not queued, or if this program has
        no handler of its route.

        Raises:
            StoreUnavailable
        """
        store = self._here("ahead").store
        if job.state is not State.QUEUED or job.route not in self.handlers:
            return None
        routes = rivals(self.handlers[job.route], self.handlers.values())
        number = await store.count(
            Query(
                states=frozenset({State.QUEUED}),
                routes=frozenset(routes),
                limits={route: most for route, most in routes.items() if most is not None},
                ahead_of=job,
                limit=MAX_AHEAD + 1,
            )
        )
        return number if number <= MAX_AHEAD else None

    async def check(self, limit: int = 100) -> list[Job]:
        """The queued jobs that no handler of this program can run, oldest due first.

        They fail once they have waited for the setting `gone_after`: a handler that a deploy has
        removed or renamed by mistake has to be back by then.

        Args:
            limit: so many are told at most.
        """
        return await self._here("check").store.find(unknown_to(self.handlers, limit))

    async def backup(self, path: Path | str) -> None:
        """Copy the store, with all jobs accepted so far, to a new file that is a store by itself.

        It holds up nobody. Never copy the store's file in any other way from within the program: to
        open and close it past SQLite drops the locks that the store has on it.

        Args:
            path: the file, which must not exist yet; its folder must.

        Raises:
            SetupError: there can be no such file, or the store has none to copy.
            StoreUnavailable: it could not be read or written; no file is left.
        """
        await self._here("backup").store.backup(path)

    async def health(self) -> Health:
        """Whether new jobs are accepted now, and could be run: for a readiness probe.

        It looks at the files of the store each time, and writes nothing. That the queue is full is
        no reason: jobs that can start at once are accepted all the same.
        """
        opened = self._here("health")
        return await health_of(opened.store, opened.engine, opened.runner, self.threads)

    def _here(self, method: str) -> Opened:
        """What is open. Only the loop that the jobs run in may go on: the store is used in no
        other, and what is waited for comes to pass there.

        Raises:
            RuntimeError
        """
        opened = self._opened
        if opened is None or opened.loop is not asyncio.get_running_loop():
            _ = self.loop  # or they are not open at all
            raise RuntimeError(
                f"jobs.{method}() was called in another event loop than the one that the jobs run "
                f"in. asyncio.run_coroutine_threadsafe(jobs.{method}(...), jobs.loop).result() "
                "works in any thread, also in that of a sync handler"
            )
        return opened

    def _handler(self, route: str) -> Handler:
        handler = self.handlers.get(route)
        if handler is None:
            raise SetupError(
                f"no handler is registered for {route!r}: decorate the function with @jobs.function"
            )
        return handler

    def _closed(self) -> None:
        self.threads.close()
        self.threads = Threads(self.settings.threads)  # a pool that was closed stays so
        self._opened = None
        forget(self)

    def _presence(self, *, stopping: bool = False) -> Presence:
        return Presence(self.name, frozenset(self.handlers), stopping)

    async def _store_new(self, opened: Opened, job: Job, request: Request, key: Key | None) -> Job:
        """Store an admitted job, where it may be; what `Store.add` returns."""
        settled: list[Callable[[], None]] = []  # to be called once it is stored, or will not be
        if key is not None:
            settled.append(opened.firsts.begin(key, job))
        try:
            if job.state is State.QUEUED:
                settled.append(await opened.backlog.add(job.owner))
            return await opened.store.add(job, request, key)
        except asyncio.CancelledError:
            # The client has gone, but the job may be on its way to the disk.
            self._begin(self._submit_if_added(opened, job, request, settled))
            settled = []
            raise
        except BaseException:
            opened.engine.dismiss(job)
            raise
        finally:
            for call in settled:
                call()

    async def _submit_if_added(
        self, opened: Opened, job: Job, request: Request, settled: Iterable[Callable[[], None]]
    ) -> None:
        try:
            await opened.store.get(job.id)
        except (JobNotFound, StoreUnavailable):
            opened.engine.dismiss(job)
        except Exception as error:
            self.events.emit(Troubled(Action.ADD, error, job.id))
            opened.engine.dismiss(job)
        else:
            self.events.emit(Submitted(job))
            await opened.engine.submit(job, request)
        finally:
            for call in settled:
                call()

    async def _cancel(self, control: Control, job_id: str, owner: Owner) -> Job:
        job = await control.cancel(job_id, owner=owner)
        if job.state.is_final:
            self.events.emit(Finished(job))
        return job

    async def _retry(self, control: Control, job_id: str, owner: Owner) -> Job:
        job = await control.retry(job_id, owner=owner)
        self.events.emit(Retried(job))
        return job

    def _begin(self, deed: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do this in a task that outlives whoever asks for it."""
        task = asyncio.create_task(deed)
        self._outliving.add(task)
        task.add_done_callback(self._outliving.discard)
        return task

    # The last one: below it `list` is no type to a checker.
    async def list(self, listing: Listing | None = None) -> Page:
        """A page of the jobs of this program, newest first: see `Control.list`."""
        return await self._here("list").control.list(listing)


def _store_of(setting: str | Store | None) -> Store:
    if isinstance(setting, Store):
        return setting
    return open_url(DEFAULT_STORE if setting is None else setting)
