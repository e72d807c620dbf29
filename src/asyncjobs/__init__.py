"""Turn any Quart endpoint into a durable background job with one decorator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "ANYONE",
    "AsyncJobsError",
    "BodyTimeout",
    "BodyTooLarge",
    "ConfigurationError",
    "Conflict",
    "CrossSiteRequest",
    "Cursor",
    "HandlerFailed",
    "HandlerGone",
    "HeadersTooLarge",
    "Health",
    "InvalidRequest",
    "InvalidTransition",
    "Job",
    "JobCancelled",
    "JobFailure",
    "JobInterrupted",
    "JobNotFound",
    "JobTimedOut",
    "JobUnreadable",
    "JobWasCancelled",
    "Jobs",
    "KeyReused",
    "Listing",
    "Liveness",
    "MemoryStore",
    "Orphan",
    "Page",
    "Presence",
    "Progress",
    "QuartJobs",
    "Query",
    "QueueFull",
    "QuotaExceeded",
    "Request",
    "Response",
    "ResponseTooLarge",
    "RouteSettings",
    "RunningJob",
    "Settings",
    "SetupError",
    "ShuttingDown",
    "SqliteStore",
    "State",
    "Store",
    "StoreCorrupt",
    "StoreError",
    "StoreExposed",
    "StoreFull",
    "StoreInUse",
    "StoreLocked",
    "StorePathError",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreTooOld",
    "StoreUnavailable",
    "ThreadsInUse",
    "TooManyWatchers",
    "Unstorable",
    "ViewOnly",
    "current_job",
]

# Each name is imported where it is first asked for: who wants `Jobs` has no need of Quart, and who
# only looks at jobs has none of what runs them. Who reads the code, or checks it, sees imports.
if TYPE_CHECKING:
    from . import control as control
    from . import errors as errors
    from . import events as events
    from . import store as store
    from .errors import (
        AsyncJobsError,
        BodyTimeout,
        BodyTooLarge,
        ConfigurationError,
        Conflict,
        CrossSiteRequest,
        HandlerFailed,
        HandlerGone,
        HeadersTooLarge,
        InvalidRequest,
        InvalidTransition,
        JobCancelled,
        JobFailure,
        JobInterrupted,
        JobNotFound,
        JobTimedOut,
        JobUnreadable,
        JobWasCancelled,
        KeyReused,
        QueueFull,
        QuotaExceeded,
        ResponseTooLarge,
        SetupError,
        ShuttingDown,
        StoreCorrupt,
        StoreError,
        StoreExposed,
        StoreFull,
        StoreInUse,
        StoreLocked,
        StorePathError,
        StoreReadOnly,
        StoreTooNew,
        StoreTooOld,
        StoreUnavailable,
        TooManyWatchers,
        Unstorable,
        ViewOnly,
    )
    from .handler import RouteSettings
    from .health import Health
    from .job import Job, Progress, Request, Response, State
    from .jobs import Jobs
    from .listing import Cursor, Listing, Page
    from .running.current import RunningJob, current_job
    from .running.threads import ThreadsInUse
    from .settings import Settings
    from .store import ANYONE, Liveness, Orphan, Presence, Query, Store
    from .stores import MemoryStore, SqliteStore
    from .web import QuartJobs
else:
    _PUBLIC_MODULES = {"control", "errors", "events", "store"}
    _HOMES = {
        "ANYONE": ".store",
        "AsyncJobsError": ".errors",
        "BodyTimeout": ".errors",
        "BodyTooLarge": ".errors",
        "ConfigurationError": ".errors",
        "Conflict": ".errors",
        "CrossSiteRequest": ".errors",
        "Cursor": ".listing",
        "HandlerFailed": ".errors",
        "HandlerGone": ".errors",
        "HeadersTooLarge": ".errors",
        "Health": ".health",
        "InvalidRequest": ".errors",
        "InvalidTransition": ".errors",
        "Job": ".job",
        "JobCancelled": ".errors",
        "JobFailure": ".errors",
        "JobInterrupted": ".errors",
        "JobNotFound": ".errors",
        "JobTimedOut": ".errors",
        "JobUnreadable": ".errors",
        "JobWasCancelled": ".errors",
        "Jobs": ".jobs",
        "KeyReused": ".errors",
        "Listing": ".listing",
        "Liveness": ".store",
        "MemoryStore": ".stores",
        "Orphan": ".store",
        "Page": ".listing",
        "Presence": ".store",
        "Progress": ".job",
        "QuartJobs": ".web",
        "Query": ".store",
        "QueueFull": ".errors",
        "QuotaExceeded": ".errors",
        "Request": ".job",
        "Response": ".job",
        "ResponseTooLarge": ".errors",
        "RouteSettings": ".handler",
        "RunningJob": ".running.current",
        "Settings": ".settings",
        "SetupError": ".errors",
        "ShuttingDown": ".errors",
        "SqliteStore": ".stores",
        "State": ".job",
        "Store": ".store",
        "StoreCorrupt": ".errors",
        "StoreError": ".errors",
        "StoreExposed": ".errors",
        "StoreFull": ".errors",
        "StoreInUse": ".errors",
        "StoreLocked": ".errors",
        "StorePathError": ".errors",
        "StoreReadOnly": ".errors",
        "StoreTooNew": ".errors",
        "StoreTooOld": ".errors",
        "StoreUnavailable": ".errors",
        "ThreadsInUse": ".running.threads",
        "TooManyWatchers": ".errors",
        "Unstorable": ".errors",
        "ViewOnly": ".errors",
        "current_job": ".running.current",
    }

    def __getattr__(name: str) -> Any:
        if name in _PUBLIC_MODULES:
            return import_module(f".{name}", __name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PUBLIC_MODULES, *_HOMES})
