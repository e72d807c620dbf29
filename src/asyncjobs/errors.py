"""Everything that asyncjobs raises, and how each error answers over HTTP.

::

    AsyncJobsError
    ├── SetupError                   the program is wired wrongly: raised at import, at start, or
    │   │                                by the call that shows it
    │   ├── ConfigurationError           a setting is unknown, or has the wrong type or value
    │   ├── Unstorable                   an argument that no job can be given: raised by `submit`
    │   │                                    and in requests; also a TypeError and a ValueError
    │   └── StoreError                   the store cannot be opened, and why
    │       ├── StorePathError               a directory, a network file system…
    │       ├── StoreExposed                 other users own its files, or can write them
    │       ├── StoreReadOnly
    │       ├── StoreFull
    │       ├── StoreCorrupt                 junk, another program's file, or changed by somebody
    │       ├── StoreTooNew                  written by a newer asyncjobs
    │       ├── StoreTooOld                  by an older one, which no guest brings up to date
    │       ├── StoreInUse                   by another process, where they cannot share it
    │       └── StoreLocked                  by another program, for longer than can be waited
    ├── StoreUnavailable        503  the store cannot take a write just now
    ├── ShuttingDown            503  this process accepts no more jobs
    ├── JobNotFound             404  no such job, or it is not yours
    ├── Conflict                409  the job changed since it was read
    ├── InvalidTransition       409  the job's state does not allow that
    ├── InvalidRequest          400  a parameter or a header is wrong; nothing was done
    ├── CrossSiteRequest        403  a page of another site asked for a change
    ├── ViewOnly                403  an operator who may look, and no more, asked for a change
    ├── BodyTooLarge            413  no job was made
    ├── BodyTimeout             408  it did not arrive in time; no job was made
    ├── HeadersTooLarge         431  no job was made
    ├── KeyReused               422  another request has this Idempotency-Key; no job was made
    ├── QuotaExceeded           429  its owner has too many queued jobs; no job was made
    ├── QueueFull               503  there are too many queued jobs; no job was made
    ├── TooManyWatchers         503  as many event streams are open as may be
    └── JobFailure                   why a job ended without its handler's own response
        ├── HandlerFailed       500  it raised an exception; the log has the traceback
        ├── HandlerGone         500  the program has it no longer
        ├── ResponseTooLarge    500
        ├── JobUnreadable       500  what the store has of it is damaged
        ├── JobInterrupted      500  its process ended first; it may have had effects
        ├── JobTimedOut         504
        └── JobWasCancelled     410
    asyncio.CancelledError
    └── JobCancelled                 raised *inside* a handler whose job shall stop

Every error with a status can be sent as a problem document (RFC 9457): `name` is the stable part
of its ``type``, `title` its fixed title, and the message its ``detail``.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar


class AsyncJobsError(Exception):
    """The base of all errors of this library.

    Attributes:
        status: of the answer, where a request ends with it.
        name: the stable part of the ``type`` of that answer, a problem document.
        title: its title, which is always the same; the message is its ``detail``.
        retry_after: seconds after which the same request may succeed, where that is known. What is
            told over HTTP is by chance up to a quarter more.
    """

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    retry_after: ClassVar[int | None] = None


class SetupError(AsyncJobsError):
    """The program is put together wrongly; the message says what to change.

    It is raised at import or at start, as far as it can be told by then. What can be told of one
    call only, such as its arguments (`Unstorable`) or a function that is not registered, is raised
    there.
    """


class ConfigurationError(SetupError):
    """A setting is unknown or has a wrong type or value."""


class Unstorable(SetupError, TypeError, ValueError):
    """What a function or a view was called with cannot be stored; the message says what else to do.

    It is raised by `Jobs.submit`, and in a request to a view, also for what ``principal=`` has
    returned: that is the app's own 500. There is no job. It is a TypeError and a ValueError as
    well: a call with the wrong arguments is one.
    """


class StoreError(SetupError):
    """The store cannot be opened."""


class StorePathError(StoreError):
    """The store's path can never hold a store."""


class StoreExposed(StoreError):
    """Another user owns a file of the store, or can write it: what is in it may be anybody's."""


class StoreReadOnly(StoreError):
    """The store's file or its folder cannot be written."""


class StoreFull(StoreError):
    """There is no room on the disk to open the store."""


class StoreCorrupt(StoreError):
    """The store's file is no store, or damaged, or not as it was made. It is never deleted."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this library."""


class StoreTooOld(StoreError):
    """The store was written by an older version: its server brings it up to date, and no guest."""


