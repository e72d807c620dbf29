"""huey: on Redis if there is one, else on SQLite."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisExpireHuey, SqliteHuey

from .contract import DONE, contract

huey = (
    RedisExpireHuey(url=os.environ["REDIS_URL"], expire_time=60)
    if "REDIS_URL" in os.environ
    else SqliteHuey(filename="huey.db", fsync=True)
)


@huey.task()
def job(payload: Any) -> dict[str, Any]:
    return DONE


def submit(payload: Any) -> str:
    return job(payload).id


def result(task_id: str) -> Any:
    return huey.result(task_id, preserve=True)


app = contract(submit, result)
