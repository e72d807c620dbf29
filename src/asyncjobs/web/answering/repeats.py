"""By what a repeat of a submission is known: the key of its client, or else of its route."""

from __future__ import annotations

import inspect

from quart import Request

from ...given import text
from ...job import Request as StoredRequest
from ...key import MAX_KEY_BYTES, Key, key_of_client, key_of_route
from ..http.idempotency import IDEMPOTENCY_KEY, key_in
from ..routing.marks import View


async def key_of(
    request: Request,
    frozen: StoredRequest,
    of_route: View | None,
    *,
    program: str,
    owner: str | None,
) -> Key | None:
    """The key of the current request, which is to be a job; None if it has none.

    Args:
        frozen: what its job keeps of it.
        of_route: tells the key of a request whose client has given none.

    Raises:
        InvalidRequest: its client has given what is no key.
        TypeError, ValueError: its route has.
    """
    route = request.endpoint or ""
    given = [value for name, value in request.scope["headers"] if name == IDEMPOTENCY_KEY]
    if given:
        return key_of_client(key_in(given), frozen, program, owner, route, _place_of(request))
    if of_route is None:
        return None
    said = of_route()
    if inspect.isawaitable(said):
        said = await said
    return None if said is None else key_of_route(_checked(said, route), program, owner, route)


def _place_of(request: Request) -> str | None:
    """The host, if the app tells hosts apart: two of them may be two customers."""
    rule = request.url_rule
    return request.host.lower() if rule and (rule.host or rule.subdomain) else None


def _checked(said: object, route: str) -> str:
    name = f"what key= of {route!r} returns"
    key = text(name, said)
    if not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise ValueError(
            f"{name} must have 1 to {MAX_KEY_BYTES} bytes in UTF-8, not {len(key.encode())}: take "
            "a hash of what is longer, and None for a job without a key"
        )
    return key
