"""What runs the jobs of one route, and what may be said of it where it is decorated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypedDict

from .errors import ConfigurationError
from .job import Request
from .outcome import Outcome
from .settings import MAX_COUNT, MAYBE_SECONDS, UNSET, Settings, Unset, checked, setting

Perform = Callable[[Request], Awaitable[Outcome]]

#: Methods that may be repeated after a crash (RFC 9110, section 9.2.2; RFC 10008, section 2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """What `Jobs.function` and `QuartJobs.background` may be told.

    Raises:
        ConfigurationError: a value has the wrong type, or is out of range.
    """

    timeout: float | Unset | None = setting(
        UNSET, (*MAYBE_SECONDS, Unset), "seconds that it may run, `None` for no limit"
    )
    concurrency: int | None = setting(
        None, (int, type(None)), "how many of its jobs one process runs at a time", 1, MAX_COUNT
    )
    ttl: float | None = setting(None, MAYBE_SECONDS, "seconds that a result is kept")
    retries: int = setting(
        0,
        (int,),
        "how often it is tried again after it raised an exception, with growing waits",
        most=MAX_COUNT,
    )
    idempotent: bool | None = setting(
        None,
        (bool, type(None)),
        "whether it may run again when its process died; unset: as its HTTP method says",
    )

    def __post_init__(self) -> None:
        checked(self)

    def handler(
        self, route: str, perform: Perform, settings: Settings, *, threaded: bool
    ) -> Handler:
        """What runs the jobs of `route`; what is not said here is as in `settings`.

        Raises:
            ConfigurationError: it would be tried more often than a job may be started.
        """
        if self.retries >= settings.max_starts:
            raise ConfigurationError(
                f"retries={self.retries} of {route!r} takes more starts than the setting "
                f"'max_starts' allows, which is {settings.max_starts}: raise that, or retry less"
            )
        return Handler(
            route,
            perform,
            threaded,
            timeout=settings.timeout if isinstance(self.timeout, Unset) else self.timeout,
            concurrency=self.concurrency,
            ttl=settings.ttl if self.ttl is None else self.ttl,
            retries=self.retries,
            idempotent=self.idempotent,
        )


class RouteOptions(TypedDict, total=False):
    """The same as keyword arguments."""

    timeout: float | Unset | None
    concurrency: int | None
    ttl: float | None
    retries: int
    idempotent: bool | None


@dataclass(frozen=True, slots=True)
class Handler:
    """A route's way from the stored request to the response.

    Attributes:
        route: the name that its jobs carry.
        perform: tells what the request comes to. If it raises an exception itself, the job fails.
        threaded: whether it occupies a thread of the pool while it runs.
        timeout: seconds until it is stopped, or None.
        concurrency: how many of its jobs one process runs at a time; None for no limit of its own.
        ttl: seconds that a result is kept for.
        retries: how often it is tried again after it raised an exception.
        idempotent: whether it may run again when it is not known how far it came; None if the
            method of the request tells.
    """

    route: str
    perform: Perform
    threaded: bool
    timeout: float | None
    concurrency: int | None
    ttl: float
    retries: int = 0
    idempotent: bool | None = None

    def is_repeatable(self, request: Request) -> bool:
        """Whether a job made from `request` may be run again after a crash."""
        if self.idempotent is None:
            return request.method in IDEMPOTENT_METHODS
        return self.idempotent
