"""Every job made of its request as the store gives it back.

A job that starts at once has the request that is being stored; all others have it from the store.
They mean the same: with ``ASYNCJOBS_STORED_WAY=1`` in the environment all tests run, and so do the
servers that they start, where no job has it but from the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from asyncjobs.job import Request
from asyncjobs.running.attempt import Attempt

#: Whether this process shall have it so.
IS_ASKED_FOR = bool(os.environ.get("ASYNCJOBS_STORED_WAY"))

_AS_IT_IS = Attempt.run


async def _stored(attempt: Attempt, request: Request | None) -> None:
    await _AS_IT_IS(attempt, None)


@contextmanager
def stored_way() -> Iterator[None]:
    """Within this, every attempt that begins reads its request."""
    before = Attempt.run
    take_for_good()
    try:
        yield
    finally:
        Attempt.run = before  # type: ignore[method-assign]


def take_for_good() -> None:
    """The same for as long as this process lives."""
    Attempt.run = _stored  # type: ignore[method-assign]
