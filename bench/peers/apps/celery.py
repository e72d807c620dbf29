"""Celery: Redis is its broker and keeps its results; threads run the jobs."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from .contract import DONE, contract

celery = Celery("peer", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
celery.conf.update(
    worker_prefetch_multiplier=64,
    result_expires=60,
    broker_connection_retry_on_startup=True,
)


@celery.task
def job(payload: Any) -> dict[str, Any]:
    return DONE


def submit(payload: Any) -> str:
    return job.delay(payload).id


def result(task_id: str) -> Any:
    found = celery.AsyncResult(task_id)
    return found.get() if found.ready() else None


app = contract(submit, result)
