"""What a job writes to a cookie vanishes: that is said once for each route, and fails no job."""

from __future__ import annotations

import logging

logger = logging.getLogger("asyncjobs")


class Vanishing:
    """Warns of what the jobs of one route write where nobody will ever read it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._said: set[str] = set()

    def warn(self, deed: str) -> None:
        """Say in the log that the route does that, unless it was said before."""
        if deed in self._said:
            return
        self._said.add(deed)
        logger.warning(
            "a job of %r %s, which vanishes: a job has no cookies of its client, and sets none. Do "
            "that above @jobs.background, or in a route that is no job",
            self._endpoint,
            deed,
        )