class StoreInUse(StoreError):
    """Another process has the store open, and this system has no ``flock`` to share it by."""


class StoreLocked(StoreError):
    """Another program has locked the store, and does not let go of it."""


class StoreUnavailable(AsyncJobsError):
    """The store cannot take this write now: disk full, locked out, or the disk failed."""

    status = 503
    name = "store-unavailable"
    title = "The job store is unavailable"
    retry_after = 10


class ShuttingDown(AsyncJobsError):
    """This process is stopping and accepts no more jobs."""

    status = 503
    name = "shutting-down"
    title = "The server is shutting down"
    retry_after = 5


class JobNotFound(AsyncJobsError):
    """No job has this id, or it belongs to somebody else: nobody is told which."""

    status = 404
    name = "job-not-found"
    title = "No such job"


class Conflict(AsyncJobsError):
    """The stored job is no longer the version that the write was based on."""

    status = 409
    name = "conflict"
    title = "The job has changed meanwhile"


class InvalidTransition(AsyncJobsError):
    """The table of transitions has no such step from the job's state."""

    status = 409
    name = "invalid-transition"
    title = "The job's state does not allow that"


class InvalidRequest(AsyncJobsError):
    """A parameter or a header of the request is wrong; the message names it. Nothing was done."""

    status = 400
    name = "invalid-request"
    title = "The request has a parameter or a header that is wrong"


class CrossSiteRequest(AsyncJobsError):
    """A page of another site asked for a change."""

    status = 403
    name = "cross-site-request"
    title = "Requests from other sites change nothing"


class ViewOnly(AsyncJobsError):
    """An operator who may look at the job, and no more, asked for a change of it."""

    status = 403
    name = "view-only"
    title = "You may look at this job, and not change it"


class BodyTooLarge(AsyncJobsError):
    """The request's body is over the limit; no job was made."""

    status = 413
    name = "body-too-large"
    title = "The request body is too large"


class BodyTimeout(AsyncJobsError):
    """The request's body did not arrive in time; no job was made."""

    status = 408
    name = "body-timeout"
    title = "The request body did not arrive in time"


class HeadersTooLarge(AsyncJobsError):
    """The request's headers are over the limit; no job was made."""

    status = 431
    name = "headers-too-large"
    title = "The request headers are too large"


class KeyReused(AsyncJobsError):
    """Another request has this Idempotency-Key, and its job is still kept; no job was made."""

    status = 422
    name = "idempotency-key-reused"
    title = "Another request had this Idempotency-Key"


class QuotaExceeded(AsyncJobsError):
    """The owner has as many queued jobs as an owner may have; no job was made."""

    status = 429
    name = "quota"
    title = "You have too many queued jobs"
    retry_after = 10


class QueueFull(AsyncJobsError):
    """There are as many queued jobs as there may be; no job was made."""

    status = 503
    name = "queue-full"
    title = "The queue is full"
    retry_after = 10


class TooManyWatchers(AsyncJobsError):
    """This process has as many event streams open as it may: poll, or try again later."""

    status = 503
    name = "too-many-watchers"
    title = "Too many event streams are open"
    retry_after = 30


class JobFailure(AsyncJobsError):
    """Why a job ended without a response of its handler's own."""

    name = "job-failed"
    title = "The job failed"


class HandlerFailed(JobFailure):
    """The handler raised an exception; the log has its traceback."""

    name = "handler-failed"
    title = "The handler failed"


class HandlerGone(JobFailure):
    """The program no longer has the handler that the job was made for."""

    name = "handler-gone"
    title = "The handler is gone"


class ResponseTooLarge(JobFailure):
    """The handler's response is over the limit; it is never cut short."""

    name = "response-too-large"
    title = "The job's response is too large"


class JobUnreadable(JobFailure):
    """What the store has of the job is damaged, and cannot be read any more."""

    name = "job-unreadable"
    title = "The job cannot be read any more"


class JobInterrupted(JobFailure):
    """The process that ran the job ended first; the job may have had effects."""

    name = "interrupted"
    title = "The job was interrupted and may have run"


class JobTimedOut(JobFailure):
    """The handler ran past the timeout of its route."""

    status = 504
    name = "timeout"
    title = "The job ran past its timeout"


class JobWasCancelled(JobFailure):
    """Somebody cancelled the job."""

    status = 410
    name = "cancelled"
    title = "The job was cancelled"


class JobCancelled(asyncio.CancelledError):
    """Raised in a handler by `current_job` once its job shall stop.

    It is a `CancelledError`, and so a `BaseException`, for the same reason that asyncio's own is:
    an ``except Exception`` in the handler must not swallow it.
    """
