"""What is told of a job: its status document, as plain data for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import EllipsisType
from typing import Any

from .job import Job, Progress, State


def status_of(
    job: Job,
    links: Mapping[str, str] | None = None,
    *,
    ahead: int | EllipsisType | None = ...,
    with_owner: bool = False,
) -> dict[str, Any]:
    """The document that tells how a job does, whatever its state.

    Args:
        links: where to find it (``self``) and its ``result``; left out where that is not known.
        ahead: how many will start before it, None if they are too many to be counted; left out
            where it was not asked, or is not queued.
        with_owner: whether it tells whose the job is, which is for operators alone.
    """
    document: dict[str, Any] = {
        "id": job.id,
        "state": job.state.value,
        "route": job.route,
        "attempt": job.attempt,
        "crashes": job.crashes,
        "cancel_requested": job.cancel_requested,
        "progress": job.progress and _progress(job.progress),
        "created": _rfc3339(job.created),
        "cancel_at": _rfc3339(job.cancel_at),
        "started": _rfc3339(None if job.state is State.QUEUED else job.started),
        "finished": _rfc3339(job.finished),
        "reason": job.reason,
        "status": job.status,
    }
    if ahead is not ... and job.state is State.QUEUED:
        document["ahead"] = ahead
    if with_owner:
        document["owner"] = job.owner
    return document if links is None else {**document, "links": dict(links)}


def _progress(progress: Progress) -> dict[str, Any]:
    return {
        "current": progress.current,
        "total": progress.total,
        "message": progress.message,
    }


def _rfc3339(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
