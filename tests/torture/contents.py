"""Requests and responses that need no record to be checked: each follows from its job alone."""

from __future__ import annotations

from functools import cache
from random import Random

from asyncjobs.job import Request, Response

#: Mostly small bodies; the last ones take pages of their own.
_SIZES = (0, 0, 1, 30, 200, 200, 1_000, 1_000, 3_000, 5_000, 9_000, 50_000)


@cache
def request_of(job_id: str) -> Request:
    """The request that the job with this id was made from."""
    return Request(
        "POST",
        f"/torture/{job_id}",
        headers=((b"x-job", job_id.encode()),),
        body=_body(Random(f"request {job_id}")),
    )


@cache
def response_of(job_id: str, version: int) -> Response:
    """The response of the job with this id, if it became final as this version."""
    return Response(
        200, ((b"x-version", b"%d" % version),), _body(Random(f"response {job_id} {version}"))
    )


def _body(random: Random) -> bytes:
    return random.randbytes(random.randint(0, random.choice(_SIZES)))
