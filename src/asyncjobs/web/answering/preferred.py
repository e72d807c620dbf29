"""How a client's preferences are obeyed (RFC 7240): decided from them and the settings alone."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from ..http.preferences import Preferences


class Granted(NamedTuple):
    """How the answer to one request is given.

    Attributes:
        seconds: for which it waits for the end of a job, at most.
        result: whether it is the result of a job, if that is there by then.
        applied: the preferences that are obeyed by that, as ``Preference-Applied`` has them.
        applied_at_once: those that are obeyed if it does not wait all the same.
    """

    seconds: float = 0
    result: bool = True
    applied: str | None = None
    applied_at_once: str | None = None

    def at_once(self) -> Granted:
        """The same without a wait, where no more requests can."""
        return Granted(0, self.result, self.applied_at_once)


@lru_cache(maxsize=256)  # a client says the same with each request
def granted_to_poll(preferences: Preferences, max_wait: float) -> Granted:
    """How a poll is answered, and the status of a job.

    Args:
        max_wait: in seconds.
    """
    if preferences.wait is None:
        return Granted()
    seconds = min(preferences.wait, max_wait)
    return Granted(seconds, applied=_wait_of(seconds))


@lru_cache(maxsize=256)
def granted_to_submission(preferences: Preferences, max_wait: float, *, is_held: bool) -> Granted:
    """How a submission is answered.

    Args:
        max_wait: in seconds.
        is_held: whether it waits unless its client prefers something else.
    """
    at_once = "respond-async" if preferences.is_async else None
    if preferences.wait is not None:
        seconds = min(preferences.wait, max_wait)
        wait = _wait_of(seconds)
        return Granted(seconds, True, f"{at_once}, {wait}" if at_once else wait, at_once)
    if is_held and not preferences.is_async:
        return Granted(max_wait)
    return Granted(result=False, applied=at_once)


def _wait_of(seconds: float) -> str:
    return f"wait={math.ceil(seconds)}"
