"""Which `ETag` an answer about a job has (RFC 9110, section 8.8.3)."""

from __future__ import annotations

from ...job import HeaderPairs, Job


def etag_of(job: Job, *, said: HeaderPairs = (), more: str = "") -> str:
    """The `ETag` of an answer about a job, in its quotes: a handler's own, if it has given one with
    its result, or else ours. A bare version as ours could be a handler's own as well.

    Args:
        said: the headers of the result, if that is the answer.
        more: what the answer depends on besides the job.
    """
    own = dict(reversed(said)).get(b"etag")  # of several the first
    return f'"{job.id}.{job.version}{more}"' if own is None else own.decode()
