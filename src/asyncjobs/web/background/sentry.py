"""Tells Sentry, in an app that uses it, which request a job is, as of live ones its middleware.

https://docs.sentry.io/platforms/python/integrations/quart/
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import Any

from quart import Request

from ...running.current import current_job

logger = logging.getLogger("asyncjobs")

# By the integration's `transaction_style`: what the name of a transaction is taken from, and what
# Sentry calls that.
_NAMES = {"endpoint": "component", "url": "route"}


def describe_to_sentry(request: Request) -> None:
    """Have what is reported from the current context on carry the request's URL and transaction.

    It gives the context a scope of its own, which threads that are started in it share: tags that
    are set in there are on the events of the job.
    """
    sentry: Any = sys.modules.get("sentry_sdk")
    if sentry is not None:
        try:
            _describe(sentry, request)
        except Exception:  # a version whose functions are others: no job fails for that
            _warn_once()


def _describe(sentry: Any, request: Request) -> None:
    integration = sentry.get_client().get_integration("quart")
    if integration is None:
        return
    described = {
        "url": request.url,
        "method": request.method,
        "query_string": request.query_string.decode(errors="replace"),
    }

    def with_request(event: dict[str, Any], hint: object) -> dict[str, Any]:
        event.setdefault("request", {}).update(described)
        return event

    scope = sentry.get_isolation_scope()
    scope.set_tag("job_id", current_job.id)
    scope.add_event_processor(with_request)
    style = integration.transaction_style
    rule = request.url_rule
    name = None if rule is None else (rule.rule if style == "url" else rule.endpoint)
    if name is not None:
        scope.set_transaction_name(name, source=_NAMES.get(style, "custom"))


@cache
def _warn_once() -> None:
    logger.warning("what jobs report to Sentry does not say which they are", exc_info=True)
