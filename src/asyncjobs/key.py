"""What makes a repeated submission the same job."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import KeyReused
from .job import State

#: Both digests have so many bytes.
DIGEST_BYTES = 16
# A key without fingerprint is free again when its job has come to this.
_IN_VAIN = frozenset({State.FAILED, State.CANCELLED, State.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a submission: of the jobs that are kept, no two have the same one.

    Attributes:
        digest: of whose it is, what it is for, and the key itself; 16 bytes.
        fingerprint: of the request; 16 bytes. No other request may come with this key as long as
            the job is kept. None if any request may: the key is free again, too, once its job has
            ended without success.
    """

    digest: bytes
    fingerprint: bytes | None = None

    def is_taken_by(self, state: State, fingerprint: bytes | None) -> bool:
        """Whether a job in this state, which was kept with this key, is the one for this request.

        Args:
            fingerprint: that it was kept with.

        Raises:
            KeyReused: it is that of another request.
        """
        if self.fingerprint != fingerprint:
            raise KeyReused(
                "this Idempotency-Key came before, with another request: repeat that one as it "
                "was, or take a new key for this one"
            )
        return fingerprint is not None or state not in _IN_VAIN
