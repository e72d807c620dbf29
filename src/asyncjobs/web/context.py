"""What the app knew of a request when it came, besides the request: stored with it, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import JobUnreadable


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stored of a request's context. What an older version has stored has less of it.

    Attributes:
        rule: the one that has matched the URL, if its endpoint has several.
        view_args: the variable parts of the URL: numbers, and all else as it is written in there.
            `UNSET` if an older version has stored the request.
        defaults: what else the rule has passed to the view.
        arguments: what the view was called with besides those, as JSON.
        without: which of the variable parts of the URL it was not called with.
        principal: who has sent it, as the app's `principal` says, as JSON.
        session: whether the session had anything in it that its job cannot read.
    """

    rule: str = ""
    view_args: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    defaults: dict[str, Any] = {}
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    without: frozenset[str] = frozenset()
    principal: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    session: bool = False


_DECODER = msgspec.json.Decoder(Context)
_NOTHING = Context()


def context_to_json(context: Context) -> bytes:
    """As `Request.context`."""
    return msgspec.json.encode(context)


def context_from_json(stored: bytes) -> Context:
    """The reverse of `context_to_json`.

    Raises:
        JobUnreadable: it is damaged.
    """
    if not stored:
        return _NOTHING
    try:
        return _DECODER.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise JobUnreadable("what is stored beside the job's request is damaged") from error
