"""The operator: who may see, or see and steer, the jobs of all owners, as ``operator=`` says."""

from __future__ import annotations

import enum
from typing import Any

from ...given import described


class Right(enum.Enum):
    """What an operator may do with the jobs of others."""

    VIEW = "view"
    STEER = "steer"


def right_of(said: Any) -> Right | None:
    """What is said by what ``operator=`` has returned; None of who is no operator.

    Raises:
        TypeError: it is nothing that can be said: what is true to Python need not be meant so.
    """
    if said is None or said is False:
        return None
    if said is True:
        return Right.STEER
    for right in Right:
        if isinstance(said, str) and said == right.value:
            return right
    raise TypeError(
        f'operator= must return None, False, "view", "steer" or True, not {described(said)}'
    )
