"""What is done for each of many jobs: a failure at one is not the end for the others."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from .errors import Conflict, StoreUnavailable

logger = logging.getLogger("asyncjobs")

#: So many jobs are remembered as told of; the oldest are forgotten, and told of once more.
MAX_TOLD = 1000


class Apart:
    """Keeps what fails at one job from the others. Of each job the log tells once.

    Args:
        failed: what could not be done, for the log: "job <id> <failed>".
    """

    def __init__(self, failed: str) -> None:
        self._failed = failed
        self._told: dict[str, None] = {}

    async def done(self, job_id: str, deed: Awaitable[object]) -> bool:
        """Whether `deed`, which is awaited, could be done for this job; else somebody else was
        faster, or the log has the reason.

        Raises:
            StoreUnavailable: which is so for all of them.
        """
        try:
            await deed
        except StoreUnavailable:
            raise
        except Conflict:
            return False
        except Exception:
            if job_id not in self._told:
                self._told[job_id] = None
                logger.exception("job %s %s; the others go on", job_id, self._failed)
                if len(self._told) > MAX_TOLD:
                    del self._told[next(iter(self._told))]
            return False
        return True
