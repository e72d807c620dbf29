"""What runs the jobs of one route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .job import Request, Response


@dataclass(frozen=True, slots=True)
class Handler:
    """A route's way from the stored request to the response.

    Attributes:
        route: the name that its jobs carry.
        perform: answers the request. An exception that it raises is the job's failure.
        threaded: whether it occupies a thread of the pool while it runs.
        timeout: seconds until it is stopped, or None.
        concurrency: how many of its jobs one process runs at a time; None for no limit of its own.
        ttl: seconds that a result is kept for.
    """

    route: str
    perform: Callable[[Request], Awaitable[Response]]
    threaded: bool
    timeout: float | None
    concurrency: int | None
    ttl: float
