"""What is done for each of many jobs: a failure at one is not the end for the others."""

from __future__ import annotations

from collections.abc import Awaitable

from ..errors import Conflict, StoreUnavailable
from ..events import Action, Emit, Troubled

#: So many jobs are remembered as told of; the oldest are forgotten, and told of once more.
MAX_TOLD = 1000


class Apart:
    """Keeps what fails at one job from the others. Of each job it is told once.

    Args:
        action: what is to be done for each.
    """

    def __init__(self, emit: Emit, action: Action) -> None:
        self._emit = emit
        self._action = action
        self._told: dict[str, None] = {}

    async def done(self, job_id: str, deed: Awaitable[object]) -> bool:
        """Whether `deed`, which is awaited, could be done for this job; else somebody else was
        faster, or it has been told why.

        Raises:
            StoreUnavailable: which is so for all of them.
        """
        try:
            await deed
        except StoreUnavailable:
            raise
        except Conflict:
            return False
        except Exception as error:
            if job_id not in self._told:
                self._told[job_id] = None
                self._emit(Troubled(self._action, error, job_id))
                if len(self._told) > MAX_TOLD:
                    del self._told[next(iter(self._told))]
            return False
        return True
