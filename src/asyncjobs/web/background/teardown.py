"""The context of a job: one of Quart's requests, without the hooks that come in pairs around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Quart

from ..around import around
from ..quart_side import current_request

#: The key in the scope of a job's request.
JOB = "asyncjobs.job"


def without_teardown_of_requests(app: Quart) -> None:
    """Have no ``teardown_request`` function of `app` called in jobs, be it for a copied context.

    They give back what ``before_request`` functions have taken, and what listens to the signal
    `request_tearing_down` does so for `request_started`. In a job nobody has taken anything: all
    that is torn down is its app context.
    """

    async def unless_in_a_job(teardown: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if JOB not in current_request().scope:
            await teardown(*args, **kwargs)

    around(app, "do_teardown_request", unless_in_a_job)
