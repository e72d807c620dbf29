"""`Jobs`: submit, wait, cancel. Knows no framework, and is the API for embedding."""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload

from .arguments import Callee
from .engines.local import LocalEngine
from .errors import (
    Conflict,
    HandlerFailed,
    InvalidTransition,
    JobNotFound,
    JobUnreadable,
    ResponseTooLarge,
    SetupError,
    ShuttingDown,
    StoreUnavailable,
)
from .functions import Functions, check_name, name_of_function, response_of
from .given import number, text
from .handler import Handler, RouteOptions, RouteSettings
from .job import Job, Request, Response, State
from .outcome import Outcome, Unusable
from .program import ProgramStore, introduce, program_of
from .running.current import running_job
from .running.exits import watch_exit
from .running.runner import Runner
from .running.sweeper import Sweeper, unknown_to
from .running.threads import Threads, ThreadsInUse, is_threaded
from .running.watchdog import Watchdog
from .settings import Options, make, make_settings
from .store import ANYONE, Liveness, Owner, Presence, Query, Store
from .stores import open_url
from .tasks import to_the_end
from .verdict import cancelled
from .watch import Watch

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("asyncjobs")


@dataclass(frozen=True, slots=True)
class Health:
    """How the jobs of this process do.

    Attributes:
        accepting: whether this process takes new jobs, and will be able to run them.
        reason: why it does not, in words for clients; or, if it does, what was lost before this
            process started.
        running: how many jobs run in this process.
        abandoned: how many async handlers still run although their job has ended: they did not
            stop when they were told to.
        threads: how the threads for sync handlers do.
    """

    accepting: bool
    reason: str | None
    running: int
    abandoned: int
    threads: ThreadsInUse


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
        clock: tells the seconds since the epoch.
        random: for jitter.
        options: see `Settings`.

    Raises:
        ConfigurationError: an option is unknown, has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        random: random.Random = random.Random(),  # noqa: B008 - one source for all is meant
        **options: Unpack[Options],
    ) -> None:
        self.settings = make_settings(options)
        # Of the module that makes it, which is the same in a server and in a script of the program.
        self.name = self.settings.name or program_of(sys._getframe(1).f_globals["__name__"])
        self.handlers: dict[str, Handler] = {}
        self._functions = Functions()
        self.threads = Threads(self.settings.threads)
        self._clock = clock
        self._random = random
        self._outliving: set[asyncio.Task[None]] = set()
        self._stopping = True
        self._begun = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the jobs run in.

        Raises:
            RuntimeError: they are not open.
        """
        if self._loop is None or self._loop.is_closed():
            raise RuntimeError("these jobs are not open: use them within 'async with jobs'")
        return self._loop

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
        _abandon_lost()
        if self._loop is not None:
            raise SetupError(
                "these jobs are open already: use them as they are, or make a second `Jobs`, with "
                "a name or a store of its own"
            )
        settings, clock, random = self.settings, self._clock, self._random
        async with AsyncExitStack() as stack:
            self._loop = asyncio.get_running_loop()
            stack.callback(self._closed)
            await stack.enter_async_context(Watchdog())
            store = self._store = await stack.enter_async_context(
                ProgramStore(_open(settings.store), self.name)
            )
            await introduce(store, self._presence())
            self._watch = await stack.enter_async_context(Watch(store))
            self._runner = await stack.enter_async_context(
                Runner(
                    store,
                    self.handlers,
                    self,
                    clock=clock,
                    random=random,
                    max_starts=settings.max_starts,
                )
            )
            self._engine = LocalEngine(
                store,
                self._runner,
                self.handlers,
                self.threads,
                clock=clock,
                random=random,
                concurrency=settings.concurrency,
                drain_time=settings.drain_time,
            )
            self._stack = stack.pop_all()
        self._process = os.getpid()
        _opened.add(self)
        self._stopping = False

    async def begin(self) -> None:
        """The second half: run jobs, those of earlier processes included. To be called once."""
        self._check_loop("begin")
        if self._begun:
            raise SetupError("these jobs run already: `begin` is for those that `open` has opened")
        self._begun = True
        await self._stack.enter_async_context(self._engine)
        self._sweeper = await self._stack.enter_async_context(
            Sweeper(
                self._store,
                self._watch,
                self._runner,
                self.handlers,
                self._engine.look,
                gone_after=self.settings.gone_after,
                clock=self._clock,
                random=self._random,
            )
        )

    async def __aexit__(self, *exc_info: object) -> None:
        """Accept no more jobs, let the running ones end within the drain time, and close."""
        # Also if we are cancelled meanwhile, as what is left open nobody could close any more.
        if await to_the_end(asyncio.create_task(self._close())):
            raise asyncio.CancelledError

    async def _close(self) -> None:
        try:
            await self.drain()
        finally:
            await self._stack.aclose()
        watch_exit()

    async def drain(self) -> None:
        """Accept no more jobs, let the running ones end within the drain time, give back the rest.

        Waiting readers are answered at once. Jobs and their results can still be read.
        """
        self._check_loop("drain")
        self._stopping = True
        # If the server is killed before it is done, its jobs are not to blame.
        self._store.announce(replace(self._presence(), stopping=True))
        self._watch.wake_all()
        await self._engine.drain()

    def abandon(self) -> None:
        """Close without waiting, as the event loop that the jobs were open in was closed.

        What still ran is for the next one on the store to rescue. It happens by itself when the
        next `Jobs` of this process are opened, and when the process ends.
        """
        try:
            # No job is to blame for that.
            self._store.announce(replace(self._presence(), stopping=True))
            self._store.abandon()
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
        settings = make(RouteSettings, options)
        if function is None:
            return partial(self.function, name=name, **options)
        route = name_of_function(function, name)
        callee = Callee(function, route)
        self.register(
            settings.handler(
                route,
                partial(self._call, callee),
                self.settings,
                threaded=is_threaded(function),
            )
        )
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
        if not self._stopping:
            self._store.announce(self._presence())

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
            StoreUnavailable: it is not known whether there is one; if so, it runs.
        """
        self._check_loop("submit")
        route = self._functions.route_of(function)
        self._handler(route)
        return await self.accept(route, self._functions.call(route, args, kwargs))

    async def accept(self, route: str, request: Request, *, owner: str | None = None) -> Job:
        """Make `request` a job of `route`. Durable when it returns.

        Once it has begun, it goes on even if the caller is cancelled.

        Raises:
            SetupError: the route has no handler.
            TypeError, ValueError: the owner is no text.
            ShuttingDown: there is no job.
            StoreUnavailable: it is not known whether there is one; if so, it runs.
        """
        self._check_loop("accept")
        if owner is not None:
            text("the owner of a job", owner)
        if self._stopping:
            raise ShuttingDown("the server is stopping and accepts no more jobs: try again soon")
        handler = self._handler(route)
        now = self._clock()
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
        )
        job = self._engine.admit(job)
        try:
            await self._store.add(job, request)
        except asyncio.CancelledError:
            # The client has gone, but the job may be on its way to the disk.
            task = asyncio.create_task(self._submit_if_added(job, request))
            self._outliving.add(task)
            task.add_done_callback(self._outliving.discard)
            raise
        except BaseException:
            self._engine.dismiss(job)
            raise
        await self._engine.submit(job, request)
        return job

    async def get(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """The job as it is now.

        Args:
            job_id: 32 hex digits, as in `Job.id`.
            owner: whose it has to be. None is nobody in particular, as jobs of `submit` are;
                `ANYONE`, the default, takes any job.

        Raises:
            JobNotFound: there is none with this id, or it is not `owner`'s.
        """
        self._check_loop("get")
        return await self._store.get(job_id, owner)

    async def wait(
        self, job_id: str, timeout: float | None = None, *, owner: Owner = ANYONE
    ) -> Job:
        """The job once it is final, or as it is after `timeout` seconds, or when we shut down.

        A job that waits for another one gives its place back meanwhile, and has one again when
        this returns. It is not answered when its program shuts down, but stopped.

        Args:
            timeout: in seconds. None or infinity for no limit; 0 or less for the job as it is now.
            owner: as in `get`.

        Raises:
            JobNotFound: as in `get`; also if it is forgotten meanwhile, at the end of its ``ttl``.
            TypeError, ValueError: the timeout is no number.
            RuntimeError: this is a sync handler, and no thread can take the place of its own.
        """
        self._check_loop("wait")
        limit = math.inf if timeout is None else number("timeout", timeout, infinite=True)
        waits = running_job.get(None)
        if waits is None or waits.program.loop is not self.loop:
            return await self._wait(job_id, limit, owner)
        job = await self._store.get(job_id, owner)
        if job.state.is_final or limit <= 0:
            return job  # its place is given back only if there is something to wait for
        async with waits.waiting(job_id):
            return await self._wait(job_id, limit, owner, until_stop=waits.program is not self)

    async def _wait(
        self, job_id: str, limit: float, owner: Owner, *, until_stop: bool = True
    ) -> Job:
        now = asyncio.get_running_loop().time
        deadline = now() + limit
        with self._watch.follow(job_id) as followed:
            while True:
                job = await self._store.get(job_id, owner)
                left = deadline - now()
                if job.state.is_final or left <= 0 or (self._stopping and until_stop):
                    return job
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(left) else left):
                        if (final := await followed.final(job)) is not None:
                            return final

    async def poll(self, job_id: str, *, owner: Owner = ANYONE) -> tuple[Job, Response | None]:
        """The job as it is now, and its response if it is final, else None.

        Of a job that has failed that is a problem document, as a client of the app would get it.

        Args:
            owner: as in `get`.

        Raises:
            JobNotFound: there is none with this id, or it is not `owner`'s.
        """
        self._check_loop("poll")
        return await self._store.result(job_id, owner)

    async def request(self, job_id: str) -> Request:
        """The stored request of a job.

        Raises:
            JobNotFound
        """
        self._check_loop("request")
        return await self._store.request(job_id)

    async def response(self, job_id: str) -> Response:
        """The stored response of a final job.

        Raises:
            JobNotFound: there is no such job, or it is not final.
        """
        self._check_loop("response")
        return await self._store.response(job_id)

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
        self._check_loop("result")
        job = await self.wait(job_id, timeout)
        if not job.state.is_final:
            raise TimeoutError(f"job {job_id} is still {job.state}")
        return self._functions.returned(job.route, await self._store.response(job_id))

    async def cancel(self, job_id: str, *, owner: Owner = ANYONE) -> Job:
        """Cancel the job: at once if nobody runs it, else as soon as its handler stops.

        Returns the job as it is then: ``cancelled``, or ``running`` and asked to stop, which a
        process that lives does within seconds.

        Args:
            owner: as in `get`.

        Raises:
            JobNotFound: as in `get`.
            StoreUnavailable: it runs, and it cannot be told whether its process lives.
            InvalidTransition: it is final already.
        """
        self._check_loop("cancel")
        while True:
            job = await self._store.get(job_id, owner)
            if job.state.is_final:
                raise InvalidTransition(f"the job is {job.state} already and cannot be cancelled")
            liveness = Liveness.DEAD
            if job.state is State.RUNNING and job.worker is not None:
                liveness = await self._store.liveness(job.worker)
            if liveness is Liveness.UNKNOWN:
                raise StoreUnavailable(
                    "it cannot be told whether the process that runs the job lives, and would stop "
                    "it: try again soon"
                )
            if job.cancel_requested and liveness is Liveness.ALIVE:
                return job
            new, response = cancelled(job, self._clock(), runs=liveness is Liveness.ALIVE)
            with suppress(Conflict):
                await self._store.replace(job, new, response)
                await self._runner.stop_cancelled()
                return new

    async def find(self, query: Query) -> list[Job]:
        """The jobs that `query` asks for, oldest due first: 100 at most unless it says otherwise.

        ::

            failed = await jobs.find(Query(states=frozenset({State.FAILED}), limit=10))
        """
        self._check_loop("find")
        return await self._store.find(query)

    async def check(self, limit: int = 100) -> list[Job]:
        """The queued jobs that no handler of this program can run, oldest due first.

        They fail once they have waited for the setting `gone_after`: a handler that a deploy has
        removed or renamed by mistake has to be back by then.

        Args:
            limit: so many are told at most.
        """
        self._check_loop("check")
        return await self._store.find(unknown_to(self.handlers, limit))

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
        self._check_loop("backup")
        await self._store.backup(path)

    async def health(self) -> Health:
        """Whether a new job would be accepted now, and could be run: for a readiness probe.

        It looks at the files of the store each time, and writes nothing.
        """
        self._check_loop("health")
        reason = self.threads.trouble
        warning = None
        if self._stopping:
            reason = "the server is stopping"
        else:
            try:
                warning = await self._store.health()
            except StoreUnavailable as error:
                reason = str(error)
        accepting = reason is None
        runner, threads = self._runner, self.threads.in_use
        return Health(accepting, reason or warning, runner.running, runner.abandoned, threads)

    def _check_loop(self, method: str) -> None:
        """Only the loop that the jobs run in may go on: the store is used in no other, and what
        is waited for comes to pass there.

        Raises:
            RuntimeError
        """
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(
                f"jobs.{method}() was called in another event loop than the one that the jobs run "
                f"in. asyncio.run_coroutine_threadsafe(jobs.{method}(...), jobs.loop).result() "
                "works in any thread, also in that of a sync handler"
            )

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
        self._stopping = True
        self._begun = False
        self._loop = None
        _opened.discard(self)

    def _presence(self) -> Presence:
        return Presence(self.name, frozenset(self.handlers))

    async def _submit_if_added(self, job: Job, request: Request) -> None:
        try:
            await self._store.get(job.id)
        except (JobNotFound, StoreUnavailable):
            self._engine.dismiss(job)
        except Exception:
            logger.exception("it cannot be told whether job %s was stored", job.id)
            self._engine.dismiss(job)
        else:
            await self._engine.submit(job, request)

    async def _call(self, callee: Callee, request: Request) -> Outcome:
        try:
            args, kwargs = callee.given(request.body)
        except JobUnreadable as error:
            return Unusable(error)
        result = await self.threads.call(callee.function, *args, **kwargs)
        try:
            response = response_of(callee, result)
        except (TypeError, ValueError) as error:
            return Unusable(HandlerFailed(str(error)))
        size, limit = len(response.body), self.settings.max_response
        if limit < size:
            return Unusable(
                ResponseTooLarge(f"the result has {size} bytes, over the limit of {limit}")
            )
        return response


#: All that are open in this process. They are kept alive here: whoever has lost them can no longer
#: close them, and what they hold (locks, connections) is no garbage that one may just drop.
_opened: set[Jobs] = set()
_abandoning = threading.Lock()


def _abandon_lost() -> None:
    """Give up those that nobody has closed, and nobody can close, before their event loop was.

    A test client without its app's lifespan leaves some in each loop that it is used in.
    """
    with _abandoning:
        for jobs in list(_opened):
            if jobs._loop is not None and jobs._loop.is_closed() and jobs._process == os.getpid():
                try:
                    jobs.abandon()
                except Exception:
                    logger.exception("jobs that were left open cannot be closed")


atexit.register(_abandon_lost)


def _open(store: str | Store | None) -> Store:
    if isinstance(store, Store):
        return store
    return open_url("sqlite:///jobs.db" if store is None else store)
