"""Ours: `Jobs`, which wakes who waits."""

from __future__ import annotations

import asyncio

from asyncjobs import Jobs

from .measuring import DONE, PAYLOAD, measure

jobs = Jobs(store="sqlite:///jobs.db")


@jobs.function(ttl=60)
async def job(payload: dict[str, object]) -> dict[str, bool]:
    return DONE


async def run() -> object:
    ended = await jobs.wait((await jobs.submit(job, PAYLOAD)).id)
    return await jobs.result(ended.id)


async def main() -> None:
    async with jobs:
        await measure(run)


asyncio.run(main())
