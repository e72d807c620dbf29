"""The keys of submissions, and which jobs have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...job import State
from ...key import Key
from ...slices import in_a_slice

#: So many keys are looked at in one go: it takes a millisecond.
STRAYS_CHUNK = 500
#: Forgets the key of the job with this number.
FORGET_KEY = "DELETE FROM keys WHERE job = (SELECT id FROM jobs WHERE seq = ?)"

# A program of before forgets a job without its key, which is nobody's then. The state as bytes: in
# a damaged row it need be no text.
_SELECT_HOLDER = (
    "SELECT keys.job, CAST(jobs.state AS BLOB), keys.fingerprint"
    " FROM keys JOIN jobs ON jobs.id = keys.job WHERE keys.digest = ?"
)
_HAS_JOB = "EXISTS (SELECT 1 FROM jobs WHERE id = keys.job)"
_SELECT_SOME = f"SELECT digest, {_HAS_JOB} FROM keys WHERE digest > ? ORDER BY digest LIMIT ?"
_FORGET_STRAY = f"DELETE FROM keys WHERE digest = ? AND NOT {_HAS_JOB}"
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


class Strays:
    """The keys that a program of before has left behind as it forgot their jobs.

    All keys are gone through once, a few at a time, while the store is open: what is left behind
    afterwards is found when it is opened again.
    """

    def __init__(self) -> None:
        self._behind: bytes | None = b""

    def among_the_next(self, execute: Execute) -> list[bytes]:
        """The digests of those that are strays among the next few keys."""
        if self._behind is None:
            return []
        keys = list(execute(_SELECT_SOME, (self._behind, STRAYS_CHUNK)))
        self._behind = keys[-1][0] if len(keys) == STRAYS_CHUNK else None
        return [digest for digest, has_job in keys if not has_job]

    def forget(self, execute: Execute, digests: Sequence[bytes]) -> None:
        """Forget these keys, but for those that have got a job meanwhile: as many as there is time
        for, and the others the next time."""
        for digest in in_a_slice(digests):
            execute(_FORGET_STRAY, (digest,))
        if digest != digests[-1]:
            self._behind = digest
