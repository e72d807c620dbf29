"""SAQ: its worker is a task of the program; who waits looks now and then, as in `Queue.apply`."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from saq import Queue, Status, Worker

from .measuring import DONE, PAYLOAD, measure, poll

queue = Queue.from_url(os.environ["REDIS_URL"])


async def job(context: object, *, payload: Any) -> dict[str, bool]:
    return DONE


async def run() -> object:
    submitted = await queue.enqueue("job", payload=PAYLOAD, ttl=60)

    async def look() -> object:
        await submitted.refresh()
        if submitted.status is Status.ABORTED:
            raise RuntimeError(submitted.error)
        return submitted.result if submitted.status is Status.COMPLETE else None

    return await poll(look)


async def main() -> None:
    # There is one in a minute, and it would abort a job that the worker has just taken.
    await queue.sweep()
    worker = asyncio.create_task(Worker(queue, [job], concurrency=20).start())
    await measure(run)
    worker.cancel()


asyncio.run(main())
