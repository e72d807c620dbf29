"""SAQ: a queue of Redis' lists, and a worker that blocks on it."""

from __future__ import annotations

import os
from typing import Any

from saq import Queue, Status

from .contract import DONE, contract

queue = Queue.from_url(os.environ["REDIS_URL"])


async def job(context: object, *, payload: Any) -> dict[str, Any]:
    return DONE


async def submit(payload: Any) -> str:
    return (await queue.enqueue("job", payload=payload, ttl=60)).key


async def result(key: str) -> Any:
    found = await queue.job(key)
    if found.status is Status.ABORTED:  # it sweeps jobs between taken and begun
        raise RuntimeError(found.error)
    return found.result if found.status is Status.COMPLETE else None


app = contract(submit, result)
settings = {"queue": queue, "functions": [job], "concurrency": 20}
