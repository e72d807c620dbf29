"""The huey that is measured: on Redis if there is one, else on SQLite."""

from __future__ import annotations

import os

from huey import RedisExpireHuey, SqliteHuey

huey = (
    RedisExpireHuey(url=os.environ["REDIS_URL"], expire_time=60)
    if "REDIS_URL" in os.environ
    else SqliteHuey(filename="huey.db", fsync=True)
)
