"""huey: its consumer's threads in the program, which calls it in threads and looks now and then."""

from __future__ import annotations

import asyncio
from typing import Any

from ..huey_at import huey
from .measuring import DONE, FIRST_PAUSE, PAYLOAD, measure, poll


@huey.task()
def job(payload: Any) -> dict[str, bool]:
    return DONE


async def run() -> object:
    submitted = await asyncio.to_thread(job, PAYLOAD)
    return await poll(lambda: asyncio.to_thread(submitted.get, preserve=True))


async def main() -> None:
    consumer = huey.create_consumer(
        workers=4, periodic=False, initial_delay=FIRST_PAUSE, max_delay=FIRST_PAUSE
    )
    consumer.start()
    await measure(run)
    consumer.stop(graceful=True)


asyncio.run(main())
