"""What makes a repeated submission the same job."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from .errors import KeyReused
from .job import Request, State

#: Both digests have so many bytes.
DIGEST_BYTES = 16
#: A key has so many bytes at most.
MAX_KEY_BYTES = 255
# A key without fingerprint is free again when its job has come to this.
_IN_VAIN = frozenset({State.FAILED, State.CANCELLED, State.INTERRUPTED})
# In the place of a length: no part is so long.
_NOTHING = b"\xff" * 8


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


def key_of_client(said: str, request: Request, *scope: str | None) -> Key:
    """The key that a client has given to this request: no other request may have it.

    Args:
        scope: where it is known: the same word of another program, owner or route is another key.
    """
    return Key(_digest("client", *scope, said), fingerprint_of(request))


def key_of_route(said: str, *scope: str | None) -> Key:
    """The key that a route has given to a request, or to many; see `key_of_client`."""
    return Key(_digest("route", *scope, said))


def fingerprint_of(request: Request) -> bytes:
    """What tells a request from any other one that does something else."""
    types = [value for name, value in request.headers if name == b"content-type"]
    return _digest(
        request.method,
        request.path,
        request.query,
        b", ".join(types) if types else None,
        request.body,
    )


def _digest(*parts: str | bytes | None) -> bytes:
    """A digest of parts, none of which runs into the next one."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        digest.update(_NOTHING if data is None else len(data).to_bytes(8, "big"))
        digest.update(data or b"")
    return digest.digest()
