"""Where sync code of an app runs: in our threads, in the jobs that have a slot for one.

Quart runs it in asyncio's own threads, which are waited for when the process ends, and which no
limit of ours knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

from quart import Quart

from ...running.threads import Threads, is_threaded
from ..around import around
from ..routing.classes import class_of, methods_of

Function = Callable[..., Any]
Async = Callable[..., Awaitable[Any]]

#: The threads for whatever is sync in this job.
threads_of_job: ContextVar[Threads] = ContextVar("asyncjobs.threads_of_job")


def use_our_threads(app: Quart) -> None:
    """Have the jobs of `app` that set `threads_of_job` run what is sync in those.

    Above all the sync methods of class-based views, which are known only once Quart's own coroutine
    looks for them. This is the method that Quart has for the purpose.
    """

    def in_threads_of_job(sync_to_async: Callable[[Function], Async], function: Function) -> Async:
        threads = threads_of_job.get(None)
        if threads is None:
            return sync_to_async(function)

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await threads.run(partial(function, *args, **kwargs))

        return call

    around(app, "sync_to_async", in_threads_of_job)


def takes_thread(view: Function, routed: Function) -> bool:
    """Whether jobs of a view may need a thread: if it does, or any method of its class.

    Args:
        routed: what stands in the app in its place.
    """
    view_class = class_of(routed)
    methods = [] if view_class is None else methods_of(view_class)
    return any(map(is_threaded, [view, *methods]))
