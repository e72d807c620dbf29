"""The keys of submissions, and which jobs have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...job import State
from ...key import Key

#: Forgets the key of the job with this number.
FORGET_KEY = "DELETE FROM keys WHERE job = (SELECT id FROM jobs WHERE seq = ?)"

# A program of before forgets a job without its key, which is nobody's then. The state as bytes: in
# a damaged row it need be no text.
_SELECT_HOLDER = (
    "SELECT keys.job, CAST(jobs.state AS BLOB), keys.fingerprint"
    " FROM keys JOIN jobs ON jobs.id = keys.job WHERE keys.digest = ?"
)
_TAKE_KEY = "INSERT OR REPLACE INTO keys (digest, job, fingerprint) VALUES (?, ?, ?)"

_STATES = {state.value.encode(): state for state in State}

Execute = Callable[..., Iterable[tuple[Any, ...]]]


def holder_of(execute: Execute, key: Key) -> str | None:
    """The id of the job that has the key; None if it is free.

    Raises:
        KeyReused: another request has it.
    """
    for job_id, state, fingerprint in execute(_SELECT_HOLDER, (key.digest,)):
        # A state that nobody knows is that of a damaged job, which has failed.
        if key.is_taken_by(_STATES.get(state, State.FAILED), fingerprint):
            return bytes(job_id).hex()
    return None


def take(execute: Execute, key: Key, job_id: str) -> None:
    """Give the key, which is free, to this job."""
    execute(_TAKE_KEY, (key.digest, bytes.fromhex(job_id), key.fingerprint))
