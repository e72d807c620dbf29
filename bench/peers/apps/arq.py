"""arq: a sorted set of Redis', and a worker that looks at it now and then."""

from __future__ import annotations

import os
from typing import Any

from arq import create_pool, run_worker
from arq.connections import RedisSettings
from arq.jobs import Job

from .contract import DONE, contract

REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def job(context: object, payload: Any) -> dict[str, Any]:
    return DONE


class Worker:
    functions = (job,)
    redis_settings = REDIS
    max_jobs = 100
    poll_delay = 0.005
    keep_result = 60
    log_results = False


async def submit(payload: Any) -> str:
    return (await app.redis.enqueue_job("job", payload)).job_id


async def result(job_id: str) -> Any:
    found = await Job(job_id, app.redis).result_info()
    return None if found is None else found.result


app = contract(submit, result)


@app.before_serving
async def connect() -> None:
    app.redis = await create_pool(REDIS)


if __name__ == "__main__":
    run_worker(Worker)
