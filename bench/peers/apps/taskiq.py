"""taskiq: a stream of Redis' with acknowledgements, as the readme of taskiq-redis begins with."""

from __future__ import annotations

import os
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
from taskiq_redis.exceptions import ResultIsMissingError

from .contract import DONE, contract

REDIS = os.environ["REDIS_URL"]

results = RedisAsyncResultBackend(REDIS, result_ex_time=60)
broker = RedisStreamBroker(REDIS, consumer_id="0").with_result_backend(results)


@broker.task
async def job(payload: Any) -> dict[str, Any]:
    return DONE


async def submit(payload: Any) -> str:
    return (await job.kiq(payload)).task_id


async def result(task_id: str) -> Any:
    try:
        return (await results.get_result(task_id)).return_value
    except ResultIsMissingError:
        return None


app = contract(submit, result)
app.before_serving(broker.startup)
app.after_serving(broker.shutdown)
