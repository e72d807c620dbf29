"""arq: its worker is a task of the program; both it and who waits look now and then."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

from arq import Worker, create_pool
from arq.connections import RedisSettings

from .measuring import DONE, FIRST_PAUSE, PAYLOAD, measure, poll


async def job(context: object, payload: Any) -> dict[str, bool]:
    return DONE


async def main() -> None:
    redis = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    worker = Worker(
        [job],
        redis_pool=redis,
        handle_signals=False,
        max_jobs=100,
        poll_delay=FIRST_PAUSE,
        keep_result=60,
        log_results=False,
    )
    working = asyncio.create_task(worker.async_run())

    async def run() -> object:
        submitted = await redis.enqueue_job("job", PAYLOAD)
        return (await poll(submitted.result_info)).result

    await measure(run)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


asyncio.run(main())
